//! Signals: those that end the daemon, those that it carries out, and those that it ignores.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ChildGuard, Daemon, eventually, request};

/// Sends any signal, those without a name included.
fn send(pid: u32, number: i32) {
    let command = format!("kill -{number} {pid}");
    let sent = Command::new("sh").args(["-c", &command]).status();
    assert!(sent.expect("sh can be executed").success(), "{command}");
}

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
/// SIGUSR2, SIGALRM, SIGSTKFLT, SIGVTALRM, SIGPROF, SIGIO, and the ends of the real-time signals.
const IGNORED: [(i32, &str); 9] = [
    (SIGUSR2, "SIGUSR2"),
    (14, "SIGALRM"),
    (16, "SIGSTKFLT"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (29, "SIGIO"),
    (35, "SIGRTMIN+1"),
    (50, "SIGRTMIN+16"),
    (64, "SIGRTMIN+30"),
];
/// SIGPIPE has no line: each closed connection may cause one.
const SIGPIPE: i32 = 13;

fn wait_until_ignored(daemon: &Daemon, name: &str) {
    let line = daemon.wait_for_log(name, |line| line["signal"] == name);
    assert_eq!(line["level"], "WARN");
}

#[test]
fn a_signal_that_means_nothing_is_ignored_with_a_line() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    send(daemon.pid(), SIGPIPE);
    for (number, name) in IGNORED {
        send(daemon.pid(), number);
        wait_until_ignored(&daemon, name);
    }
    assert_eq!(daemon.running(), ["dependency"]);
    // SIGTERM still ends it.
    daemon.whole_log();
}

#[test]
fn each_signal_that_asks_for_an_end_is_an_orderly_one() {
    for number in [2, 3, 15, 24, 30] {
        let mut daemon = Daemon::start();
        daemon.start_scenario("dependency", json!({}));
        send(daemon.pid(), number);
        assert_eq!(daemon.ended().code(), Some(0), "signal {number}");
        let again = daemon.start_again();
        let boots = again.events_of("boot");
        assert_eq!(boots[1]["boot"]["previous"]["end"], "graceful");
    }
}

#[test]
fn signals_during_the_shutdown_change_nothing() {
    let mut daemon = Daemon::start();
    daemon.start_scenario(
        "shutdown_hang",
        json!({ "mode": "slow", "drain_seconds": 3600 }),
    );
    send(daemon.pid(), 15);
    daemon.wait_for_log("the signal", |line| line["stays_ready"] == false);
    for (number, name) in IGNORED {
        send(daemon.pid(), number);
        wait_until_ignored(&daemon, name);
    }
    send(daemon.pid(), SIGHUP);
    daemon.wait_for_log("the reload", |line| {
        line["message"] == "The configuration is read again."
    });
    daemon.stop_scenario("shutdown_hang");
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn signals_during_the_start_are_carried_out_and_do_not_end_it() {
    let folder = Arc::new(TempDir::new().unwrap());
    let log = std::fs::File::create(folder.path().join("stdout")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .args(["--port", "0"])
        .current_dir(folder.path())
        .env("MOCKSERVER_ADMIN_PORT", "0")
        .env("MOCKSERVER_BOOT", r#"{"start_delay": 3600}"#)
        .stdout(Stdio::from(log))
        .spawn();
    let mut child = ChildGuard(child.expect("the daemon can be executed"));
    eventually("the signals are handled", || {
        child.catches(SIGHUP).then_some(())
    });
    for number in [SIGHUP, SIGUSR1, SIGUSR2, 50] {
        send(child.id(), number);
    }
    eventually("they are in the log", || {
        let log = std::fs::read_to_string(folder.path().join("stdout")).unwrap();
        ["SIGHUP received", "SIGUSR2", "SIGRTMIN+16"]
            .iter()
            .all(|part| log.contains(part))
            .then_some(())
    });
    eventually("SIGTERM is handled", || {
        child.catches_sigterm().then_some(())
    });
    send(child.id(), 15);
    assert_eq!(child.ended().code(), Some(0));
}

// === SIGHUP ===

/// A daemon that logs to a file, with a token in a file.
struct Reloading {
    daemon: Daemon,
    folder: PathBuf,
}

const YAML: &str = "Log: {Level: info}\nAuth: {TokenFile: token}\n";

impl Reloading {
    fn start() -> Self {
        Self::start_with(YAML)
    }

    fn start_with(yaml: &str) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let at = folder.path().to_owned();
        std::fs::write(at.join("token"), "first").unwrap();
        std::fs::write(
            at.join("mockserver.yaml"),
            format!("Host: 127.0.0.1\nPort: 0\n{yaml}"),
        )
        .unwrap();
        Self {
            daemon: Daemon::builder().folder(&folder).start(),
            folder: at,
        }
    }

    fn configure(&self, yaml: &str) {
        let text = format!("Host: 127.0.0.1\nPort: 0\n{yaml}");
        std::fs::write(self.folder.join("mockserver.yaml"), text).unwrap();
    }

    /// Sends SIGHUP and waits for what the log says of it.
    fn reload(&self, message: &str) -> Value {
        send(self.daemon.pid(), SIGHUP);
        self.daemon
            .wait_for_log(message, |line| line["message"] == message)
    }

    fn status_with(&self, token: &str) -> u16 {
        let token = format!("Bearer {token}");
        let path = "/api/v1/composite/stop";
        request(
            "POST",
            self.daemon.admin,
            path,
            "",
            &[("authorization", &token)],
        )
        .status
    }
}

const READ_AGAIN: &str = "The configuration is read again.";
const STAYS: &str = "The configuration is not taken over: everything stays as it was.";

#[test]
fn sighup_takes_over_the_token_and_the_level_and_nothing_else() {
    let it = Reloading::start();
    assert_eq!(
        (it.status_with("first"), it.status_with("second")),
        (200, 401)
    );
    std::fs::write(it.folder.join("token"), "second\n").unwrap();
    it.configure("Log: {Level: debug}\nAuth: {TokenFile: token}\nLimits: {CpuCores: 1}\n");
    assert_eq!(it.reload(READ_AGAIN)["log_level"], "debug");
    let keys = it
        .daemon
        .wait_for_log("the keys", |line| line["keys"].is_string());
    assert_eq!(keys["keys"], "Limits.CpuCores");
    it.daemon.wait_for_log("the token", |line| {
        line["message"] == "The token of the API is replaced."
    });
    assert_eq!(
        (it.status_with("first"), it.status_with("second")),
        (401, 200)
    );
    it.daemon
        .wait_for_log("a request at debug", |line| line["level"] == "DEBUG");
    // Without a token in the configuration, the API stays closed.
    it.configure("Log: {Level: info}\n");
    it.reload("The token of the API stays: only a restart can open the API.");
    assert_eq!(
        (it.status_with("first"), it.status_with("second")),
        (401, 200)
    );
}

#[test]
fn the_documentation_asks_for_the_first_token_as_soon_as_it_is_there() {
    let it = Reloading::start_with("");
    let asks = || {
        let page = it.daemon.admin_get("/docs").body;
        page.as_str().unwrap().contains("type=\"password\"")
    };
    assert!(!asks());
    it.configure(YAML);
    it.reload("The token of the API is replaced.");
    assert!(asks());
}

#[test]
fn a_bad_value_at_sighup_keeps_the_old_ones() {
    let it = Reloading::start();
    for bad in [
        "Log: {Level: loud}\nAuth: {TokenFile: token}\n",
        "Log: {Level: debug}\nAuth: {TokenFile: gone}\n",
        "Log: {Level: debug\n",
        "Log: {Level: debug}\nAuth: {Token: \"two words\"}\n",
    ] {
        it.configure(bad);
        let line = it.reload(STAYS);
        assert_eq!(line["level"], "WARN");
        assert!(
            line["error"]
                .as_str()
                .is_some_and(|error| !error.is_empty()),
            "{line}"
        );
        assert_eq!(it.status_with("first"), 200, "{bad}");
    }
    std::fs::remove_file(it.folder.join("mockserver.yaml")).unwrap();
    it.reload(STAYS);
    it.configure(YAML);
    it.reload(READ_AGAIN);
    let mut it = it;
    let lines = it.daemon.whole_log();
    assert!(
        lines.iter().all(|line| line["level"] != "DEBUG"),
        "{lines:?}"
    );
}

/// The log files in `folder`, save the one that was moved away.
fn log_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect()
}

#[test]
fn sighup_opens_the_log_file_anew_after_logrotate_moved_it() {
    let folder = TempDir::new().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .args(["--port", "0"])
        .current_dir(folder.path())
        .env("MOCKSERVER_ADMIN_PORT", "0")
        .env("MOCKSERVER_LOG_MODE", "file")
        .spawn();
    let mut child = ChildGuard(child.expect("the daemon can be executed"));
    let logs = folder.path().join("logs");
    let has = |text: &str| {
        let files = log_files(&logs).into_iter();
        let mut files = files.map(|file| std::fs::read_to_string(file).unwrap_or_default());
        files.any(|log| log.contains(text)).then_some(())
    };
    eventually("the daemon is ready", || has("Ready."));
    for file in log_files(&logs) {
        std::fs::rename(&file, file.with_extension("log.1")).unwrap();
    }
    send(child.id(), SIGHUP);
    eventually("the lines are in a new file", || {
        has("The log file is opened anew.")
    });
    assert_eq!(has("Ready."), None);
    // With the folder gone it is made again.
    std::fs::remove_dir_all(&logs).unwrap();
    send(child.id(), SIGHUP);
    eventually("the folder is there again", || has(READ_AGAIN));
    send(child.id(), 15);
    assert_eq!(child.ended().code(), Some(0));
}

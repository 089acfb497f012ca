//! The boot profile: versions that are bad by their configuration.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ChildGuard, Daemon, PATIENCE, events_on_disk, eventually, free_port};

const PROFILE: &str = "MOCKSERVER_BOOT";

/// A daemon that need not come up; dropping it ends the process.
struct RawDaemon {
    child: ChildGuard,
    folder: Arc<TempDir>,
    port: u16,
    began: Instant,
}

impl RawDaemon {
    fn start(profile: &Value) -> Self {
        Self::start_in(Arc::new(TempDir::new().unwrap()), profile)
    }

    fn start_in(folder: Arc<TempDir>, profile: &Value) -> Self {
        Self::start_on(free_port(), folder, profile)
    }

    fn start_on(port: u16, folder: Arc<TempDir>, profile: &Value) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .current_dir(folder.path())
            .env("MOCKSERVER_LOG_FORMAT", "json")
            .env("MOCKSERVER_PORT", port.to_string())
            .env("MOCKSERVER_ADMIN_PORT", free_port().to_string())
            .env(PROFILE, profile.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be executed");
        Self {
            child: ChildGuard(child),
            folder,
            port,
            began: Instant::now(),
        }
    }

    fn listens(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    /// Waits until the process handles SIGTERM.
    fn wait_for_sigterm_handler(&self) {
        eventually("the process handles SIGTERM", || {
            self.child.catches_sigterm().then_some(())
        });
    }

    /// The whole log of a daemon that has ended.
    fn log(&mut self) -> Vec<Value> {
        let mut text = String::new();
        let output = self.child.stdout.as_mut().unwrap();
        output.read_to_string(&mut text).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The events of one kind in its ledger.
    fn events_of(&self, kind: &str) -> Vec<Value> {
        let mut events = events_on_disk(self.folder.path());
        events.retain(|event| event["kind"] == kind);
        events
    }
}

fn daemon(profile: &Value) -> Daemon {
    Daemon::builder().env(PROFILE, &profile.to_string()).start()
}

// === Before it listens ===

#[test]
fn a_slow_start_listens_late_and_a_signal_ends_it_with_zero() {
    let mut slow = RawDaemon::start(&json!({ "start_delay": 3 }));
    slow.wait_for_sigterm_handler();
    assert!(!slow.listens());
    eventually("the daemon listens", || slow.listens().then_some(()));
    assert!(slow.began.elapsed() >= Duration::from_secs(3));
    slow.child.signal(Signal::TERM);
    assert_eq!(slow.child.ended().code(), Some(0));

    let mut slower = RawDaemon::start(&json!({ "start_delay": 3600 }));
    slower.wait_for_sigterm_handler();
    let signalled = Instant::now();
    slower.child.signal(Signal::TERM);
    assert_eq!(slower.child.ended().code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(2) && !slower.listens());
}

#[test]
fn a_failed_start_logs_its_error_and_exits_with_its_code() {
    let message = "Fatal: no license";
    let profile = json!({ "fail": { "after": 0.3, "exit_code": 78, "message": message } });
    let mut failing = RawDaemon::start(&profile);
    while failing.child.try_wait().unwrap().is_none() {
        assert!(!failing.listens());
        assert!(failing.began.elapsed() < PATIENCE);
    }
    assert!(failing.began.elapsed() >= Duration::from_millis(300));
    assert_eq!(failing.child.ended().code(), Some(78));
    let log = failing.log();
    let last = log.last().unwrap();
    assert_eq!(
        (&last["level"], &last["message"]),
        (&json!("ERROR"), &json!(message))
    );
    let intent = &failing.events_of("exit_intent")[0];
    assert_eq!(
        (&intent["by"], &intent["exit_code"], &intent["error"]),
        (&json!("boot"), &json!(78), &json!(message))
    );
}

#[test]
fn a_process_that_hangs_neither_listens_nor_handles_signals() {
    let mut hung = RawDaemon::start(&json!({ "hang": true }));
    let mut head = [0; 1];
    let output = hung.child.stdout.as_mut().unwrap();
    output.read_exact(&mut head).unwrap();
    assert!(!hung.listens() && !hung.child.catches_sigterm());
    assert!(hung.child.try_wait().unwrap().is_none());
    hung.child.signal(Signal::TERM);
    let status = hung.child.ended();
    let by = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(by, Some(15), "a process without a handler dies of SIGTERM");
}

// === While it listens ===

#[test]
fn a_late_failure_comes_after_good_service() {
    let profile = json!({ "fail": { "after": 4, "listening": true, "exit_code": 7 } });
    let mut failing = daemon(&profile);
    assert_eq!(failing.get("/ready").status, 200);
    assert_eq!(failing.ended().code(), Some(7));
    let error = failing.wait_for_log("the error", |line| line["level"] == "ERROR");
    let text = error["message"].as_str().unwrap();
    assert!(text.starts_with("Fatal: cannot connect"), "{text}");

    let again = failing.start_again();
    let boots = again.events_of("boot");
    let boot = &boots[1]["boot"];
    assert_eq!(boot["previous"]["end"], "planned");
    assert_eq!(
        boot["previous"]["because"],
        "the boot profile was to exit with 7"
    );
    assert_eq!(boots[0]["boot"]["profile"]["fail"]["after"], 4);
    assert_eq!(boot["profile"], Value::Null);
}

#[test]
fn a_service_becomes_ready_late_or_never_and_is_healthy_meanwhile() {
    let begun = Instant::now();
    let late = daemon(&json!({ "ready_after": 4 }));
    let first = late.get("/ready");
    assert_eq!(
        (first.status, &first.body),
        (503, &json!({ "status": "unhealthy" }))
    );
    for alive in ["/health", "/api/v1/mock-service"] {
        assert_eq!(late.get(alive).status, 200);
    }
    assert_eq!(late.get("/readyz").status, 503);
    assert_eq!(
        late.admin_get("/ready").status,
        200,
        "no fault touches the admin listener"
    );
    late.wait_for_log("that the service is ready", |line| {
        line["message"] == "Ready."
    });
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_eq!(late.get("/ready").status, 200);

    let mut never = daemon(&json!({ "never_ready": true }));
    assert_eq!(
        (never.get("/ready").status, never.get("/health").status),
        (503, 200)
    );
    never.signal(Signal::TERM);
    assert_eq!(never.ended().code(), Some(0));
}

// === The crash loop ===

#[test]
fn a_crash_loop_counts_its_boots_and_heals() {
    let profile = json!({ "crash_loop": { "boots": 2, "after": 0.2, "exit_code": 9 } });
    let folder = Arc::new(TempDir::new().unwrap());
    for boot in 1..=2 {
        let mut crashing = RawDaemon::start_in(folder.clone(), &profile);
        assert_eq!(crashing.child.ended().code(), Some(9), "boot {boot}");
        let log = crashing.log();
        let counted = log.iter().find(|line| line["of"] == 2);
        let counted = counted.expect("the log counts the boots");
        assert_eq!(counted["boot"], boot);
        let boots = crashing.events_of("boot");
        assert_eq!(boots.last().unwrap()["boot"]["crashing_boot"], boot);
    }
    let mut healed = RawDaemon::start_in(folder, &profile);
    eventually("the healed daemon listens", || {
        healed.listens().then_some(())
    });
    let past_its_crash = Duration::from_millis(500);
    eventually("the time of a crash has passed", || {
        (healed.began.elapsed() > past_its_crash).then_some(())
    });
    healed.child.signal(Signal::TERM);
    assert_eq!(healed.child.ended().code(), Some(0));
    assert!(healed.log().iter().any(|line| line["crashed"] == 2));
}

#[test]
fn a_crash_loop_counts_its_own_crashes_only() {
    let folder = Arc::new(TempDir::new().unwrap());
    let profile = json!({ "crash_loop": { "boots": 2, "after": 3600 } });
    let file = folder.path().join("data/crash-loop-boots");
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for _ in 0..3 {
        let mut refused = RawDaemon::start_on(port, folder.clone(), &profile);
        assert_eq!(refused.child.ended().code(), Some(1));
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let mut ended = RawDaemon::start_in(folder.clone(), &profile);
        eventually("the daemon listens", || ended.listens().then_some(()));
        ended.child.signal(signal);
        ended.child.ended();
    }
    assert!(!file.exists(), "nothing crashed");

    let soon = json!({ "crash_loop": { "boots": 2, "after": 0, "exit_code": 9 } });
    for crashes in 1..=2 {
        let mut crashing = RawDaemon::start_in(folder.clone(), &soon);
        assert_eq!(crashing.child.ended().code(), Some(9));
        assert_eq!(
            std::fs::read_to_string(&file).unwrap().trim(),
            crashes.to_string()
        );
    }
    let mut refused = RawDaemon::start_on(port, folder.clone(), &soon);
    assert_eq!(refused.child.ended().code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "2");
}

#[test]
fn a_crash_loop_that_cannot_count_does_not_start() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("data"), "in the way").unwrap();
    let mut uncounted = RawDaemon::start_in(Arc::new(folder), &json!({ "crash_loop": {} }));
    assert_eq!(uncounted.child.ended().code(), Some(1));
    let mut stderr = String::new();
    let pipe = uncounted.child.stderr.as_mut().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("data/crash-loop-boots"), "{stderr}");
}

// === Scenarios from the start ===

#[test]
fn a_bad_version_is_bad_from_its_first_request_and_can_be_stopped() {
    let daemon = daemon(&json!({ "scenarios": [
        { "name": "health_check", "params": { "status_code": 500 } },
        { "name": "dependency", "params": { "failure_type": "error" } },
    ] }));
    assert_eq!(daemon.get("/health").status, 500);
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
    assert_eq!(
        daemon.session()["scenarios"],
        json!(["health_check", "dependency"])
    );
    let accepted = daemon.events_of("accepted");
    assert!(accepted.len() == 2 && accepted.iter().all(|event| event["by"] == "boot"));
    assert_eq!(daemon.stop_all().status, 200);
    assert_eq!(daemon.get("/health").status, 200);
}

#[test]
fn a_scenario_starts_at_its_request() {
    let daemon = daemon(&json!({ "scenarios": [
        { "name": "dependency", "params": { "failure_type": "error" }, "after_requests": 5 },
    ] }));
    for _ in 0..4 {
        assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
    }
    assert_eq!(daemon.session()["status"], "no active session");
    daemon.get("/health");
    eventually("the fifth request starts the scenario", || {
        (daemon.status("dependency")["running"] == true).then_some(())
    });
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
}

#[test]
fn scenarios_join_at_their_onset_and_those_that_wait_for_readiness_come_last() {
    let daemon = daemon(&json!({
        "ready_after": 1.5,
        "scenarios": [
            { "name": "health_check", "params": { "probes": ["health"] } },
            { "name": "network_latency", "params": { "latency_ms": 1 }, "after": 0.5 },
            { "name": "dependency", "when_ready": true },
        ],
    }));
    let first = daemon.session();
    eventually("all three scenarios run", || {
        (daemon.session()["scenarios"].as_array().unwrap().len() == 3).then_some(())
    });
    assert_eq!(daemon.session()["session_id"], first["session_id"]);
    assert_eq!(daemon.get("/ready").status, 200);
    let started = daemon.events_of("started");
    let order: Vec<&Value> = started.iter().map(|event| &event["scenario"]).collect();
    assert_eq!(order, ["health_check", "network_latency", "dependency"]);
}

#[test]
fn a_stop_of_everything_cancels_later_starts() {
    let daemon = daemon(&json!({ "scenarios": [
        { "name": "dependency", "after_requests": 3 },
        { "name": "network_latency", "params": { "latency_ms": 1 } },
    ] }));
    daemon.stop_all();
    daemon.wait_for_log("that the start is cancelled", |line| {
        line["scenario"] == "dependency"
            && line["message"]
                .as_str()
                .is_some_and(|text| text.contains("start is cancelled"))
    });
    for _ in 0..5 {
        daemon.get("/health");
    }
    assert_eq!(daemon.session()["status"], "no active session");
}

#[test]
fn limits_bind_clients_and_not_the_profile() {
    let slow = |ms| json!({ "latency_ms": ms });
    let scenarios = [json!({ "name": "network_latency", "params": slow(200) })];
    let profile = json!({ "scenarios": scenarios }).to_string();
    let daemon = Daemon::builder()
        .file("Limits: {LatencyMs: 100}\n")
        .env(PROFILE, &profile)
        .start();
    assert_eq!(daemon.status("network_latency")["params"], slow(200));
    let start = "/api/v1/scenarios/network_latency/start";
    let refused = daemon.admin_post(start, slow(200).to_string());
    assert!((400..500).contains(&refused.status), "{refused:?}");
    assert_eq!(daemon.status("network_latency")["running"], true);
}

// === Where the profile comes from ===

#[test]
fn the_variable_wins_over_the_file_as_a_whole_and_safe_boot_over_both() {
    let yaml = "Boot:\n  never_ready: true\n";
    assert_eq!(
        Daemon::builder().file(yaml).start().get("/ready").status,
        503
    );
    let other = r#"{"scenarios": [{"name": "dependency", "params": {"failure_type": "error"}}]}"#;
    let daemon = Daemon::builder().file(yaml).env(PROFILE, other).start();
    assert_eq!(daemon.get("/ready").status, 200);
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);

    // Safe boot ignores a profile even if it is not valid.
    for profile in [other, "{"] {
        let env = [(PROFILE, profile), ("MOCKSERVER_SAFE_BOOT", "1")];
        let safe = Daemon::builder().file(yaml).envs(&env).start();
        assert_eq!(safe.get("/ready").status, 200);
        assert_eq!(safe.get("/api/v1/mock-service").status, 200);
        assert_eq!(safe.events_of("boot")[0]["boot"]["safe_boot"], true);
    }
}

#[test]
fn a_bad_profile_is_refused_with_all_its_errors_beside_those_of_the_configuration() {
    let check = |env: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .arg("--check")
            .current_dir(TempDir::new().unwrap().path())
            .envs(env.iter().copied())
            .output()
            .expect("the binary can be executed");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    let profile = r#"{"scenarios": [{"name": "cpu_burner", "params": {"cores": 0}},
        {"name": "no_such", "soon": 1}], "crash_loop": {"boots": -1}}"#;
    let (code, stderr) = check(&[(PROFILE, profile), ("MOCKSERVER_PORT", "eighty")]);
    assert_eq!(code, Some(64));
    for error in [
        "Port: must",
        "Boot.scenarios.0.params.cores: must",
        "Boot.scenarios.1.name: unknown scenario",
        "Boot.scenarios.1.soon: unknown key",
        "Boot.crash_loop.boots: must",
    ] {
        assert!(stderr.contains(error), "{error} is missing in {stderr}");
    }
    for (variable, value) in [
        (PROFILE, "{"),
        (PROFILE, "5"),
        ("MOCKSERVER_SAFE_BOOT", "maybe"),
    ] {
        let (code, stderr) = check(&[(variable, value)]);
        assert_eq!(code, Some(64), "{variable}={value}");
        assert!(
            stderr.contains("Boot") || stderr.contains(variable),
            "{stderr}"
        );
    }
    assert_eq!(
        check(&[(PROFILE, "")]).0,
        Some(0),
        "an empty profile is none"
    );
}

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Daemon, PATIENCE, agent, alone, answer, eventually, header_of, send, signal};

/// How long the daemon may take to end after a signal.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The binary in a folder of its own, with no configuration there.
fn command(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mockserver"));
    command.args(args).current_dir(folder.path());
    command
}

/// Runs the binary to its end.
fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    run_in(&TempDir::new().expect("a folder"), args, env)
}

fn run_in(folder: &TempDir, args: &[&str], env: &[(&str, &str)]) -> Output {
    command(folder, args)
        .envs(env.iter().copied())
        .output()
        .expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with_file(yaml: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("a.yaml"), yaml).expect("a configuration");
    folder
}

// === The first signal ===

fn ends_in_time_with_zero(daemon: &mut Daemon, signal: Signal, during: &str) {
    let start = Instant::now();
    daemon.signal(signal);
    let status = daemon.ended();
    let took = start.elapsed();
    assert_eq!(status.code(), Some(0), "{signal:?} during {during}");
    assert!(
        took < ENDS_WITHIN,
        "{signal:?} during {during} took {took:?}"
    );
}

#[test]
fn sigterm_and_sigint_end_an_idle_daemon_with_code_zero() {
    for signal in [Signal::TERM, Signal::INT] {
        ends_in_time_with_zero(&mut Daemon::start(), signal, "nothing");
    }
}

#[test]
fn sigterm_ends_the_daemon_with_code_zero_during_each_scenario() {
    let _turn = alone();
    for (name, params) in [
        ("cpu_burner", json!({ "target_percent": 100 })),
        (
            "memory_leaker",
            json!({ "target_mb": 512, "leak_rate_mb": 512 }),
        ),
        ("network_latency", json!({ "latency_ms": 600_000 })),
        ("health_check", json!({ "failure_mode": "delayed" })),
        (
            "goroutine_leak",
            json!({ "goroutines_per_second": 100_000 }),
        ),
        ("disk_io", json!({ "write_rate_mb": 200 })),
        ("crash", json!({ "crash_delay": 3600 })),
        ("dependency", json!({})),
    ] {
        let mut daemon = Daemon::start();
        daemon.started(name, params);
        eventually(&format!("{name} has begun"), || {
            (daemon.status(name)["running"] == true).then_some(())
        });
        ends_in_time_with_zero(&mut daemon, Signal::TERM, name);
    }
}

#[test]
fn a_request_in_a_thirty_second_fault_is_let_through_by_the_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start();
        daemon.started("dependency", json!({ "failure_type": "timeout" }));
        let client = daemon.client();
        let waiting = thread::spawn(move || client.get("/api/v1/mock-service"));
        eventually("the request waits", || {
            let metrics = &daemon.status("dependency")["metrics"];
            (metrics["failed_calls"] == 1).then_some(())
        });
        ends_in_time_with_zero(&mut daemon, signal, "a timeout");
        let answer = waiting.join().expect("an answer");
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "ok" }))
        );
    }
}

#[test]
fn connections_that_send_nothing_do_not_hold_the_end_up() {
    let mut daemon = Daemon::start();
    let _idle: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(daemon.service).expect("a connection"))
        .collect();
    daemon.get("/health");
    ends_in_time_with_zero(&mut daemon, Signal::TERM, "idle connections");
}

#[test]
fn a_client_that_never_ends_its_request_does_not_hold_the_end_up() {
    let mut daemon = Daemon::start();
    let _slow = half_a_request(daemon.service);
    ends_in_time_with_zero(&mut daemon, Signal::TERM, "half a request");
}

#[test]
fn the_end_is_told_in_the_log_and_in_the_run() {
    let mut daemon = Daemon::start();
    daemon.started("dependency", json!({}));
    daemon.signal(Signal::TERM);
    let ended = daemon.logged("the end of the run", |line| {
        line["message"] == "Scenario ended."
    });
    assert_eq!(ended["scenario"], "dependency");
    assert_eq!(ended["reason"], "shutdown");
    assert_eq!(daemon.ended().code(), Some(0));
}

// === The second signal ===

/// A connection whose request is on its way and never arrives as a whole: it holds the drain open.
fn half_a_request(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream
        .write_all(
            b"POST /api/v1/composite/start HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        )
        .expect("room for half a request");
    // The daemon says that it wants the body: now it waits for it.
    let mut said = [0; 12];
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.read_exact(&mut said).expect("an interim answer");
    assert_eq!(&said, b"HTTP/1.1 100");
    stream.write_all(b"{").expect("room for a byte");
    stream
}

fn exits_at_once_with(daemon: &mut Daemon, second: Signal, number: i32) {
    let _slow = half_a_request(daemon.service);
    daemon.signal(Signal::TERM);
    daemon.logged("the first signal", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("Signal received"))
    });
    daemon.signal(second);
    // Had it waited for the drain, it would have ended with zero.
    assert_eq!(daemon.ended().code(), Some(128 + number));
}

#[test]
fn a_second_signal_exits_at_once_with_its_number() {
    for (second, number) in [(Signal::TERM, SIGTERM), (Signal::INT, SIGINT)] {
        exits_at_once_with(&mut Daemon::start(), second, number);
    }
}

#[test]
fn a_second_signal_exits_at_once_when_there_is_no_admin_listener_to_drain() {
    let mut quiet = Quiet::start(&["--port", "0"], &[("MOCKSERVER_ADMIN_PORT", "0")]);
    let service = quiet.service();
    let _slow = half_a_request(service);
    quiet.signal(Signal::TERM);
    eventually("the faults are stopped", || {
        quiet.log().contains("All faults stopped.").then_some(())
    });
    quiet.signal(Signal::INT);
    let status = quiet.child.wait().expect("its end");
    assert_eq!(status.code(), Some(128 + SIGINT));
}

// === The command line and the configuration ===

#[test]
fn every_fault_of_a_configuration_is_named_in_one_message() {
    let folder = with_file(
        "Name: ''\nHost: nowhere\nPort: 70000\nLog:\n  Mode: paper\n  Level: loud\n  Colour: red\n\
         Admin: {Port: -1}\nTimeout: 5\n",
    );
    let output = run_in(
        &folder,
        &["-f", "a.yaml"],
        &[("MOCKSERVER_LOG_FORMAT", "xml")],
    );
    assert_eq!(output.status.code(), Some(64));
    let message = stderr(&output);
    for key in [
        "a.yaml",
        "Name:",
        "Host:",
        "Port:",
        "Log.Mode:",
        "Log.Level:",
        "Log.Colour:",
        "Log.Format:",
        "Admin.Port:",
        "Timeout:",
    ] {
        assert!(message.contains(key), "{key} is missing in {message}");
    }
    assert_eq!(message.matches("mockserver: ").count(), 1, "{message}");
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_configuration_that_is_no_yaml_exits_with_64() {
    for yaml in ["Port: [", "- a\n- b\n", "Port: 1\nPort: 2\n", "just a text"] {
        let output = run_in(&with_file(yaml), &["-f", "a.yaml"], &[]);
        assert_eq!(output.status.code(), Some(64), "{yaml}: {output:?}");
        assert!(stderr(&output).contains("a.yaml"), "{output:?}");
    }
}

#[test]
fn a_bad_variable_or_flag_exits_with_64_and_is_named() {
    for (args, env, named) in [
        (&["--port", "eighty"][..], &[][..], "Port"),
        (&["--host", "here"], &[], "Host"),
        (&["--log-level", "loud"], &[], "Log.Level"),
        (&[], &[("MOCKSERVER_PORT", "-1")], "Port"),
        (&[], &[("MOCKSERVER_ADMIN_HOST", "x")], "Admin.Host"),
        (
            &[],
            &[("MOCKSERVER_AUTH_TOKEN_FILE", "no/such/file")],
            "Auth.TokenFile",
        ),
    ] {
        let output = run(args, env);
        assert_eq!(output.status.code(), Some(64), "{named}: {output:?}");
        assert!(stderr(&output).contains(named), "{output:?}");
    }
}

#[test]
fn an_unknown_flag_exits_with_64() {
    for args in [
        &["--colour"][..],
        &["-x"],
        &["no-such-command"],
        &["--port"],
    ] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn help_and_version_exit_with_zero() {
    for (flag, shown) in [
        ("--help", "healthcheck"),
        ("--version", env!("CARGO_PKG_VERSION")),
    ] {
        let output = run(&[flag], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(shown), "{output:?}");
    }
}

#[test]
fn a_named_file_that_is_missing_exits_with_64() {
    let output = run(&["-f", "no/such.yaml"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("no/such.yaml"), "{output:?}");
}

#[test]
fn check_prints_the_effective_configuration_without_the_token() {
    let folder = with_file("Port: 1234\nLog: {Level: warn}\nAuth: {Token: hush-hush}\n");
    let output = run_in(&folder, &["-f", "a.yaml", "--check"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let yaml = stdout(&output);
    assert!(!yaml.contains("hush-hush"), "{yaml}");
    let printed: Value = serde_yaml::from_str(&yaml).expect("YAML");
    assert_eq!(printed["Port"], 1234);
    assert_eq!(printed["Log"]["Level"], "warn");
    // What nobody set has its default.
    assert_eq!(printed["Host"], "127.0.0.1");
    assert_eq!(printed["Log"]["Mode"], "console");
    assert_eq!(
        printed["Admin"],
        json!({ "Host": "127.0.0.1", "Port": 8889 })
    );

    let by_variable = run(&["--check"], &[("MOCKSERVER_AUTH_TOKEN", "hush-hush")]);
    assert_eq!(by_variable.status.code(), Some(0));
    let told = format!("{}{}", stdout(&by_variable), stderr(&by_variable));
    assert!(!told.contains("hush-hush"), "{told}");
}

#[test]
fn a_variable_that_nothing_knows_is_told_by_check_and_in_the_log() {
    let typo = [("MOCKSERVER_LIMITS_CPU_PERCNT", "30")];
    let checked = run(&["--check"], &typo);
    assert_eq!(checked.status.code(), Some(0));
    assert!(stderr(&checked).contains(typo[0].0), "{checked:?}");
    // It ends by itself: its port is taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let env = [typo[0], ("MOCKSERVER_ADMIN_PORT", "0")];
    let served = run(&["--port", &port], &env);
    assert_eq!(served.status.code(), Some(1));
    assert!(stdout(&served).contains(typo[0].0), "{served:?}");
}

#[test]
fn check_tells_of_a_bad_configuration() {
    let output = run_in(&with_file("Port: x\n"), &["--check", "-f", "a.yaml"], &[]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let folder = with_file("Host: 127.0.0.1\nPort: 1\nLog: {Level: error}\nName: from-the-file\n");
    let env = [
        ("MOCKSERVER_HOST", "127.0.0.2"),
        ("MOCKSERVER_PORT", "2"),
        ("MOCKSERVER_LOG_LEVEL", "debug"),
    ];
    let args = [
        "-f",
        "a.yaml",
        "--port",
        "3",
        "--log-level",
        "warn",
        "--check",
    ];
    let printed: Value =
        serde_yaml::from_str(&stdout(&run_in(&folder, &args, &env))).expect("YAML");
    assert_eq!(
        [
            &printed["Name"],
            &printed["Host"],
            &printed["Port"],
            &printed["Log"]["Level"]
        ],
        [
            &json!("from-the-file"),
            &json!("127.0.0.2"),
            &json!(3),
            &json!("warn")
        ]
    );
}

#[test]
fn the_default_file_is_read_when_it_is_there() {
    let folder = TempDir::new().expect("a folder");
    std::fs::create_dir(folder.path().join("etc")).expect("a folder");
    std::fs::write(folder.path().join("etc/mockserver.yaml"), "Port: 4321\n").expect("a file");
    let output = run_in(&folder, &["--check"], &[]);
    let printed: Value = serde_yaml::from_str(&stdout(&output)).expect("YAML");
    assert_eq!(printed["Port"], 4321);
}

/// A daemon that is told nothing by a file, with its standard output in one.
struct Quiet {
    child: std::process::Child,
    folder: TempDir,
}

impl Quiet {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let log = std::fs::File::create(folder.path().join("stdout")).expect("a file");
        let child = command(&folder, args)
            .envs(env.iter().copied())
            .stdout(Stdio::from(log))
            .spawn()
            .expect("it starts");
        Self { child, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stdout")).expect("a file")
    }

    /// The address in a log of text lines.
    fn service(&self) -> SocketAddr {
        address_in("its address", || self.log())
    }

    fn signal(&self, name: Signal) {
        signal(&self.child, name);
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits for the service listener's address in a log of text lines.
fn address_in(what: &str, log: impl Fn() -> String) -> SocketAddr {
    eventually(what, || {
        let log = log();
        let line = log
            .lines()
            .find(|line| line.contains("listener=\"service\""))?;
        let (_, address) = line.split_once("address=")?;
        address.split_whitespace().next()?.parse().ok()
    })
}

#[test]
fn without_a_file_it_listens_on_loopback_only() {
    let quiet = Quiet::start(&["--port", "0"], &[("MOCKSERVER_ADMIN_PORT", "0")]);
    let service = quiet.service();
    assert!(service.ip().is_loopback(), "{service}");
    let answer = answer(send(&agent(), "GET", service, "/health", b"", &[]));
    assert_eq!(answer.status, 200);
    assert!(
        !quiet.log().contains("listener=\"admin\""),
        "{}",
        quiet.log()
    );
}

#[test]
fn a_taken_port_exits_with_1_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let port = address.port().to_string();
    for (args, env) in [
        (
            vec!["--port", port.as_str()],
            ("MOCKSERVER_ADMIN_PORT", "0"),
        ),
        (
            vec!["--port", "0"],
            ("MOCKSERVER_ADMIN_PORT", port.as_str()),
        ),
    ] {
        let output = run(&args, &[env]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(&address.to_string()), "{output:?}");
    }
}

// === healthcheck ===

#[test]
fn healthcheck_exits_with_zero_or_one() {
    let daemon = Daemon::start();
    let check = |url: &str| {
        let output = run(&["healthcheck", "--url", url], &[]);
        if output.status.code() != Some(0) {
            assert!(!stderr(&output).is_empty());
        }
        output.status.code()
    };
    let url = format!("http://{}/health", daemon.service);
    assert_eq!(check(&url), Some(0));
    daemon.started("health_check", json!({}));
    assert_eq!(check(&url), Some(1));
    assert_eq!(check(&format!("http://{}/nothing", daemon.admin)), Some(1));
    assert_eq!(check("http://127.0.0.1:1/health"), Some(1));
    assert_eq!(check("not a url"), Some(1));

    // Without a URL it asks the listener that the configuration describes.
    daemon.stop_all();
    let port = daemon.service.port().to_string();
    let env = [("MOCKSERVER_PORT", port.as_str())];
    assert_eq!(run(&["healthcheck"], &env).status.code(), Some(0));
}

// === Logs ===

/// All log lines until the process has ended.
fn whole_log(daemon: &mut Daemon) -> Vec<Value> {
    daemon.signal(Signal::TERM);
    daemon.ended();
    let mut lines = Vec::new();
    while let Ok(line) = daemon.log.recv_timeout(PATIENCE) {
        lines.push(line);
    }
    lines
}

fn of<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines
        .iter()
        .filter(|line| line["message"] == message)
        .collect()
}

#[test]
fn starts_and_ends_are_logged_at_info_with_session_and_parameters() {
    let mut daemon = Daemon::start();
    let report = daemon.started(
        "network_latency",
        json!({ "latency_ms": 7, "duration": 300 }),
    );
    daemon.stopped("network_latency");
    daemon.get("/health");
    let lines = whole_log(&mut daemon);
    for message in ["Scenario started.", "Scenario ended."] {
        let told = of(&lines, message);
        assert_eq!(told.len(), 1, "{lines:?}");
        assert_eq!(told[0]["level"], "INFO");
        assert_eq!(told[0]["session"], report["session_id"]);
        assert_eq!(told[0]["scenario"], "network_latency");
        let params = told[0]["params"].as_str().expect("a text");
        assert_eq!(
            serde_json::from_str::<Value>(params).ok(),
            Some(json!({ "latency_ms": 7 }))
        );
    }
    assert!(
        of(&lines, "Request served.").is_empty(),
        "requests are logged at info"
    );
    assert!(lines.iter().all(|line| line["level"] != "DEBUG"));
}

#[test]
fn a_failed_start_is_logged_with_its_reason() {
    let mut daemon = Daemon::start_with("DataDir: mockserver.yaml\n", &[]);
    daemon.post("/api/v1/scenarios/disk_io/start", "{\"write_rate_mb\": 3}");
    let lines = whole_log(&mut daemon);
    let told = of(&lines, "Scenario failed to start.");
    assert_eq!(told.len(), 1, "{lines:?}");
    assert_eq!(
        (&told[0]["level"], &told[0]["scenario"]),
        (&json!("WARN"), &json!("disk_io"))
    );
    assert!(told[0]["session"].is_string() && told[0]["params"].is_string());
    assert!(
        told[0]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("DataDir"))
    );
}

#[test]
fn every_request_is_logged_at_debug() {
    let mut daemon = Daemon::start_with("Log: {Level: debug}\n", &[]);
    daemon.get("/health?full=1");
    daemon.admin_get("/no/such/route");
    let lines = whole_log(&mut daemon);
    let told: Vec<_> = of(&lines, "Request served.")
        .iter()
        .map(|line| {
            assert_eq!(line["level"], "DEBUG");
            assert!(line["took_us"].is_number());
            (
                line["method"].clone(),
                line["path"].clone(),
                line["status"].clone(),
            )
        })
        .collect();
    assert!(
        told.contains(&(json!("GET"), json!("/health"), json!(200))),
        "{told:?}"
    );
    assert!(
        told.contains(&(json!("GET"), json!("/no/such/route"), json!(404))),
        "{told:?}"
    );
}

#[test]
fn only_what_is_severe_enough_is_logged() {
    let quiet = Quiet::start(
        &["--port", "0", "--log-level", "error"],
        &[("MOCKSERVER_ADMIN_PORT", "0")],
    );
    // It says nothing, so its socket is what shows that it is up.
    eventually("it listens", || listens(quiet.child.id()).then_some(()));
    quiet.signal(Signal::TERM);
    let mut quiet = quiet;
    assert_eq!(quiet.child.wait().expect("its end").code(), Some(0));
    assert_eq!(quiet.log(), "");
}

/// Whether the process catches SIGTERM and has a socket.
fn listens(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    caught & (1 << (SIGTERM - 1)) != 0
}

#[test]
fn log_mode_file_writes_one_dated_file_and_nothing_to_standard_output() {
    let folder = with_file(
        "Host: 127.0.0.1\nPort: 0\nAdmin: {Port: 0}\nLog: {Mode: file, Path: some/logs}\n",
    );
    let out = std::fs::File::create(folder.path().join("stdout")).expect("a file");
    let child = command(&folder, &["-f", "a.yaml"])
        .stdout(Stdio::from(out))
        .spawn()
        .expect("it starts");
    let mut quiet = Quiet { child, folder };
    let logs = quiet.folder.path().join("some/logs");
    let service = address_in("its address in a file", || text_of_all(&logs));
    let agent = agent();
    let started = send(
        &agent,
        "POST",
        service,
        "/api/v1/scenarios/dependency/start",
        b"",
        &[],
    );
    assert_eq!(started.status(), 200);
    drop(agent);
    eventually("the start is in the file", || {
        text_of_all(&logs)
            .contains("Scenario started.")
            .then_some(())
    });
    quiet.signal(Signal::TERM);
    assert_eq!(quiet.child.wait().expect("its end").code(), Some(0));

    assert_eq!(quiet.log(), "");
    let today = time::OffsetDateTime::now_utc().date().to_string();
    let names: Vec<String> = std::fs::read_dir(&logs)
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    // Midnight may pass while the test runs.
    assert!((1..=2).contains(&names.len()), "{names:?}");
    assert!(
        names.iter().any(|name| name.contains(&today)),
        "{names:?} on {today}"
    );
}

fn text_of_all(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect()
}

// === Who may change anything ===

fn warnings(lines: &[Value]) -> Vec<&Value> {
    lines
        .iter()
        .filter(|line| {
            line["level"] == "WARN"
                && line["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("The API is open"))
        })
        .collect()
}

#[test]
fn an_open_api_beyond_this_machine_is_warned_of() {
    // The address is bound only as long as it takes to read the log.
    let mut daemon = Daemon::start_with("", &[("MOCKSERVER_HOST", "0.0.0.0")]);
    let lines = whole_log(&mut daemon);
    assert_eq!(warnings(&lines).len(), 1, "{lines:?}");
}

#[test]
fn there_is_no_warning_with_a_token_or_on_loopback() {
    for env in [
        &[
            ("MOCKSERVER_HOST", "0.0.0.0"),
            ("MOCKSERVER_AUTH_TOKEN", "hush"),
        ][..],
        &[],
    ] {
        let mut daemon = Daemon::start_with("", env);
        let lines = whole_log(&mut daemon);
        assert!(warnings(&lines).is_empty(), "{lines:?}");
        assert!(!format!("{lines:?}").contains("hush"));
    }
}

const POSTS: [&str; 4] = [
    "/api/v1/composite/start",
    "/api/v1/composite/stop",
    "/api/v1/scenarios/dependency/start",
    "/api/v1/scenarios/dependency/stop",
];

#[test]
fn a_post_without_the_right_token_is_401_and_changes_nothing() {
    let daemon = Daemon::start_with("Auth: {Token: open-sesame}\n", &[]);
    let agent = agent();
    for to in [daemon.service, daemon.admin] {
        for path in POSTS {
            for given in [
                &[][..],
                &[("authorization", "Bearer wrong")],
                &[("authorization", "Bearer open-sesame-not")],
                &[("authorization", "Bearer ")],
                &[("authorization", "Basic open-sesame")],
                &[("authorization", "open-sesame")],
            ] {
                let body = br#"{"scenarios": [{"name": "dependency"}]}"#;
                let response = send(&agent, "POST", to, path, body, given);
                assert_eq!(header_of(&response, "www-authenticate"), "Bearer");
                let answer = answer(response);
                assert_eq!(
                    (answer.status, answer.content_type.as_str()),
                    (401, "application/problem+json"),
                    "{path} {given:?}"
                );
                assert_eq!(answer.body["status"], 401);
                assert_eq!(answer.body["type"], "urn:mockserver:problem:no-token");
            }
        }
    }
    assert_eq!(daemon.session()["status"], "no active session");
}

#[test]
fn reads_are_open_and_the_right_token_passes() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "open-sesame\n").expect("a file");
    let file = file.to_str().expect("a text");
    for (yaml, env) in [
        ("Auth: {Token: open-sesame}\n", &[][..]),
        ("", &[("MOCKSERVER_AUTH_TOKEN_FILE", file)]),
    ] {
        let daemon = Daemon::start_with(yaml, env);
        for path in [
            "/health",
            "/ready",
            "/api/v1/scenarios",
            "/api/v1/composite/status",
        ] {
            assert_eq!(daemon.get(path).status, 200, "{path}");
            assert_eq!(daemon.admin_get(path).status, 200, "{path}");
        }
        let agent = agent();
        for to in [daemon.service, daemon.admin] {
            for path in POSTS {
                let body: &[u8] = if path == "/api/v1/composite/start" {
                    br#"{"scenarios": [{"name": "dependency"}]}"#
                } else {
                    b""
                };
                let headers = [("authorization", "Bearer open-sesame")];
                let response = send(&agent, "POST", to, path, body, &headers);
                assert_eq!(response.status(), 200, "{path}");
            }
        }
    }
}

//! The process: its command line, its configuration, its logs and its signals.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{command, run, run_in, stderr, stdout, with_file};
use crate::support::{
    Answer, ChildGuard, Daemon, UNUSABLE_DATA_DIR, agent, assert_problem, connect_and_write,
    eventually, exclusive, header_of, request, scenario_names, send,
};

/// How long the daemon may take to end after a signal.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

// === The first signal ===

fn assert_ends_in_time(daemon: &mut Daemon, signal: Signal, during: &str) {
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
        assert_ends_in_time(&mut Daemon::start(), signal, "nothing");
    }
}

/// Scenarios under load, or with something that waits.
const LOADS: [(&str, &str); 5] = [
    ("cpu_burner", r#"{"target_percent": 100}"#),
    (
        "memory_leaker",
        r#"{"target_mb": 512, "leak_rate_mb": 512}"#,
    ),
    ("network_latency", r#"{"latency_ms": 600000}"#),
    ("goroutine_leak", r#"{"goroutines_per_second": 100000}"#),
    ("disk_io", r#"{"write_rate_mb": 200}"#),
];

#[test]
fn sigterm_ends_the_daemon_with_code_zero_during_each_scenario() {
    let _turn = exclusive();
    // `shutdown_hang` changes the shutdown: see tests/it/shutdown.rs.
    for name in scenario_names().filter(|name| *name != "shutdown_hang") {
        let load = LOADS.iter().find(|(of, _)| *of == name);
        let params = load.map_or("{}", |(_, params)| *params);
        let mut daemon = Daemon::start();
        daemon.start_scenario(name, serde_json::from_str(params).unwrap());
        assert_eq!(daemon.running(), [name]);
        assert_ends_in_time(&mut daemon, Signal::TERM, name);
    }
}

#[test]
fn a_signal_releases_a_request_that_waits_in_a_fault() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start();
        daemon.start_scenario("dependency", json!({ "failure_type": "timeout" }));
        let client = daemon.client();
        let waiting = thread::spawn(move || client.get("/api/v1/mock-service"));
        daemon.wait_for_metric("dependency", "failed_calls", |calls| calls == 1.0);
        assert_ends_in_time(&mut daemon, signal, "a timeout");
        let answer = waiting.join().unwrap();
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "ok" }))
        );
    }
}

#[test]
fn connections_that_send_nothing_do_not_delay_the_shutdown() {
    let mut daemon = Daemon::start();
    let _idle: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(daemon.service).unwrap())
        .collect();
    daemon.get("/health");
    assert_ends_in_time(&mut daemon, Signal::TERM, "idle connections");
}

#[test]
fn an_incomplete_request_does_not_delay_the_shutdown() {
    let mut daemon = Daemon::start();
    let _slow = half_a_request(daemon.service);
    assert_ends_in_time(&mut daemon, Signal::TERM, "half a request");
}

#[test]
fn the_shutdown_is_the_end_reason_of_a_run_in_the_log() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    daemon.signal(Signal::TERM);
    let ended = daemon.wait_for_log("the end of the run", |line| {
        line["message"] == "Scenario ended."
    });
    assert_eq!(ended["scenario"], "dependency");
    assert_eq!(ended["reason"], "shutdown");
    assert_eq!(daemon.ended().code(), Some(0));
}

// === The second signal ===

/// A connection with an incomplete request, which keeps the drain open.
fn half_a_request(to: SocketAddr) -> TcpStream {
    let head = "POST /api/v1/composite/start HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\
                Expect: 100-continue\r\n\r\n";
    let mut stream = connect_and_write(to, head.as_bytes());
    // The interim answer shows that the daemon waits for the body.
    let mut interim = [0; 12];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100");
    stream.write_all(b"{").unwrap();
    stream
}

fn assert_exits_at_once(daemon: &mut Daemon, second: Signal, number: i32) {
    let _slow = half_a_request(daemon.service);
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("the first signal", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("Signal received"))
    });
    daemon.signal(second);
    // A finished drain would end with zero.
    assert_eq!(daemon.ended().code(), Some(128 + number));
}

#[test]
fn a_second_signal_exits_at_once_with_its_number() {
    for (second, number) in [(Signal::TERM, SIGTERM), (Signal::INT, SIGINT)] {
        assert_exits_at_once(&mut Daemon::start(), second, number);
    }
}

#[test]
fn a_second_signal_exits_at_once_without_an_admin_listener() {
    let mut quiet = Quiet::start(&["--port", "0"], &[("MOCKSERVER_ADMIN_PORT", "0")]);
    let service = quiet.service();
    let _slow = half_a_request(service);
    quiet.child.signal(Signal::TERM);
    eventually("the faults are stopped", || {
        quiet.log().contains("All faults stopped.").then_some(())
    });
    quiet.child.signal(Signal::INT);
    assert_eq!(quiet.child.ended().code(), Some(128 + SIGINT));
}

// === The command line and the configuration ===

#[test]
fn every_error_of_a_configuration_is_in_one_message() {
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
fn a_configuration_that_is_not_yaml_exits_with_64() {
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
    let printed: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(printed["Port"], 1234);
    assert_eq!(printed["Log"]["Level"], "warn");
    // The rest has its defaults.
    assert_eq!(printed["Host"], "127.0.0.1");
    assert_eq!(printed["Log"]["Mode"], "console");
    assert_eq!(
        printed["Admin"],
        json!({ "Host": "127.0.0.1", "Port": 8889 })
    );

    let by_variable = run(&["--check"], &[("MOCKSERVER_AUTH_TOKEN", "hush-hush")]);
    assert_eq!(by_variable.status.code(), Some(0));
    let output = format!("{}{}", stdout(&by_variable), stderr(&by_variable));
    assert!(!output.contains("hush-hush"), "{output}");
}

#[test]
fn an_unknown_variable_is_reported_by_check_and_in_the_log() {
    let typo = [("MOCKSERVER_LIMITS_CPU_PERCNT", "30")];
    let checked = run(&["--check"], &typo);
    assert_eq!(checked.status.code(), Some(0));
    assert!(stderr(&checked).contains(typo[0].0), "{checked:?}");
    // The taken port makes the daemon end.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let env = [typo[0], ("MOCKSERVER_ADMIN_PORT", "0")];
    let served = run(&["--port", &port], &env);
    assert_eq!(served.status.code(), Some(1));
    assert!(stdout(&served).contains(typo[0].0), "{served:?}");
}

#[test]
fn check_exits_with_64_for_a_bad_configuration() {
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
    let printed: Value = serde_yaml::from_str(&stdout(&run_in(&folder, &args, &env))).unwrap();
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
fn the_default_file_is_read_if_it_exists() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    std::fs::write(folder.path().join("etc/mockserver.yaml"), "Port: 4321\n").unwrap();
    let output = run_in(&folder, &["--check"], &[]);
    let printed: Value = serde_yaml::from_str(&stdout(&output)).unwrap();
    assert_eq!(printed["Port"], 4321);
}

/// A daemon without a default configuration, which writes its standard output to a file.
struct Quiet {
    child: ChildGuard,
    folder: TempDir,
}

impl Quiet {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = std::fs::File::create(folder.path().join("stdout")).unwrap();
        let child = command(&folder, args)
            .envs(env.iter().copied())
            .stdout(Stdio::from(log))
            .spawn()
            .expect("the binary can be executed");
        Self {
            child: ChildGuard(child),
            folder,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    /// The address in a log of text lines.
    fn service(&self) -> SocketAddr {
        address_in("the log has the address", || self.log())
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
    assert_eq!(request("GET", service, "/health", "", &[]).status, 200);
    assert!(
        !quiet.log().contains("listener=\"admin\""),
        "{}",
        quiet.log()
    );
}

#[test]
fn a_taken_port_exits_with_1_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
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
    daemon.start_scenario("health_check", json!({}));
    assert_eq!(check(&url), Some(1));
    assert_eq!(check(&format!("http://{}/nothing", daemon.admin)), Some(1));
    assert_eq!(check("http://127.0.0.1:1/health"), Some(1));
    assert_eq!(check("not a url"), Some(1));

    // Without a URL it requests the configured listener.
    daemon.stop_all();
    let port = daemon.service.port().to_string();
    let env = [("MOCKSERVER_PORT", port.as_str())];
    assert_eq!(run(&["healthcheck"], &env).status.code(), Some(0));
}

// === Logs ===

/// The lines with this message.
fn lines_of<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines
        .iter()
        .filter(|line| line["message"] == message)
        .collect()
}

#[test]
fn starts_and_ends_are_logged_at_info_with_session_and_parameters() {
    let mut daemon = Daemon::start();
    let report = daemon.start_scenario(
        "network_latency",
        json!({ "latency_ms": 7, "duration": 300 }),
    );
    daemon.stop_scenario("network_latency");
    daemon.get("/health");
    let lines = daemon.whole_log();
    for message in ["Scenario started.", "Scenario ended."] {
        let logged = lines_of(&lines, message);
        assert_eq!(logged.len(), 1, "{lines:?}");
        assert_eq!(logged[0]["level"], "INFO");
        assert_eq!(logged[0]["session"], report["session_id"]);
        assert_eq!(logged[0]["scenario"], "network_latency");
        assert_eq!(logged[0]["params"], json!({ "latency_ms": 7 }));
    }
    assert!(
        lines_of(&lines, "Request served.").is_empty(),
        "requests must not be logged at info"
    );
    assert!(lines.iter().all(|line| line["level"] != "DEBUG"));
}

#[test]
fn a_failed_start_is_logged_with_its_reason() {
    let mut daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    daemon.post("/api/v1/scenarios/disk_io/start", "{\"write_rate_mb\": 3}");
    let lines = daemon.whole_log();
    let logged = lines_of(&lines, "Scenario failed to start.");
    assert_eq!(logged.len(), 1, "{lines:?}");
    assert_eq!(
        (&logged[0]["level"], &logged[0]["scenario"]),
        (&json!("WARN"), &json!("disk_io"))
    );
    assert!(logged[0]["session"].is_string() && logged[0]["params"].is_object());
    assert!(
        logged[0]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("DataDir"))
    );
}

#[test]
fn every_request_is_logged_at_debug() {
    let mut daemon = Daemon::builder().file("Log: {Level: debug}\n").start();
    daemon.get("/health?full=1");
    daemon.admin_get("/no/such/route");
    let lines = daemon.whole_log();
    let requests: Vec<_> = lines_of(&lines, "Request served.")
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
        requests.contains(&(json!("GET"), json!("/health"), json!(200))),
        "{requests:?}"
    );
    assert!(
        requests.contains(&(json!("GET"), json!("/no/such/route"), json!(404))),
        "{requests:?}"
    );
}

#[test]
fn only_severe_enough_lines_are_logged() {
    let quiet = Quiet::start(
        &["--port", "0", "--log-level", "error"],
        &[("MOCKSERVER_ADMIN_PORT", "0")],
    );
    // Nothing is logged: the signal handler shows that it is up.
    eventually("the process handles SIGTERM", || {
        quiet.child.catches_sigterm().then_some(())
    });
    quiet.child.signal(Signal::TERM);
    let mut quiet = quiet;
    assert_eq!(quiet.child.ended().code(), Some(0));
    assert_eq!(quiet.log(), "");
}

#[test]
fn log_mode_file_writes_one_dated_file_and_nothing_to_standard_output() {
    let folder = with_file(
        "Host: 127.0.0.1\nPort: 0\nAdmin: {Port: 0}\nLog: {Mode: file, Path: some/logs}\n",
    );
    let out = std::fs::File::create(folder.path().join("stdout")).unwrap();
    let child = command(&folder, &["-f", "a.yaml"])
        .stdout(Stdio::from(out))
        .spawn()
        .expect("the binary can be executed");
    let mut quiet = Quiet {
        child: ChildGuard(child),
        folder,
    };
    let logs = quiet.folder.path().join("some/logs");
    let service = address_in("the log file has the address", || text_of_all(&logs));
    let start = "/api/v1/scenarios/dependency/start";
    assert_eq!(request("POST", service, start, "", &[]).status, 200);
    eventually("the start is in the file", || {
        text_of_all(&logs)
            .contains("Scenario started.")
            .then_some(())
    });
    quiet.child.signal(Signal::TERM);
    assert_eq!(quiet.child.ended().code(), Some(0));

    assert_eq!(quiet.log(), "");
    let today = time::OffsetDateTime::now_utc().date().to_string();
    let names: Vec<String> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
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

// === Access ===

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
fn an_open_api_beyond_loopback_logs_a_warning() {
    // The address is bound for a moment only.
    let mut daemon = Daemon::builder().env("MOCKSERVER_HOST", "0.0.0.0").start();
    let lines = daemon.whole_log();
    assert_eq!(warnings(&lines).len(), 1, "{lines:?}");
}

#[test]
fn a_token_or_loopback_logs_no_warning() {
    for env in [
        &[
            ("MOCKSERVER_HOST", "0.0.0.0"),
            ("MOCKSERVER_AUTH_TOKEN", "hush"),
        ][..],
        &[],
    ] {
        let mut daemon = Daemon::builder().envs(env).start();
        let lines = daemon.whole_log();
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
    let daemon = Daemon::builder()
        .file("Auth: {Token: open-sesame}\n")
        .start();
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
                let context = format!("{path} {given:?}");
                assert_problem(Answer::read(response), 401, "no-token", &context);
            }
        }
    }
    assert_eq!(daemon.session()["status"], "no active session");
}

#[test]
fn reads_are_open_and_the_right_token_passes() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "open-sesame\n").unwrap();
    let file = file.to_str().unwrap();
    for (yaml, env) in [
        ("Auth: {Token: open-sesame}\n", &[][..]),
        ("", &[("MOCKSERVER_AUTH_TOKEN_FILE", file)]),
    ] {
        let daemon = Daemon::builder().file(yaml).envs(env).start();
        for path in [
            "/health",
            "/ready",
            "/api/v1/scenarios",
            "/api/v1/composite/status",
        ] {
            assert_eq!(daemon.get(path).status, 200, "{path}");
            assert_eq!(daemon.admin_get(path).status, 200, "{path}");
        }
        for to in [daemon.service, daemon.admin] {
            for path in POSTS {
                let body = if path == "/api/v1/composite/start" {
                    r#"{"scenarios": [{"name": "dependency"}]}"#
                } else {
                    ""
                };
                let headers = [("authorization", "Bearer open-sesame")];
                let answer = request("POST", to, path, body, &headers);
                assert_eq!(answer.status, 200, "{path}");
            }
        }
    }
}

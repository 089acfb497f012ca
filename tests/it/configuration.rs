//! What the program reads before it serves (standard input, flags, variables of others), and what it prints where it
//! cannot print.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{command, run, stderr, stdout};
use crate::support::{Daemon, free_port};

/// Runs the binary to its end with `input` on its standard input.
fn run_with_input(args: &[&str], input: &str) -> Output {
    let folder = TempDir::new().unwrap();
    let child = command(&folder, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("the binary can be executed");
    let mut to = child.stdin.take().unwrap();
    to.write_all(input.as_bytes()).unwrap();
    drop(to);
    child.wait_with_output().unwrap()
}

#[test]
fn a_configuration_comes_from_standard_input_too() {
    for args in [&["--check", "-f", "-"][..], &["--config=-", "--check"]] {
        let checked = run_with_input(args, "\u{feff}Name: piped\nLimits: {MaxDuration: 5m}\n");
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        let printed: Value = serde_yaml::from_str(&stdout(&checked)).unwrap();
        assert_eq!(printed["Name"], "piped");
        assert_eq!(printed["Limits"]["MaxDuration"], 300);
    }
    let bad = run_with_input(&["-f", "-"], "Nam: x\nAuth: {Token: 12345678}\n");
    assert_eq!(bad.status.code(), Some(64), "{bad:?}");
    let message = stderr(&bad);
    for part in [
        "(standard input,",
        "did you mean \"Name\"?",
        "in YAML this is a number and not a text: put it in quotes",
    ] {
        assert!(message.contains(part), "{part} is missing in {message}");
    }
    assert!(!message.contains("12345678"), "{message}");
    let url = format!("http://127.0.0.1:{}/health", free_port());
    let asked = run_with_input(
        &["healthcheck", "-f", "-", "--url", &url],
        "Host: 127.0.0.1\n",
    );
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
}

#[test]
fn presets_of_drills_are_checked_as_the_rest_is() {
    let presets = |rate: &str, name: &str| {
        format!(
            "Exam:\n  Presets:\n  - name: {name}\n    difficulty: medium\n    description: Memory grows.\n    \
             tell_tale: A line.\n    scenarios:\n    - name: memory_leaker\n      params:\n        \
             leak_rate_mb: {rate}\n    expect: {{causes: [memory_leaker], decision: rollback}}\n"
        )
    };
    let good = presets("{constant: {draw: [1, 2]}, noise: 0.1}", "own");
    let checked = run_with_input(&["--check", "-f", "-"], &good);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let again = run_with_input(&["--check", "-f", "-"], &stdout(&checked));
    assert_eq!(stdout(&again), stdout(&checked));
    for (rate, name, expected) in [
        (
            "{constant: {draw: [1, 100000]}}",
            "own",
            "Exam.Presets.0.scenarios.0.params.leak_rate_mb.constant: must be a number",
        ),
        (
            "5",
            "red_herring",
            "Exam.Presets.0.name: must not be red_herring, which is built in",
        ),
    ] {
        let bad = run_with_input(&["-f", "-"], &presets(rate, name));
        assert_eq!(bad.status.code(), Some(64), "{bad:?}");
        let message = stderr(&bad);
        assert!(
            message.contains(expected),
            "{expected} is missing in {message}"
        );
    }
}

#[test]
fn flags_put_a_second_instance_beside_the_first() {
    let first = Daemon::start();
    let port = |address: std::net::SocketAddr| address.port().to_string();
    let (service, admin) = (port(first.service), port(first.admin));
    let data = first.folder.path().join("data").display().to_string();
    let same_admin = run(
        &["--port", "0", "--admin-port", &admin, "--data-dir", &data],
        &[],
    );
    assert_eq!(same_admin.status.code(), Some(1), "{same_admin:?}");
    let message = stderr(&same_admin);
    for name in [
        "Admin.Port",
        "MOCKSERVER_ADMIN_PORT",
        "--admin-port",
        "--admin-host",
    ] {
        assert!(message.contains(name), "{name} is missing in {message}");
    }
    let same_port = run(&["--port", &service, "--admin-port", "0"], &[]);
    for name in [
        "Port",
        "MOCKSERVER_PORT",
        "--port",
        "MOCKSERVER_HOST",
        "--host",
    ] {
        let message = stderr(&same_port);
        assert!(message.contains(name), "{name} is missing in {message}");
    }
    let printed = run(
        &[
            "--admin-host",
            "[::1]",
            "--admin-port",
            "7",
            "--data-dir",
            "/tmp/a",
            "--check",
        ],
        &[("MOCKSERVER_ADMIN_PORT", "8"), ("MOCKSERVER_DATA_DIR", "b")],
    );
    let printed: Value = serde_yaml::from_str(&stdout(&printed)).unwrap();
    assert_eq!(printed["Admin"], json!({ "Host": "[::1]", "Port": 7 }));
    assert_eq!(printed["DataDir"], "/tmp/a");
    // Two on one folder: the ledger of the second is not durable, and says how to give it one.
    let second = Daemon::start_with(&format!("DataDir: {data}\n"), &[]);
    let events = second.admin_get("/api/v1/events").body;
    let because = events["not_durable_because"].as_str().unwrap();
    for name in ["DataDir", "MOCKSERVER_DATA_DIR", "--data-dir"] {
        assert!(because.contains(name), "{because}");
    }
}

#[test]
fn the_help_names_the_variables_and_an_example() {
    let help = stdout(&run(&["--help"], &[]));
    for part in [
        "--admin-host",
        "--admin-port",
        "--data-dir",
        "MOCKSERVER_PORT",
        "MOCKSERVER_ADMIN_PORT",
        "MOCKSERVER_DATA_DIR",
        "mockserver --port 9888 --admin-port 9889",
    ] {
        assert!(help.contains(part), "{part} is missing in {help}");
    }
    let slip = run(&["healthchek"], &[]);
    assert!(stderr(&slip).contains("healthcheck"), "{slip:?}");
}

/// Every command that prints what was asked for.
const PRINTS: [&[&str]; 7] = [
    &["--check"],
    &["docs"],
    &["docs", "--format", "OPENAPI"],
    &["--help"],
    &["help"],
    &["docs", "--help"],
    &["--version"],
];

#[test]
fn a_reader_that_has_left_is_no_error() {
    for args in PRINTS {
        let folder = TempDir::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&folder, args).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(stderr(&output), "", "{args:?}");
    }
}

#[test]
fn a_full_disk_is_one_line_and_a_status() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for args in PRINTS {
        let folder = TempDir::new().unwrap();
        let output = command(&folder, args).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let lines = stderr(&output);
        let start = "mockserver: cannot write to standard output: ";
        assert!(
            lines.starts_with(start) && lines.lines().count() == 1,
            "{lines}"
        );
    }
    // Where not even the error can be written, the status is still right.
    for (args, code) in [
        (&["--port", "x"][..], 64),
        (&["--colour"], 64),
        (&["healthcheck", "--url", "x"], 1),
    ] {
        let folder = TempDir::new().unwrap();
        let output = command(&folder, args)
            .stdout(full())
            .stderr(full())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_variable_of_another_program_never_stops_the_start() {
    let all_pods = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
    let checked = run(&["--check"], &[all_pods, ("MOCKSERVER_PORT", "")]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let line = "the variable OTEL_EXPORTER_OTLP_ENDPOINT is ignored: traces are sent over HTTP without TLS";
    assert!(stderr(&checked).contains(line), "{checked:?}");
    let mut daemon = Daemon::builder()
        .env(all_pods.0, all_pods.1)
        .env("TOKIO_WORKER_THREADS", "many")
        .env("RUST_LOG", "!!")
        .env("NO_COLOR", "")
        .env("PORT", "eighty")
        .start();
    assert_eq!(daemon.get("/health").status, 200);
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.ended().success());
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "zzz"),
        ("OTEL_TRACES_SAMPLER_ARG", "x"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "x"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zzz"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=\u{1},;"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_RESOURCE_ATTRIBUTES", ",,=,"),
        ("OTEL_SDK_DISABLED", "maybe"),
    ] {
        let daemon = Daemon::builder()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
            .env(name, value)
            .start();
        let answer = daemon.get("/api/v1/test/sleep10ms");
        assert_eq!(answer.status, 200, "{name}={value}");
    }
}

//! What the daemon writes: log lines, log files, and its last words on standard error.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Daemon, harmless, together};

const JSON: (&str, &str) = ("MOCKSERVER_LOG_FORMAT", "json");

fn run(folder: &TempDir, args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .args(args)
        .current_dir(folder.path())
        .envs(env.iter().copied())
        .output()
        .expect("the binary can be executed")
}

/// The lines of `text`, each of which is a line of the JSON log.
fn json_lines(text: &[u8], context: &str) -> Vec<Value> {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{context}: {text}")))
        .collect();
    for line in &lines {
        for member in ["timestamp", "level", "message"] {
            assert!(line[member].is_string(), "{context}: {line}");
        }
    }
    lines
}

// === JSON ===

/// Values as Rust writes them for developers: `Some(..)`, `Graceful`, `Reading { .. }`; and JSON within a text.
fn foreign_spellings(line: &Value) -> Vec<String> {
    let members = line.as_object().expect("an object").iter();
    let values = members
        .filter(|(name, _)| !["message", "level", "error", "service"].contains(&name.as_str()));
    let mut found = Vec::new();
    for (name, value) in values {
        let Some(text) = value.as_str() else { continue };
        let is_variant = text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.chars().all(|c| c.is_ascii_alphabetic())
            && text.chars().any(|c| c.is_ascii_lowercase());
        let is_debug = ["Some(", "None", "Ok(", "Err(", " { ", "\\\""]
            .iter()
            .any(|part| text.contains(part));
        let is_json = serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
        if is_variant || is_debug || is_json {
            found.push(format!("{name}={text}"));
        }
    }
    found
}

#[test]
fn a_log_of_many_events_has_the_spellings_of_the_api() {
    let profile = json!({ "scenarios": [{ "name": "dependency" }] }).to_string();
    let env = [
        ("MOCKSERVER_LOG_LEVEL", "debug"),
        ("MOCKSERVER_BOOT", profile.as_str()),
        ("MOCKSERVER_URL", "x"),
    ];
    let mut daemon = Daemon::builder().envs(&env).start();
    for plugin in together() {
        daemon.start_scenario(plugin.name(), harmless(plugin));
    }
    daemon.stop_all();
    daemon.start_scenario("dependency", json!({ "duration": 0.01 }));
    daemon.wait_for_end("dependency");
    daemon.start_scenario("cpu_burner", json!({ "target_percent": 1 }));
    daemon.start_scenario("cpu_burner", json!({ "target_percent": 2 }));
    assert_eq!(daemon.admin_post("/api/v1/halt", "").status, 200);
    assert_eq!(daemon.admin_post("/api/v1/rearm", "").status, 200);
    daemon.get("/health");
    let mut lines = daemon.whole_log();
    let mut again = daemon.start_again();
    lines.extend(again.whole_log());
    assert!(lines.len() > 30, "{lines:?}");
    for line in &lines {
        assert!(line.is_object(), "{line}");
        assert_eq!(foreign_spellings(line), [""; 0], "{line}");
    }
    let of = |message: &str| -> Vec<&Value> {
        lines
            .iter()
            .filter(|line| line["message"] == message)
            .collect()
    };
    assert!(
        of("Scenario started.")
            .iter()
            .all(|line| line["params"].is_object())
    );
    assert!(
        of("Scenario ended.")
            .iter()
            .all(|line| line["params"].is_object())
    );
    assert!(
        of("Scenario ended.")
            .iter()
            .any(|line| line["reason"] == "stopped")
    );
    assert!(
        of("Scenario ended.")
            .iter()
            .any(|line| line["reason"] == "expired")
    );
}

#[test]
fn a_boot_profile_and_the_end_before_are_logged_as_the_api_has_them() {
    let folder = TempDir::new().unwrap();
    let profile = json!({ "fail": { "exit_code": 7 } });
    let text = profile.to_string();
    let env = [JSON, ("MOCKSERVER_BOOT", text.as_str())];
    let first = run(&folder, &[], &env);
    let second = run(&folder, &[], &env);
    assert_eq!(
        (first.status.code(), second.status.code()),
        (Some(7), Some(7))
    );
    let lines = json_lines(&second.stdout, "the second boot");
    let shown = lines.iter().find(|line| line["profile"].is_object());
    assert_eq!(
        shown.expect("the profile")["profile"]["fail"]["exit_code"],
        7
    );
    assert!(
        lines.iter().any(|line| line["last_end"] == "planned"),
        "{lines:?}"
    );
    assert_eq!(second.stderr, b"");
}

#[test]
fn parameters_in_a_text_log_are_readable() {
    let folder = TempDir::new().unwrap();
    let profile = json!({ "scenarios": [{ "name": "network_latency", "params": { "latency_ms": 7 } }],
                          "fail": { "listening": true } });
    let args = ["--port", "0"];
    let env = [
        ("MOCKSERVER_BOOT", profile.to_string()),
        ("MOCKSERVER_ADMIN_PORT", "0".to_owned()),
    ];
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let output = run(&folder, &args, &env);
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(log.contains(r#"params={"latency_ms":7}"#), "{log}");
}

/// The flags and the variables that make the daemon fail, and the exit code.
type Failure<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32);

#[test]
fn the_last_words_of_a_daemon_that_logs_json_are_json() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let in_file = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(in_file.path().join(name), text).unwrap();
    write("bad.yaml", "Log: {Format: json}\nColour: red\n");
    write("no.yaml", "Log: {Format: json\n");
    write("a-file", "");
    let cases: [Failure<'_>; 10] = [
        (&["-f", "bad.yaml"], &[], 64),
        (&["-f", "no.yaml"], &[JSON], 64),
        (&["-f", "none.yaml"], &[JSON], 64),
        (&["--port", "99999"], &[JSON], 64),
        (&["--check", "-f", "bad.yaml"], &[], 64),
        (&[], &[JSON, ("MOCKSERVER_LOG_LEVEL", "loud")], 64),
        (
            &["--port", &port],
            &[JSON, ("MOCKSERVER_ADMIN_PORT", "0")],
            1,
        ),
        (
            &["--port", "0"],
            &[
                JSON,
                ("MOCKSERVER_LOG_MODE", "file"),
                ("MOCKSERVER_LOG_PATH", "a-file"),
            ],
            1,
        ),
        (
            &["--port", "0"],
            &[
                JSON,
                ("MOCKSERVER_BOOT", r#"{"crash_loop": {}}"#),
                ("MOCKSERVER_DATA_DIR", "a-file"),
            ],
            1,
        ),
        (
            &["healthcheck", "--url", "http://127.0.0.1:0/health"],
            &[JSON],
            1,
        ),
    ];
    for (args, env, code) in cases {
        let output = run(&in_file, args, env);
        let context = format!("{args:?} {env:?}: {output:?}");
        assert_eq!(output.status.code(), Some(code), "{context}");
        json_lines(&output.stdout, &context);
        let lines = json_lines(&output.stderr, &context);
        assert_eq!(lines.len(), 1, "{context}");
        assert_eq!(lines[0]["level"], "ERROR", "{context}");
    }
}

#[test]
fn a_panic_and_a_stack_overflow_are_json_too() {
    for mode in ["panic", "stack_overflow", "abort"] {
        let folder = TempDir::new().unwrap();
        let profile = json!({ "scenarios": [{ "name": "crash", "params": { "mode": mode } }] });
        let profile = profile.to_string();
        let env = [
            JSON,
            ("MOCKSERVER_BOOT", profile.as_str()),
            ("MOCKSERVER_ADMIN_PORT", "0"),
        ];
        let output = run(&folder, &["--port", "0"], &env);
        assert!(!output.status.success());
        json_lines(&output.stdout, mode);
        let words = json_lines(&output.stderr, mode);
        assert_eq!(words.len(), usize::from(mode != "abort"), "{words:?}");
    }
}

#[test]
fn a_fatal_error_is_in_the_log_file_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = TempDir::new().unwrap();
    let env = [
        ("MOCKSERVER_LOG_MODE", "file"),
        ("MOCKSERVER_ADMIN_PORT", "0"),
    ];
    let output = run(&folder, &["--port", &port], &env);
    assert_eq!(output.status.code(), Some(1));
    let logs = std::fs::read_dir(folder.path().join("logs")).unwrap();
    let log: String = logs
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(log.contains("ERROR") && log.contains(&port), "{log}");
}

// === Files ===

#[test]
fn log_files_beyond_the_bounds_go_and_foreign_files_stay() {
    let folder = TempDir::new().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let large = |name: &str, mb: u64| {
        let file = std::fs::File::create(logs.join(name)).unwrap();
        file.set_len(mb << 20).unwrap();
    };
    large("mockserver.2020-01-01.log", 0);
    large("mockserver.2020-01-01.log.gz", 9);
    large("audit.2020-01-01.log", 9);
    let today = time::OffsetDateTime::now_utc().date();
    let yesterday = today.previous_day().unwrap();
    large(&format!("mockserver.{yesterday}.log"), 3);
    large(&format!("mockserver.{yesterday}.1.log"), 3);
    let config = "Host: 127.0.0.1\nPort: 0\nAdmin: {Port: 0}\nLog: {Mode: file, Keep: 7, MaxMb: 4}\n\
                  Boot: {fail: {listening: true}}\n";
    std::fs::write(folder.path().join("a.yaml"), config).unwrap();
    let output = run(&folder, &["-f", "a.yaml"], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut names: Vec<String> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        // Midnight may pass while the test runs.
        .filter(|name| !name.contains(&today.to_string()))
        .filter(|name| !name.contains(&today.next_day().unwrap().to_string()))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "audit.2020-01-01.log".to_owned(),
            "mockserver.2020-01-01.log.gz".to_owned(),
            format!("mockserver.{yesterday}.1.log"),
        ]
    );
}

#[test]
fn a_full_log_file_is_followed_by_another_one() {
    let folder = TempDir::new().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let day = || time::OffsetDateTime::now_utc().date();
    for day in [day(), day().next_day().unwrap()] {
        let mut full = std::fs::File::create(logs.join(format!("mockserver.{day}.log"))).unwrap();
        full.write_all(&[b'\n'; 1 << 17]).unwrap();
    }
    let profile = r#"{"fail": {"listening": true}}"#;
    let env = [
        ("MOCKSERVER_LOG_MODE", "file"),
        ("MOCKSERVER_LOG_MAX_MB", "1"),
        ("MOCKSERVER_ADMIN_PORT", "0"),
        ("MOCKSERVER_BOOT", profile),
    ];
    let output = run(&folder, &["--port", "0"], &env);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let next = std::fs::read_dir(&logs).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        path.to_str().unwrap().ends_with(".1.log").then_some(path)
    });
    let lines: String = next
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert!(
        lines.contains("Listening.") && lines.contains("ERROR"),
        "{lines}"
    );
}

#[test]
fn a_line_that_does_not_fit_on_the_disk_leaves_no_part_of_it() {
    let folder = TempDir::new().unwrap();
    let binary = env!("CARGO_BIN_EXE_mockserver");
    // Room for some lines and a part of one.
    let output = Command::new("prlimit")
        .args(["--fsize=400", binary, "--port", "0"])
        .current_dir(folder.path())
        .envs([
            JSON,
            ("MOCKSERVER_LOG_MODE", "file"),
            ("MOCKSERVER_ADMIN_PORT", "0"),
        ])
        .env("MOCKSERVER_BOOT", r#"{"fail": {"listening": true}}"#)
        .output()
        .expect("prlimit can be run");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut logs = std::fs::read_dir(folder.path().join("logs")).unwrap();
    let log = std::fs::read(logs.next().unwrap().unwrap().path()).unwrap();
    assert!(json_lines(&log, "the log").len() > 1, "{output:?}");
    assert!(log.ends_with(b"\n") && log.len() <= 400);
}

// === Failed requests ===

#[test]
fn requests_that_fail_leave_a_warning_that_names_no_fault() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("health_check", json!({ "status_code": 500 }));
    for _ in 0..3 {
        assert_eq!(daemon.get("/health").status, 500);
    }
    assert_eq!(daemon.get("/ready").status, 500);
    let lines = daemon.whole_log();
    let failed = lines.iter().find(|line| line["failed"].is_number());
    let failed = failed.expect("a line about failed requests");
    assert_eq!(failed["level"], "WARN");
    assert_eq!(
        (&failed["failed"], &failed["routes"]),
        (&json!(4), &json!({ "/health": 3, "/ready": 1 }))
    );
    assert!(!failed.to_string().contains("health_check"), "{failed}");

    let mut healthy = Daemon::start();
    healthy.get("/health");
    let lines = healthy.whole_log();
    assert!(
        lines.iter().all(|line| line["level"] == "INFO"),
        "{lines:?}"
    );
}

#[test]
fn a_failed_request_is_a_warning_where_requests_are_logged() {
    let mut daemon = Daemon::builder()
        .env("MOCKSERVER_LOG_LEVEL", "debug")
        .start();
    daemon.start_scenario("health_check", json!({ "status_code": 503 }));
    daemon.get("/health");
    let lines = daemon.whole_log();
    let failed = lines
        .iter()
        .find(|line| line["message"] == "Request failed.");
    let failed = failed.expect("the request");
    assert_eq!(
        (&failed["level"], &failed["path"], &failed["status"]),
        (&json!("WARN"), &json!("/health"), &json!(503))
    );
}

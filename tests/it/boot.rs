//! The boot profile: versions that are bad by their configuration.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Daemon, PATIENCE, ended, eventually, free_port, signal};

const PROFILE: &str = "MOCKSERVER_BOOT";

/// A daemon of which nothing is expected; dropping it ends the process.
struct Bare {
    child: Child,
    folder: Arc<TempDir>,
    port: u16,
    began: Instant,
}

impl Bare {
    fn start(profile: &Value) -> Self {
        Self::start_in(Arc::new(TempDir::new().expect("a folder")), profile)
    }

    fn start_in(folder: Arc<TempDir>, profile: &Value) -> Self {
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .current_dir(folder.path())
            .env("MOCKSERVER_LOG_FORMAT", "json")
            .env("MOCKSERVER_PORT", port.to_string())
            .env("MOCKSERVER_ADMIN_PORT", free_port().to_string())
            .env(PROFILE, profile.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self {
            child,
            folder,
            port,
            began: Instant::now(),
        }
    }

    fn listens(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    fn signal(&self, name: Signal) {
        signal(&self.child, name);
    }

    /// Waits until the kernel tells that the process sees to SIGTERM, or never does.
    fn hears_sigterm(&self) {
        eventually("it hears SIGTERM", || self.caught(15).then_some(()));
    }

    fn caught(&self, signal: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process lives");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("a mask");
        caught & (1 << (signal - 1)) != 0
    }

    fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }

    /// What it logged, once it has ended.
    fn log(&mut self) -> Vec<Value> {
        let mut text = String::new();
        let output = self.child.stdout.as_mut().expect("its output");
        output.read_to_string(&mut text).expect("a text");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// What its ledger holds.
    fn ledger(&self) -> Vec<Value> {
        let folder = self.folder.path().join("data/ledger");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("a ledger")
            .map(|file| file.expect("a file").path())
            .collect();
        files.sort();
        let texts = files
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok());
        let lines: Vec<String> = texts
            .flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Already gone, or gone now.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn of_kind<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events
        .iter()
        .filter(|event| event["kind"] == kind)
        .collect()
}

/// The events of a running daemon.
fn told(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let body = daemon.admin_get("/api/v1/events?limit=1000").body;
    let events = body["events"].as_array().expect("a list");
    of_kind(events, kind).into_iter().cloned().collect()
}

fn daemon(profile: &Value) -> Daemon {
    Daemon::start_with("", &[(PROFILE, &profile.to_string())])
}

// === Before it listens ===

#[test]
fn a_slow_start_listens_late_and_a_signal_ends_it_with_zero() {
    let mut slow = Bare::start(&json!({ "start_delay": 3 }));
    slow.hears_sigterm();
    assert!(!slow.listens());
    eventually("it listens", || slow.listens().then_some(()));
    assert!(slow.began.elapsed() >= Duration::from_secs(3));
    slow.signal(Signal::TERM);
    assert_eq!(slow.ended().code(), Some(0));

    let mut slower = Bare::start(&json!({ "start_delay": 3600 }));
    slower.hears_sigterm();
    let told = Instant::now();
    slower.signal(Signal::TERM);
    assert_eq!(slower.ended().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(2) && !slower.listens());
}

#[test]
fn a_failed_start_logs_its_error_and_exits_with_its_code() {
    let message = "Fatal: no license";
    let profile = json!({ "fail": { "after": 0.3, "exit_code": 78, "message": message } });
    let mut failing = Bare::start(&profile);
    while failing.child.try_wait().expect("its state").is_none() {
        assert!(!failing.listens());
        assert!(failing.began.elapsed() < PATIENCE);
    }
    assert!(failing.began.elapsed() >= Duration::from_millis(300));
    assert_eq!(failing.ended().code(), Some(78));
    let log = failing.log();
    let last = log.last().expect("a line");
    assert_eq!(
        (&last["level"], &last["message"]),
        (&json!("ERROR"), &json!(message))
    );
    let events = failing.ledger();
    let intent = of_kind(&events, "exit_intent")[0];
    assert_eq!(
        (&intent["by"], &intent["exit_code"], &intent["error"]),
        (&json!("boot"), &json!(78), &json!(message))
    );
}

#[test]
fn a_process_that_hangs_neither_listens_nor_hears_and_has_no_handler() {
    let mut hung = Bare::start(&json!({ "hang": true }));
    let mut head = [0; 1];
    let output = hung.child.stdout.as_mut().expect("its output");
    output.read_exact(&mut head).expect("its first lines");
    assert!(!hung.listens() && !hung.caught(15));
    assert!(hung.child.try_wait().expect("its state").is_none());
    hung.signal(Signal::TERM);
    let status = hung.ended();
    let by = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(by, Some(15), "what a process without a handler does");
}

// === While it listens ===

#[test]
fn a_late_failure_comes_after_a_time_of_good_service() {
    let profile = json!({ "fail": { "after": 4, "listening": true, "exit_code": 7 } });
    let mut failing = daemon(&profile);
    assert_eq!(failing.get("/ready").status, 200);
    assert_eq!(failing.ended().code(), Some(7));
    let error = failing.logged("the error", |line| line["level"] == "ERROR");
    let text = error["message"].as_str().expect("a text");
    assert!(text.starts_with("Fatal: cannot connect"), "{text}");

    let again = Daemon::start_in(failing.folder.clone(), &[]);
    let boots = told(&again, "boot");
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
fn a_service_turns_ready_late_or_never_and_lives_meanwhile() {
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
        "nothing touches the admin listener"
    );
    late.logged("that it is ready", |line| line["message"] == "Ready.");
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
    let folder = Arc::new(TempDir::new().expect("a folder"));
    for boot in 1..=2 {
        let mut crashing = Bare::start_in(folder.clone(), &profile);
        assert_eq!(crashing.ended().code(), Some(9), "boot {boot}");
        let log = crashing.log();
        let told = log.iter().find(|line| line["of"] == 2).expect("it is told");
        assert_eq!(told["boot"], boot);
        let events = crashing.ledger();
        let boots = of_kind(&events, "boot");
        assert_eq!(boots.last().expect("a boot")["boot"]["crashing_boot"], boot);
    }
    let mut healed = Bare::start_in(folder, &profile);
    eventually("it serves", || healed.listens().then_some(()));
    let past_its_crash = Duration::from_millis(500);
    eventually("it lives on", || {
        (healed.began.elapsed() > past_its_crash).then_some(())
    });
    healed.signal(Signal::TERM);
    assert_eq!(healed.ended().code(), Some(0));
    assert!(healed.log().iter().any(|line| line["crashed"] == 2));
}

#[test]
fn a_crash_loop_that_cannot_count_does_not_start() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("data"), "in the way").expect("a file");
    let mut uncounted = Bare::start_in(Arc::new(folder), &json!({ "crash_loop": {} }));
    assert_eq!(uncounted.ended().code(), Some(1));
    let mut said = String::new();
    let errors = uncounted.child.stderr.as_mut().expect("its errors");
    errors.read_to_string(&mut said).expect("a text");
    assert!(said.contains("data/crash-loop-boots"), "{said}");
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
    let accepted = told(&daemon, "accepted");
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
    eventually("the fifth request makes it start", || {
        (daemon.status("dependency")["running"] == true).then_some(())
    });
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
}

#[test]
fn parts_join_as_their_time_comes_and_what_waits_for_readiness_comes_last() {
    let daemon = daemon(&json!({
        "ready_after": 1.5,
        "scenarios": [
            { "name": "health_check", "params": { "probes": ["health"] } },
            { "name": "network_latency", "params": { "latency_ms": 1 }, "after": 0.5 },
            { "name": "dependency", "when_ready": true },
        ],
    }));
    let first = daemon.session();
    eventually("all three run", || {
        (daemon.session()["scenarios"]
            .as_array()
            .expect("a list")
            .len()
            == 3)
            .then_some(())
    });
    assert_eq!(daemon.session()["session_id"], first["session_id"]);
    assert_eq!(daemon.get("/ready").status, 200);
    let started = told(&daemon, "started");
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
    daemon.logged("that the start is cancelled", |line| {
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
fn limits_bind_the_clients_and_not_the_profile() {
    let slow = |ms| json!({ "latency_ms": ms });
    let scenarios = [json!({ "name": "network_latency", "params": slow(200) })];
    let profile = json!({ "scenarios": scenarios }).to_string();
    let daemon = Daemon::start_with("Limits: {LatencyMs: 100}\n", &[(PROFILE, &profile)]);
    assert_eq!(daemon.status("network_latency")["params"], slow(200));
    let start = "/api/v1/scenarios/network_latency/start";
    let refused = daemon.admin_post(start, slow(200).to_string());
    assert!((400..500).contains(&refused.status), "{refused:?}");
    assert_eq!(daemon.status("network_latency")["running"], true);
}

// === Who may say so ===

#[test]
fn the_variable_wins_over_the_file_as_a_whole_and_safe_boot_over_both() {
    let yaml = "Boot:\n  never_ready: true\n";
    assert_eq!(Daemon::start_with(yaml, &[]).get("/ready").status, 503);
    let other = r#"{"scenarios": [{"name": "dependency", "params": {"failure_type": "error"}}]}"#;
    let daemon = Daemon::start_with(yaml, &[(PROFILE, other)]);
    assert_eq!(daemon.get("/ready").status, 200);
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);

    // Even one that is no profile at all.
    for profile in [other, "{"] {
        let env = [(PROFILE, profile), ("MOCKSERVER_SAFE_BOOT", "1")];
        let safe = Daemon::start_with(yaml, &env);
        assert_eq!(safe.get("/ready").status, 200);
        assert_eq!(safe.get("/api/v1/mock-service").status, 200);
        assert_eq!(told(&safe, "boot")[0]["boot"]["safe_boot"], true);
    }
}

#[test]
fn a_bad_profile_is_refused_with_all_its_faults_beside_those_of_the_rest() {
    let check = |env: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .arg("--check")
            .current_dir(TempDir::new().expect("a folder").path())
            .envs(env.iter().copied())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let profile = r#"{"scenarios": [{"name": "cpu_burner", "params": {"cores": 0}},
        {"name": "nobody", "soon": 1}], "crash_loop": {"boots": -1}}"#;
    let (code, said) = check(&[(PROFILE, profile), ("MOCKSERVER_PORT", "eighty")]);
    assert_eq!(code, Some(64));
    for fault in [
        "Port: must",
        "Boot.scenarios.0.params.cores: must",
        "Boot.scenarios.1.name: unknown scenario",
        "Boot.scenarios.1.soon: unknown key",
        "Boot.crash_loop.boots: must",
    ] {
        assert!(said.contains(fault), "{fault} is missing in {said}");
    }
    for (variable, value) in [
        (PROFILE, "{"),
        (PROFILE, "5"),
        ("MOCKSERVER_SAFE_BOOT", "maybe"),
    ] {
        let (code, said) = check(&[(variable, value)]);
        assert_eq!(code, Some(64), "{variable}={value}");
        assert!(said.contains("Boot") || said.contains(variable), "{said}");
    }
    assert_eq!(check(&[(PROFILE, "")]).0, Some(0), "empty is none");
}

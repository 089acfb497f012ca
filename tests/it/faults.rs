//! The effect of each fault, as clients and the kernel see it; `fidelity.rs` has that of `cpu_burner`.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use mockserver::scenarios;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Daemon, PROBES, agent, connect_and_write, events_on_disk, eventually,
    exclusive, find_event, harmless,
};

/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_secs(1);

fn timed(client: &Client, path: &str) -> (Answer, Duration) {
    let start = Instant::now();
    let answer = client.get(path);
    (answer, start.elapsed())
}

/// Requests all `paths` at the same time.
fn all_at_once(daemon: &Daemon, paths: &[&'static str]) -> Vec<(&'static str, Answer, Duration)> {
    let ask = |path: &&'static str| {
        let (client, path) = (daemon.client(), *path);
        thread::spawn(move || {
            let (answer, took) = timed(&client, path);
            (path, answer, took)
        })
    };
    let asked: Vec<_> = paths.iter().map(ask).collect();
    let answers = asked.into_iter().map(|thread| thread.join());
    answers.map(|answer| answer.unwrap()).collect()
}

// === network_latency ===

#[test]
fn latency_is_on_every_read_of_the_service_listener_and_nowhere_else() {
    const LATENCY: Duration = Duration::from_secs(2);
    let daemon = Daemon::start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 2000 }));
    let others = [
        "/version",
        "/api/v1/scenarios",
        "/api/v1/scenarios/crash",
        "/api/v1/scenarios/crash/status",
        "/api/v1/composite/status",
        "/api/v1/mock-service",
        "/api/v1/test/sleep10ms",
        "/api/v1/test/sleep30ms",
        "/no/such/route",
    ];
    let reads = [&PROBES[..], &others].concat();
    for (path, answer, took) in all_at_once(&daemon, &reads) {
        assert!(took >= LATENCY, "{path} took {took:?}");
        let expected = if path.starts_with("/no") { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{path}");
    }
    // With the delay, these would take sixteen and three times the latency.
    let start = Instant::now();
    for path in reads {
        daemon.admin_get(path);
    }
    assert!(
        start.elapsed() < LATENCY,
        "the admin listener took {:?}",
        start.elapsed()
    );
    let start = Instant::now();
    for path in [
        "/api/v1/scenarios/crash/stop",
        "/api/v1/composite/start",
        "/api/v1/composite/stop",
    ] {
        daemon.post(path, "");
    }
    assert!(
        start.elapsed() < LATENCY,
        "POSTs took {:?}",
        start.elapsed()
    );
}

#[test]
fn the_routes_own_time_comes_on_top_of_the_latency() {
    let daemon = Daemon::start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 200 }));
    let (_, took) = timed(&daemon.client(), "/api/v1/test/sleep30ms");
    assert!(took >= Duration::from_millis(230), "{took:?}");
}

#[test]
fn latencies_of_two_faults_add_up() {
    let daemon = Daemon::start();
    daemon.start_set(json!([
        { "name": "network_latency", "params": { "latency_ms": 150 } },
        { "name": "health_check", "params": { "failure_mode": "delayed", "delay_ms": 200 } },
    ]));
    let (answer, took) = timed(&daemon.client(), "/health");
    assert_eq!(answer.status, 200);
    assert!(took >= Duration::from_millis(350), "{took:?}");
}

#[test]
fn the_added_latency_is_measured_and_shown() {
    let daemon = Daemon::start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 50 }));
    let client = daemon.client();
    for _ in 0..5 {
        client.get("/health");
    }
    let metrics = daemon.status("network_latency")["metrics"].clone();
    assert_eq!(metrics["delayed_requests"], 5);
    let mean = metrics["mean_added_ms"].as_f64().unwrap();
    assert!(mean >= 50.0, "{mean}");
}

// === health_check ===

#[test]
fn always_fails_every_probe_with_the_requested_status() {
    let daemon = Daemon::start();
    for (params, status) in [(json!({}), 503), (json!({ "status_code": 418 }), 418)] {
        daemon.start_scenario("health_check", params);
        for path in ["/health", "/healthz", "/livez", "/ready", "/readyz"] {
            let answer = daemon.get(path);
            assert_eq!(
                (answer.status, answer.content_type.as_str(), answer.body),
                (status, "application/json", json!({ "status": "unhealthy" })),
                "{path}"
            );
            assert_eq!(daemon.admin_get(path).status, 200, "{path}");
        }
        // Other routes are not affected.
        assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
        assert_eq!(daemon.get("/api/v1/scenarios").status, 200);
    }
}

#[test]
fn only_the_chosen_probes_fail() {
    let daemon = Daemon::start();
    for (probes, health, ready, startup) in [
        (json!(["health"]), 503, 200, 200),
        (json!(["ready"]), 200, 503, 200),
        (json!(["ready", "health"]), 503, 503, 200),
        (json!(["startup"]), 200, 200, 503),
    ] {
        daemon.start_scenario("health_check", json!({ "probes": probes }));
        for path in ["/health", "/healthz", "/livez"] {
            assert_eq!(daemon.get(path).status, health, "{probes} {path}");
        }
        for path in ["/ready", "/readyz"] {
            assert_eq!(daemon.get(path).status, ready, "{probes} {path}");
        }
        for path in ["/startup", "/startupz"] {
            assert_eq!(daemon.get(path).status, startup, "{probes} {path}");
        }
    }
}

#[test]
fn delayed_probes_are_healthy_but_late() {
    let daemon = Daemon::start();
    daemon.start_scenario(
        "health_check",
        json!({ "failure_mode": "delayed", "delay_ms": 400 }),
    );
    for (path, answer, took) in all_at_once(&daemon, &["/health", "/ready"]) {
        assert!(took >= Duration::from_millis(400), "{path} took {took:?}");
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "healthy" }))
        );
    }
}

#[test]
fn intermittent_failures_have_their_rate_and_a_seed_repeats_them() {
    const REQUESTS: u32 = 2_000;
    const RATE: f64 = 0.3;
    let daemon = Daemon::start();
    let client = daemon.client();
    let run = |seed: u32, requests: u32| -> Vec<bool> {
        let params = json!({
            "failure_mode": "intermittent", "fail_rate": RATE, "status_code": 500, "seed": seed,
        });
        daemon.start_scenario("health_check", params);
        let ask = |_| match client.get("/health").status {
            200 => false,
            500 => true,
            other => panic!("neither a success nor the requested failure: {other}"),
        };
        (0..requests).map(ask).collect()
    };
    let first = run(7, REQUESTS);
    let start = &first[..200];
    assert_eq!(run(7, 200), start, "the same seed gives the same failures");
    assert_ne!(run(8, 200), start, "another seed gives others");
    // 3.29 standard deviations hold 99.9 % of a binomial count. The seed makes this one certain.
    let failed = first.iter().filter(|failed| **failed).count() as f64;
    let (mean, deviation) = (
        f64::from(REQUESTS) * RATE,
        (f64::from(REQUESTS) * RATE * (1.0 - RATE)).sqrt(),
    );
    assert!(
        (failed - mean).abs() <= 3.29 * deviation,
        "{failed} of {REQUESTS} failed"
    );
}

#[test]
fn a_rate_of_one_always_fails_and_a_rate_of_zero_never_does() {
    let daemon = Daemon::start();
    for (rate, status) in [(1.0, 503), (0.0, 200)] {
        let params = json!({ "failure_mode": "intermittent", "fail_rate": rate });
        daemon.start_scenario("health_check", params);
        for _ in 0..100 {
            assert_eq!(daemon.get("/ready").status, status);
        }
    }
}

// === dependency ===

#[test]
fn a_dependency_error_is_status_500_on_its_route_only() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    let answer = daemon.get("/api/v1/mock-service");
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (500, &json!("error"))
    );
    assert_eq!(daemon.admin_get("/api/v1/mock-service").status, 200);
    assert_eq!(daemon.get("/health").status, 200);
    daemon.stop_scenario("dependency");
    assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
}

#[test]
fn a_dependency_fault_of_one_upstream_leaves_the_calls_to_others_alone() {
    let daemon = Daemon::start();
    let upstream = |name: &str| json!({ "failure_type": "error", "upstream": name });
    let started = daemon.start_scenario("dependency", upstream("inventory"));
    let params = &started["details"][0]["params"];
    assert_eq!(params["upstream"], "inventory");
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
    // One that the service does not call is refused, and what runs goes on.
    let path = "/api/v1/scenarios/dependency/start";
    let refused = daemon.post(path, upstream("inventroy").to_string());
    assert_eq!(refused.status, 422);
    let error = &refused.body["errors"][0];
    assert_eq!(error["pointer"], "/upstream");
    let reason =
        "no route calls inventroy; the service calls: inventory; did you mean \"inventory\"?";
    assert_eq!(error["detail"], reason);
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
}

#[test]
fn a_slow_dependency_takes_two_to_five_seconds() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "slow", "seed": 3 }));
    let answers = all_at_once(&daemon, &["/api/v1/mock-service"; 8]);
    let mut times: Vec<Duration> = Vec::new();
    for (_, answer, took) in answers {
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "ok" }))
        );
        assert!(took >= Duration::from_secs(2), "{took:?}");
        assert!(took <= Duration::from_secs(5) + SLACK, "{took:?}");
        times.push(took);
    }
    let (least, most) = (times.iter().min(), times.iter().max());
    let spread = *most.unwrap() - *least.unwrap();
    assert!(
        spread > Duration::from_millis(500),
        "the times are not spread: {times:?}"
    );
}

#[test]
fn a_dependency_timeout_is_released_by_the_stop() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "timeout" }));
    let client = daemon.client();
    let asked = thread::spawn(move || timed(&client, "/api/v1/mock-service"));
    daemon.wait_for_metric("dependency", "failed_calls", |calls| calls == 1.0);
    assert!(!asked.is_finished(), "a call that times out was answered");
    daemon.stop_scenario("dependency");
    let (answer, took) = asked.join().unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        took < Duration::from_secs(15),
        "the request waited the whole thirty seconds"
    );
}

// === memory_leaker ===

#[test]
fn memory_grows_to_the_target_and_is_released_by_the_stop() {
    const TARGET: f64 = 200.0;
    const EXACT: f64 = 4.0;
    let _turn = exclusive();
    let daemon = Daemon::start();
    // A first run makes what stays: stacks of threads, arenas of the allocator.
    daemon.start_scenario("memory_leaker", json!({ "target_mb": 1 }));
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": 200, "leak_rate_mb": 200 }),
    );
    let start = Instant::now();
    eventually("the target is reached", || {
        let grown = daemon.process().resident_mb() - base;
        assert!(
            grown <= TARGET + EXACT,
            "memory grew by {grown} MiB, beyond the target"
        );
        (grown >= TARGET - EXACT).then_some(())
    });
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "memory grew in {:?}, faster than its rate",
        start.elapsed()
    );
    // The target is held. At its rate it would grow by ten times the tolerance in this window.
    thread::sleep(Duration::from_millis(200));
    let grown = daemon.process().resident_mb() - base;
    assert!(
        (grown - TARGET).abs() <= EXACT,
        "{grown} MiB instead of the target"
    );
    daemon.stop_all();
    let left = daemon.process().resident_mb() - base;
    assert!(left <= EXACT, "{left} MiB are left");
}

#[test]
fn memory_grows_evenly_and_not_in_jumps() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let base = daemon.process().resident_mb();
    let start = Instant::now();
    daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": 1024, "leak_rate_mb": 40 }),
    );
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(50));
        let grown = daemon.process().resident_mb() - base;
        // Never ahead of the schedule, which began after the request was sent.
        let due = start.elapsed().as_secs_f64() * 40.0;
        assert!(grown <= due + 4.0, "{grown} MiB when {due} were due");
    }
    // And not far behind: memory follows the schedule in steps of a few MiB.
    let due = began.elapsed().as_secs_f64() * 40.0;
    let grown = daemon.process().resident_mb() - base;
    assert!(grown >= due / 2.0, "{grown} MiB when {due} were due");
}

// === disk_io ===

#[test]
fn disk_writes_reach_the_storage_layer_and_end_with_the_stop() {
    let _turn = exclusive();
    // The build folder is on a disk; the system's temporary folder may not be.
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data_dir = data.path().to_str().unwrap();
    let daemon = Daemon::builder()
        .env("MOCKSERVER_DATA_DIR", data_dir)
        .start();
    let (before, start) = (daemon.process().written_bytes(), Instant::now());
    daemon.start_scenario("disk_io", json!({ "write_rate_mb": 8 }));
    eventually("eight MiB are written", || {
        let written = daemon.process().written_bytes() - before;
        // The schedule, a step more, and blocks of the file system itself.
        let most = (start.elapsed().as_secs_f64() + 0.5) * 8.0 * 1024.0 * 1024.0 * 1.25;
        assert!(
            written as f64 <= most,
            "{written} bytes after {:?}",
            start.elapsed()
        );
        (written >= 8 << 20).then_some(())
    });
    assert!(
        start.elapsed() >= Duration::from_millis(750),
        "{:?}",
        start.elapsed()
    );
    daemon.stop_all();
    let stopped = daemon.process().written_bytes();
    // A writer that went on would write 2 MiB in this window.
    thread::sleep(Duration::from_millis(250));
    assert_eq!(daemon.process().written_bytes(), stopped);
}

// === goroutine_leak ===

#[test]
fn tasks_leak_at_their_rate() {
    let daemon = Daemon::start();
    let start = Instant::now();
    daemon.start_scenario("goroutine_leak", json!({ "goroutines_per_second": 1000 }));
    daemon.wait_for_metric("goroutine_leak", "current_goroutines", |n| n >= 1000.0);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(990),
        "1,000 tasks after {took:?}"
    );
    let now = daemon.wait_for_metric("goroutine_leak", "current_goroutines", |_| true);
    let due = start.elapsed().as_secs_f64() * 1000.0;
    assert!(now <= due + 1.0, "{now} tasks when {due} were due");
}

/// A leak without a requested number ends at the limit of the operator.
#[test]
fn tasks_leak_up_to_the_requested_number_or_the_limit() {
    for (yaml, params) in [
        (
            "",
            json!({ "goroutines_per_second": 100_000, "max_goroutines": 1234 }),
        ),
        (
            "Limits: {Tasks: 1234}\n",
            json!({ "goroutines_per_second": 100_000 }),
        ),
    ] {
        let daemon = Daemon::builder().file(yaml).start();
        let start = Instant::now();
        daemon.start_scenario("goroutine_leak", params);
        daemon.wait_for_metric("goroutine_leak", "current_goroutines", |n| n == 1234.0);
        eventually("there was time for as many tasks again", || {
            let status = daemon.status("goroutine_leak");
            assert_eq!(status["metrics"]["current_goroutines"], 1234, "{status}");
            assert_eq!(status["effect"]["shortfall"], Value::Null, "{status}");
            (start.elapsed() >= Duration::from_millis(30)).then_some(())
        });
        daemon.wait_for_event("target_reached");
    }
}

// === crash ===

#[test]
fn a_crash_ends_the_process_after_its_delay_with_its_exit_code() {
    for (params, code, delay_ms) in [
        (json!({ "crash_delay": 0.7 }), 1, 700),
        (json!({ "crash_delay": 0, "exit_code": 42 }), 42, 0),
        (json!({ "crash_delay": 0.1, "exit_code": 0 }), 0, 100),
        (json!({ "crash_delay": 0.1, "exit_code": 255 }), 255, 100),
    ] {
        let mut daemon = Daemon::start();
        let start = Instant::now();
        let client = daemon.client();
        // An immediate crash may come before the answer.
        let asked = thread::spawn(move || {
            let agent = ureq::Agent::new_with_defaults();
            let url = format!("http://{}/api/v1/scenarios/crash/start", client.service);
            agent.post(url).send(params.to_string().as_bytes()).is_ok()
        });
        let status = daemon.ended();
        let took = start.elapsed();
        assert_eq!(status.code(), Some(code));
        assert!(took >= Duration::from_millis(delay_ms), "{took:?}");
        let answered = asked.join().unwrap();
        assert!(answered || delay_ms == 0, "the start was not answered");
    }
}

#[test]
fn a_crash_drops_the_requests_that_are_under_way() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
    let mut stream = connect_and_write(daemon.service, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    let waiting = thread::spawn(move || {
        let mut text = Vec::new();
        // Closed or reset, without a byte of an answer.
        drop(stream.read_to_end(&mut text));
        text
    });
    daemon.wait_for_delayed_requests(1);
    daemon.start_scenario("crash", json!({ "crash_delay": 0.2, "exit_code": 3 }));
    assert_eq!(daemon.ended().code(), Some(3));
    assert_eq!(waiting.join().unwrap(), b"");
}

#[test]
fn a_crash_that_is_stopped_in_time_does_not_happen() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("crash", json!({ "crash_delay": 0.3 }));
    daemon.stop_scenario("crash");
    // The window in which the crash would have come.
    thread::sleep(Duration::from_millis(500));
    assert!(daemon.child.try_wait().unwrap().is_none());
    assert_eq!(daemon.get("/health").status, 200);
}

/// Ends a daemon by a crash in this mode; returns its status and its standard error.
fn crash_in_mode(mode: &str) -> (std::process::ExitStatus, String) {
    let folder = tempfile::tempdir().unwrap();
    let errors = folder.path().join("errors");
    let to_file = format!("exec \"$@\" 2>{}", errors.display());
    let mut daemon = Daemon::builder()
        .wrapper(&["sh", "-c", &to_file, "sh"])
        .start();
    daemon.start_scenario("crash", json!({ "mode": mode, "crash_delay": 0.1 }));
    let status = daemon.ended();
    let stderr = std::fs::read_to_string(errors).unwrap();

    let events = events_on_disk(daemon.folder.path());
    let recorded = find_event(&events, "exit_intent")["exit_code"].as_i64();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    // A shell reports a signal as 128 and its number.
    let reported = status.code().or(signal.map(|number| 128 + number));
    assert_eq!(recorded, reported.map(i64::from), "{mode}");
    (status, stderr)
}

#[test]
fn each_mode_of_a_crash_ends_as_the_real_thing_does() {
    let (status, stderr) = crash_in_mode("panic");
    assert_eq!(status.code(), Some(101));
    assert!(
        stderr.contains("\"thread\":\"main\"") && stderr.contains("index out of bounds"),
        "{stderr}"
    );
    for (mode, signal, message) in [
        ("abort", 6, None),
        ("segfault", 11, None),
        ("kill", 9, None),
        ("stack_overflow", 6, Some("has overflowed its stack")),
    ] {
        let (status, stderr) = crash_in_mode(mode);
        let by = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(by, Some(signal), "{mode}");
        match message {
            None => assert_eq!(stderr, "", "{mode}"),
            Some(message) => assert!(
                stderr.contains("main") && stderr.contains(message),
                "{stderr}"
            ),
        }
    }
}

#[test]
fn a_crash_after_requests_comes_with_that_request() {
    let mut daemon = Daemon::start();
    daemon.get("/health");
    daemon.start_scenario("crash", json!({ "after_requests": 3, "exit_code": 5 }));
    let status = daemon.status("crash");
    assert_eq!(status["params"].get("crash_delay"), None);
    for _ in 0..2 {
        assert_eq!(daemon.get("/health").status, 200);
    }
    // Requests on the admin listener do not count.
    for _ in 0..3 {
        assert_eq!(daemon.status("crash")["running"], true);
    }
    // The crash may come before the answer.
    let last = format!("http://{}/health", daemon.service);
    drop(agent().get(last).call());
    assert_eq!(daemon.ended().code(), Some(5));
}

/// Waits until the metrics show that the crash has begun.
fn wait_for_crash(daemon: &Daemon) {
    let series = "mockserver_fault_achieved{scenario=\"crash\"} 1";
    eventually("the metrics show the crash", || {
        let page = daemon.admin_get("/metrics").body;
        page.as_str().unwrap().contains(series).then_some(())
    });
}

#[test]
fn a_crash_can_be_scraped_in_its_window() {
    let params = json!({ "crash_delay": 0, "scrape_window": 2, "mode": "kill" });
    let mut daemon = Daemon::start();
    let start = Instant::now();
    daemon.start_scenario("crash", params);
    wait_for_crash(&daemon);
    assert_eq!(daemon.events_of("exit_intent").len(), 1);
    assert_eq!(daemon.get("/health").status, 200);
    let status = daemon.ended();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_crash_can_be_stopped_in_its_window() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("crash", json!({ "crash_delay": 0, "scrape_window": 3600 }));
    wait_for_crash(&daemon);
    daemon.stop_scenario("crash");
    assert_eq!(daemon.get("/health").status, 200);
    daemon.signal(Signal::KILL);
    daemon.ended();
    let previous = daemon.start_again().previous_end();
    assert_eq!(previous["end"], "unclean", "the crash was called off");
}

#[test]
fn a_crash_in_mode_oom_needs_a_memory_limit() {
    let daemon = Daemon::start();
    let limited = daemon.admin_get("/metrics").body;
    let limited = limited.as_str().unwrap().lines().any(|line| {
        let bytes = line.strip_prefix("container_spec_memory_limit_bytes ");
        bytes.is_some_and(|bytes| bytes.parse::<f64>().is_ok_and(|bytes| bytes > 0.0))
    });
    if limited {
        // It would be real here; tests/external/container.sh lets it happen.
        return;
    }
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    let set = json!({ "scenarios": [{ "name": "crash", "params": { "mode": "oom" } }] });
    for dry_run in [false, true] {
        for (path, mut body, pointer) in [
            (
                "/api/v1/scenarios/crash/start",
                json!({ "mode": "oom" }),
                "/mode",
            ),
            (
                "/api/v1/composite/start",
                set.clone(),
                "/scenarios/0/params/mode",
            ),
        ] {
            body["dry_run"] = json!(dry_run);
            let answer = daemon.post(path, body.to_string());
            assert_eq!(answer.status, 422, "{answer:?}");
            let error = &answer.body["errors"][0];
            assert_eq!(error["pointer"], pointer, "{answer:?}");
            let detail = error["detail"].as_str().unwrap();
            assert!(detail.contains("memory limit"), "{answer:?}");
        }
    }
    assert_eq!(
        daemon.get("/api/v1/composite/status").body["scenarios"],
        json!(["dependency"])
    );
    assert_eq!(daemon.get("/health").status, 200);

    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .arg("--check")
        .current_dir(daemon.folder.path())
        .env("MOCKSERVER_BOOT", set.to_string())
        .output()
        .expect("the binary can be executed");
    assert_eq!(checked.status.code(), Some(64), "{checked:?}");
    let stderr = String::from_utf8_lossy(&checked.stderr);
    assert!(stderr.contains("Boot.scenarios.0.params.mode"), "{stderr}");

    // With a limit on memory for clients, no client may use all of it.
    let bound = Daemon::builder().file("Limits: {MemoryMb: 100}\n").start();
    let answer = bound.post("/api/v1/scenarios/crash/start", "{\"mode\": \"oom\"}");
    assert_eq!(answer.status, 422, "{answer:?}");
}

// === All scenarios ===

#[test]
fn every_effect_reports_asked_beside_achieved() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    for plugin in scenarios::ALL {
        let name = plugin.name();
        // One at a time: a fault that answers every request would hide the others from it.
        daemon.start_set(json!([{ "name": name, "params": harmless(*plugin) }]));
        // Not waiting for the answers: some faults hold them back.
        let _requests = ["/health", "/api/v1/mock-service", "/metrics"].map(|path| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connect_and_write(daemon.service, request.as_bytes())
        });
        let effect: Value = eventually(&format!("{name} achieves something"), || {
            let effect = daemon.status(name)["effect"].take();
            effect["achieved"].is_number().then_some(effect)
        });
        assert!(effect["asked"].is_number(), "{name}: {effect}");
        assert!(effect["unit"].is_string(), "{name}: {effect}");
        daemon.stop_all();
    }
}

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Answer, Client, Daemon, PROBES, SCENARIOS, agent, alone, eventually, sent};

/// Slack of a time that a busy machine may lengthen.
const SLACK: Duration = Duration::from_secs(1);

fn timed(client: &Client, path: &str) -> (Answer, Duration) {
    let start = Instant::now();
    let answer = client.get(path);
    (answer, start.elapsed())
}

/// Asks for all `paths` at the same time.
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
    answers.map(|answer| answer.expect("an answer")).collect()
}

// === network_latency ===

#[test]
fn latency_is_on_every_read_of_the_service_listener_and_nowhere_else() {
    const LATENCY: Duration = Duration::from_secs(2);
    let daemon = Daemon::start();
    daemon.started("network_latency", json!({ "latency_ms": 2000 }));
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
    // Were they delayed, these would take sixteen and three times the latency.
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
    daemon.started("network_latency", json!({ "latency_ms": 200 }));
    let (_, took) = timed(&daemon.client(), "/api/v1/test/sleep30ms");
    assert!(took >= Duration::from_millis(230), "{took:?}");
}

#[test]
fn latencies_of_two_faults_add_up() {
    let daemon = Daemon::start();
    daemon.started_set(json!([
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
    daemon.started("network_latency", json!({ "latency_ms": 50 }));
    let client = daemon.client();
    for _ in 0..5 {
        client.get("/health");
    }
    let metrics = daemon.status("network_latency")["metrics"].clone();
    assert_eq!(metrics["delayed_requests"], 5);
    let mean = metrics["mean_added_ms"].as_f64().expect("a mean");
    assert!(mean >= 50.0, "{mean}");
}

// === health_check ===

#[test]
fn always_fails_every_probe_with_the_status_that_was_asked() {
    let daemon = Daemon::start();
    for (params, status) in [(json!({}), 503), (json!({ "status_code": 418 }), 418)] {
        daemon.started("health_check", params);
        for path in ["/health", "/healthz", "/livez", "/ready", "/readyz"] {
            let answer = daemon.get(path);
            assert_eq!(
                (answer.status, answer.content_type.as_str(), answer.body),
                (status, "application/json", json!({ "status": "unhealthy" })),
                "{path}"
            );
            assert_eq!(daemon.admin_get(path).status, 200, "{path}");
        }
        // Nothing else is touched.
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
        daemon.started("health_check", json!({ "probes": probes }));
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
fn delayed_probes_are_answered_as_usual_but_late() {
    let daemon = Daemon::start();
    daemon.started(
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
    let run = |seed: u32| -> Vec<bool> {
        let params = json!({
            "failure_mode": "intermittent", "fail_rate": RATE, "status_code": 500, "seed": seed,
        });
        daemon.started("health_check", params);
        let ask = |_| match client.get("/health").status {
            200 => false,
            500 => true,
            other => panic!("neither good nor the asked failure: {other}"),
        };
        (0..REQUESTS).map(ask).collect()
    };
    let first = run(7);
    assert_eq!(run(7), first, "the same seed gives the same failures");
    assert_ne!(run(8), first, "another seed gives others");
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
        daemon.started("health_check", params);
        for _ in 0..100 {
            assert_eq!(daemon.get("/ready").status, status);
        }
    }
}

// === dependency ===

#[test]
fn a_dependency_error_is_status_500_on_its_route_only() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "failure_type": "error" }));
    let answer = daemon.get("/api/v1/mock-service");
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (500, &json!("error"))
    );
    assert_eq!(daemon.admin_get("/api/v1/mock-service").status, 200);
    assert_eq!(daemon.get("/health").status, 200);
    daemon.stopped("dependency");
    assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
}

#[test]
fn a_slow_dependency_takes_two_to_five_seconds() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "failure_type": "slow", "seed": 3 }));
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
    let spread = *most.expect("a time") - *least.expect("a time");
    assert!(
        spread > Duration::from_millis(500),
        "they are not spread: {times:?}"
    );
}

#[test]
fn a_dependency_timeout_outlasts_any_slow_answer_and_is_let_through_by_the_stop() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "failure_type": "timeout" }));
    let client = daemon.client();
    let asked = thread::spawn(move || timed(&client, "/api/v1/mock-service"));
    // The window in which a slow answer would have come.
    thread::sleep(Duration::from_millis(5_500));
    assert!(!asked.is_finished(), "answered before its time");
    daemon.stopped("dependency");
    let (answer, took) = asked.join().expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(
        took < Duration::from_secs(30),
        "it waited its thirty seconds out"
    );
}

// === cpu_burner ===

/// Three seconds of a process, in percent of the CPU limit.
#[derive(Debug)]
struct Window {
    /// What its CPU clock moved by.
    used: f64,
    /// How long its threads stood in line for a CPU that others had.
    waited: f64,
}

fn window(daemon: &Daemon, limit_cores: f64) -> Window {
    let process = daemon.process();
    let (cpu, waited, start) = (process.cpu(), process.waited_for_cpu(), Instant::now());
    thread::sleep(Duration::from_secs(3));
    let percent =
        |time: Duration| time.as_secs_f64() / start.elapsed().as_secs_f64() / limit_cores * 100.0;
    Window {
        used: percent(process.cpu() - cpu),
        waited: percent(process.waited_for_cpu().saturating_sub(waited)),
    }
}

#[test]
fn cpu_use_is_held_at_the_target_by_the_processs_own_clock() {
    const EXACT: f64 = 3.0;
    let _turn = alone();
    let daemon = Daemon::start();
    for target in [20.0, 80.0] {
        daemon.started("cpu_burner", json!({ "target_percent": target }));
        let limit = eventually("the limit is measured", || {
            let metrics = &daemon.status("cpu_burner")["metrics"];
            metrics["limit_cores"].as_f64().filter(|cores| *cores > 0.0)
        });
        // Other processes can starve this one, or have starved it just before so that it makes up for
        // it: one of three windows must be right. Where others leave the CPU to no window, each must at
        // least be short by no more than the time that its threads stood in line.
        let mut windows: Vec<Window> = Vec::new();
        while windows.len() < 3 && !windows.iter().any(|w| (w.used - target).abs() <= EXACT) {
            windows.push(window(&daemon, limit));
        }
        let told = format!("{windows:?} percent instead of {target}");
        assert!(windows.iter().any(|w| w.used <= target + EXACT), "{told}");
        assert!(
            windows.iter().all(|w| w.used + w.waited >= target - EXACT),
            "{told}"
        );
    }
    daemon.stop_all();
    let idle = window(&daemon, 1.0).used;
    assert!(idle < EXACT, "{idle} percent of a core are still used");
}

// === memory_leaker ===

#[test]
fn memory_grows_to_the_target_and_all_of_it_comes_back() {
    const TARGET: f64 = 200.0;
    const EXACT: f64 = 4.0;
    let _turn = alone();
    let daemon = Daemon::start();
    // The first run makes what stays: threads' stacks and the allocator's own.
    daemon.started("memory_leaker", json!({ "target_mb": 1 }));
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    daemon.started(
        "memory_leaker",
        json!({ "target_mb": 200, "leak_rate_mb": 200 }),
    );
    let start = Instant::now();
    eventually("the target is reached", || {
        let grown = daemon.process().resident_mb() - base;
        assert!(grown <= TARGET + EXACT, "it grew by {grown} MiB");
        (grown >= TARGET - EXACT).then_some(())
    });
    assert!(
        start.elapsed() >= Duration::from_millis(900),
        "it grew in {:?}",
        start.elapsed()
    );
    // It is held there.
    thread::sleep(Duration::from_millis(500));
    let grown = daemon.process().resident_mb() - base;
    assert!((grown - TARGET).abs() <= EXACT, "{grown} MiB are held");
    daemon.stop_all();
    let left = daemon.process().resident_mb() - base;
    assert!(left <= EXACT, "{left} MiB are left");
}

#[test]
fn memory_grows_evenly_and_not_in_jumps() {
    let _turn = alone();
    let daemon = Daemon::start();
    let base = daemon.process().resident_mb();
    let start = Instant::now();
    daemon.started(
        "memory_leaker",
        json!({ "target_mb": 1024, "leak_rate_mb": 40 }),
    );
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(50));
        let grown = daemon.process().resident_mb() - base;
        // Never ahead of the schedule, whose latest start is before the request was answered.
        let due = start.elapsed().as_secs_f64() * 40.0;
        assert!(grown <= due + 4.0, "{grown} MiB when {due} were due");
    }
    let grown = eventually("it has grown", || {
        let grown = daemon.process().resident_mb() - base;
        (grown >= 40.0).then_some(grown)
    });
    assert!(grown < 1024.0);
}

// === disk_io ===

#[test]
fn disk_writes_reach_the_storage_layer_and_end_with_the_stop() {
    let _turn = alone();
    // A folder of the build, which lies on a disk; the system's folder for temporary files may not.
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let data_dir = data.path().to_str().expect("a text");
    let daemon = Daemon::start_with("", &[("MOCKSERVER_DATA_DIR", data_dir)]);
    let (before, start) = (daemon.process().written_bytes(), Instant::now());
    daemon.started("disk_io", json!({ "write_rate_mb": 8 }));
    eventually("sixteen MiB are written", || {
        let written = daemon.process().written_bytes() - before;
        // What was due by now, a step more, and the file system's own blocks.
        let most = (start.elapsed().as_secs_f64() + 0.5) * 8.0 * 1024.0 * 1024.0 * 1.25;
        assert!(
            written as f64 <= most,
            "{written} bytes after {:?}",
            start.elapsed()
        );
        (written >= 16 << 20).then_some(())
    });
    assert!(
        start.elapsed() >= Duration::from_millis(1_500),
        "{:?}",
        start.elapsed()
    );
    daemon.stop_all();
    let stopped = daemon.process().written_bytes();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(daemon.process().written_bytes(), stopped);
}

// === goroutine_leak ===

#[test]
fn tasks_leak_at_their_rate() {
    let daemon = Daemon::start();
    let start = Instant::now();
    daemon.started("goroutine_leak", json!({ "goroutines_per_second": 1000 }));
    let tasks = || daemon.status("goroutine_leak")["metrics"]["current_goroutines"].as_f64();
    eventually("a thousand tasks", || {
        tasks().filter(|tasks| *tasks >= 1000.0)
    });
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(990),
        "they were there after {took:?}"
    );
    let (now, due) = (
        tasks().expect("a count"),
        start.elapsed().as_secs_f64() * 1000.0,
    );
    assert!(now <= due + 1.0, "{now} tasks when {due} were due");
}

/// Under a limit a leak that names no number ends there too.
#[test]
fn tasks_leak_up_to_the_most_that_is_asked_for_or_allowed() {
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
        let daemon = Daemon::start_with(yaml, &[]);
        let start = Instant::now();
        daemon.started("goroutine_leak", params);
        let reached = |status: &Value| status["metrics"]["current_goroutines"] == 1234;
        eventually("all the tasks", || {
            reached(&daemon.status("goroutine_leak")).then_some(())
        });
        eventually("time for as many again", || {
            let status = daemon.status("goroutine_leak");
            assert!(reached(&status), "{status}");
            assert_eq!(status["effect"]["shortfall"], Value::Null, "{status}");
            (start.elapsed() >= Duration::from_millis(30)).then_some(())
        });
        eventually("the ledger says that the target is reached", || {
            let page = daemon.get("/api/v1/events").body;
            let mut events = page["events"].as_array().expect("a list").iter();
            events
                .find(|event| event["kind"] == "target_reached")
                .map(drop)
        });
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
        // A crash at once may come before its answer.
        let asked = thread::spawn(move || {
            let agent = ureq::Agent::new_with_defaults();
            let url = format!("http://{}/api/v1/scenarios/crash/start", client.service);
            agent.post(url).send(params.to_string().as_bytes()).is_ok()
        });
        let status = daemon.ended();
        let took = start.elapsed();
        assert_eq!(status.code(), Some(code));
        assert!(took >= Duration::from_millis(delay_ms), "{took:?}");
        let answered = asked.join().expect("no panic");
        assert!(answered || delay_ms == 0, "the start was not answered");
    }
}

#[test]
fn a_crash_drops_the_requests_that_are_under_way() {
    let mut daemon = Daemon::start();
    daemon.started("network_latency", json!({ "latency_ms": 600_000 }));
    let mut stream = sent(daemon.service, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    let waiting = thread::spawn(move || {
        let mut text = Vec::new();
        // Closed or reset, without a byte of an answer.
        drop(stream.read_to_end(&mut text));
        text
    });
    daemon.delays(1);
    daemon.started("crash", json!({ "crash_delay": 0.2, "exit_code": 3 }));
    assert_eq!(daemon.ended().code(), Some(3));
    assert_eq!(waiting.join().expect("no panic"), b"");
}

#[test]
fn a_crash_that_is_stopped_in_time_does_not_happen() {
    let mut daemon = Daemon::start();
    daemon.started("crash", json!({ "crash_delay": 0.6 }));
    daemon.stopped("crash");
    // The window in which it would have come.
    thread::sleep(Duration::from_millis(1_200));
    assert!(daemon.child.try_wait().expect("its state").is_none());
    assert_eq!(daemon.get("/health").status, 200);
}

/// Ends a daemon by a crash in this mode; its status and what it said on standard error.
fn crashed(mode: &str) -> (std::process::ExitStatus, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = folder.path().join("errors");
    let to_file = format!("exec \"$@\" 2>{}", errors.display());
    let mut daemon = Daemon::start_under(&["sh", "-c", &to_file, "sh"], "", &[]);
    daemon.started("crash", json!({ "mode": mode, "crash_delay": 0.1 }));
    let status = daemon.ended();
    let said = std::fs::read_to_string(errors).expect("a file");

    let again = Daemon::start_in(daemon.folder.clone(), &[]);
    let events = again
        .admin_get("/api/v1/events?limit=100&scenario=crash")
        .body;
    let events = events["events"].as_array().expect("a list");
    let intent = events.iter().find(|event| event["kind"] == "exit_intent");
    let told = intent.expect("it is on disk")["exit_code"].as_i64();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let shells_say = status.code().or(signal.map(|number| 128 + number));
    assert_eq!(told, shells_say.map(i64::from), "{mode}");
    (status, said)
}

#[test]
fn each_mode_of_a_crash_ends_as_the_real_thing_does() {
    let panic = crashed("panic");
    assert_eq!(panic.0.code(), Some(101));
    let said = "thread 'main'";
    assert!(
        panic.1.contains(said) && panic.1.contains("index out of bounds"),
        "{}",
        panic.1
    );
    for (mode, signal, said) in [
        ("abort", 6, ""),
        ("segfault", 11, ""),
        ("kill", 9, ""),
        ("stack_overflow", 6, "thread 'main'"),
    ] {
        let (status, errors) = crashed(mode);
        let by = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(by, Some(signal), "{mode}");
        match said {
            "" => assert_eq!(errors, "", "{mode}"),
            said => assert!(
                errors.contains(said) && errors.contains("has overflowed its stack"),
                "{errors}"
            ),
        }
    }
}

#[test]
fn a_crash_comes_at_its_request_and_not_by_itself() {
    let mut daemon = Daemon::start();
    daemon.get("/health");
    daemon.started("crash", json!({ "after_requests": 3, "exit_code": 5 }));
    let status = daemon.status("crash");
    assert_eq!(status["params"].get("crash_delay"), None);
    for _ in 0..2 {
        assert_eq!(daemon.get("/health").status, 200);
    }
    // The admin listener's do not count.
    for _ in 0..3 {
        assert_eq!(daemon.status("crash")["running"], true);
    }
    // It may come before the answer.
    let last = format!("http://{}/health", daemon.service);
    drop(agent().get(last).call());
    assert_eq!(daemon.ended().code(), Some(5));
}

#[test]
fn a_crash_can_be_scraped_in_its_window_and_stopped_even_then() {
    let crashes = |daemon: &Daemon| {
        eventually("the crash is told", || {
            let page = daemon.admin_get("/metrics").body;
            let told = "mockserver_fault_achieved{scenario=\"crash\"} 1";
            page.as_str().expect("a text").contains(told).then_some(())
        });
    };
    let params = json!({ "crash_delay": 0, "scrape_window": 4, "mode": "kill" });
    let mut daemon = Daemon::start();
    let start = Instant::now();
    daemon.started("crash", params.clone());
    crashes(&daemon);
    let events = daemon
        .admin_get("/api/v1/events?limit=100")
        .body
        .to_string();
    assert!(events.contains("exit_intent"), "{events}");
    assert_eq!(daemon.get("/health").status, 200);
    let status = daemon.ended();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
    assert!(start.elapsed() >= Duration::from_secs(4));

    let mut spared = Daemon::start();
    spared.started("crash", json!({ "crash_delay": 0, "scrape_window": 3600 }));
    crashes(&spared);
    spared.stopped("crash");
    assert_eq!(spared.get("/health").status, 200);
    spared.signal(Signal::KILL);
    spared.ended();
    let again = Daemon::start_in(spared.folder.clone(), &[]);
    let boots = again.admin_get("/api/v1/events?limit=100").body;
    let boots = boots["events"].as_array().expect("a list");
    let last = boots
        .iter()
        .rfind(|event| event["kind"] == "boot")
        .expect("a boot");
    assert_eq!(
        last["boot"]["previous"]["end"], "unclean",
        "it was called off"
    );
}

#[test]
fn a_crash_for_want_of_memory_needs_a_limit() {
    let daemon = Daemon::start();
    let limited = daemon.admin_get("/metrics").body;
    let limited = limited.as_str().expect("a text").lines().any(|line| {
        let bytes = line.strip_prefix("container_spec_memory_limit_bytes ");
        bytes.is_some_and(|bytes| bytes.parse::<f64>().is_ok_and(|bytes| bytes > 0.0))
    });
    if limited {
        // It would be real here; tests/external/container.sh lets it happen.
        return;
    }
    daemon.started("dependency", json!({ "failure_type": "error" }));
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
            let detail = error["detail"].as_str().expect("a text");
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
        .expect("it runs");
    assert_eq!(checked.status.code(), Some(64), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("Boot.scenarios.0.params.mode"), "{said}");

    // Where memory is limited to clients, nobody may ask for all of it.
    let bound = Daemon::start_with("Limits: {MemoryMb: 100}\n", &[]);
    let answer = bound.post("/api/v1/scenarios/crash/start", "{\"mode\": \"oom\"}");
    assert_eq!(answer.status, 422, "{answer:?}");
}

// === What all have in common ===

#[test]
fn every_effect_reports_asked_beside_achieved() {
    let _turn = alone();
    let daemon = Daemon::start();
    daemon.started_set(json!([
        { "name": "cpu_burner", "params": { "target_percent": 10 } },
        { "name": "memory_leaker", "params": { "target_mb": 8, "leak_rate_mb": 100 } },
        { "name": "network_latency", "params": { "latency_ms": 5 } },
        { "name": "health_check" },
        { "name": "goroutine_leak" },
        { "name": "disk_io", "params": { "write_rate_mb": 1 } },
        { "name": "crash", "params": { "crash_delay": 3600 } },
        { "name": "dependency", "params": { "failure_type": "error" } },
        { "name": "shutdown_hang" },
    ]));
    for path in ["/health", "/api/v1/mock-service"] {
        daemon.get(path);
    }
    for name in SCENARIOS {
        let effect: Value = eventually(&format!("{name} achieves something"), || {
            let effect = daemon.status(name)["effect"].take();
            effect["achieved"].is_number().then_some(effect)
        });
        assert!(effect["asked"].is_number(), "{name}: {effect}");
        assert!(effect["unit"].is_string(), "{name}: {effect}");
    }
}

//! Which runs live together, which replace which, and how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Daemon, UNUSABLE_DATA_DIR, assert_problem, connect_and_write, eventually,
    exclusive,
};

fn session_number(id: &Value) -> u64 {
    let id = id.as_str().unwrap();
    id["session-".len()..].parse().unwrap()
}

fn scenarios_of(session: &Value) -> Vec<&str> {
    let names = session["scenarios"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap()).collect()
}

// === Switching ===

/// The status of every session that clients saw, by session id.
type Seen = BTreeMap<String, BTreeSet<String>>;

/// What must be the same whenever a client reads the status of one session.
fn shape_of(session: &Value) -> String {
    json!([session["scenarios"], session["status"], session["details"]]).to_string()
}

/// Runs `switch` while each client repeats `read`, with its number.
fn while_clients_read(
    daemon: &Daemon,
    clients: usize,
    read: impl Fn(&Client, usize) + Sync,
    switch: impl FnOnce(),
) {
    let done = AtomicBool::new(false);
    let ready = Barrier::new(clients + 1);
    thread::scope(|scope| {
        for number in 0..clients {
            let client = daemon.client();
            let (done, ready, read) = (&done, &ready, &read);
            scope.spawn(move || {
                ready.wait();
                while !done.load(Ordering::Relaxed) {
                    read(&client, number);
                }
            });
        }
        ready.wait();
        switch();
        done.store(true, Ordering::Relaxed);
    });
}

/// Checks that each session was only ever seen as its start reported it.
fn assert_never_mixed(seen: &Seen, reports: &[Value]) {
    for (id, shapes) in seen {
        let report = reports.iter().find(|report| report["session_id"] == **id);
        let whole = match report {
            Some(report) => shape_of(report),
            None => {
                // There may be no session between two sets.
                assert!(id.is_empty(), "no start reported {id}");
                json!([[], "no active session", []]).to_string()
            }
        };
        assert_eq!(*shapes, BTreeSet::from([whole]), "{id}");
    }
}

#[test]
fn no_client_ever_sees_a_mix_of_two_sets() {
    const SWITCHES: usize = 40;
    let _turn = exclusive();
    let daemon = Daemon::start();
    let sets = [
        json!([{ "name": "dependency" }, { "name": "health_check" }]),
        json!([
            { "name": "memory_leaker", "params": { "target_mb": 1 } },
            { "name": "goroutine_leak", "params": { "goroutines_per_second": 1 } },
            { "name": "network_latency", "params": { "latency_ms": 0 } },
        ]),
    ];
    let seen: Mutex<Seen> = Mutex::default();
    let read = |client: &Client, number: usize| {
        let path = "/api/v1/composite/status";
        let answer = match number % 2 {
            0 => client.get(path),
            _ => client.admin_get(path),
        };
        assert_eq!(answer.status, 200);
        let id = answer.body["session_id"].as_str().unwrap().to_owned();
        let mut seen = seen.lock().unwrap();
        seen.entry(id).or_default().insert(shape_of(&answer.body));
    };
    let mut reports = Vec::new();
    while_clients_read(&daemon, 50, read, || {
        for i in 0..SWITCHES {
            reports.push(daemon.start_set(sets[i % 2].clone()));
        }
    });
    for (i, report) in reports.iter().enumerate() {
        let names = sets[i % 2].as_array().unwrap().iter();
        let names: Vec<&str> = names.map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(scenarios_of(report), names);
    }
    let seen = seen.into_inner().unwrap();
    assert_never_mixed(&seen, &reports);
    assert!(seen.len() > 1, "the clients saw only {seen:?}");
}

#[test]
fn of_two_sets_that_start_at_once_only_the_later_one_lives() {
    let daemon = Daemon::start();
    let (mut last, mut both_started) = (0, 0);
    for _ in 0..20 {
        let start = Barrier::new(2);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let clients: Vec<_> = ["dependency", "health_check"]
                .map(|name| {
                    let (client, start) = (daemon.client(), &start);
                    scope.spawn(move || {
                        let body = json!({ "scenarios": [{ "name": name }] }).to_string();
                        // The connection is open before the race begins.
                        assert_eq!(client.get("/api/v1/scenarios").status, 200);
                        start.wait();
                        client.post("/api/v1/composite/start", &body)
                    })
                })
                .into();
            let answers = clients.into_iter().map(|client| client.join());
            answers.map(|answer| answer.unwrap()).collect()
        });
        let mut started: Vec<&Value> = Vec::new();
        for answer in &answers {
            if answer.status == 200 {
                started.push(&answer.body);
                continue;
            }
            // The later start called this one off.
            assert_eq!(answer.status, 500, "{answer:?}");
            let reason = answer.body["details"][0]["error"].as_str().unwrap();
            assert!(
                reason.contains("called off by a later request"),
                "{answer:?}"
            );
        }
        started.sort_by_key(|report| session_number(&report["session_id"]));
        for report in &started {
            assert!(session_number(&report["session_id"]) > last);
            last = session_number(&report["session_id"]);
        }
        both_started += usize::from(started.len() == 2);
        let winner = *started.last().expect("the later start is never called off");
        let session = daemon.session();
        assert_eq!(session["session_id"], winner["session_id"]);
        assert_eq!(session["scenarios"], winner["scenarios"]);
        for name in ["dependency", "health_check"] {
            assert_eq!(
                daemon.status(name)["running"],
                scenarios_of(winner) == [name]
            );
        }
    }
    println!("both starts were answered 200 in {both_started} of 20 rounds");
}

#[test]
fn two_sets_that_start_one_after_the_other_have_increasing_ids() {
    let daemon = Daemon::start();
    let first = daemon.start_set(json!([{ "name": "dependency" }]));
    let second = daemon.start_set(json!([{ "name": "dependency" }]));
    assert!(session_number(&second["session_id"]) > session_number(&first["session_id"]));
    assert_eq!(daemon.session()["session_id"], second["session_id"]);
}

#[test]
fn a_set_ends_all_that_ran_before_it() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    daemon.start_scenario("network_latency", json!({ "latency_ms": 1 }));
    daemon.start_set(json!([{ "name": "health_check" }]));
    assert_eq!(scenarios_of(&daemon.session()), ["health_check"]);
    for name in ["dependency", "network_latency"] {
        let status = daemon.status(name);
        assert_eq!(status["running"], false);
        assert_eq!(status["end"]["reason"], "replaced");
    }
    assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
}

#[test]
fn the_list_never_shows_a_mix_of_two_sets() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    // Far apart in the list, so that reading it takes longest from one to the other.
    let sets = [
        json!([{ "name": "cpu_burner", "params": { "target_percent": 0 } }]),
        json!([{ "name": "dependency" }]),
    ];
    let read = |client: &Client, _| {
        let list = client.get("/api/v1/scenarios").body;
        let rows = list["scenarios"].as_array().unwrap();
        let running = rows.iter().filter(|row| row["running"] == true).count();
        assert!(running <= 1, "{list}");
    };
    while_clients_read(&daemon, 8, read, || {
        for i in 0..300 {
            daemon.start_set(sets[i % 2].clone());
        }
    });
}

// === Single starts and stops ===

#[test]
fn a_single_start_adds_to_what_runs_and_leaves_it_alone() {
    let daemon = Daemon::start();
    let set = daemon.start_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    let before =
        ["dependency", "health_check"].map(|name| daemon.status(name)["start_time"].clone());
    let added = daemon.start_scenario("network_latency", json!({ "latency_ms": 1 }));
    assert_eq!(added["session_id"], set["session_id"]);
    assert_eq!(
        scenarios_of(&daemon.session()),
        ["dependency", "health_check", "network_latency"]
    );
    let after =
        ["dependency", "health_check"].map(|name| daemon.status(name)["start_time"].clone());
    assert_eq!(before, after);
}

#[test]
fn a_single_start_replaces_a_run_of_the_same_scenario() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    daemon.start_scenario("health_check", json!({ "status_code": 500 }));
    let replaced = daemon.start_scenario(
        "health_check",
        json!({ "status_code": 599, "probes": ["ready"] }),
    );
    assert_eq!(scenarios_of(&replaced), ["health_check"]);
    assert_eq!(
        (daemon.get("/ready").status, daemon.get("/health").status),
        (599, 200)
    );
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
    let session = daemon.session();
    let mut names = scenarios_of(&session);
    names.sort_unstable();
    assert_eq!(names, ["dependency", "health_check"]);
    assert_eq!(session["details"].as_array().map(Vec::len), Some(2));
}

#[test]
fn stopping_one_leaves_the_others_and_the_last_one_ends_the_session() {
    let daemon = Daemon::start();
    let set = daemon.start_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    daemon.stop_scenario("dependency");
    let session = daemon.session();
    assert_eq!(session["session_id"], set["session_id"]);
    assert_eq!(scenarios_of(&session), ["health_check"]);
    assert_eq!(daemon.get("/health").status, 503);
    daemon.stop_scenario("health_check");
    assert_eq!(daemon.session()["status"], "no active session");
    assert_eq!(daemon.get("/health").status, 200);
}

// === Durations ===

#[test]
fn a_single_run_ends_by_itself_after_its_duration_and_not_before() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    let start = Instant::now();
    daemon.start_scenario("health_check", json!({ "duration": 0.6 }));
    eventually("the run has ended", || {
        (daemon.get("/health").status == 200).then_some(())
    });
    assert!(start.elapsed() >= Duration::from_millis(600));
    let status = eventually("the status shows the end", || {
        let status = daemon.status("health_check");
        (status["running"] == false).then_some(status)
    });
    assert_eq!(status["end"]["reason"], "expired");
    // The other run goes on.
    assert_eq!(scenarios_of(&daemon.session()), ["dependency"]);
}

#[test]
fn a_set_ends_as_a_whole_when_its_longest_duration_is_over() {
    let daemon = Daemon::start();
    let start = Instant::now();
    daemon.start_set(json!([
        { "name": "dependency", "duration": 0.2 },
        { "name": "health_check", "duration": 0.9 },
        { "name": "goroutine_leak" },
    ]));
    let expiries = ["dependency", "health_check", "goroutine_leak"]
        .map(|name| daemon.status(name)["expires_at"].clone());
    assert!(expiries[0].is_string());
    assert!(
        expiries.iter().all(|expiry| *expiry == expiries[0]),
        "{expiries:?}"
    );
    eventually("the set has ended", || {
        let session = daemon.session();
        if session["status"] == "no active session" {
            return Some(());
        }
        assert_eq!(
            scenarios_of(&session),
            ["dependency", "health_check", "goroutine_leak"]
        );
        None
    });
    assert!(start.elapsed() >= Duration::from_millis(900));
    for name in ["dependency", "health_check", "goroutine_leak"] {
        assert_eq!(daemon.status(name)["end"]["reason"], "expired");
    }
}

/// The window is real time here; the tests of the session actor prove it for single, stopped and joined runs too.
#[test]
fn the_deadline_of_a_replaced_set_never_fires() {
    let daemon = Daemon::start();
    daemon.start_set(json!([{ "name": "dependency", "duration": 0.1 }]));
    let later = daemon.start_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    thread::sleep(Duration::from_millis(300));
    let session = daemon.session();
    assert_eq!(session["session_id"], later["session_id"]);
    assert_eq!(scenarios_of(&session), ["dependency", "health_check"]);
}

#[test]
fn a_run_added_with_a_duration_does_not_end_the_set_it_joined() {
    let daemon = Daemon::start();
    daemon.start_set(json!([{ "name": "dependency" }]));
    daemon.start_scenario("health_check", json!({ "duration": 0.2 }));
    eventually("the added run ends", || {
        (daemon.status("health_check")["running"] == false).then_some(())
    });
    assert_eq!(scenarios_of(&daemon.session()), ["dependency"]);
}

// === Releasing requests ===

/// Sends requests, each in a new thread, that return the answer and when it came.
fn request_in_threads(
    daemon: &Daemon,
    path: &'static str,
    count: usize,
) -> Vec<thread::JoinHandle<(Answer, Instant)>> {
    let ask = |_| {
        let client = daemon.client();
        thread::spawn(move || (client.get(path), Instant::now()))
    };
    (0..count).map(ask).collect()
}

#[test]
fn delayed_requests_are_released_when_their_fault_stops() {
    let daemon = Daemon::start();
    for stop in [
        "/api/v1/composite/stop",
        "/api/v1/scenarios/network_latency/stop",
    ] {
        daemon.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
        let waiting = request_in_threads(&daemon, "/health", 8);
        daemon.wait_for_delayed_requests(8);
        // The stop comes over the delayed listener.
        assert_eq!(daemon.post(stop, "").status, 200);
        for request in waiting {
            let (answer, _) = request.join().unwrap();
            assert_eq!(
                (answer.status, answer.body),
                (200, json!({ "status": "healthy" }))
            );
        }
    }
}

#[test]
fn delayed_requests_are_released_when_a_new_set_replaces_their_fault() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "timeout" }));
    let waiting = request_in_threads(&daemon, "/api/v1/mock-service", 4);
    daemon.wait_for_metric("dependency", "failed_calls", |calls| calls == 4.0);
    let before = Instant::now();
    daemon.start_set(json!([{ "name": "health_check" }]));
    for request in waiting {
        let (answer, at) = request.join().unwrap();
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "ok" }))
        );
        assert!(
            at - before < Duration::from_secs(15),
            "the request waited the whole thirty seconds"
        );
    }
}

#[test]
fn a_start_whose_client_hangs_up_at_once_is_carried_out() {
    let daemon = Daemon::start();
    let single = ("/api/v1/scenarios/dependency/start", json!({}).to_string());
    let set = (
        "/api/v1/composite/start",
        json!({ "scenarios": [{ "name": "dependency" }] }).to_string(),
    );
    for to in [daemon.service, daemon.admin] {
        for (path, body) in [&single, &set] {
            for round in 0..10 {
                let length = body.len();
                let request = format!(
                    "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                drop(connect_and_write(to, request.as_bytes()));
                eventually(&format!("{path} is carried out in round {round}"), || {
                    (daemon.status("dependency")["running"] == true).then_some(())
                });
                daemon.stop_all();
            }
        }
    }
}

#[test]
fn a_stop_whose_client_hangs_up_at_once_is_carried_out() {
    let daemon = Daemon::start();
    for _ in 0..10 {
        daemon.start_scenario("dependency", json!({}));
        let stop = "POST /api/v1/composite/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        drop(connect_and_write(daemon.service, stop.as_bytes()));
        eventually("the stop is carried out", || {
            (daemon.status("dependency")["running"] == false).then_some(())
        });
    }
}

// === Failed starts ===

#[test]
fn a_set_with_one_failed_start_is_partial_and_says_why() {
    let daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    let mut report = daemon.start_set(json!([{ "name": "disk_io" }, { "name": "dependency" }]));
    let reason = report["details"][0]["error"].take();
    assert!(
        reason.as_str().is_some_and(|text| text.contains("DataDir")),
        "{reason}"
    );
    assert_eq!(
        report,
        json!({
            "session_id": report["session_id"],
            "scenarios": ["dependency"],
            "status": "partial",
            "details": [
                { "name": "disk_io", "success": false, "error": null },
                { "name": "dependency", "success": true, "params": { "failure_type": "timeout" } },
            ],
        })
    );
    let session = daemon.session();
    assert_eq!(
        (&session["status"], scenarios_of(&session)),
        (&json!("partial"), vec!["dependency"])
    );
    assert_eq!(daemon.status("disk_io")["running"], false);
}

#[test]
fn a_set_with_failed_starts_only_is_a_problem_with_details() {
    let daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    let set = json!({ "scenarios": [{ "name": "disk_io" }] });
    let problem = assert_problem(
        daemon.try_start_set(set),
        500,
        "start-failed",
        "disk_io alone",
    );
    let detail = &problem["details"][0];
    assert_eq!(
        (&detail["name"], &detail["success"]),
        (&json!("disk_io"), &json!(false))
    );
    assert!(
        detail["error"]
            .as_str()
            .is_some_and(|text| text.contains("DataDir"))
    );
    assert_eq!(daemon.session()["status"], "no active session");
}

#[test]
fn a_single_start_that_fails_leaves_the_others_running() {
    let daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    let before = daemon.start_scenario("dependency", json!({}));
    let answer = daemon.post("/api/v1/scenarios/disk_io/start", "");
    assert_eq!(answer.status, 500, "{answer:?}");
    let session = daemon.session();
    assert_eq!(session["session_id"], before["session_id"]);
    assert_eq!(scenarios_of(&session), ["dependency"]);
}

#[test]
fn a_failed_start_does_not_lengthen_its_set() {
    let daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    daemon.start_set(json!([
        { "name": "disk_io", "duration": 3600 },
        { "name": "dependency", "duration": 0.3 },
    ]));
    eventually("the set has ended", || {
        (daemon.session()["status"] == "no active session").then_some(())
    });
}

#[test]
fn starts_and_stops_from_many_clients_leave_one_consistent_state() {
    let daemon = Daemon::start();
    let posts = Arc::new([
        ("/api/v1/scenarios/dependency/start", String::from("{}")),
        ("/api/v1/scenarios/health_check/start", String::from("{}")),
        ("/api/v1/scenarios/dependency/stop", String::new()),
        (
            "/api/v1/composite/start",
            json!({ "scenarios": [{ "name": "goroutine_leak" }, { "name": "dependency" }] })
                .to_string(),
        ),
        ("/api/v1/composite/stop", String::new()),
    ]);
    let clients: Vec<_> = (0..8)
        .map(|i| {
            let (client, posts) = (daemon.client(), Arc::clone(&posts));
            thread::spawn(move || {
                for n in 0..25 {
                    let (path, body) = &posts[(n + i) % posts.len()];
                    let answer = client.post(path, body);
                    let called_off = answer.body["detail"]
                        .as_str()
                        .is_some_and(|text| text.contains("called off by a later request"));
                    assert!(answer.status == 200 || called_off, "{answer:?}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let session = daemon.session();
    let live: BTreeSet<&str> = scenarios_of(&session).into_iter().collect();
    let listed = daemon.running();
    assert_eq!(live, listed.iter().map(String::as_str).collect());
}

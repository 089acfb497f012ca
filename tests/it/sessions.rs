use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Answer, Daemon, alone, eventually};

/// Makes disk_io fail at its start: the path is a file.
const NO_DATA_DIR: &str = "DataDir: mockserver.yaml\n";

fn number_of(id: &Value) -> u64 {
    let id = id.as_str().expect("an id");
    id["session-".len()..].parse().expect("digits")
}

fn names_of(session: &Value) -> Vec<&str> {
    let names = session["scenarios"].as_array().expect("a list");
    names
        .iter()
        .map(|name| name.as_str().expect("a name"))
        .collect()
}

// === Switching ===

#[test]
fn no_client_ever_sees_a_mix_of_two_sets() {
    const CLIENTS: usize = 50;
    const SWITCHES: usize = 40;
    let _turn = alone();
    let daemon = Daemon::start();
    let sets = [
        json!([{ "name": "dependency" }, { "name": "health_check" }]),
        json!([
            { "name": "memory_leaker", "params": { "target_mb": 1 } },
            { "name": "goroutine_leak", "params": { "goroutines_per_second": 1 } },
            { "name": "network_latency", "params": { "latency_ms": 0 } },
        ]),
    ];
    let expected = [
        vec!["dependency", "health_check"],
        vec!["memory_leaker", "goroutine_leak", "network_latency"],
    ];
    let done = AtomicBool::new(false);
    let ready = Barrier::new(CLIENTS + 1);
    // Each session and the sets that were seen in it.
    let seen: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::default();
    let mut reports = Vec::new();
    thread::scope(|scope| {
        for i in 0..CLIENTS {
            let client = daemon.client();
            let (done, ready, seen) = (&done, &ready, &seen);
            scope.spawn(move || {
                ready.wait();
                while !done.load(Ordering::Relaxed) {
                    let path = "/api/v1/composite/status";
                    let Answer { status, body, .. } = if i % 2 == 0 {
                        client.get(path)
                    } else {
                        client.admin_get(path)
                    };
                    assert_eq!(status, 200);
                    let id = body["session_id"].as_str().expect("an id").to_owned();
                    let shape = json!([body["scenarios"], body["status"], body["details"]]);
                    let mut seen = seen.lock().expect("no client failed");
                    seen.entry(id).or_default().insert(shape.to_string());
                }
            });
        }
        ready.wait();
        for i in 0..SWITCHES {
            reports.push(daemon.started_set(sets[i % 2].clone()));
        }
        done.store(true, Ordering::Relaxed);
    });
    let seen = seen.into_inner().expect("no client failed");
    for (id, shapes) in &seen {
        let Some(at) = reports
            .iter()
            .position(|report| report["session_id"] == **id)
        else {
            // Between two sets there may be none.
            assert!(id.is_empty(), "nobody started {id}");
            let none = json!([[], "no active session", []]).to_string();
            assert_eq!(*shapes, BTreeSet::from([none]));
            continue;
        };
        let report = &reports[at];
        assert_eq!(names_of(report), expected[at % 2]);
        let whole = json!([report["scenarios"], report["status"], report["details"]]);
        assert_eq!(*shapes, BTreeSet::from([whole.to_string()]), "{id}");
    }
    assert!(seen.len() > 1, "the clients saw only {seen:?}");
}

#[test]
fn of_two_sets_that_are_started_at_once_the_later_one_lives_alone() {
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
            answers.map(|answer| answer.expect("an answer")).collect()
        });
        let mut started: Vec<&Value> = Vec::new();
        for answer in &answers {
            if answer.status == 200 {
                started.push(&answer.body);
                continue;
            }
            // A start that a later one overtook on its way up says so.
            assert_eq!(answer.status, 500, "{answer:?}");
            let reason = answer.body["details"][0]["error"]
                .as_str()
                .expect("a reason");
            assert!(
                reason.contains("called off by a later request"),
                "{answer:?}"
            );
        }
        started.sort_by_key(|report| number_of(&report["session_id"]));
        for report in &started {
            assert!(number_of(&report["session_id"]) > last);
            last = number_of(&report["session_id"]);
        }
        both_started += usize::from(started.len() == 2);
        let winner = *started.last().expect("the later start is never called off");
        let session = daemon.session();
        assert_eq!(session["session_id"], winner["session_id"]);
        assert_eq!(session["scenarios"], winner["scenarios"]);
        for name in ["dependency", "health_check"] {
            assert_eq!(daemon.status(name)["running"], names_of(winner) == [name]);
        }
    }
    println!("both starts were answered 200 in {both_started} of 20 rounds");
}

#[test]
fn two_sets_that_start_one_after_the_other_have_increasing_ids() {
    let daemon = Daemon::start();
    let first = daemon.started_set(json!([{ "name": "dependency" }]));
    let second = daemon.started_set(json!([{ "name": "dependency" }]));
    assert!(number_of(&second["session_id"]) > number_of(&first["session_id"]));
    assert_eq!(daemon.session()["session_id"], second["session_id"]);
}

#[test]
fn a_set_ends_whatever_ran_before_it() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "failure_type": "error" }));
    daemon.started("network_latency", json!({ "latency_ms": 1 }));
    daemon.started_set(json!([{ "name": "health_check" }]));
    assert_eq!(names_of(&daemon.session()), ["health_check"]);
    for name in ["dependency", "network_latency"] {
        let status = daemon.status(name);
        assert_eq!(status["running"], false);
        assert_eq!(status["end"]["reason"], "replaced");
    }
    assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
}

#[test]
fn the_list_never_shows_a_mix_of_two_sets() {
    const CLIENTS: usize = 8;
    let _turn = alone();
    let daemon = Daemon::start();
    // The first and the last of the list change places, with all the others between them.
    let sets = [
        json!([{ "name": "cpu_burner", "params": { "target_percent": 0 } }]),
        json!([{ "name": "dependency" }]),
    ];
    let done = AtomicBool::new(false);
    let ready = Barrier::new(CLIENTS + 1);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let client = daemon.client();
            let (done, ready) = (&done, &ready);
            scope.spawn(move || {
                ready.wait();
                while !done.load(Ordering::Relaxed) {
                    let list = client.get("/api/v1/scenarios").body;
                    let rows = list["scenarios"].as_array().expect("a list");
                    let running = rows.iter().filter(|row| row["running"] == true).count();
                    assert!(running <= 1, "{list}");
                }
            });
        }
        ready.wait();
        for i in 0..300 {
            daemon.started_set(sets[i % 2].clone());
        }
        done.store(true, Ordering::Relaxed);
    });
}

// === Single starts and stops ===

#[test]
fn a_single_start_adds_to_what_runs_and_leaves_it_alone() {
    let daemon = Daemon::start();
    let set = daemon.started_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    let before =
        ["dependency", "health_check"].map(|name| daemon.status(name)["start_time"].clone());
    let added = daemon.started("network_latency", json!({ "latency_ms": 1 }));
    assert_eq!(added["session_id"], set["session_id"]);
    assert_eq!(
        names_of(&daemon.session()),
        ["dependency", "health_check", "network_latency"]
    );
    let after =
        ["dependency", "health_check"].map(|name| daemon.status(name)["start_time"].clone());
    assert_eq!(before, after);
}

#[test]
fn a_single_start_replaces_a_run_of_the_same_scenario() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "failure_type": "error" }));
    daemon.started("health_check", json!({ "status_code": 500 }));
    let replaced = daemon.started(
        "health_check",
        json!({ "status_code": 599, "probes": ["ready"] }),
    );
    assert_eq!(names_of(&replaced), ["health_check"]);
    assert_eq!(
        (daemon.get("/ready").status, daemon.get("/health").status),
        (599, 200)
    );
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
    let session = daemon.session();
    let mut names = names_of(&session);
    names.sort_unstable();
    assert_eq!(names, ["dependency", "health_check"]);
    assert_eq!(session["details"].as_array().map(Vec::len), Some(2));
}

#[test]
fn stopping_one_leaves_the_others_and_the_last_one_ends_the_session() {
    let daemon = Daemon::start();
    let set = daemon.started_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    daemon.stopped("dependency");
    let session = daemon.session();
    assert_eq!(session["session_id"], set["session_id"]);
    assert_eq!(names_of(&session), ["health_check"]);
    assert_eq!(daemon.get("/health").status, 503);
    daemon.stopped("health_check");
    assert_eq!(daemon.session()["status"], "no active session");
    assert_eq!(daemon.get("/health").status, 200);
}

// === Durations ===

#[test]
fn a_single_run_ends_by_itself_after_its_duration_and_not_before() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({}));
    let start = Instant::now();
    daemon.started("health_check", json!({ "duration": 0.6 }));
    eventually("the end of the run", || {
        (daemon.get("/health").status == 200).then_some(())
    });
    assert!(start.elapsed() >= Duration::from_millis(600));
    let status = eventually("its end is told", || {
        let status = daemon.status("health_check");
        (status["running"] == false).then_some(status)
    });
    assert_eq!(status["end"]["reason"], "expired");
    // Its neighbour goes on.
    assert_eq!(names_of(&daemon.session()), ["dependency"]);
}

#[test]
fn a_set_ends_as_a_whole_when_its_longest_duration_is_over() {
    let daemon = Daemon::start();
    let start = Instant::now();
    daemon.started_set(json!([
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
    eventually("the end of the set", || {
        let session = daemon.session();
        if session["status"] == "no active session" {
            return Some(());
        }
        assert_eq!(
            names_of(&session),
            ["dependency", "health_check", "goroutine_leak"]
        );
        None
    });
    assert!(start.elapsed() >= Duration::from_millis(900));
    for name in ["dependency", "health_check", "goroutine_leak"] {
        assert_eq!(daemon.status(name)["end"]["reason"], "expired");
    }
}

#[test]
fn the_deadline_of_a_replaced_single_run_never_fires() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "duration": 0.3 }));
    daemon.started("dependency", json!({}));
    // The window in which the first one's time is over.
    thread::sleep(Duration::from_millis(900));
    assert_eq!(daemon.status("dependency")["running"], true);
}

#[test]
fn the_deadline_of_a_replaced_set_never_fires() {
    let daemon = Daemon::start();
    daemon.started_set(json!([{ "name": "dependency", "duration": 0.3 }]));
    let later = daemon.started_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    thread::sleep(Duration::from_millis(900));
    let session = daemon.session();
    assert_eq!(session["session_id"], later["session_id"]);
    assert_eq!(names_of(&session), ["dependency", "health_check"]);
}

#[test]
fn the_deadline_of_a_stopped_run_never_fires() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "duration": 0.3 }));
    daemon.stop_all();
    daemon.started("dependency", json!({}));
    thread::sleep(Duration::from_millis(900));
    assert_eq!(daemon.status("dependency")["running"], true);
}

#[test]
fn a_run_added_with_a_duration_does_not_end_the_set_it_joined() {
    let daemon = Daemon::start();
    daemon.started_set(json!([{ "name": "dependency" }]));
    daemon.started("health_check", json!({ "duration": 0.2 }));
    eventually("the added run ends", || {
        (daemon.status("health_check")["running"] == false).then_some(())
    });
    assert_eq!(names_of(&daemon.session()), ["dependency"]);
}

// === Letting go ===

/// Requests that wait in a fault, each on a thread of its own, and when each was answered.
fn waiting(
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
fn delayed_requests_pass_at_once_when_their_fault_stops() {
    let daemon = Daemon::start();
    for stop in [
        "/api/v1/composite/stop",
        "/api/v1/scenarios/network_latency/stop",
    ] {
        daemon.started("network_latency", json!({ "latency_ms": 600_000 }));
        let waiting = waiting(&daemon, "/health", 8);
        daemon.delays(8);
        // On the service listener, where the latency is.
        assert_eq!(daemon.post(stop, "").status, 200);
        for request in waiting {
            let (answer, _) = request.join().expect("an answer");
            assert_eq!(
                (answer.status, answer.body),
                (200, json!({ "status": "healthy" }))
            );
        }
    }
}

#[test]
fn delayed_requests_pass_at_once_when_a_new_set_takes_their_faults_place() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({ "failure_type": "timeout" }));
    let waiting = waiting(&daemon, "/api/v1/mock-service", 4);
    eventually("all requests wait", || {
        let metrics = &daemon.status("dependency")["metrics"];
        (metrics["failed_calls"] == 4).then_some(())
    });
    let before = Instant::now();
    daemon.started_set(json!([{ "name": "health_check" }]));
    for request in waiting {
        let (answer, at) = request.join().expect("an answer");
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "ok" }))
        );
        assert!(
            at - before < Duration::from_secs(15),
            "it waited its thirty seconds out"
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
                let mut stream = TcpStream::connect(to).expect("a connection");
                stream
                    .write_all(request.as_bytes())
                    .expect("room for a request");
                drop(stream);
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
        daemon.started("dependency", json!({}));
        let mut stream = TcpStream::connect(daemon.service).expect("a connection");
        stream
            .write_all(
                b"POST /api/v1/composite/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            )
            .expect("room for a request");
        drop(stream);
        eventually("the stop is carried out", || {
            (daemon.status("dependency")["running"] == false).then_some(())
        });
    }
}

// === What cannot start ===

#[test]
fn a_set_of_which_one_cannot_start_is_partial_and_says_why() {
    let daemon = Daemon::start_with(NO_DATA_DIR, &[]);
    let mut report = daemon.started_set(json!([{ "name": "disk_io" }, { "name": "dependency" }]));
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
                { "name": "dependency", "success": true },
            ],
        })
    );
    let session = daemon.session();
    assert_eq!(
        (&session["status"], names_of(&session)),
        (&json!("partial"), vec!["dependency"])
    );
    assert_eq!(daemon.status("disk_io")["running"], false);
}

#[test]
fn a_set_of_which_none_can_start_is_a_problem_with_details() {
    let daemon = Daemon::start_with(NO_DATA_DIR, &[]);
    let set = json!({ "scenarios": [{ "name": "disk_io" }] });
    let answer = daemon.post("/api/v1/composite/start", set.to_string());
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (500, "application/problem+json")
    );
    assert_eq!(answer.body["status"], 500);
    assert_eq!(answer.body["type"], "urn:mockserver:problem:start-failed");
    let detail = &answer.body["details"][0];
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
    let daemon = Daemon::start_with(NO_DATA_DIR, &[]);
    let before = daemon.started("dependency", json!({}));
    let answer = daemon.post("/api/v1/scenarios/disk_io/start", "");
    assert_eq!(answer.status, 500, "{answer:?}");
    let session = daemon.session();
    assert_eq!(session["session_id"], before["session_id"]);
    assert_eq!(names_of(&session), ["dependency"]);
}

#[test]
fn a_failed_start_does_not_lengthen_the_set_it_was_meant_for() {
    let daemon = Daemon::start_with(NO_DATA_DIR, &[]);
    daemon.started_set(json!([
        { "name": "disk_io", "duration": 3600 },
        { "name": "dependency", "duration": 0.3 },
    ]));
    eventually("the end of the set", || {
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
        client.join().expect("every answer is as it should be");
    }
    let session = daemon.session();
    let live: BTreeSet<&str> = names_of(&session).into_iter().collect();
    let list = daemon.admin_get("/api/v1/scenarios").body;
    let listed: BTreeSet<&str> = list["scenarios"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|row| row["running"] == true)
        .map(|row| row["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(live, listed);
}

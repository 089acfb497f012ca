//! The ledger: on disk, page by page, as a stream and as sessions.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Answer, Daemon, UNUSABLE_DATA_DIR, agent, assert_problem, connect_and_write, event_labels,
    events_on_disk, eventually, find_event, header_of, send, send_raw,
};

// === Reading ===

/// The events of one whole run of `memory_leaker`, the boot before it, and the report of its start.
fn whole_run(daemon: &Daemon) -> (Vec<Value>, Value) {
    let params = json!({ "target_mb": 40, "leak_rate_mb": 40, "duration": 600 });
    let report = daemon.start_scenario("memory_leaker", params);
    daemon.wait_for_event("target_reached");
    daemon.stop_scenario("memory_leaker");
    (daemon.events(), report)
}

#[test]
fn a_run_is_recorded_from_acceptance_to_clearance() {
    let daemon = Daemon::start();
    let (events, report) = whole_run(&daemon);
    let order = [
        "boot",
        "accepted memory_leaker",
        "started memory_leaker",
        "effective memory_leaker",
        "target_reached memory_leaker",
        "stopping memory_leaker",
        "cleared memory_leaker",
    ];
    assert_eq!(event_labels(&events), order);
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], i + 1);
        assert_eq!(event["boot_id"], events[0]["boot_id"]);
        let time = event["time"].as_str().unwrap();
        assert_eq!(
            (time.len(), &time[19..20], &time[26..]),
            (27, ".", "Z"),
            "{time} does not have six digits"
        );
    }
    for event in &events[1..] {
        assert_eq!(
            (&event["run_id"], &event["session_id"]),
            (&json!(2), &report["session_id"])
        );
    }
    let nanos = |event: &Value| event["monotonic_ns"].as_u64().unwrap();
    assert!(
        events
            .windows(2)
            .all(|pair| nanos(&pair[0]) < nanos(&pair[1]))
    );
}

#[test]
fn the_events_of_a_run_carry_its_parameters_and_its_measurements() {
    let daemon = Daemon::start();
    let (events, _) = whole_run(&daemon);
    let accepted = find_event(&events, "accepted");
    let by: SocketAddr = accepted["by"].as_str().unwrap().parse().unwrap();
    assert!(by.ip().is_loopback());
    assert_eq!(
        accepted["params"],
        json!({ "target_mb": 40, "leak_rate_mb": 40 })
    );
    assert_eq!(accepted["duration_s"], 600.0);
    let effective = find_event(&events, "effective");
    let figure = |key: &str| effective[key].as_f64().unwrap();
    // A leak is effective by what is asked at the moment, once that is more than noise.
    assert!(figure("achieved") >= figure("asked") / 2.0, "{effective}");
    assert!((1.0..20.0).contains(&figure("achieved")), "{effective}");
    assert_eq!(
        (&effective["target"], &effective["unit"]),
        (&json!(40.0), &json!("MiB"))
    );
    let reached = find_event(&events, "target_reached");
    let achieved = reached["achieved"].as_f64().unwrap();
    assert!((38.0..=40.0).contains(&achieved), "{reached}");
    let cleared = find_event(&events, "cleared");
    assert_eq!(
        (&cleared["achieved"], &cleared["reason"]),
        (&json!(0.0), &json!("stopped"))
    );
}

#[test]
fn events_are_the_same_on_both_listeners_and_as_lines() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    daemon.stop_all();
    assert_eq!(daemon.get("/api/v1/events").body, daemon.events_page(""));
    let accept = [("accept", "text/html, application/x-ndjson;q=0.5")];
    let lines = send(
        &agent(),
        "GET",
        daemon.service,
        "/api/v1/events",
        b"",
        &accept,
    );
    assert_eq!(header_of(&lines, "content-type"), "application/x-ndjson");
    let text = lines.into_body().read_to_string().unwrap();
    let parsed: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(parsed, daemon.events());
}

#[test]
fn pages_are_cut_as_asked_and_every_bad_value_is_reported() {
    let daemon = Daemon::start();
    daemon.start_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    daemon.stop_all();
    let whole = daemon.events_page("");
    assert_eq!((&whole["next"], &whole["gap"]), (&json!(9), &json!(false)));
    assert_eq!(
        (&whole["durable"], &whole["not_durable_because"]),
        (&json!(true), &Value::Null)
    );
    let second = daemon.events_page("since=1&limit=2");
    assert_eq!(second["next"], 3);
    assert_eq!(
        second["events"],
        json!(whole["events"].as_array().unwrap()[1..3])
    );
    let one = daemon.events_page("scenario=dependency");
    let expected =
        ["accepted", "started", "stopping", "cleared"].map(|k| format!("{k} dependency"));
    assert_eq!(event_labels(one["events"].as_array().unwrap()), expected);
    assert_eq!(one["next"], 9);
    assert_eq!(daemon.events_page("since=9")["events"], json!([]));

    let table = [
        ("since=-1&limit=0&scenario=x&unknown=1", 4),
        ("limit=10001", 1),
        ("since=abc", 1),
        ("since=1.5", 1),
        ("since=1&since=1", 1),
    ];
    for (query, bad) in table {
        for route in ["events", "events/stream"] {
            let answer = daemon.get(&format!("/api/v1/{route}?{query}"));
            assert_eq!(answer.status, 422, "{query}: {answer:?}");
            assert_eq!(answer.content_type, "application/problem+json");
            let errors = answer.body["errors"].as_array().unwrap().len();
            // A stream has no parameter `limit`, so that counts as one bad value there.
            assert_eq!(errors, bad, "{route}?{query}: {answer:?}");
        }
    }
    assert_eq!(daemon.get("/api/v1/sessions?format=xml").status, 422);
}

// === The stream ===

/// A client of the event stream.
struct Stream(BufReader<TcpStream>);

#[derive(Debug, PartialEq)]
struct StreamEvent {
    id: Option<u64>,
    event: String,
    data: Value,
}

impl Stream {
    fn open(to: SocketAddr, query: &str, last: Option<u64>) -> Self {
        // HTTP/1.0: the body is not chunked, and the connection ends with it.
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET /api/v1/events/stream?{query} HTTP/1.0\r\n{last}\r\n");
        let mut stream = Self(BufReader::new(connect_and_write(to, request.as_bytes())));
        let head: Vec<String> =
            std::iter::from_fn(|| stream.line().filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains(" 200 "), "{head:?}");
        assert!(
            head.iter()
                .any(|line| line == "content-type: text/event-stream"),
            "{head:?}"
        );
        stream
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; none when the stream has ended.
    fn next(&mut self) -> Option<StreamEvent> {
        let mut next = StreamEvent {
            id: None,
            event: "message".to_owned(),
            data: Value::Null,
        };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", id)) => next.id = id.parse().ok(),
                Some(("event", name)) => name.clone_into(&mut next.event),
                Some(("data", data)) => next.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() && !next.data.is_null() => return Some(next),
                // A comment: keep-alive.
                _ => {}
            }
        }
    }
}

#[test]
fn a_stream_delivers_events_live_and_resumes_after_the_last_one() {
    let daemon = Daemon::start();
    let mut live = Stream::open(daemon.admin, "", None);
    daemon.start_scenario("dependency", json!({}));
    let accepted = live.next().unwrap();
    assert_eq!(
        (accepted.id, &accepted.data["kind"]),
        (Some(2), &json!("accepted"))
    );
    assert_eq!(live.next().unwrap().data["kind"], "started");
    drop(live);
    daemon.start_scenario("health_check", json!({}));
    daemon.stop_all();

    let all = daemon.events();
    for (query, last, from) in [
        ("", Some(3), 3),
        ("since=0", Some(4), 4),
        ("since=0", None, 0),
    ] {
        let mut stream = Stream::open(daemon.service, query, last);
        for event in &all[from..] {
            let next = stream.next().unwrap();
            assert_eq!((next.id, &next.data), (event["seq"].as_u64(), event));
        }
    }
    let mut one = Stream::open(daemon.service, "since=0&scenario=health_check", None);
    assert_eq!(one.next().unwrap().data["scenario"], "health_check");
    let bad = "GET /api/v1/events/stream HTTP/1.0\r\nLast-Event-ID: x\r\n\r\n";
    assert!(send_raw(daemon.admin, bad.as_bytes()).contains(" 422 "));
}

#[test]
fn a_reader_of_another_ledger_gets_a_gap_and_then_this_ledger() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(daemon.admin, "", Some(1_000_000));
    let gap = stream.next().unwrap();
    assert_eq!((gap.event.as_str(), gap.id), ("gap", Some(0)));
    assert_eq!(
        gap.data,
        json!({ "since": 1_000_000, "continues_after": 0 })
    );
    assert_eq!(stream.next().unwrap().data["kind"], "boot");
}

#[test]
fn a_slow_reader_misses_nothing() {
    const STARTS: u64 = 700;
    let set = json!([
        { "name": "dependency" },
        { "name": "health_check" },
        { "name": "network_latency", "params": { "latency_ms": 1 } },
    ]);
    // An in-memory ledger makes the starts quick.
    let daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    let mut stream = Stream::open(daemon.admin, "since=0", None);
    for _ in 0..STARTS {
        let body = json!({ "scenarios": set }).to_string();
        let answer = daemon.admin_post("/api/v1/composite/start", body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // The boot; then two events of each start of a run, and two of each end but the last.
    let newest = 1 + 3 * (4 * STARTS - 2);
    for seq in 1..=newest {
        assert_eq!(stream.next().unwrap().id, Some(seq));
    }
}

#[test]
fn streams_end_with_the_daemon_after_its_last_events() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("memory_leaker", json!({ "target_mb": 1 }));
    let mut streams: Vec<Stream> = (0..20)
        .map(|i| Stream::open([daemon.admin, daemon.service][i % 2], "", None))
        .collect();
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    for stream in &mut streams {
        let last: Vec<Value> =
            std::iter::from_fn(|| stream.next().map(|event| event.data)).collect();
        let kinds = event_labels(&last);
        let end = [
            "stopping memory_leaker",
            "cleared memory_leaker",
            "shutdown",
        ];
        assert_eq!(kinds[kinds.len() - 3..], end);
    }
    assert_eq!(daemon.ended().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

// === Sessions ===

/// A session of two runs, of which one was stopped and one replaced, and a session that still runs.
fn two_sessions(daemon: &Daemon) -> [Value; 2] {
    let set = json!([
        { "name": "memory_leaker", "params": { "target_mb": 1, "leak_rate_mb": 100 } },
        { "name": "dependency", "duration": 600 },
    ]);
    let first = daemon.start_set(set)["session_id"].clone();
    daemon.wait_for_event("target_reached");
    daemon.stop_scenario("memory_leaker");
    let second = daemon.start_set(json!([{ "name": "health_check" }]))["session_id"].clone();
    [first, second]
}

#[test]
fn sessions_show_plan_and_measurement() {
    let daemon = Daemon::start();
    let ids = two_sessions(&daemon);
    let all = daemon.get("/api/v1/sessions").body["sessions"].clone();
    let listed = all.as_array().unwrap().iter().map(|s| &s["session_id"]);
    assert_eq!(listed.collect::<Vec<_>>(), [&ids[0], &ids[1]]);
    assert_eq!(
        (&all[0]["running"], &all[1]["running"]),
        (&json!(false), &json!(true))
    );
    let path = format!("/api/v1/sessions/{}", ids[0].as_str().unwrap());
    let session = daemon.get(&path).body;
    assert_eq!(session, all[0]);
    let (leak, dependency) = (&session["runs"][0], &session["runs"][1]);
    assert_eq!(
        (&leak["end"], &dependency["end"]),
        (&json!("stopped"), &json!("replaced"))
    );
    let measured = leak["measured"].as_array().unwrap();
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0]["to"], leak["ended_at"]);
    assert!(measured[0]["from"].as_str() >= leak["started_at"].as_str());
    assert_eq!(dependency["measured"], json!([]));
    // A set ends together: the longest duration is the plan of both.
    let planned = |run: &Value| run["planned"]["to"].as_str().map(|to| to[..16].to_owned());
    assert_eq!(planned(leak), planned(dependency));
    assert!(planned(leak).is_some());
}

#[test]
fn sessions_are_available_as_csv() {
    let daemon = Daemon::start();
    let [first, _] = two_sessions(&daemon);
    let path = format!("/api/v1/sessions/{}?format=csv", first.as_str().unwrap());
    let table = daemon.get(&path);
    assert!(table.content_type.starts_with("text/csv"), "{table:?}");
    let rows: Vec<&str> = table.body.as_str().unwrap().lines().collect();
    assert!(
        rows[0].starts_with("session_id,boot_id,run_id,scenario,"),
        "{rows:?}"
    );
    assert_eq!(rows.len(), 3, "{rows:?}");
    let whole = daemon.get("/api/v1/sessions?format=csv").body;
    assert_eq!(whole.as_str().unwrap().lines().count(), 4);
}

#[test]
fn an_unknown_session_is_a_404_problem() {
    let answer = Daemon::start().get("/api/v1/sessions/session-1");
    assert_problem(answer, 404, "unknown-session", "session-1");
}

// === Over the death of the process ===

#[test]
fn a_crash_is_on_disk_before_it_happens_and_the_next_boot_says_planned() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    // The crash may come before the answer.
    let crash = json!({ "crash_delay": 0, "exit_code": 7 }).to_string();
    let start = "/api/v1/scenarios/crash/start";
    drop(try_to("POST", daemon.admin, start, &crash));
    assert_eq!(daemon.ended().code(), Some(7));
    let events = events_on_disk(daemon.folder.path());
    let last = events.last().unwrap();
    assert_eq!(
        (&last["kind"], &last["exit_code"]),
        (&json!("exit_intent"), &json!(7))
    );
    let crash = ["accepted crash", "started crash", "exit_intent crash"];
    assert_eq!(event_labels(&events)[3..], crash);

    let next = daemon.start_again();
    assert_eq!(next.previous_end()["end"], "planned");
    let sessions = next.get("/api/v1/sessions").body["sessions"].clone();
    for run in sessions[0]["runs"].as_array().unwrap() {
        assert_eq!(
            (&run["end"], &run["ended_at"]),
            (&json!("exit"), &last["time"])
        );
    }
}

#[test]
fn a_boot_distinguishes_a_graceful_end_from_a_kill() {
    let mut daemon = Daemon::start();
    assert_eq!(daemon.previous_end()["end"], Value::Null);
    daemon.signal(Signal::TERM);
    daemon.ended();
    let mut daemon = daemon.start_again();
    assert_eq!(daemon.previous_end()["end"], "graceful");
    daemon.start_scenario("dependency", json!({}));
    daemon.signal(Signal::KILL);
    daemon.ended();
    let daemon = daemon.start_again();
    assert_eq!(daemon.previous_end()["end"], "unclean");
    let session = daemon.get("/api/v1/sessions").body["sessions"][0].clone();
    let run = &session["runs"][0];
    assert_eq!(
        (&run["end"], &run["ended_at"]),
        (&json!("unclean"), &Value::Null)
    );
    assert_eq!(run["ended_before"], daemon.wait_for_event("boot")["time"]);
    // No event is there twice, and none is missing.
    let seqs: Vec<u64> = daemon
        .events()
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_torn_last_line_is_cut_off_and_reported() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    daemon.signal(Signal::KILL);
    daemon.ended();
    let before = events_on_disk(daemon.folder.path());
    let file = daemon
        .folder
        .path()
        .join("data/ledger/events-00000000000000000001.jsonl");
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(b"{\"seq\":4,\"time\":\"20").unwrap();
    let daemon = daemon.start_again();
    let events = daemon.events();
    assert_eq!(events[..3], before);
    assert_eq!(
        (&events[3]["seq"], &events[3]["boot"]["healed_bytes"]),
        (&json!(4), &json!(19))
    );
}

#[test]
fn without_a_data_folder_the_ledger_is_in_memory_and_says_so() {
    let mut daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    daemon.start_scenario("dependency", json!({}));
    daemon.stop_all();
    let page = daemon.events_page("");
    assert_eq!(page["events"].as_array().unwrap().len(), 5);
    assert_eq!(page["durable"], false);
    let because = page["not_durable_because"].as_str().unwrap();
    assert!(because.contains("mockserver.yaml"), "{because}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_limit_on_file_size_stops_the_ledger_and_nothing_else() {
    let mut daemon = Daemon::builder()
        .wrapper(&["prlimit", "--fsize=4000"])
        .start();
    for _ in 0..10 {
        daemon.start_scenario("dependency", json!({}));
        assert_eq!(daemon.stop_all().status, 200);
    }
    let whole = daemon.events_page("");
    assert_eq!(whole["events"].as_array().unwrap().len(), 41);
    assert_eq!(whole["durable"], false);
    let because = whole["not_durable_because"].as_str().unwrap();
    assert!(because.contains("File too large"), "{because}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    // The disk has whole lines and perhaps a torn one, which the next boot cuts off.
    let next = daemon.start_again();
    let kept = next.events();
    let boot = kept.len() - 1;
    assert_eq!(kept[..boot], whole["events"].as_array().unwrap()[..boot]);
    assert_eq!(next.previous_end()["end"], "unclean");
}

#[test]
fn a_data_folder_that_is_removed_is_made_again_with_everything() {
    let mut daemon = Daemon::start();
    assert_eq!(daemon.events_page("")["durable"], true);
    std::fs::remove_dir_all(daemon.folder.path().join("data")).unwrap();
    daemon.start_scenario("dependency", json!({}));
    daemon.stop_all();
    let page = daemon.events_page("");
    assert_eq!(page["events"].as_array().unwrap().len(), 5);
    eventually("the ledger is on disk again", || {
        (daemon.events_page("")["durable"] == true).then_some(())
    });
    daemon.signal(Signal::KILL);
    daemon.ended();
    assert_eq!(events_on_disk(daemon.folder.path()).len(), 5);
}

#[test]
fn the_second_daemon_on_a_data_folder_keeps_its_ledger_in_memory() {
    let first = Daemon::start();
    let second = first.start_again();
    assert_eq!(first.events_page("")["durable"], true);
    let other = second.events_page("");
    assert_eq!(other["durable"], false);
    let because = other["not_durable_because"].as_str().unwrap();
    assert!(because.contains("another process"), "{because}");
}

// === kill -9 at random moments ===

/// What clients know from the answers that they got.
#[derive(Debug, Default)]
struct Witnessed {
    /// How many answers acknowledged an event, by boot, kind and scenario.
    acknowledged: HashMap<(String, &'static str, String), usize>,
    /// The events that were read, by number.
    read: BTreeMap<u64, Value>,
}

fn try_to(method: &str, to: SocketAddr, path: &str, body: &str) -> Option<Answer> {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://{to}{path}"))
        .body(body.to_owned())
        .unwrap();
    let response = agent().run(request).ok()?;
    let status = response.status();
    // An answer whose body is cut off does not count.
    let text = response.into_body().read_to_string().ok()?;
    let body = serde_json::from_str(&text).ok()?;
    Some(Answer {
        status: status.as_u16(),
        content_type: String::new(),
        body,
    })
}

/// Starts and stops until the daemon is gone, and records what was acknowledged.
fn start_and_stop(to: SocketAddr, boot: &str, seed: u64, witnessed: &Mutex<Witnessed>) {
    let names = [
        "dependency",
        "health_check",
        "network_latency",
        "memory_leaker",
    ];
    let memory = json!({ "target_mb": 1 });
    for i in seed.. {
        let name = names[i as usize % names.len()];
        let params = if name == "memory_leaker" {
            memory.clone()
        } else {
            json!({})
        };
        let (path, body) = match i % 5 {
            0 | 1 => (
                format!("/api/v1/scenarios/{name}/start"),
                params.to_string(),
            ),
            2 => {
                let pair =
                    json!([{ "name": name, "params": params }, { "name": "goroutine_leak" }]);
                (
                    "/api/v1/composite/start".to_owned(),
                    json!({ "scenarios": pair }).to_string(),
                )
            }
            3 => (format!("/api/v1/scenarios/{name}/stop"), String::new()),
            _ => ("/api/v1/composite/stop".to_owned(), String::new()),
        };
        let Some(answer) = try_to("POST", to, &path, &body) else {
            return;
        };
        // The other client may have called a start off: the answer does not list it then.
        let (event, list) = match path.ends_with("start") {
            true => ("started", &answer.body["scenarios"]),
            false => ("cleared", &answer.body["stopped"]),
        };
        let mut witnessed = witnessed.lock().unwrap();
        for name in list.as_array().into_iter().flatten() {
            let name = name.as_str().unwrap().to_owned();
            let key = (boot.to_owned(), event, name);
            *witnessed.acknowledged.entry(key).or_default() += 1;
        }
    }
}

/// Reads all events after the newest one that was read, until the daemon is gone.
fn read_on(to: SocketAddr, witnessed: &Mutex<Witnessed>) {
    let newest = |witnessed: &Witnessed| witnessed.read.last_key_value().map_or(0, |(seq, _)| *seq);
    let mut since = newest(&witnessed.lock().unwrap());
    while let Some(answer) = try_to("GET", to, &format!("/api/v1/events?since={since}"), "") {
        since = answer.body["next"].as_u64().unwrap();
        let events = answer.body["events"].as_array().unwrap();
        let numbered = events
            .iter()
            .map(|e| (e["seq"].as_u64().unwrap(), e.clone()));
        witnessed.lock().unwrap().read.extend(numbered);
    }
}

fn assert_nothing_is_lost(daemon: &Daemon, witnessed: &Witnessed) {
    let mut all: BTreeMap<u64, Value> = BTreeMap::new();
    for event in daemon.events() {
        let seq = event["seq"].as_u64().unwrap();
        let expected = all.last_key_value().map_or(seq, |(last, _)| last + 1);
        assert_eq!(seq, expected, "events are not consecutive");
        all.insert(seq, event);
    }
    let oldest = *all.first_key_value().unwrap().0;
    for (seq, event) in witnessed.read.range(oldest..) {
        assert_eq!(
            all.get(seq),
            Some(event),
            "event {seq} is not what was read before the kill"
        );
    }
    let mut kept: HashMap<(String, &str, String), usize> = HashMap::new();
    for event in all.values() {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        for kind in ["started", "cleared"] {
            if event["kind"] == kind {
                *kept
                    .entry((text("boot_id"), kind, text("scenario")))
                    .or_default() += 1;
            }
        }
    }
    // The boots whose events are all kept.
    let boots: Vec<&str> = all
        .values()
        .filter(|event| event["kind"] == "boot")
        .filter_map(|event| event["boot_id"].as_str())
        .collect();
    for (key, acknowledged) in &witnessed.acknowledged {
        let kept = kept.get(key).copied().unwrap_or_default();
        if boots.contains(&key.0.as_str()) {
            assert!(
                kept >= *acknowledged,
                "{key:?}: {acknowledged} acknowledged, {kept} kept"
            );
        }
    }
}

/// The number of rounds is in `KILL_ROUNDS`; 20 by default.
#[test]
fn whatever_was_acknowledged_survives_kill_9_at_any_moment() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(20, |text| text.parse().unwrap());
    let witnessed = Arc::new(Mutex::new(Witnessed::default()));
    let mut daemon = Daemon::start();
    for round in 0..rounds {
        let boot = daemon.wait_for_event("boot")["boot_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let to = daemon.admin;
        let mut clients = Vec::new();
        for seed in [round, round + 3] {
            let (witnessed, boot) = (Arc::clone(&witnessed), boot.clone());
            clients.push(thread::spawn(move || {
                start_and_stop(to, &boot, seed, &witnessed)
            }));
        }
        let reader = Arc::clone(&witnessed);
        clients.push(thread::spawn(move || read_on(to, &reader)));
        thread::sleep(Duration::from_micros(rand::random_range(0..200_000)));
        daemon.signal(Signal::KILL);
        daemon.ended();
        for client in clients {
            client.join().unwrap();
        }
        daemon = daemon.start_again();
        assert_nothing_is_lost(&daemon, &witnessed.lock().unwrap());
        assert!(
            ["unclean", "suspected_out_of_memory"]
                .contains(&daemon.previous_end()["end"].as_str().unwrap())
        );
    }
    let witnessed = witnessed.lock().unwrap();
    let acknowledged: usize = witnessed.acknowledged.values().sum();
    println!(
        "{rounds} kills: {acknowledged} starts and stops acknowledged, {} events read",
        witnessed.read.len()
    );
    assert!(
        acknowledged > rounds as usize,
        "only {acknowledged} starts and stops"
    );
}

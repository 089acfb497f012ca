use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Answer, Daemon, agent, eventually, header_of, send, send_raw, sent};

// === Reading ===

fn page(daemon: &Daemon, query: &str) -> Value {
    let answer = daemon.admin_get(&format!("/api/v1/events?{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// All that is kept, page by page.
fn events(daemon: &Daemon) -> Vec<Value> {
    let (mut all, mut since) = (Vec::new(), json!(0));
    loop {
        let mut page = page(daemon, &format!("since={since}&limit=10000"));
        let events = page["events"].as_array_mut().expect("a list");
        if events.is_empty() {
            return all;
        }
        all.append(events);
        since = page["next"].take();
    }
}

/// Each event as `kind scenario`.
fn names(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| {
        let kind = event["kind"].as_str().expect("a kind");
        match event["scenario"].as_str() {
            Some(scenario) => format!("{kind} {scenario}"),
            None => kind.to_owned(),
        }
    };
    events.iter().map(name).collect()
}

fn find<'e>(events: &'e [Value], kind: &str) -> &'e Value {
    let found = events.iter().find(|event| event["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {events:?}"))
}

/// Waits until the ledger tells of `kind`.
fn told(daemon: &Daemon, kind: &str) -> Value {
    eventually(kind, || {
        let events = events(daemon);
        events.into_iter().rev().find(|event| event["kind"] == kind)
    })
}

/// What the boot tells of the life before it.
fn last_end(daemon: &Daemon) -> Value {
    let events = events(daemon);
    let boot = events.iter().rev().find(|event| event["kind"] == "boot");
    boot.expect("a boot")["boot"]["previous"]["end"].clone()
}

/// The events in the files of a daemon that has ended.
fn on_disk(daemon: &Daemon) -> Vec<Value> {
    let folder = daemon.folder.path().join("data/ledger");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the ledger's folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    let texts = files
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a text"));
    let lines = texts.collect::<String>();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("whole lines"))
        .collect()
}

#[test]
fn a_run_is_told_from_its_acceptance_to_its_clearance_on_both_listeners() {
    let daemon = Daemon::start();
    let params = json!({ "target_mb": 40, "leak_rate_mb": 40, "duration": 600 });
    let report = daemon.started("memory_leaker", params);
    told(&daemon, "target_reached");
    daemon.stopped("memory_leaker");
    let events = events(&daemon);
    let order = [
        "boot",
        "accepted memory_leaker",
        "started memory_leaker",
        "effective memory_leaker",
        "target_reached memory_leaker",
        "stopping memory_leaker",
        "cleared memory_leaker",
    ];
    assert_eq!(names(&events), order);
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], i + 1);
        assert_eq!(event["boot_id"], events[0]["boot_id"]);
        let time = event["time"].as_str().expect("a time");
        assert_eq!(
            (time.len(), &time[19..20], &time[26..]),
            (27, ".", "Z"),
            "{time}"
        );
    }
    for event in &events[1..] {
        assert_eq!(
            (&event["run_id"], &event["session_id"]),
            (&json!(2), &report["session_id"])
        );
    }
    let nanos = |event: &Value| event["monotonic_ns"].as_u64().expect("nanoseconds");
    assert!(
        events
            .windows(2)
            .all(|pair| nanos(&pair[0]) < nanos(&pair[1]))
    );

    let accepted = find(&events, "accepted");
    let by: SocketAddr = accepted["by"]
        .as_str()
        .and_then(|by| by.parse().ok())
        .expect("a client");
    assert!(by.ip().is_loopback());
    assert_eq!(
        accepted["params"],
        json!({ "target_mb": 40, "leak_rate_mb": 40 })
    );
    assert_eq!(accepted["duration_s"], 600.0);
    let effective = find(&events, "effective");
    let half = effective["achieved"].as_f64().expect("megabytes");
    assert!((20.0..40.0).contains(&half), "{effective}");
    assert_eq!(
        (&effective["target"], &effective["unit"]),
        (&json!(40.0), &json!("MiB"))
    );
    let reached = find(&events, "target_reached")["achieved"]
        .as_f64()
        .expect("megabytes");
    assert!((38.0..=40.0).contains(&reached), "{reached}");
    let cleared = find(&events, "cleared");
    assert_eq!(
        (&cleared["achieved"], &cleared["reason"]),
        (&json!(0.0), &json!("stopped"))
    );

    // The same in the other forms and from the other listener.
    assert_eq!(daemon.get("/api/v1/events").body, page(&daemon, ""));
    let lines = send(
        &agent(),
        "GET",
        daemon.service,
        "/api/v1/events",
        b"",
        &[("accept", "text/html, application/x-ndjson;q=0.5")],
    );
    assert_eq!(header_of(&lines, "content-type"), "application/x-ndjson");
    let text = lines.into_body().read_to_string().expect("a text");
    let parsed: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(parsed, events);
}

#[test]
fn pages_are_cut_as_asked_and_bad_values_are_all_told() {
    let daemon = Daemon::start();
    daemon.started_set(json!([{ "name": "dependency" }, { "name": "health_check" }]));
    daemon.stop_all();
    let whole = page(&daemon, "");
    assert_eq!((&whole["next"], &whole["gap"]), (&json!(9), &json!(false)));
    assert_eq!(
        (&whole["durable"], &whole["not_durable_because"]),
        (&json!(true), &Value::Null)
    );
    let second = page(&daemon, "since=1&limit=2");
    assert_eq!(second["next"], 3);
    assert_eq!(
        second["events"],
        json!(whole["events"].as_array().expect("a list")[1..3])
    );
    let one = page(&daemon, "scenario=dependency");
    let expected =
        ["accepted", "started", "stopping", "cleared"].map(|k| format!("{k} dependency"));
    assert_eq!(names(one["events"].as_array().expect("a list")), expected);
    assert_eq!(one["next"], 9);
    assert_eq!(page(&daemon, "since=9")["events"], json!([]));

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
            let errors = answer.body["errors"].as_array().expect("a list").len();
            // A stream knows no limit at all, which is one bad value as well.
            assert_eq!(errors, bad, "{route}?{query}: {answer:?}");
        }
    }
    assert_eq!(daemon.get("/api/v1/sessions?format=xml").status, 422);
}

// === The stream ===

/// A client of the stream that reads what it asks for and no more.
struct Stream(BufReader<TcpStream>);

#[derive(Debug, PartialEq)]
struct Told {
    id: Option<u64>,
    event: String,
    data: Value,
}

impl Stream {
    fn open(to: SocketAddr, query: &str, last: Option<u64>) -> Self {
        // HTTP/1.0: the body is neither cut in chunks nor followed by another answer.
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET /api/v1/events/stream?{query} HTTP/1.0\r\n{last}\r\n");
        let mut stream = Self(BufReader::new(sent(to, request.as_bytes())));
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
        let read = self.0.read_line(&mut line).expect("in time");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; none when the stream has ended.
    fn next(&mut self) -> Option<Told> {
        let mut told = Told {
            id: None,
            event: "message".to_owned(),
            data: Value::Null,
        };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", id)) => told.id = id.parse().ok(),
                Some(("event", name)) => name.clone_into(&mut told.event),
                Some(("data", data)) => told.data = serde_json::from_str(data).expect("JSON"),
                _ if line.is_empty() && !told.data.is_null() => return Some(told),
                // A comment: the stream lives.
                _ => {}
            }
        }
    }
}

#[test]
fn a_stream_tells_what_happens_and_goes_on_where_it_was_left() {
    let daemon = Daemon::start();
    let mut live = Stream::open(daemon.admin, "", None);
    daemon.started("dependency", json!({}));
    let accepted = live.next().expect("an event");
    assert_eq!(
        (accepted.id, &accepted.data["kind"]),
        (Some(2), &json!("accepted"))
    );
    assert_eq!(live.next().expect("an event").data["kind"], "started");
    drop(live);
    daemon.started("health_check", json!({}));
    daemon.stop_all();

    let all = events(&daemon);
    for (query, last, from) in [
        ("", Some(3), 3),
        ("since=0", Some(4), 4),
        ("since=0", None, 0),
    ] {
        let mut stream = Stream::open(daemon.service, query, last);
        for event in &all[from..] {
            let told = stream.next().expect("an event");
            assert_eq!((told.id, &told.data), (event["seq"].as_u64(), event));
        }
    }
    let mut one = Stream::open(daemon.service, "since=0&scenario=health_check", None);
    assert_eq!(
        one.next().expect("an event").data["scenario"],
        "health_check"
    );
    let bad = "GET /api/v1/events/stream HTTP/1.0\r\nLast-Event-ID: x\r\n\r\n";
    assert!(send_raw(daemon.admin, bad.as_bytes()).contains(" 422 "));
}

#[test]
fn a_reader_of_another_ledger_is_told_of_the_gap_and_gets_this_life() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(daemon.admin, "", Some(1_000_000));
    let gap = stream.next().expect("an event");
    assert_eq!((gap.event.as_str(), gap.id), ("gap", Some(0)));
    assert_eq!(
        gap.data,
        json!({ "since": 1_000_000, "continues_after": 0 })
    );
    assert_eq!(stream.next().expect("an event").data["kind"], "boot");
}

#[test]
fn a_reader_that_does_not_read_for_long_misses_nothing() {
    const STARTS: u64 = 2_000;
    // In memory, so that the starts are quick.
    let daemon = Daemon::start_with("DataDir: mockserver.yaml\n", &[]);
    let mut stream = Stream::open(daemon.admin, "since=0", None);
    for _ in 0..STARTS {
        daemon.started("dependency", json!({}));
    }
    // The boot, and of each start: accepted, started, and the end of the one before it.
    let newest = 1 + 4 * STARTS - 2;
    for seq in 1..=newest {
        assert_eq!(stream.next().expect("an event").id, Some(seq));
    }
}

#[test]
fn streams_end_with_the_daemon_and_tell_its_last_events() {
    let mut daemon = Daemon::start();
    daemon.started("memory_leaker", json!({ "target_mb": 1 }));
    let mut streams: Vec<Stream> = (0..20)
        .map(|i| Stream::open([daemon.admin, daemon.service][i % 2], "", None))
        .collect();
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    for stream in &mut streams {
        let last: Vec<Value> = std::iter::from_fn(|| stream.next().map(|told| told.data)).collect();
        let kinds = names(&last);
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

#[test]
fn sessions_tell_plan_and_measurement_as_json_and_as_a_table() {
    let daemon = Daemon::start();
    let set = json!([
        { "name": "memory_leaker", "params": { "target_mb": 1, "leak_rate_mb": 100 } },
        { "name": "dependency", "duration": 600 },
    ]);
    let first = daemon.started_set(set)["session_id"].clone();
    told(&daemon, "target_reached");
    daemon.stopped("memory_leaker");
    let second = daemon.started_set(json!([{ "name": "health_check" }]))["session_id"].clone();

    let all = daemon.get("/api/v1/sessions").body["sessions"].clone();
    let ids: Vec<&Value> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| &s["session_id"])
        .collect();
    assert_eq!(ids, [&first, &second]);
    assert_eq!(
        (&all[0]["running"], &all[1]["running"]),
        (&json!(false), &json!(true))
    );
    let path = format!("/api/v1/sessions/{}", first.as_str().expect("an id"));
    let session = daemon.get(&path).body;
    assert_eq!(session, all[0]);
    let (leak, dependency) = (&session["runs"][0], &session["runs"][1]);
    assert_eq!(
        (&leak["end"], &dependency["end"]),
        (&json!("stopped"), &json!("replaced"))
    );
    let measured = leak["measured"].as_array().expect("a list");
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0]["to"], leak["ended_at"]);
    assert!(measured[0]["from"].as_str() >= leak["started_at"].as_str());
    assert_eq!(dependency["measured"], json!([]));
    // A set ends together: the longest duration is the plan of both.
    let planned = |run: &Value| run["planned"]["to"].as_str().map(|to| to[..16].to_owned());
    assert_eq!(planned(leak), planned(dependency));
    assert!(planned(leak).is_some());

    let table = daemon.get(&format!("{path}?format=csv"));
    assert!(table.content_type.starts_with("text/csv"), "{table:?}");
    let rows: Vec<&str> = table.body.as_str().expect("a text").lines().collect();
    assert!(
        rows[0].starts_with("session_id,boot_id,run_id,scenario,"),
        "{rows:?}"
    );
    assert_eq!(rows.len(), 3, "{rows:?}");
    let whole = daemon.get("/api/v1/sessions?format=csv").body;
    assert_eq!(whole.as_str().expect("a text").lines().count(), 4);

    let unknown = daemon.get("/api/v1/sessions/session-1");
    assert_eq!(
        (unknown.status, unknown.content_type.as_str()),
        (404, "application/problem+json")
    );
    assert_eq!(
        unknown.body["type"],
        "urn:mockserver:problem:unknown-session"
    );
}

// === Over the death of the process ===

#[test]
fn a_crash_is_on_disk_before_it_happens_and_the_next_boot_says_planned() {
    let mut daemon = Daemon::start();
    daemon.started("dependency", json!({}));
    // The answer may or may not come before the crash does.
    let crash = json!({ "crash_delay": 0, "exit_code": 7 }).to_string();
    let start = "/api/v1/scenarios/crash/start";
    drop(try_to("POST", daemon.admin, start, &crash));
    assert_eq!(daemon.ended().code(), Some(7));
    let events = on_disk(&daemon);
    let last = events.last().expect("events");
    assert_eq!(
        (&last["kind"], &last["exit_code"]),
        (&json!("exit_intent"), &json!(7))
    );
    let starts = ["accepted crash", "started crash", "exit_intent crash"];
    assert_eq!(names(&events)[3..], starts);

    let next = Daemon::start_in(Arc::clone(&daemon.folder), &[]);
    assert_eq!(last_end(&next), "planned");
    let sessions = next.get("/api/v1/sessions").body["sessions"].clone();
    for run in sessions[0]["runs"].as_array().expect("a list") {
        assert_eq!(
            (&run["end"], &run["ended_at"]),
            (&json!("exit"), &last["time"])
        );
    }
}

#[test]
fn a_boot_tells_a_graceful_end_from_a_kill() {
    let mut daemon = Daemon::start();
    assert_eq!(last_end(&daemon), Value::Null);
    daemon.signal(Signal::TERM);
    daemon.ended();
    let mut daemon = Daemon::start_in(Arc::clone(&daemon.folder), &[]);
    assert_eq!(last_end(&daemon), "graceful");
    daemon.started("dependency", json!({}));
    daemon.signal(Signal::KILL);
    daemon.ended();
    let daemon = Daemon::start_in(Arc::clone(&daemon.folder), &[]);
    assert_eq!(last_end(&daemon), "unclean");
    let session = daemon.get("/api/v1/sessions").body["sessions"][0].clone();
    let run = &session["runs"][0];
    assert_eq!(
        (&run["end"], &run["ended_at"]),
        (&json!("unclean"), &Value::Null)
    );
    assert_eq!(run["ended_before"], told(&daemon, "boot")["time"]);
    // Nobody has been told of it twice, and nothing has lost its number.
    let seqs: Vec<u64> = events(&daemon)
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_torn_last_line_is_cut_off_and_told() {
    let mut daemon = Daemon::start();
    daemon.started("dependency", json!({}));
    daemon.signal(Signal::KILL);
    daemon.ended();
    let before = on_disk(&daemon);
    let file = daemon
        .folder
        .path()
        .join("data/ledger/events-00000000000000000001.jsonl");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(file)
        .expect("the file");
    file.write_all(b"{\"seq\":4,\"time\":\"20").expect("room");
    let daemon = Daemon::start_in(Arc::clone(&daemon.folder), &[]);
    let events = events(&daemon);
    assert_eq!(events[..3], before);
    assert_eq!(
        (&events[3]["seq"], &events[3]["boot"]["healed_bytes"]),
        (&json!(4), &json!(19))
    );
}

#[test]
fn without_a_data_folder_it_lives_in_memory_says_so_and_everything_works() {
    let mut daemon = Daemon::start_with("DataDir: mockserver.yaml\n", &[]);
    daemon.started("dependency", json!({}));
    daemon.stop_all();
    let page = page(&daemon, "");
    assert_eq!(page["events"].as_array().expect("a list").len(), 5);
    assert_eq!(page["durable"], false);
    let because = page["not_durable_because"].as_str().expect("a reason");
    assert!(because.contains("mockserver.yaml"), "{because}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_file_that_may_not_grow_stops_the_ledger_and_nothing_else() {
    let mut daemon = Daemon::start_under(&["prlimit", "--fsize=4000"], "", &[]);
    for _ in 0..10 {
        daemon.started("dependency", json!({}));
        assert_eq!(daemon.stop_all().status, 200);
    }
    let whole = page(&daemon, "");
    assert_eq!(whole["events"].as_array().expect("a list").len(), 41);
    assert_eq!(whole["durable"], false);
    let because = whole["not_durable_because"].as_str().expect("a reason");
    assert!(because.contains("File too large"), "{because}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    // What is on disk is whole lines and perhaps a torn one, which the next boot cuts off.
    let next = Daemon::start_in(Arc::clone(&daemon.folder), &[]);
    let kept = events(&next);
    let boot = kept.len() - 1;
    assert_eq!(
        kept[..boot],
        whole["events"].as_array().expect("a list")[..boot]
    );
    assert_eq!(last_end(&next), "unclean");
}

#[test]
fn a_data_folder_that_is_removed_under_it_is_told_and_everything_works() {
    let daemon = Daemon::start();
    assert_eq!(page(&daemon, "")["durable"], true);
    std::fs::remove_dir_all(daemon.folder.path().join("data")).expect("it was there");
    daemon.started("dependency", json!({}));
    daemon.stop_all();
    let page = page(&daemon, "");
    assert_eq!(page["durable"], false, "{page}");
    assert_eq!(page["events"].as_array().expect("a list").len(), 5);
}

#[test]
fn two_daemons_with_one_data_folder_do_not_tear_each_others_lines() {
    let first = Daemon::start();
    let second = Daemon::start_in(Arc::clone(&first.folder), &[]);
    assert_eq!(page(&first, "")["durable"], true);
    let other = page(&second, "");
    assert_eq!(other["durable"], false);
    let because = other["not_durable_because"].as_str().expect("a reason");
    assert!(because.contains("another process"), "{because}");
}

// === kill -9 at random moments ===

/// What clients were told in one life of the daemon, and what they read.
#[derive(Debug, Default)]
struct Known {
    /// By boot, event and scenario: how many answers told of it.
    acknowledged: HashMap<(String, &'static str, String), usize>,
    /// By number.
    read: BTreeMap<u64, Value>,
}

fn try_to(method: &str, to: SocketAddr, path: &str, body: &str) -> Option<Answer> {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://{to}{path}"))
        .body(body.to_owned())
        .expect("a request");
    let response = agent().run(request).ok()?;
    let status = response.status();
    // A body that is cut off is no answer.
    let text = response.into_body().read_to_string().ok()?;
    let body = serde_json::from_str(&text).ok()?;
    Some(Answer {
        status: status.as_u16(),
        content_type: String::new(),
        body,
    })
}

/// Starts and stops until the daemon is gone, and notes what was answered.
fn start_and_stop(to: SocketAddr, boot: &str, seed: u64, known: &Mutex<Known>) {
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
        // A start may be called off by the other client; what was not done was not acknowledged.
        let (event, list) = match path.ends_with("start") {
            true => ("started", &answer.body["scenarios"]),
            false => ("cleared", &answer.body["stopped"]),
        };
        let mut known = known.lock().expect("no panic");
        for name in list.as_array().into_iter().flatten() {
            let name = name.as_str().expect("a name").to_owned();
            let key = (boot.to_owned(), event, name);
            *known.acknowledged.entry(key).or_default() += 1;
        }
    }
}

/// Reads on, from the first event that is not known, until the daemon is gone.
fn read_on(to: SocketAddr, known: &Mutex<Known>) {
    let newest = |known: &Known| known.read.last_key_value().map_or(0, |(seq, _)| *seq);
    let mut since = newest(&known.lock().expect("no panic"));
    while let Some(answer) = try_to("GET", to, &format!("/api/v1/events?since={since}"), "") {
        since = answer.body["next"].as_u64().expect("a number");
        let events = answer.body["events"].as_array().expect("a list");
        let numbered = events
            .iter()
            .map(|e| (e["seq"].as_u64().expect("a number"), e.clone()));
        known.lock().expect("no panic").read.extend(numbered);
    }
}

fn assert_all_is_there(daemon: &Daemon, known: &Known) {
    let mut all: BTreeMap<u64, Value> = BTreeMap::new();
    for event in events(daemon) {
        let seq = event["seq"].as_u64().expect("a number");
        let expected = all.last_key_value().map_or(seq, |(last, _)| last + 1);
        assert_eq!(seq, expected, "in order, each once");
        all.insert(seq, event);
    }
    let oldest = *all.first_key_value().expect("events").0;
    for (seq, event) in known.read.range(oldest..) {
        assert_eq!(all.get(seq), Some(event), "what was read is what is kept");
    }
    let mut there: HashMap<(String, &str, String), usize> = HashMap::new();
    for event in all.values() {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        for kind in ["started", "cleared"] {
            if event["kind"] == kind {
                *there
                    .entry((text("boot_id"), kind, text("scenario")))
                    .or_default() += 1;
            }
        }
    }
    // Lives that are kept from their boot on.
    let boots: Vec<&str> = all
        .values()
        .filter(|event| event["kind"] == "boot")
        .filter_map(|event| event["boot_id"].as_str())
        .collect();
    for (key, acknowledged) in &known.acknowledged {
        let kept = there.get(key).copied().unwrap_or_default();
        if boots.contains(&key.0.as_str()) {
            assert!(
                kept >= *acknowledged,
                "{key:?}: {acknowledged} told, {kept} kept"
            );
        }
    }
}

/// The number of rounds is in `KILL_ROUNDS`; 20 when it is not set.
#[test]
fn whatever_was_told_is_there_after_kill_9_at_any_moment() {
    let rounds = std::env::var("KILL_ROUNDS").map_or(20, |text| text.parse().expect("a number"));
    let known = Arc::new(Mutex::new(Known::default()));
    let mut daemon = Daemon::start();
    for round in 0..rounds {
        let boot = told(&daemon, "boot")["boot_id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let to = daemon.admin;
        let mut clients = Vec::new();
        for seed in [round, round + 3] {
            let (known, boot) = (Arc::clone(&known), boot.clone());
            clients.push(thread::spawn(move || {
                start_and_stop(to, &boot, seed, &known)
            }));
        }
        let reader = Arc::clone(&known);
        clients.push(thread::spawn(move || read_on(to, &reader)));
        thread::sleep(Duration::from_micros(rand::random_range(0..200_000)));
        daemon.signal(Signal::KILL);
        daemon.ended();
        for client in clients {
            client.join().expect("no panic");
        }
        daemon = Daemon::start_in(Arc::clone(&daemon.folder), &[]);
        assert_all_is_there(&daemon, &known.lock().expect("no panic"));
        assert!(
            ["unclean", "suspected_out_of_memory"]
                .contains(&last_end(&daemon).as_str().expect("told"))
        );
    }
    let known = known.lock().expect("no panic");
    let told: usize = known.acknowledged.values().sum();
    println!(
        "{rounds} kills: {told} starts and stops acknowledged, {} events read",
        known.read.len()
    );
    assert!(told > rounds as usize, "only {told} starts and stops");
}

//! Traffic: when its requests are sent, to what, and how they are counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::program::{run_in, stderr, with_file};
use crate::support::{Daemon, agent, eventually, free_port};

/// One quick route.
const WORK: &str = "Workload: {Routes: [{Path: '/work/{id}'}]}\n";

/// The series of a page of metrics, by their names and labels.
fn page(address: SocketAddr) -> BTreeMap<String, f64> {
    let url = format!("http://{address}/metrics");
    let mut answer = agent().get(url).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// What the traffic counts.
struct Counts(BTreeMap<String, f64>);

impl Counts {
    fn of(daemon: &Daemon) -> Self {
        Self(page(daemon.admin))
    }

    fn get(&self, name: &str) -> f64 {
        let name = format!("mockserver_traffic_{name}");
        self.0.get(&name).copied().unwrap_or(0.0)
    }

    fn ended(&self, status: &str) -> f64 {
        self.get(&format!("requests_total{{status=\"{status}\"}}"))
    }

    /// How many requests came to an end within `seconds` of when they were due.
    fn answered_within(&self, seconds: &str) -> f64 {
        self.get(&format!(
            "duration_seconds_bucket{{le=\"{seconds}\",since=\"due\",end=\"answered\"}}"
        ))
    }
}

fn wait_for(daemon: &Daemon, what: &str, is_met: impl Fn(&Counts) -> bool) -> Counts {
    eventually(what, || {
        Some(Counts::of(daemon)).filter(|counts| is_met(counts))
    })
}

/// Waits for `count` requests more and returns how many were due meanwhile, in what time.
fn due_in(daemon: &Daemon, count: f64) -> (f64, Duration) {
    let (start, before) = (Instant::now(), Counts::of(daemon).get("due_total"));
    let now = wait_for(daemon, "enough requests are due", |counts| {
        counts.get("due_total") >= before + count
    });
    (now.get("due_total") - before, start.elapsed())
}

/// The counters of a page are read one after the other, while requests come.
fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() <= 5.0, "{a} {b}");
}

/// Whether `count` is within four standard deviations of what a Poisson process has in `time`. The page was read at
/// some time in `time`, which makes no difference to speak of.
fn is_rate(per_second: f64, count: f64, time: Duration) -> bool {
    let mean = per_second * time.as_secs_f64();
    (count - mean).abs() < 4.0 * mean.sqrt() + per_second * 0.05
}

#[test]
fn requests_come_at_the_rate_and_each_is_answered() {
    let shape = "{steps: [[0, 200], [4, 0]]}";
    let daemon = Daemon::start_with(&format!("{WORK}Traffic: {{Shape: {shape}}}\n"), &[]);
    wait_for(&daemon, "traffic", |counts| counts.get("rate") == 200.0);
    let counts = wait_for(&daemon, "all are answered", |counts| {
        counts.get("rate") == 0.0 && counts.get("in_flight") == 0.0
    });
    let sent = counts.get("sent_total");
    assert!(is_rate(200.0, sent, Duration::from_secs(4)), "{sent}");
    for count in [
        "due_total",
        "requests_total{status=\"200\"}",
        "lag_seconds_count",
        "duration_seconds_count{since=\"due\",end=\"answered\"}",
        "duration_seconds_count{since=\"sent\",end=\"answered\"}",
    ] {
        assert_eq!(counts.get(count), sent, "{count}");
    }
    let cpu = counts.get("cpu_seconds_total");
    let of_process = counts.0["process_cpu_seconds_total"];
    assert!(cpu > 0.0 && cpu < of_process, "{cpu} of {of_process}");
    // The service itself counts them on its route.
    let served = page(daemon.service);
    let served = served
        .iter()
        .filter(|(series, _)| series.contains("_count") && series.contains("\"/work/{id}\""));
    assert_eq!(served.map(|(_, value)| value).sum::<f64>(), sent);
}

#[test]
fn a_slow_service_does_not_slow_its_clients() {
    let daemon = Daemon::start_with(&format!("{WORK}Traffic: {{Rps: 100}}\n"), &[]);
    wait_for(&daemon, "traffic", |counts| counts.ended("200") > 0.0);
    daemon.start_scenario("network_latency", json!({ "latency_ms": 1200 }));
    let before = Counts::of(&daemon);
    let (count, time) = due_in(&daemon, 300.0);
    assert!(is_rate(100.0, count, time), "{count} in {time:?}");
    let after = Counts::of(&daemon);
    // By Little's law 120 requests wait at a time.
    let in_flight = after.get("in_flight");
    assert!((70.0..170.0).contains(&in_flight), "{in_flight}");
    let unanswered = after.get("sent_total") - after.ended("200");
    assert_close(unanswered, in_flight);
    let late = |counts: &Counts| {
        counts.get("duration_seconds_count{since=\"due\",end=\"answered\"}")
            - counts.answered_within("1.0")
    };
    let late = late(&after) - late(&before);
    assert!(late > 100.0, "{late}");
    daemon.stop_all();
    wait_for(&daemon, "all are answered", |counts| {
        counts.get("in_flight") < 20.0
    });
}

#[test]
fn a_request_that_is_not_answered_in_time_has_failed() {
    let traffic = format!("{WORK}Traffic: {{Rps: 50, TimeoutMs: 100}}\n");
    let daemon = Daemon::start_with(&traffic, &[]);
    daemon.start_scenario("network_latency", json!({ "latency_ms": 5000 }));
    let counts = wait_for(&daemon, "time-outs", |counts| {
        counts.ended("timeout") >= 20.0
    });
    let failed = counts.get("duration_seconds_count{since=\"sent\",end=\"failed\"}");
    assert_close(failed, counts.ended("timeout"));
    let early = "duration_seconds_bucket{le=\"0.1\",since=\"sent\",end=\"failed\"}";
    assert_eq!(counts.get(early), 0.0);
}

#[test]
fn the_end_of_the_daemon_waits_for_no_client() {
    let traffic = format!("{WORK}Traffic: {{Rps: 300, TimeoutMs: 60000}}\n");
    let mut daemon = Daemon::start_with(&traffic, &[]);
    daemon.start_scenario("network_latency", json!({ "latency_ms": 60_000 }));
    wait_for(&daemon, "many requests wait", |counts| {
        counts.get("in_flight") > 300.0
    });
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn more_requests_in_flight_than_the_descriptors_allow_are_dropped_and_counted() {
    let traffic = format!("{WORK}Traffic: {{Rps: 200, TimeoutMs: 60000}}\n");
    let daemon = Daemon::builder()
        .wrapper(&["prlimit", "--nofile=100:100"])
        .file(&traffic)
        .start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 60_000 }));
    let counts = wait_for(&daemon, "requests are dropped", |counts| {
        counts.ended("dropped") > 100.0
    });
    let (sent, due) = (counts.get("sent_total"), counts.get("due_total"));
    assert_close(due, sent + counts.ended("dropped"));
    // The service listener still has a place for others.
    daemon.stop_all();
    assert_eq!(daemon.get("/health").status, 200);
}

#[test]
fn there_is_no_traffic_before_readiness_but_probes() {
    let not_ready = "Boot: {never_ready: true}\nTraffic: {Rps: 500, Probes: true}\n";
    let daemon = Daemon::start_with(&format!("{WORK}{not_ready}"), &[]);
    let probes = |counts: &Counts, path: &str, result: &str| {
        counts.get(&format!(
            "probes_total{{path=\"{path}\",result=\"{result}\"}}"
        ))
    };
    let counts = wait_for(&daemon, "both probes", |counts| {
        probes(counts, "/health", "success") > 0.0 && probes(counts, "/ready", "failure") > 0.0
    });
    assert_eq!(probes(&counts, "/ready", "success"), 0.0);
    assert_eq!(counts.get("due_total"), 0.0);
    assert_eq!(counts.get("rate"), 0.0);
}

/// A service in the test that answers each request as `answer` says; the heads of requests come out.
fn service(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heads = heads.clone();
            std::thread::spawn(move || serve(stream, answer, &heads));
        }
    });
    (address, seen)
}

/// Ends with the connection, or when the test has ended.
fn serve(mut stream: TcpStream, answer: &str, heads: &mpsc::Sender<String>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        buffer.extend_from_slice(&chunk[..n]);
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            heads.send(String::from_utf8(head).ok()?).ok()?;
            stream.write_all(answer.as_bytes()).ok()?;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn traffic_to(address: SocketAddr, more: &str) -> Daemon {
    let routes = "Routes: [{Path: '/a/{id}', Weight: 3}, {Path: /b, Method: POST}]";
    let yaml = format!("Traffic: {{Target: 'http://{address}', {routes}, {more}}}\n");
    Daemon::start_with(&yaml, &[])
}

#[test]
fn another_service_is_asked_as_ordinary_clients_do() {
    let (address, seen) = service(OK);
    let daemon = traffic_to(address, "Rps: 200, Seed: 7, Probes: true");
    let counts = wait_for(&daemon, "answers", |counts| counts.ended("200") >= 300.0);
    drop(daemon);
    let heads: Vec<String> = seen.try_iter().collect();
    let (probes, heads): (Vec<_>, Vec<_>) = heads
        .into_iter()
        .partition(|head| head.contains("kube-probe"));
    assert!(probes.iter().any(|head| head.starts_with("GET /health ")));
    assert!(probes.iter().any(|head| head.starts_with("GET /ready ")));
    assert!(heads.len() as f64 >= counts.ended("200"));
    let host = format!("host: {address}\r\n");
    for head in &heads {
        assert!(head.starts_with("GET /a/") || head.starts_with("POST /b "));
        assert!(head.to_lowercase().contains(&host), "{head}");
        for word in ["mockserver", "traffic", "hyper", "test"] {
            assert!(!head.to_lowercase().contains(word), "{head}");
        }
    }
    let with = |text: &str| heads.iter().filter(|head| head.contains(text)).count() as f64;
    let share = with("POST /b ") / heads.len() as f64;
    assert!((0.14..0.36).contains(&share), "{share}");
    assert!(with("Firefox") > 0.0 && with("okhttp") > 0.0);
}

#[test]
fn the_same_seed_asks_for_the_same_in_the_same_order() {
    let lines = |seed: u32| -> Vec<String> {
        let (address, seen) = service(OK);
        let _daemon = traffic_to(address, &format!("Rps: 50, Seed: {seed}"));
        let heads = std::iter::from_fn(|| seen.recv_timeout(Duration::from_secs(20)).ok());
        let lines = heads
            .take(40)
            .map(|head| head.lines().next().unwrap().to_owned());
        lines.collect()
    };
    let (first, again) = (lines(7), lines(7));
    // Two that are due at nearly the same time may arrive in any order.
    let same = first.iter().filter(|line| again.contains(line)).count();
    assert!(same >= 38, "{first:?} {again:?}");
    assert_ne!(first, lines(8));
}

#[test]
fn every_end_counts_by_its_status_or_its_reason() {
    let not_http = "nonsense\r\n\r\n";
    let failed = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let cut_off = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\nno";
    for (answer, status) in [(failed, "503"), (not_http, "_OTHER"), (cut_off, "timeout")] {
        let (address, _seen) = service(answer);
        let daemon = traffic_to(address, "Rps: 100, TimeoutMs: 200");
        let counts = wait_for(&daemon, status, |counts| counts.ended(status) >= 20.0);
        assert_eq!(counts.ended("200"), 0.0, "{status}");
    }
    let nothing: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let daemon = traffic_to(nothing, "Rps: 100");
    wait_for(&daemon, "refusals", |counts| {
        counts.ended("connection_refused") >= 20.0
    });
}

#[test]
fn only_the_admin_page_shows_the_traffic_and_only_where_there_is_any() {
    let names = |address: SocketAddr| -> Vec<String> {
        let series = page(address).into_keys();
        let names = series.filter(|name| !name.contains("/work"));
        names.collect()
    };
    let without = Daemon::start_with(WORK, &[]);
    let with = Daemon::start_with(&format!("{WORK}Traffic: {{Rps: 100}}\n"), &[]);
    wait_for(&with, "traffic", |counts| counts.ended("200") > 10.0);
    assert_eq!(names(with.service), names(without.service));
    let of_traffic = |address| {
        let mut names = names(address);
        names.retain(|name| name.starts_with("mockserver_traffic_"));
        names.len()
    };
    // As documented.
    assert_eq!((of_traffic(with.admin), of_traffic(without.admin)), (76, 0));
    // Nor does it cost a thread.
    let (more, less) = (with.process().threads(), without.process().threads());
    assert_eq!(more, less + 1);
}

#[test]
fn the_ledger_has_the_plan_and_the_seed_that_was_drawn() {
    let traffic = "Traffic: {Rps: 9, Shape: {sine: {low: 1, high: 5, period_s: 60}}}\n";
    let daemon = Daemon::start_with(&format!("{WORK}{traffic}"), &[]);
    let events = daemon.admin_get("/api/v1/events?limit=1000").body;
    let events = events["events"].as_array().unwrap();
    let boot = events.iter().find(|event| event["kind"] == "boot").unwrap();
    let facts = &boot["boot"]["traffic"];
    assert!(facts["Seed"].is_u64(), "{facts}");
    assert_eq!(facts["Shape"]["sine"]["high"], 5);
    assert_eq!(
        (&facts["Rps"], &facts["Target"]),
        (&Value::Null, &json!("self"))
    );
    let rate = Counts::of(&daemon).get("rate");
    assert!((1.0..=5.0).contains(&rate), "{rate}");
}

#[test]
fn variables_set_the_traffic_too() {
    let env = [
        (
            "MOCKSERVER_TRAFFIC_RPS",
            r#"{"constant": 100, "noise": 0.1}"#,
        ),
        ("MOCKSERVER_TRAFFIC_ROUTES", r#"[{"Path": "/version"}]"#),
    ];
    let daemon = Daemon::start_with("", &env);
    wait_for(&daemon, "answers", |counts| counts.ended("200") > 10.0);
}

#[test]
fn bad_traffic_is_refused_with_every_error() {
    for (traffic, expected) in [
        (
            "{Rps: 5}",
            "Traffic.Routes: is missing, and there is no Workload whose routes could be requested",
        ),
        (
            "{Rps: 20001, Routes: [{Path: /}]}",
            "Traffic.Rps: must be a number from 0 to 20000, not 20001",
        ),
        (
            "{Shape: {sine: {low: 5, high: 1, period_s: 60}}, Routes: [{Path: /}]}",
            "Traffic.Shape.sine.high: must not be below low",
        ),
        (
            "{Target: 'https://a', Routes: [{Path: /}]}",
            "Traffic.Target: must be self, or a URL of the form http://host:port, not \"https://a\"",
        ),
        (
            "{Target: 'http://a/path', Routes: [{Path: /}]}",
            "Traffic.Target: must be",
        ),
        (
            "{Target: 'http://u:p@a', Routes: [{Path: /}]}",
            "Traffic.Target: must be",
        ),
        (
            "{Routes: [{Path: x}]}",
            "Traffic.Routes.0.Path: must be a path that begins with /",
        ),
        (
            "{Routes: [{Path: /, Weight: 0}]}",
            "Traffic.Routes: must have a route with a Weight above 0",
        ),
        ("{Routs: []}", "did you mean \"Routes\"?"),
    ] {
        let folder = with_file(&format!("Traffic: {traffic}\n"));
        let output = run_in(&folder, &["--check", "-f", "a.yaml"], &[]);
        assert_eq!(output.status.code(), Some(64), "{traffic}");
        let said = stderr(&output);
        assert!(said.contains(expected), "{traffic}: {said}");
    }
    // Without requests there is nothing to ask for.
    let folder = with_file("Traffic: {Rps: 0, Probes: true}\n");
    let output = run_in(&folder, &["--check", "-f", "a.yaml"], &[]);
    assert_eq!(output.status.code(), Some(0));
}

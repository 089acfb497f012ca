//! Calls to pretended upstreams, and to small servers on loopback that are slow, close, or refuse.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::addresses::Addresses;
use super::spec::tests::read;
use super::*;
use crate::fault::table::{ArmedFault, StagedFault};
use crate::fault::{Action, Matcher, Reply, Surfaces};
use crate::sync::Lock;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the peer does with one request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Status(u16),
    /// Answers 200 and closes the connection without saying so.
    OkAndClose,
    /// Closes the connection instead of an answer.
    Close,
    /// Never answers.
    Silence,
}

/// A server on loopback that answers the n-th request, from 0, as `answer` says.
#[derive(Debug, Clone)]
struct Server {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    /// The heads of the requests.
    requests: Lock<Vec<String>>,
    /// How many connections have ended.
    ended: AtomicUsize,
}

impl Server {
    fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Seen::default());
        let (of_thread, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                of_thread.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&of_thread), Arc::clone(&answer));
                std::thread::spawn(move || {
                    serve(stream, &seen, &*answer);
                    seen.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, seen }
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().clone()
    }

    /// How many connections have ended.
    fn closed(&self) -> usize {
        self.seen.ended.load(Ordering::SeqCst)
    }

    /// Waits until this many connections have ended.
    async fn ended(&self, count: usize) {
        while self.closed() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn serve(stream: TcpStream, seen: &Seen, answer: &(dyn Fn(usize) -> Answer + Send + Sync)) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let number = {
            let mut requests = seen.requests.lock();
            requests.push(head);
            requests.len() - 1
        };
        let status = match answer(number) {
            Answer::Status(status) => status,
            Answer::OkAndClose => 200,
            Answer::Close => return,
            Answer::Silence => {
                // Until the client has gone.
                stream.read_line(&mut String::new()).ok();
                return;
            }
        };
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
        let sent = stream.get_mut().write_all(text.as_bytes());
        sent.expect("it is sent");
        if matches!(answer(number), Answer::OkAndClose) {
            return;
        }
    }
}

/// One call with all that it needs.
struct Bench {
    upstreams: Upstreams,
    table: FaultTable,
    calls: Calls,
    call: Call,
    trace: TraceContext,
    headers: HeaderMap,
}

/// A call to inventory, in whose time anything here is done.
fn spec_of(spec: Value) -> CallSpec {
    let mut given = json!({ "Name": "inventory", "TimeoutMs": 20_000 });
    let more = spec.as_object().expect("an object").clone();
    given.as_object_mut().expect("an object").extend(more);
    read(&given).expect("a good call")
}

impl Bench {
    fn new(spec: Value) -> Self {
        let spec = spec_of(spec);
        let calls = calls_of(false, [&spec]);
        let services = CallServices {
            table: FaultTable::default(),
            timer: FineTimer::start().expect("a thread"),
            calls: calls.clone(),
            traced: false,
            seed: 7,
        };
        let table = services.table.clone();
        let mut upstreams = Upstreams::new(services);
        Self {
            call: upstreams.call(&spec),
            upstreams,
            table,
            calls,
            trace: TraceContext::for_tests(),
            headers: HeaderMap::new(),
        }
    }

    /// Another call beside this one.
    fn also(&self, spec: Value) -> Self {
        let mut upstreams = Upstreams {
            services: Arc::clone(&self.upstreams.services),
            known: self.upstreams.known.clone(),
            made: self.upstreams.made,
        };
        Self {
            call: upstreams.call(&spec_of(spec)),
            upstreams,
            table: self.table.clone(),
            calls: self.calls.clone(),
            trace: self.trace.clone(),
            headers: HeaderMap::new(),
        }
    }

    fn to(server: &Server, mut spec: Value) -> Self {
        spec["Url"] = format!("http://127.0.0.1:{}/stock/{{id}}", server.port).into();
        Self::new(spec)
    }

    async fn send(&self) -> Result<(), String> {
        let incoming = Incoming {
            method: &Method::GET,
            path: "/orders/7",
            headers: &self.headers,
            params: &[("id", "7")],
            trace: &self.trace,
            call_due: Instant::now(),
        };
        let sent = tokio::time::timeout(PATIENCE, self.call.send(&incoming));
        let sent = sent.await.expect("it ends");
        sent.map_err(|failed| failed.to_string())
    }

    fn arm(&self, matcher: Matcher, action: Action) -> CancellationToken {
        let stop = CancellationToken::new();
        let fault = StagedFault::new(matcher, move |_, _| action.clone());
        self.table
            .store(vec![Arc::new(ArmedFault::new(fault, stop.clone()))]);
        stop
    }

    /// The value of the sample `name`, labels included.
    fn sample(&self, name: &str) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.calls.for_tests()));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it is written");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .trim()
            .to_owned()
    }

    /// How many calls have ended so.
    fn ended(&self, label: &str, value: &str) -> String {
        let name = "http_client_request_duration_seconds_count";
        self.sample(&format!(
            "{name}{{server_address=\"inventory\",http_request_method=\"GET\",{label}=\"{value}\"}}"
        ))
    }

    fn connections(&self, state: &str) -> String {
        self.sample(&format!(
            "db_client_connections_usage{{pool_name=\"inventory\",state=\"{state}\"}}"
        ))
    }

    fn pending(&self) -> String {
        self.sample("db_client_connections_pending_requests{pool_name=\"inventory\"}")
    }
}

const STATUS: &str = "http_response_status_code";

fn calls_to_inventory() -> Matcher {
    Matcher::on(Surfaces::DEPENDENCY_CALLS).calling(Some("inventory".to_owned()))
}

fn error(status: u16) -> Action {
    let status = StatusCode::from_u16(status).expect("a status");
    Action::Reply(Reply::json(status, json!({})))
}

#[tokio::test]
async fn a_pretended_call_takes_its_time_and_counts() {
    let bench = Bench::new(json!({ "Latency": { "p50_ms": 30 } }));
    let start = Instant::now();
    assert_eq!(bench.send().await, Ok(()));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(bench.ended(STATUS, "200"), "1");
    assert_eq!(bench.ended("error_type", "timeout"), "0");
}

#[tokio::test]
async fn a_pretended_call_fails_in_its_share_and_is_tried_again() {
    let bench = Bench::new(json!({ "ErrorShare": 1, "Retries": 2 }));
    let failed = Err("upstream inventory answered 500, attempt 3 of 3".to_owned());
    assert_eq!(bench.send().await, failed);
    assert_eq!(bench.ended(STATUS, "500"), "3");
    let bench = Bench::new(json!({ "ErrorShare": 0.5 }));
    for _ in 0..1000 {
        bench.send().await.ok();
    }
    let good: f64 = bench.ended(STATUS, "200").parse().expect("a number");
    // The 99.9 % interval of a binomial count with p = 0.5 and n = 1000.
    assert!((good - 500.0).abs() < 3.29 * 15.9, "{good}");
}

#[tokio::test]
async fn a_call_that_takes_too_long_times_out() {
    let bench = Bench::new(json!({ "TimeoutMs": 20, "Retries": 1, "Latency": { "p50_ms": 9000 } }));
    let failed = Err("upstream inventory timed out after 20 ms, attempt 2 of 2".to_owned());
    assert_eq!(bench.send().await, failed);
    assert_eq!(bench.ended("error_type", "timeout"), "2");
}

#[tokio::test]
async fn a_full_pool_lets_calls_wait_and_time_out() {
    let spec = json!({ "Pool": 1, "Latency": { "p50_ms": 9000 } });
    let bench = Bench::new(spec);
    assert_eq!(bench.connections("idle"), "1.0");
    // Another call to the same upstream has the same pool.
    let hasty = bench.also(json!({ "Pool": 1, "TimeoutMs": 30 }));
    let (send, reason) = (bench.send(), hasty.send());
    let reason = tokio::select! {
        biased;
        sent = send => panic!("it lasts: {sent:?}"),
        reason = reason => reason,
        () = std::future::poll_fn(|_| {
            assert_eq!((bench.pending(), bench.connections("used")), ("1.0".into(), "1.0".into()));
            assert_eq!(bench.connections("idle"), "0.0");
            std::task::Poll::Pending
        }) => unreachable!(),
    };
    let none = "upstream inventory had no free connection for 30 ms".to_owned();
    assert_eq!(reason, Err(none));
    let after = (bench.pending(), bench.connections("used"));
    assert_eq!(after, ("0.0".into(), "0.0".into()));
    let name = "db_client_connections_timeouts_total{pool_name=\"inventory\"}";
    assert_eq!(bench.sample(name), "1.0");
    assert_eq!(hasty.send().await, Ok(()));
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_place_back() {
    let bench = Bench::new(json!({ "Pool": 1, "Latency": { "p50_ms": 9000 } }));
    for _ in 0..3 {
        let dropped = tokio::time::timeout(Duration::from_millis(5), bench.send()).await;
        assert!(dropped.is_err());
    }
    assert_eq!(
        (bench.pending(), bench.connections("used")),
        ("0.0".into(), "0.0".into())
    );
    assert_eq!(bench.connections("idle"), "1.0");
    // This side gave up, which says nothing about the upstream.
    assert_eq!(bench.ended(STATUS, "200"), "0");
}

#[tokio::test]
async fn real_calls_use_one_connection_again_and_carry_the_trace() {
    let server = Server::start(|_| Answer::Status(200));
    let bench = Bench::to(&server, json!({ "Pool": 3 }));
    for _ in 0..3 {
        assert_eq!(bench.send().await, Ok(()));
    }
    assert_eq!(server.connections(), 1);
    let requests = server.requests();
    let trace = format!("traceparent: 00-{}-", bench.trace.trace_id());
    for request in &requests {
        assert!(
            request.starts_with("GET /stock/7 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains(&trace), "{request}");
        let host = format!("host: 127.0.0.1:{}\r\n", server.port);
        assert!(request.contains(&host), "{request}");
    }
    assert_ne!(
        requests[0], requests[1],
        "each attempt has a span of its own"
    );
    assert_eq!(bench.ended(STATUS, "200"), "3");
    assert_eq!(
        (bench.connections("idle"), bench.connections("used")),
        ("1.0".into(), "0.0".into())
    );
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_meanwhile_is_replaced_without_a_failure() {
    let server = Server::start(|_| Answer::OkAndClose);
    let bench = Bench::to(&server, json!({ "Pool": 3 }));
    for n in 1..=3 {
        assert_eq!(bench.send().await, Ok(()));
        server.ended(n).await;
    }
    assert_eq!(server.connections(), 3);
    // The end of a kept connection may be seen with the next request only.
    let server = Server::start(|n| match n % 2 {
        0 => Answer::Status(200),
        _ => Answer::Close,
    });
    let bench = Bench::to(&server, json!({}));
    for _ in 0..4 {
        assert_eq!(bench.send().await, Ok(()));
    }
    assert_eq!(bench.ended(STATUS, "200"), "4");
    assert_eq!(bench.ended("error_type", "connection_reset"), "0");
}

#[tokio::test]
async fn each_way_to_fail_has_its_words_and_its_series() {
    let failed = |reason: &str| Err(format!("upstream inventory {reason}"));
    let closing = Server::start(|_| Answer::Close);
    let bench = Bench::to(&closing, json!({}));
    let reason = "closed the connection before it answered";
    assert_eq!(bench.send().await, failed(reason));
    assert_eq!(bench.ended("error_type", "connection_reset"), "1");

    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let bench = Bench::new(json!({ "Url": format!("http://127.0.0.1:{port}/") }));
    assert_eq!(bench.send().await, failed("refused the connection"));
    assert_eq!(bench.ended("error_type", "connection_refused"), "1");

    // Longer than a name may be, so that no resolver is asked.
    let url = format!("http://{}/", "a".repeat(64));
    let bench = Bench::new(json!({ "Url": url }));
    let failure = bench.send().await.expect_err("it has no address");
    assert!(
        failure.starts_with("upstream inventory could not be found: "),
        "{failure}"
    );
    assert_eq!(bench.ended("error_type", "_OTHER"), "1");

    let silent = Server::start(|_| Answer::Silence);
    let bench = Bench::to(&silent, json!({ "TimeoutMs": 30 }));
    assert_eq!(bench.send().await, failed("timed out after 30 ms"));
    assert_eq!(bench.ended("error_type", "timeout"), "1");
    // The connection does not outlive the call.
    silent.ended(1).await;

    let refusing = Server::start(|_| Answer::Status(404));
    let bench = Bench::to(&refusing, json!({ "Retries": 3 }));
    // The request is wrong, so another attempt does not help.
    assert_eq!(bench.send().await, failed("answered 404, attempt 1 of 4"));
    assert_eq!(refusing.requests().len(), 1);
}

#[tokio::test]
async fn an_attempt_that_fails_is_followed_by_another() {
    let server = Server::start(|n| match n {
        0 => Answer::Status(503),
        1 => Answer::Close,
        _ => Answer::Status(200),
    });
    let bench = Bench::to(&server, json!({ "Retries": 2, "Method": "GET" }));
    assert_eq!(bench.send().await, Ok(()));
    assert_eq!(bench.ended(STATUS, "503"), "1");
    assert_eq!(bench.ended(STATUS, "200"), "1");
}

#[tokio::test]
async fn a_fault_acts_on_calls_to_its_upstream_alone() {
    let server = Server::start(|_| Answer::Status(200));
    for bench in [Bench::to(&server, json!({})), Bench::new(json!({}))] {
        let other = Matcher::on(Surfaces::DEPENDENCY_CALLS).calling(Some("orders".to_owned()));
        bench.arm(other, error(500));
        assert_eq!(bench.send().await, Ok(()));
        bench.arm(calls_to_inventory(), error(500));
        let failed = "upstream inventory answered 500".to_owned();
        assert_eq!(bench.send().await, Err(failed));
        bench.arm(
            calls_to_inventory(),
            Action::Delay(Duration::from_millis(40)),
        );
        let start = Instant::now();
        assert_eq!(bench.send().await, Ok(()));
        assert!(start.elapsed() >= Duration::from_millis(40));
    }
    // The one that a fault answered was not sent.
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_delay_of_a_fault_runs_into_the_time_out_of_the_call() {
    let bench = Bench::new(json!({ "TimeoutMs": 30, "Retries": 1 }));
    bench.arm(calls_to_inventory(), Action::Delay(PATIENCE));
    let failed = "upstream inventory timed out after 30 ms, attempt 2 of 2".to_owned();
    assert_eq!(bench.send().await, Err(failed));
}

/// A request to whichever server.
fn bare() -> connections::Bare {
    let body = http_body_util::Empty::new();
    http::Request::get("/").body(body).expect("a good request")
}

#[tokio::test]
async fn a_name_with_several_addresses_spreads_the_calls_over_them() {
    let servers = [0, 1].map(|_| Server::start(|_| Answer::Status(200)));
    let ports = servers.each_ref().map(|server| server.port);
    let connections = Connections::to(Addresses::of_ports(&ports), None);
    for _ in 0..60 {
        let status = connections.send("not looked up", bare).await;
        assert_eq!(status, Ok(StatusCode::OK));
    }
    for server in servers {
        // With two even chances, fewer come in one run of ten million.
        assert!(server.requests().len() >= 10, "{server:?}");
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_pool_has_no_more_connections_than_it_may_with_several_addresses() {
    let servers = [0, 1].map(|_| Server::start(|_| Answer::Status(200)));
    let ports = servers.each_ref().map(|server| server.port);
    let calls = calls_of(false, [&spec_of(json!({ "Pool": 1 }))]);
    let meter = calls.pool("inventory").expect("it has a pool");
    let pool = Pool::new(Some((1, meter.clone())), false);
    let connections = Connections::to(Addresses::of_ports(&ports), Some(meter));
    for _ in 0..20 {
        let _place = pool.place().await;
        let status = connections.send("not looked up", bare).await;
        assert_eq!(status, Ok(StatusCode::OK));
    }
    let opened: usize = servers.iter().map(Server::connections).sum();
    // All but one have been closed.
    while servers.iter().map(Server::closed).sum::<usize>() < opened - 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_address_that_refuses_is_left_out() {
    let server = Server::start(|_| Answer::Status(200));
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let refuses = closed.local_addr().expect("an address").port();
    drop(closed);
    let connections = Connections::to(Addresses::of_ports(&[refuses, server.port]), None);
    for _ in 0..20 {
        let status = connections.send("not looked up", bare).await;
        assert_eq!(status, Ok(StatusCode::OK));
    }
    assert_eq!(server.requests().len(), 20);
    let none = Connections::to(Addresses::of_ports(&[refuses]), None);
    let failed = none.send("not looked up", bare).await;
    assert_eq!(failed, Err(failure::Failure::Refused));
}

//! Spans of requests, as a collector gets them over OTLP, or does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mockserver::scenarios;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::support::{Daemon, PATIENCE, agent, free_port, send};

/// The trace of a caller and its span, for a `traceparent` header.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// The name in `/proc` of the thread that exports spans.
const THREAD: &str = "OpenTelemetry.T";

/// What the collector does with a batch.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Behaviour {
    Accepts,
    /// Answers 503 once, then accepts.
    RefusesFirst,
    /// Accepts the connection and never answers.
    IsSilent,
}

pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    batches: Receiver<Vec<u8>>,
    /// The batches so far.
    all: Vec<ExportTraceServiceRequest>,
}

impl Collector {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, batches) = mpsc::channel();
        std::thread::spawn(move || {
            let mut refuses = behaviour == Behaviour::RefusesFirst;
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if behaviour == Behaviour::IsSilent {
                    silent.push(stream);
                    // An empty batch reports the connection.
                    sender.send(Vec::new()).ok();
                    continue;
                }
                let batch = batch_of(&mut stream);
                let answer = if refuses { "503 Later" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                if !std::mem::take(&mut refuses) && sender.send(batch).is_err() {
                    break;
                }
            }
        });
        Self {
            address,
            batches,
            all: Vec::new(),
        }
    }

    /// A daemon that exports its spans here every 20 ms.
    fn daemon(&self, yaml: &str) -> Daemon {
        traced(self.address, yaml, "20")
    }

    /// Waits for the first `count` spans.
    fn spans(&mut self, count: usize) -> Vec<Span> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let spans = self.so_far();
            if spans.len() >= count {
                return spans;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            let batch = self.batches.recv_timeout(left);
            let batch =
                batch.unwrap_or_else(|_| panic!("fewer than {count} spans arrived: {spans:?}"));
            self.keep(&batch);
        }
    }

    /// All spans, once the daemon has ended.
    fn at_the_end(&mut self) -> Vec<Span> {
        while let Ok(batch) = self.batches.try_recv() {
            self.keep(&batch);
        }
        self.so_far()
    }

    /// All that has come so far, in words.
    pub(crate) fn everything(&mut self) -> String {
        self.at_the_end();
        format!("{:?}", self.all)
    }

    fn keep(&mut self, batch: &[u8]) {
        let batch = ExportTraceServiceRequest::decode(batch);
        self.all.push(batch.expect("OTLP in protobuf"));
    }

    fn so_far(&self) -> Vec<Span> {
        let of_resources = self.all.iter().flat_map(|batch| &batch.resource_spans);
        let of_scopes = of_resources.flat_map(|resource| &resource.scope_spans);
        of_scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The spans so far, each with the name of its service.
    fn by_service(&self) -> Vec<(String, Span)> {
        let of_resources = self.all.iter().flat_map(|batch| &batch.resource_spans);
        let spans = of_resources.flat_map(|resource| {
            let attributes = &resource.resource.as_ref().expect("a resource").attributes;
            let service = plain(attributes)["service.name"]
                .as_str()
                .map(str::to_owned);
            let service = service.expect("a text");
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| (service.clone(), span.clone()))
        });
        spans.collect()
    }

    fn resource(&self) -> Map<String, Value> {
        let resource = self.all[0].resource_spans[0].resource.as_ref();
        plain(&resource.unwrap().attributes)
    }
}

/// The body of the only request of a connection.
fn batch_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut is_protobuf, mut first) = (0, false, String::new());
    reader.read_line(&mut first).unwrap();
    assert_eq!(first, "POST /v1/traces HTTP/1.1\r\n");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("content-type", value)) => is_protobuf = value == "application/x-protobuf",
            Some(_) => {}
            None => break,
        }
    }
    assert!(is_protobuf);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    body
}

/// Attributes as JSON.
fn plain(attributes: &[KeyValue]) -> Map<String, Value> {
    let value = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        other => panic!("{other:?}"),
    };
    let members = attributes.iter().map(|a| (a.key.clone(), value(&a.value)));
    members.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_error(span: &Span) -> bool {
    let status = span.status.as_ref().map(|status| status.code());
    status == Some(StatusCode::Error)
}

/// A daemon that exports its spans to `collector` every `every_ms` milliseconds and queues 64 at most.
fn traced(collector: SocketAddr, yaml: &str, every_ms: &str) -> Daemon {
    let env = [
        ("MOCKSERVER_OTEL_ENDPOINT", &*format!("http://{collector}")),
        ("OTEL_BSP_SCHEDULE_DELAY", every_ms),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64"),
    ];
    Daemon::builder().file(yaml).envs(&env).start()
}

fn get_within(daemon: &Daemon, path: &str, traceparent: &str) {
    let headers = [("traceparent", traceparent)];
    let answer = send(&agent(), "GET", daemon.service, path, b"", &headers);
    assert_eq!(answer.status(), 200);
}

/// Whether the thread that exports spans is there.
fn has_export_thread(daemon: &Daemon) -> bool {
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("the process is alive");
    let names = tasks
        .flatten()
        .map(|t| std::fs::read_to_string(t.path().join("comm")));
    names.flatten().any(|name| name.trim() == THREAD)
}

/// Ends the daemon by SIGTERM and returns how long that took.
fn end(daemon: &mut Daemon) -> Duration {
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    start.elapsed()
}

#[test]
fn a_span_describes_a_request_and_is_a_child_of_the_callers() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let daemon = collector.daemon("Name: checkout\nVersion: 2.0.0-canary\n");
    get_within(
        &daemon,
        "/healthz?deep=1",
        &format!("00-{TRACE}-{CALLER}-01"),
    );
    let span = collector.spans(1).remove(0);
    assert_eq!(span.name, "GET /healthz");
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), CALLER);
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    assert!(!is_error(&span));
    let attributes = json!({
        "http.request.method": "GET",
        "http.route": "/healthz",
        "url.path": "/healthz",
        "url.query": "deep=1",
        "url.scheme": "http",
        "http.response.status_code": 200,
    });
    assert_eq!(Value::Object(plain(&span.attributes)), attributes);
    let resource = collector.resource();
    assert_eq!(resource["service.name"], "checkout");
    assert_eq!(resource["service.version"], "2.0.0-canary");

    // Without a valid caller's span, a trace begins here.
    daemon.get("/ready");
    get_within(&daemon, "/ready", "00-zz-zz-01");
    let spans = collector.spans(3);
    for span in &spans[1..] {
        assert_eq!(span.name, "GET /ready");
        assert!(span.parent_span_id.is_empty());
        assert_ne!(hex(&span.trace_id), TRACE);
    }
    assert_ne!(spans[1].trace_id, spans[2].trace_id);
}

#[test]
fn the_call_to_the_dependency_is_a_child_span_and_both_fail_with_it() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let daemon = collector.daemon("");
    assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    assert_eq!(daemon.get("/api/v1/mock-service").status, 500);
    daemon.start_scenario("health_check", json!({ "probes": ["ready"] }));
    assert_eq!(daemon.get("/ready").status, 503);
    // A span is exported when it ends: the call comes first.
    let spans = collector.spans(5);
    let [good_call, good, bad_call, bad, ready] = &spans[..] else {
        panic!("{spans:?}");
    };
    for (call, request, status) in [(good_call, good, 200), (bad_call, bad, 500)] {
        assert_eq!(
            (call.kind(), request.kind()),
            (SpanKind::Client, SpanKind::Server)
        );
        assert_eq!(call.parent_span_id, request.span_id);
        assert_eq!(call.trace_id, request.trace_id);
        assert_eq!(plain(&call.attributes)["server.address"], "inventory");
        for span in [call, request] {
            let attributes = plain(&span.attributes);
            assert_eq!(attributes["http.response.status_code"], status);
            assert_eq!(is_error(span), status == 500);
            assert_eq!(
                attributes.get("error.type"),
                (status == 500).then(|| json!("500")).as_ref()
            );
        }
    }
    assert!(is_error(ready));
    assert_eq!(plain(&ready.attributes)["error.type"], "503");
}

#[test]
fn a_request_whose_caller_does_not_record_is_not_recorded() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let mut daemon = collector.daemon("");
    get_within(&daemon, "/health", &format!("00-{TRACE}-{CALLER}-00"));
    end(&mut daemon);
    assert_eq!(collector.at_the_end(), []);
}

#[test]
fn a_delay_is_in_the_span_and_no_span_names_a_fault() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let mut daemon = collector.daemon("Log: {Level: debug}\n");
    daemon.start_scenario("network_latency", json!({ "latency_ms": 250 }));
    daemon.get("/api/v1/test/sleep10ms");
    let names: Vec<&str> = scenarios::ALL.iter().map(|plugin| plugin.name()).collect();
    for name in &names {
        daemon.get(&format!("/api/v1/scenarios/{name}"));
        daemon.post(&format!("/api/v1/scenarios/{name}/stop"), "");
        daemon.get(&format!("/api/v1/events?scenario={name}"));
        daemon.get(&format!("/{name}"));
    }
    daemon.admin_get("/health");
    daemon.get("/metrics");
    end(&mut daemon);
    let spans = collector.at_the_end();
    let [span] = &spans[..] else {
        panic!("more than the one service route was traced: {spans:?}");
    };
    let took = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
    assert!(took >= Duration::from_millis(260), "{took:?}");
    let exported = format!("{:?}", collector.all);
    for word in names
        .into_iter()
        .chain(["fault", "scenario", "session", "src/"])
    {
        assert!(!exported.contains(word), "{word} was exported");
    }
}

#[test]
fn the_times_of_spans_are_those_of_a_clock_that_is_wrong_and_their_durations_are_right() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let mut daemon = collector.daemon("");
    daemon.start_scenario("clock_skew", json!({ "offset_s": -3600 }));
    let from = SystemTime::now();
    daemon.get("/api/v1/test/sleep10ms");
    let answered_within = from.elapsed().unwrap();
    end(&mut daemon);
    let spans = collector.at_the_end();
    let [span] = &spans[..] else {
        panic!("one request was made: {spans:?}");
    };
    let an_hour_ago = from - Duration::from_secs(3600);
    let began = UNIX_EPOCH + Duration::from_nanos(span.start_time_unix_nano);
    let off = began
        .duration_since(an_hour_ago)
        .unwrap_or_else(|before| before.duration());
    assert!(off < Duration::from_secs(60), "{off:?}");
    let took = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
    assert!(
        took >= Duration::from_millis(10) && took <= answered_within,
        "{took:?}"
    );
}

#[test]
fn a_signal_exports_queued_spans() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let mut daemon = traced(collector.address, "", "600000");
    for _ in 0..10 {
        daemon.get("/health");
    }
    assert_eq!(
        collector.batches.try_recv().err(),
        Some(mpsc::TryRecvError::Empty)
    );
    let took = end(&mut daemon);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(collector.at_the_end().len(), 10);
}

#[test]
fn a_silent_or_absent_collector_delays_neither_requests_nor_the_end() {
    let silent = Collector::start(Behaviour::IsSilent);
    let gone = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for (collector, is_gone) in [(silent.address, false), (gone, true)] {
        let mut daemon = traced(collector, "", "1");
        daemon.get("/health");
        if is_gone {
            daemon.wait_for_log("that spans are lost", |line| {
                line["level"] == "WARN"
                    && line["message"]
                        == "Trace export failed; spans will be lost until it recovers."
            });
        } else {
            silent.batches.recv_timeout(PATIENCE).unwrap();
        }
        // Many more than the queue holds, while the export is stuck.
        let mut slowest = Duration::ZERO;
        for _ in 0..500 {
            let start = Instant::now();
            assert_eq!(daemon.get("/health").status, 200);
            slowest = slowest.max(start.elapsed());
        }
        // Far below the timeout of the export.
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        let took = end(&mut daemon);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn a_batch_that_is_refused_once_is_sent_again() {
    let mut collector = Collector::start(Behaviour::RefusesFirst);
    let daemon = collector.daemon("");
    daemon.get("/health");
    assert_eq!(collector.spans(1)[0].name, "GET /health");
    let message = |text| move |line: &Value| line["message"] == text;
    let lost = daemon.wait_for_log(
        "the 503",
        message("Trace export failed; spans will be lost until it recovers."),
    );
    assert!(
        lost["error"]
            .as_str()
            .is_some_and(|error| error.contains("answered 503"))
    );
    daemon.wait_for_log("the 200", message("Trace export recovered."));
}

#[test]
fn without_an_endpoint_nothing_is_exported() {
    let collector = Collector::start(Behaviour::Accepts);
    let daemon = collector.daemon("");
    assert!(has_export_thread(&daemon));
    let line = daemon.wait_for_log("the endpoint", |line| {
        line["message"] == "Requests are traced."
    });
    assert_eq!(line["endpoint"], format!("http://{}/", collector.address));
    let mut daemon = Daemon::start();
    assert!(!has_export_thread(&daemon));
    let headers = format!("00-{TRACE}-{CALLER}-01");
    get_within(&daemon, "/health", &headers);
    end(&mut daemon);
}

/// A service whose route `/{name}/{id}` calls the route of each of `upstreams`.
fn service(collector: &Collector, name: &str, upstreams: &[(&str, &Daemon)]) -> Daemon {
    let calls = upstreams.iter().map(|(upstream, daemon)| {
        let url = format!("http://{}/{upstream}/{{id}}?of={name}", daemon.service);
        format!("{{Name: {upstream}, Url: '{url}', Retries: 1}}")
    });
    let calls = calls.collect::<Vec<_>>().join(", ");
    let route = format!("{{Path: '/{name}/{{id}}', Calls: [{calls}]}}");
    collector.daemon(&format!("Name: {name}\nWorkload: {{Routes: [{route}]}}\n"))
}

#[test]
fn a_trace_goes_through_four_services() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let inventory = service(&collector, "inventory", &[]);
    let payments = service(&collector, "payments", &[]);
    let called = [("inventory", &inventory), ("payments", &payments)];
    let orders = service(&collector, "orders", &called);
    let front = service(&collector, "front", &[("orders", &orders)]);
    assert_eq!(front.get("/front/7").status, 200);
    collector.spans(7);
    let spans = collector.by_service();
    let named = |service: &str, kind: SpanKind, name: &str| {
        let mut spans = spans.iter().map(|(of, span)| (of.as_str(), span));
        let found = spans.find(|(of, span)| {
            let address = plain(&span.attributes).get("server.address").cloned();
            let is_named = span.name == name || address == Some(json!(name));
            *of == service && span.kind() == kind && is_named
        });
        let (_, span) = found.unwrap_or_else(|| panic!("no {kind:?} {name} of {service}"));
        span
    };
    let root = named("front", SpanKind::Server, "GET /front/{id}");
    assert!(root.parent_span_id.is_empty());
    let mut below = vec![(root, "front", "orders")];
    let second = named("orders", SpanKind::Server, "GET /orders/{id}");
    below.extend([
        (second, "orders", "inventory"),
        (second, "orders", "payments"),
    ]);
    for (parent, caller, upstream) in below {
        let call = named(caller, SpanKind::Client, upstream);
        let served = named(
            upstream,
            SpanKind::Server,
            &format!("GET /{upstream}/{{id}}"),
        );
        assert_eq!(
            call.parent_span_id, parent.span_id,
            "{caller} calls {upstream}"
        );
        assert_eq!(served.parent_span_id, call.span_id, "{upstream} is called");
        let attributes = plain(&call.attributes);
        assert_eq!(attributes["http.response.status_code"], 200);
        let url = attributes["url.full"].as_str().expect("a text");
        assert!(
            url.ends_with(&format!("/{upstream}/7?of={caller}")),
            "{url}"
        );
        assert!(!attributes.contains_key("http.request.resend_count"));
        // The call begins and ends within the request that it is made for.
        assert!(parent.start_time_unix_nano <= call.start_time_unix_nano);
        assert!(call.end_time_unix_nano <= parent.end_time_unix_nano);
    }
    assert_eq!(spans.len(), 7);
    assert!(spans.iter().all(|(_, span)| span.trace_id == root.trace_id));
    let line = front.wait_for_log("the request", |line| line["route"] == "/front/{id}");
    assert_eq!(line["trace_id"], hex(&root.trace_id));
}

#[test]
fn a_retry_is_a_span_of_its_own_and_an_event_of_the_request() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let inventory = service(&collector, "inventory", &[]);
    let orders = service(&collector, "orders", &[("inventory", &inventory)]);
    drop(inventory);
    assert_eq!(orders.get("/orders/7").status, 502);
    let spans = collector.spans(3);
    let [first, second, request] = &spans[..] else {
        panic!("{spans:?}");
    };
    for (call, resent) in [(first, None), (second, Some(1))] {
        let attributes = plain(&call.attributes);
        assert_eq!((call.kind(), is_error(call)), (SpanKind::Client, true));
        assert_eq!(attributes["error.type"], "connection_refused");
        assert!(attributes["server.port"].is_i64());
        let count = attributes.get("http.request.resend_count");
        assert_eq!(count.and_then(Value::as_i64), resent);
        assert_eq!(call.parent_span_id, request.span_id);
    }
    assert!(is_error(request));
    let [retry] = &request.events[..] else {
        panic!("{:?}", request.events);
    };
    assert_eq!(retry.name, "retry");
    let expected = json!({
        "server.address": "inventory",
        "http.request.resend_count": 1,
        "error.type": "connection_refused",
    });
    assert_eq!(Value::Object(plain(&retry.attributes)), expected);
}

#[test]
fn a_service_that_exports_nothing_passes_the_trace_on() {
    let mut collector = Collector::start(Behaviour::Accepts);
    let inventory = service(&collector, "inventory", &[]);
    let calls = format!(
        "{{Name: inventory, Url: 'http://{}/inventory/7'}}",
        inventory.service
    );
    let workload = format!("Workload: {{Routes: [{{Path: /orders, Calls: [{calls}]}}]}}\n");
    let orders = Daemon::builder().file(&workload).start();
    get_within(&orders, "/orders", &format!("00-{TRACE}-{CALLER}-01"));
    assert_eq!(hex(&collector.spans(1)[0].trace_id), TRACE);
    // What the caller does not record is recorded nowhere.
    get_within(&orders, "/orders", &format!("00-{TRACE}-{CALLER}-00"));
    // Without a caller's trace one begins, and is recorded where it can be.
    assert_eq!(orders.get("/orders").status, 200);
    let spans = collector.spans(2);
    let line = orders.wait_for_log("the last request", |line| {
        line["trace_id"].as_str().is_some_and(|id| id != TRACE)
    });
    assert_eq!(line["trace_id"], hex(&spans[1].trace_id));
    assert!(!spans[1].parent_span_id.is_empty());
}

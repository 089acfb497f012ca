//! One client: it does random things and judges each answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mockserver::plugin::{Plugin, conflicts_of};
use mockserver::scenarios;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::expectation::{Expectation, LEASES_S, Observed};
use crate::halts::{Halts, Switch};
use crate::params;
use crate::report::Report;
use crate::support::{Daemon, start_path};

/// How long a client waits for a route that a fault may delay, before it hangs up.
const GIVE_UP: Duration = Duration::from_millis(500);
/// How long it waits for a start or a stop, which no fault delays.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between two actions, in ms.
const PAUSE_MS: u64 = 20;
/// The duration of dry runs only, in seconds: the ledger must not contain it.
pub(crate) const DRY_DURATION_S: f64 = 1000.0;

/// The scenarios that clients start: all that leave the process alive and the service answering.
pub(crate) fn startable() -> Vec<&'static dyn Plugin> {
    let plugins = scenarios::ALL.iter().copied();
    plugins
        .filter(|plugin| !plugin.ends_process() && !plugin.silences_service())
        .collect()
}

/// Those that clients start over the admin listener alone, for a moment: the service answers nothing meanwhile.
pub(crate) fn silencing() -> Vec<&'static dyn Plugin> {
    let plugins = scenarios::ALL.iter().copied();
    plugins.filter(|plugin| plugin.silences_service()).collect()
}

/// Routes that change nothing.
const READS: &[&str] = &[
    "/api/v1/scenarios",
    "/api/v1/scenarios/disk_io",
    "/api/v1/scenarios/cpu_burner/status",
    "/api/v1/composite/status",
    "/api/v1/events?limit=10",
    "/metrics",
    "/openapi.json",
    "/docs",
];
/// Routes that faults answer instead of their handlers.
const FAULTY: &[&str] = &[
    "/health",
    "/ready",
    "/healthz",
    "/livez",
    "/readyz",
    "/api/v1/mock-service",
    "/api/v1/test/sleep10ms",
    "/nothing",
];
const SET: &str = "/api/v1/composite/start";
const STOP_ALL: &str = "/api/v1/composite/stop";
const RENEW: &str = "/api/v1/composite/renew";
const HALT: &str = "/api/v1/halt";
const REARM: &str = "/api/v1/rearm";
/// Bytes that are not HTTP, or malformed HTTP.
const GARBAGE: &[&[u8]] = &[
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /api/v1/composite/start HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v1/composite/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHo",
    b"\0\0\0\0",
];
/// Bodies that every POST refuses.
const BAD_BODIES: &[&str] = &[
    "{",
    "[]",
    "null",
    "{\"latency_ms\": 1, \"latency_ms\": 2}",
    "{\"no_such_key\": 1}",
    "{\"scenarios\": 5}",
    "{\"scenarios\": [{\"name\": \"no_such_thing\"}]}",
    "{\"scenarios\": [{\"name\": \"dependency\"}, {\"name\": \"dependency\"}]}",
    "{\"duration\": -1}",
    "{\"duration\": \"1\"}",
    "{\"lease\": 0}",
    "{\"abort_when\": {\"achieved_above\": {\"no_such_thing\": 1}}}",
    "{\"dry_run\": \"true\"}",
];

pub(crate) struct SoakClient {
    service: SocketAddr,
    admin: SocketAddr,
    rng: SmallRng,
    startable: Vec<&'static dyn Plugin>,
    report: Arc<Mutex<Report>>,
    halts: Arc<Mutex<Halts>>,
    agent: ureq::Agent,
    /// Connections without a complete request, closed at the end of a round.
    idle: Vec<TcpStream>,
    /// The latest session that this client started or joined.
    session: u64,
}

impl SoakClient {
    pub(crate) fn new(
        daemon: &Daemon,
        seed: u64,
        number: u64,
        report: &Arc<Mutex<Report>>,
        halts: &Arc<Mutex<Halts>>,
    ) -> Self {
        Self {
            service: daemon.service,
            admin: daemon.admin,
            rng: SmallRng::seed_from_u64(seed.wrapping_add(number << 32)),
            startable: startable(),
            report: Arc::clone(report),
            halts: Arc::clone(halts),
            agent: agent(),
            idle: Vec::new(),
            session: 0,
        }
    }

    /// Acts until `end`, then closes every connection.
    pub(crate) fn act_until(&mut self, end: Instant) {
        while Instant::now() < end {
            self.act();
            let pause = Duration::from_millis(self.rng.random_range(0..=PAUSE_MS));
            std::thread::sleep(pause);
        }
        self.idle.clear();
        self.agent = agent();
    }

    fn act(&mut self) {
        match self.rng.random_range(0..100_u32) {
            0..11 => self.start(),
            11 => self.silence(),
            12..17 => {
                let path = format!("/api/v1/scenarios/{}/stop", self.any_scenario().name());
                self.post("a stop", &path, "", Expectation::Done);
            }
            17..22 => self.start_set(),
            22..24 => self.post("a stop of all", STOP_ALL, "{}", Expectation::Done),
            24..25 => self.switch(Switch::Halt),
            25..30 => self.switch(Switch::Rearm),
            30..34 => self.post("a renewal", RENEW, "{}", Expectation::Renewed),
            34..50 => self.get("a read", READS, Expectation::Done),
            50..68 => self.get("a faulty route", FAULTY, Expectation::Faulted),
            68..82 => self.send_bad_request(),
            82..97 => self.hang_up(),
            _ => self.read_stream(),
        }
    }

    // === Valid requests ===

    fn any_scenario(&mut self) -> &'static dyn Plugin {
        *self.startable.choose(&mut self.rng).unwrap()
    }

    /// Mostly none, else less than a round.
    fn duration(&mut self) -> Option<Value> {
        let timed = self.rng.random_bool(0.4);
        timed.then(|| self.rng.random_range(0.01..2.0).into())
    }

    /// Mostly none, else less than a round.
    fn onset(&mut self) -> Option<Value> {
        let is_later = self.rng.random_bool(0.2);
        is_later.then(|| self.rng.random_range(0.001..1.0).into())
    }

    fn set(&mut self) -> Value {
        let many = self.rng.random_range(1..=4);
        let mut plugins: Vec<&'static dyn Plugin> = Vec::new();
        for plugin in self.startable.sample(&mut self.rng, many) {
            let conflicts = conflicts_of(scenarios::ALL, *plugin);
            let is_chosen = |name| plugins.iter().any(|chosen| chosen.name() == name);
            if !conflicts.iter().any(|conflict| is_chosen(conflict.name)) {
                plugins.push(*plugin);
            }
        }
        let entries: Vec<Value> = plugins
            .into_iter()
            .map(|plugin| {
                let params = params::random(plugin, &mut self.rng);
                let mut entry = json!({ "name": plugin.name(), "params": params });
                if let Some(duration) = self.duration() {
                    entry["duration"] = duration;
                }
                entry
            })
            .collect();
        let mut set = self.terms();
        set["scenarios"] = entries.into();
        set
    }

    /// Conditions under which the session ends: often none.
    fn terms(&mut self) -> Value {
        let mut terms = json!({});
        let watched = self.any_scenario().name();
        let rng = &mut self.rng;
        if rng.random_bool(0.2) {
            let lease = LEASES_S.choose(rng).unwrap();
            terms["lease"] = (*lease).into();
        }
        if rng.random_bool(0.2) {
            let conditions = [
                json!({ "memory_available_below_mb": 1.0 }),
                json!({ "memory_available_below_mb": 1e9 }),
                json!({ "probe_failing_for_s": 0.0 }),
                json!({ "probe_failing_for_s": 0.5 }),
                json!({ "achieved_above": { watched: rng.random_range(0.0..10.0) } }),
            ];
            terms["abort_when"] = conditions.choose(rng).unwrap().clone();
        }
        terms
    }

    /// The body of a single start, under `terms`.
    fn single(&mut self, plugin: &dyn Plugin, terms: &Value) -> Value {
        let mut body = params::random(plugin, &mut self.rng);
        body.extend(terms.as_object().cloned().unwrap_or_default());
        body.into()
    }

    fn start(&mut self) {
        let (plugin, terms) = (self.any_scenario(), self.terms());
        let mut body = self.single(plugin, &terms);
        let path = start_path(plugin.name());
        if self.rng.random_bool(0.1) {
            body["dry_run"] = true.into();
            body["duration"] = DRY_DURATION_S.into();
            let mut set = terms;
            set["scenarios"] = json!([{ "name": plugin.name() }]);
            let planned = Expectation::Planned(set);
            self.post("a dry run", &path, &body.to_string(), planned);
            return;
        }
        if let Some(duration) = self.duration() {
            body["duration"] = duration;
        }
        if let Some(after) = self.onset() {
            body["after"] = after;
        }
        self.post("a start", &path, &body.to_string(), Expectation::Started);
    }

    fn silence(&mut self) {
        let Some(plugin) = silencing().choose(&mut self.rng).copied() else {
            return;
        };
        let mut body = Value::from(params::random(plugin, &mut self.rng));
        body["duration"] = self.rng.random_range(0.01..0.3).into();
        let path = start_path(plugin.name());
        let body = body.to_string();
        self.ask(
            "a silence",
            "POST",
            self.admin,
            &path,
            &body,
            Expectation::Started,
        );
    }

    fn start_set(&mut self) {
        let mut set = self.set();
        if self.rng.random_bool(0.1) {
            set["dry_run"] = true.into();
            // The longest duration is that of all.
            set["scenarios"][0]["duration"] = DRY_DURATION_S.into();
            let body = set.to_string();
            self.post("a set's dry run", SET, &body, Expectation::Planned(set));
            return;
        }
        if self.rng.random_bool(0.2) {
            // Each at its own time, or an onset may come after the end of the set.
            set["end"] = "each".into();
            for entry in set["scenarios"].as_array_mut().into_iter().flatten() {
                if let Some(after) = self.onset() {
                    entry["after"] = after;
                }
            }
        }
        self.post("a set's start", SET, &set.to_string(), Expectation::Started);
    }

    fn switch(&mut self, switch: Switch) {
        let (what, path, expected) = match switch {
            Switch::Halt => ("a halt", HALT, Expectation::Halted),
            Switch::Rearm => ("a rearm", REARM, Expectation::Armed),
        };
        let number = self.halts.lock().unwrap().sends(switch);
        self.post(what, path, "{}", expected);
        self.halts.lock().unwrap().answered(number);
    }

    fn any_listener(&mut self) -> SocketAddr {
        if self.rng.random_bool(0.5) {
            self.service
        } else {
            self.admin
        }
    }

    fn get(&mut self, what: &'static str, paths: &[&str], expected: Expectation) {
        let path = paths.choose(&mut self.rng).unwrap();
        let to = self.any_listener();
        self.ask(what, "GET", to, path, "", expected);
    }

    fn post(&mut self, what: &'static str, path: &str, body: &str, expected: Expectation) {
        let to = self.any_listener();
        self.ask(what, "POST", to, path, body, expected);
    }

    /// Sends one request and judges the answer.
    fn ask(
        &mut self,
        what: &'static str,
        method: &str,
        to: SocketAddr,
        path: &str,
        body: &str,
        expected: Expectation,
    ) {
        // A fault may delay every request on the service listener but POSTs.
        let may_wait = method != "POST" && to == self.service;
        let patience = if may_wait { GIVE_UP } else { PATIENCE };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{to}{path}"))
            .body(body.to_owned())
            .unwrap();
        let sent = Instant::now();
        let request = self.agent.configure_request(request);
        let request = request.timeout_global(Some(patience)).build();
        let read = self.agent.run(request).and_then(|mut answer| {
            let text = answer.body_mut().read_to_string()?;
            Ok((answer.status().as_u16(), text))
        });
        let asked = || format!("{method} {path} {body}");
        let halt = self.halts.lock().unwrap().since(sent);
        let mut report = self.report.lock().unwrap();
        match read {
            Ok((status, text)) => {
                match expected {
                    Expectation::Faulted if status != 200 => {
                        report.did(what, "answered by a fault")
                    }
                    _ => report.did(what, status.to_string()),
                }
                let observed = Observed {
                    on_service: to == self.service,
                    status,
                    text: &text,
                    halt,
                };
                if !expected.matches(&observed) {
                    report.failure(format!("{}: answered {status} {text}", asked()));
                }
                drop(report);
                self.follow_session(&text);
            }
            Err(ureq::Error::Timeout(_)) if may_wait => report.did(what, "gave up"),
            Err(_) if may_wait && matches!(expected, Expectation::Faulted) => {
                report.did(what, "broken off by a fault");
            }
            Err(error) => report.failure(format!("{}: {error}", asked())),
        }
    }

    /// Checks that the sessions that one client sees have increasing numbers.
    fn follow_session(&mut self, text: &str) {
        let report: Value = serde_json::from_str(text).unwrap_or_default();
        let id = report["session_id"].as_str();
        let number = id.and_then(|id| id.strip_prefix("session-")?.parse().ok());
        let is_of_now = report["details"].is_array() || report["lease_s"].is_number();
        let (Some(number), true) = (number, is_of_now) else {
            return;
        };
        if number < self.session {
            let failure = format!("session {number} comes after {}", self.session);
            self.report.lock().unwrap().failure(failure);
        }
        self.session = number;
    }

    // === Invalid requests ===

    fn send_bad_request(&mut self) {
        match self.rng.random_range(0..6_u32) {
            0 => {
                let plugins: Vec<_> = scenarios::ALL.iter().filter(|p| p.ends_process()).collect();
                let path = start_path(plugins.choose(&mut self.rng).unwrap().name());
                self.post("a crash", &path, "{}", Expectation::Refused);
            }
            1 => {
                let body = *BAD_BODIES.choose(&mut self.rng).unwrap();
                let path = if self.rng.random_bool(0.5) {
                    SET.to_owned()
                } else {
                    start_path(self.any_scenario().name())
                };
                self.post("a bad body", &path, body, Expectation::Refused);
            }
            2 => {
                let path = start_path(self.any_scenario().name());
                let body = "x".repeat(self.rng.random_range(65_537..200_000));
                self.post("a huge body", &path, &body, Expectation::Refused);
            }
            3 => {
                let paths = [
                    "/api/v1/scenarios/none",
                    "/api/v1/scenarios/none/status",
                    "/api/v1/events?x=1",
                ];
                self.get("a bad path", &paths, Expectation::Refused);
            }
            4 => self.post(
                "a wrong method",
                "/api/v1/scenarios",
                "{}",
                Expectation::Refused,
            ),
            _ => {
                let bytes = *GARBAGE.choose(&mut self.rng).unwrap();
                self.send("garbage", bytes);
            }
        }
    }

    /// Sends a whole request, a part of it or nothing, and does not wait for the answer.
    fn hang_up(&mut self) {
        let (path, body) = match self.rng.random_range(0..3_u32) {
            0 => (SET.to_owned(), self.set().to_string()),
            1 => (STOP_ALL.to_owned(), "{}".to_owned()),
            _ => {
                let (plugin, terms) = (self.any_scenario(), self.terms());
                let body = self.single(plugin, &terms);
                (start_path(plugin.name()), body.to_string())
            }
        };
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let whole = self.rng.random_bool(0.5);
        let length = if whole {
            request.len()
        } else {
            self.rng.random_range(0..request.len())
        };
        self.send("a hang-up", &request.as_bytes()[..length]);
    }

    /// Sends bytes; then hangs up at once, after the first bytes of an answer, or at the round's end.
    fn send(&mut self, what: &'static str, bytes: &[u8]) {
        let to = self.any_listener();
        let how = self.rng.random_range(0..3_u32);
        let sent = TcpStream::connect(to).and_then(|mut stream| {
            stream.set_read_timeout(Some(GIVE_UP / 10))?;
            stream.write_all(bytes)?;
            Ok(stream)
        });
        let outcome = match (sent, how) {
            // The daemon closed the connection before all was sent.
            (Err(error), _) => error.kind().to_string(),
            (Ok(_), 0) => "at once".to_owned(),
            (Ok(mut stream), 1) => {
                // There may be an answer or none.
                drop(stream.read(&mut [0; 64]));
                "after a read".to_owned()
            }
            (Ok(stream), _) => {
                self.idle.push(stream);
                "at the end of the round".to_owned()
            }
        };
        self.report.lock().unwrap().did(what, outcome);
    }

    /// Reads a few events of the stream, then hangs up.
    fn read_stream(&mut self) {
        let since = self.rng.random_range(0..100_u32);
        let request =
            format!("GET /api/v1/events/stream?since={since} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.send("an event stream", request.as_bytes());
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into()
}

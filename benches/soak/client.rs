//! One client: it does what comes to its mind, and judges each answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::common::Daemon;
use crate::figures::Figures;
use crate::halts::{Halts, Switch};
use crate::right::{Given, LEASES_S, Right};

/// How long a client waits for a route that a fault may hold up, before it hangs up.
const GIVE_UP: Duration = Duration::from_millis(500);
/// How long it waits for a start or a stop, which are never held up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between two things that it does, in ms.
const PAUSE_MS: u64 = 20;
/// Only what is not to be done has such a duration, in seconds: none of it may be in the ledger.
pub(crate) const DRY_DURATION_S: f64 = 1000.0;

/// What the daemon may be asked to start.
pub(crate) const SCENARIOS: &[&str] = &[
    "cpu_burner",
    "memory_leaker",
    "network_latency",
    "health_check",
    "goroutine_leak",
    "disk_io",
    "dependency",
];
/// What tells and changes nothing.
const READS: &[&str] = &[
    "/api/v1/scenarios",
    "/api/v1/scenarios/disk_io",
    "/api/v1/scenarios/cpu_burner/status",
    "/api/v1/composite/status",
    "/api/v1/events?limit=10",
    "/api/v1/test/sleep10ms",
    "/metrics",
    "/openapi.json",
    "/docs",
];
/// What faults answer in the handlers' place.
const VICTIMS: &[&str] = &["/health", "/ready", "/healthz", "/livez", "/readyz", MOCK];
pub(crate) const MOCK: &str = "/api/v1/mock-service";
const SET: &str = "/api/v1/composite/start";
const STOP_ALL: &str = "/api/v1/composite/stop";
const RENEW: &str = "/api/v1/composite/renew";
const HALT: &str = "/api/v1/halt";
const REARM: &str = "/api/v1/rearm";
/// Not HTTP, or hardly.
const GARBAGE: &[&[u8]] = &[
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /api/v1/composite/start HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v1/composite/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHo",
    b"\0\0\0\0",
];
/// Bodies that are refused wherever they are posted.
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
    "\u{feff}{}",
];

pub(crate) struct Client {
    service: SocketAddr,
    admin: SocketAddr,
    rng: SmallRng,
    figures: Arc<Mutex<Figures>>,
    halts: Arc<Mutex<Halts>>,
    agent: ureq::Agent,
    /// Sent half of a request and wait for nothing; closed at the end of a round.
    idle: Vec<TcpStream>,
    /// The latest session that this client began or joined.
    session: u64,
}

impl Client {
    pub(crate) fn new(
        daemon: &Daemon,
        seed: u64,
        number: u64,
        figures: &Arc<Mutex<Figures>>,
        halts: &Arc<Mutex<Halts>>,
    ) -> Self {
        Self {
            service: daemon.service,
            admin: daemon.admin,
            rng: SmallRng::seed_from_u64(seed.wrapping_add(number << 32)),
            figures: Arc::clone(figures),
            halts: Arc::clone(halts),
            agent: agent(),
            idle: Vec::new(),
            session: 0,
        }
    }

    /// Does one thing after the other until `end`, then closes every connection.
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
            0..12 => self.start(),
            12..17 => {
                let path = format!("/api/v1/scenarios/{}/stop", self.any_scenario());
                self.post("a stop", &path, "", Right::Done);
            }
            17..22 => self.start_set(),
            22..24 => self.post("a stop of all", STOP_ALL, "{}", Right::Done),
            24..25 => self.switch(Switch::Halt),
            25..30 => self.switch(Switch::Rearm),
            30..34 => self.post("a renewal", RENEW, "{}", Right::Renewed),
            34..50 => self.get("a read", READS, Right::Done),
            50..68 => self.get("a victim", VICTIMS, Right::Faulted),
            68..82 => self.be_bad(),
            82..97 => self.hang_up(),
            _ => self.read_stream(),
        }
    }

    // === Good requests ===

    fn any_scenario(&mut self) -> &'static str {
        SCENARIOS.choose(&mut self.rng).expect("there are some")
    }

    /// Parameters that load the machine a little and hold something of everything.
    fn params(&mut self, name: &str) -> Value {
        let rng = &mut self.rng;
        match name {
            "cpu_burner" => json!({ "target_percent": rng.random_range(0..=30) }),
            "memory_leaker" => json!({
                "target_mb": rng.random_range(1..=32), "leak_rate_mb": rng.random_range(1..=500),
            }),
            "network_latency" => {
                let long = rng.random_bool(0.2);
                json!({ "latency_ms": if long { 60_000 } else { rng.random_range(0..=50) } })
            }
            "health_check" => {
                let modes = ["always", "intermittent", "delayed"];
                let mode = modes.choose(rng).expect("there are some");
                json!({ "failure_mode": mode, "status_code": rng.random_range(400..=599) })
            }
            "goroutine_leak" => json!({ "goroutines_per_second": rng.random_range(1..=20_000) }),
            "disk_io" => json!({ "write_rate_mb": rng.random_range(1..=8) }),
            _ => {
                let types = ["timeout", "error", "slow"];
                json!({ "failure_type": types.choose(rng).expect("there are some") })
            }
        }
    }

    /// Often until stopped, else less than a round.
    fn duration(&mut self) -> Option<Value> {
        let timed = self.rng.random_bool(0.4);
        timed.then(|| self.rng.random_range(0.01..2.0).into())
    }

    fn set(&mut self) -> Value {
        let many = self.rng.random_range(1..=4);
        let names: Vec<&str> = SCENARIOS.sample(&mut self.rng, many).copied().collect();
        let entries: Vec<Value> = names
            .into_iter()
            .map(|name| {
                let mut entry = json!({ "name": name, "params": self.params(name) });
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

    /// Whether the session ends by itself, and when: often not, sometimes soon.
    fn terms(&mut self) -> Value {
        let mut terms = json!({});
        let rng = &mut self.rng;
        if rng.random_bool(0.2) {
            let lease = LEASES_S.choose(rng).expect("there are some");
            terms["lease"] = (*lease).into();
        }
        if rng.random_bool(0.2) {
            let measures = [
                json!({ "memory_available_below_mb": 1.0 }),
                json!({ "memory_available_below_mb": 1e9 }),
                json!({ "probe_failing_for_s": 0.0 }),
                json!({ "probe_failing_for_s": 0.5 }),
                json!({ "achieved_above": { "goroutine_leak": 1000.0, "memory_leaker": 8.0 } }),
            ];
            let measure = measures.choose(rng).expect("there are some");
            terms["abort_when"] = measure.clone();
        }
        terms
    }

    /// The body of a start of `name` alone, under `terms`.
    fn alone(&mut self, name: &str, terms: &Value) -> Value {
        let mut body = self.params(name);
        for (key, value) in terms.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body
    }

    fn start(&mut self) {
        let (name, terms) = (self.any_scenario(), self.terms());
        let mut body = self.alone(name, &terms);
        if self.rng.random_bool(0.1) {
            body["dry_run"] = true.into();
            body["duration"] = DRY_DURATION_S.into();
            let mut set = terms;
            set["scenarios"] = json!([{ "name": name }]);
            let right = Right::Planned(set);
            self.post("a dry run", &start_of(name), &body.to_string(), right);
            return;
        }
        if let Some(duration) = self.duration() {
            body["duration"] = duration;
        }
        let body = body.to_string();
        self.post("a start", &start_of(name), &body, Right::Started);
    }

    fn start_set(&mut self) {
        let mut set = self.set();
        if self.rng.random_bool(0.1) {
            set["dry_run"] = true.into();
            // The longest, which is that of all.
            set["scenarios"][0]["duration"] = DRY_DURATION_S.into();
            let body = set.to_string();
            self.post("a set's dry run", SET, &body, Right::Planned(set));
            return;
        }
        self.post("a set's start", SET, &set.to_string(), Right::Started);
    }

    fn switch(&mut self, switch: Switch) {
        let (what, path, right) = match switch {
            Switch::Halt => ("a halt", HALT, Right::Halted),
            Switch::Rearm => ("a rearm", REARM, Right::Armed),
        };
        let number = self.halts.lock().expect("no panic").sends(switch);
        self.post(what, path, "{}", right);
        self.halts.lock().expect("no panic").answered(number);
    }

    fn any_listener(&mut self) -> SocketAddr {
        if self.rng.random_bool(0.5) {
            self.service
        } else {
            self.admin
        }
    }

    fn get(&mut self, what: &'static str, paths: &[&str], right: Right) {
        let path = paths.choose(&mut self.rng).expect("there are some");
        let to = self.any_listener();
        self.ask(what, "GET", to, path, "", right);
    }

    fn post(&mut self, what: &'static str, path: &str, body: &str, right: Right) {
        let to = self.any_listener();
        self.ask(what, "POST", to, path, body, right);
    }

    /// Sends one request and judges the answer.
    fn ask(
        &mut self,
        what: &'static str,
        method: &str,
        to: SocketAddr,
        path: &str,
        body: &str,
        right: Right,
    ) {
        // A fault may hold up whatever the service listener is asked, but for its POSTs.
        let may_wait = method != "POST" && to == self.service;
        let patience = if may_wait { GIVE_UP } else { PATIENCE };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{to}{path}"))
            .body(body.to_owned())
            .expect("a request");
        let sent = Instant::now();
        let request = self.agent.configure_request(request);
        let request = request.timeout_global(Some(patience)).build();
        let read = self.agent.run(request).and_then(|mut answer| {
            let text = answer.body_mut().read_to_string()?;
            Ok((answer.status().as_u16(), text))
        });
        let asked = || format!("{method} {path} {body}");
        let halt = self.halts.lock().expect("no panic").since(sent);
        let mut figures = self.figures.lock().expect("no panic");
        match read {
            Ok((status, text)) => {
                match right {
                    Right::Faulted if status != 200 => figures.did(what, "as a fault wants"),
                    _ => figures.did(what, status.to_string()),
                }
                let given = Given {
                    path,
                    on_service: to == self.service,
                    status,
                    text: &text,
                    halt,
                };
                if !right.fits(&given) {
                    figures.fault(format!("{}: answered {status} {text}", asked()));
                }
                drop(figures);
                self.follow_session(&text);
            }
            Err(ureq::Error::Timeout(_)) if may_wait => figures.did(what, "gave up"),
            Err(error) => figures.fault(format!("{}: {error}", asked())),
        }
    }

    /// The sessions that one client is told of come one after the other.
    fn follow_session(&mut self, text: &str) {
        let report: Value = serde_json::from_str(text).unwrap_or_default();
        let id = report["session_id"].as_str();
        let number = id.and_then(|id| id.strip_prefix("session-")?.parse().ok());
        let is_of_now = report["details"].is_array() || report["lease_s"].is_number();
        let (Some(number), true) = (number, is_of_now) else {
            return;
        };
        if number < self.session {
            let fault = format!("after session {} comes {number}", self.session);
            self.figures.lock().expect("no panic").fault(fault);
        }
        self.session = number;
    }

    // === Bad ones ===

    fn be_bad(&mut self) {
        match self.rng.random_range(0..6_u32) {
            0 => self.post("a crash", &start_of("crash"), "{}", Right::Refused),
            1 => {
                let body = *BAD_BODIES.choose(&mut self.rng).expect("there are some");
                let path = if self.rng.random_bool(0.5) {
                    SET.to_owned()
                } else {
                    start_of(self.any_scenario())
                };
                self.post("a bad body", &path, body, Right::Refused);
            }
            2 => {
                let path = start_of(self.any_scenario());
                let body = "x".repeat(self.rng.random_range(65_537..200_000));
                self.post("a huge body", &path, &body, Right::Refused);
            }
            3 => {
                let paths = [
                    "/nothing",
                    "/api/v1/scenarios/none/status",
                    "/api/v1/events?x=1",
                ];
                self.get("a bad path", &paths, Right::Refused);
            }
            4 => self.post("a wrong method", "/api/v1/scenarios", "{}", Right::Refused),
            _ => {
                let bytes = *GARBAGE.choose(&mut self.rng).expect("there are some");
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
                let name = self.any_scenario();
                let terms = self.terms();
                (start_of(name), self.alone(name, &terms).to_string())
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
            // Refused and closed before all was sent.
            (Err(error), _) => error.kind().to_string(),
            (Ok(_), 0) => "at once".to_owned(),
            (Ok(mut stream), 1) => {
                // Whatever comes or does not come is right.
                drop(stream.read(&mut [0; 64]));
                "after a look".to_owned()
            }
            (Ok(stream), _) => {
                self.idle.push(stream);
                "at the end of the round".to_owned()
            }
        };
        self.figures.lock().expect("no panic").did(what, outcome);
    }

    /// Reads a few events of the stream, then hangs up.
    fn read_stream(&mut self) {
        let since = self.rng.random_range(0..100_u32);
        let request =
            format!("GET /api/v1/events/stream?since={since} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.send("an event stream", request.as_bytes());
    }
}

fn start_of(name: &str) -> String {
    format!("/api/v1/scenarios/{name}/start")
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into()
}

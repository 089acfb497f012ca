//! A blind service under each scenario of the registry and under none, and all that others can read of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use mockserver::plugin::Plugin;
use mockserver::scenarios;
use rustix::process::Signal;
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::support::{
    Answer, ChildGuard, agent, eventually, free_port, harmless, request, start_path,
};
use crate::traces::{Behaviour, Collector};

/// The service as an operator would set it up, without the ports and the collector.
const CONFIG: &str = "
Name: orders
Version: 1.1.0
Host: 127.0.0.1
Blind: true
Traffic: {Rps: 40, Seed: 7}
Workload:
  Seed: 7
  Routes:
    - {Path: '/api/orders/{id}', Latency: {p50_ms: 1}, ResponseBytes: 300}
    - Path: /api/orders
      Method: POST
      ResponseBytes: 100
      Calls:
        - {Name: inventory, Latency: {p50_ms: 1}, TimeoutMs: 2000, Pool: 40}
";
/// How long a process that was asked to end may take before it is killed: some faults keep it from ending.
const END_WITHIN: Duration = Duration::from_millis(400);
/// How long an answer may take: some faults give none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Where standard output and standard error go.
const OUTPUT: &str = "output";
/// Paths that are asked for by several methods: probes, the workload's, and some that a stranger tries.
const PATHS: [&str; 12] = [
    "/health",
    "/ready",
    "/",
    "/api/orders",
    "/api/orders/17",
    "/api/orders/17/items",
    "/api/v1",
    "/admin",
    "/debug/pprof/",
    "/swagger.json",
    "/%zz",
    "/helth",
];
/// Whole requests that are no good ones, and openings of other protocols.
const RAW: [&[u8]; 8] = [
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n",
    b"GET /health HTTP/3.0\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
];

/// What a shape is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// A request: the status, the names of the headers, and the keys of the body.
    Answers,
    /// A line of the log: its level, its message and the names of its fields.
    Lines,
    /// A line of the metrics without its figure.
    Series,
    /// The name of a thread.
    Threads,
    /// An open file, or a file in the service's folder.
    Files,
}

/// All that was found under one scenario.
pub(super) struct Found {
    /// None where nothing ran.
    pub(super) scenario: Option<&'static str>,
    /// The scenario with its parameters.
    pub(super) what: String,
    /// Whether the log was text; its lines have no shapes then.
    pub(super) is_text: bool,
    /// Each with the place where it can be read.
    pub(super) texts: Vec<(String, String)>,
    pub(super) shapes: BTreeSet<(Of, String)>,
}

/// Everything, gathered once for all tests.
pub(super) fn all() -> &'static [Found] {
    static ALL: OnceLock<Vec<Found>> = OnceLock::new();
    ALL.get_or_init(|| {
        let (cases, next) = (cases(), AtomicUsize::new(0));
        let folder = TempDir::new().unwrap();
        let binary = folder.path().join("orders");
        // A link would have the other name in /proc.
        fs::copy(env!("CARGO_BIN_EXE_mockserver"), &binary).unwrap();
        let found = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let one = case.gather(&binary);
                        found.lock().unwrap().extend(one);
                    }
                });
            }
        });
        found.into_inner().unwrap()
    })
}

/// All that was found under a drill of each of these presets.
pub(super) fn under_drills(presets: &[&str]) -> Vec<Found> {
    let folder = TempDir::new().unwrap();
    let binary = folder.path().join("orders");
    fs::copy(env!("CARGO_BIN_EXE_mockserver"), &binary).unwrap();
    let gather = |preset: &&str| {
        let mut patient = Patient::start(&binary, false);
        let body = serde_json::json!({
            "preset": preset, "onset_s": [0, 0], "duration_s": 60, "time_scale": 0.02, "traffic_rps": 80,
        });
        let drills = "/api/v1/drills";
        let opened = request("POST", patient.admin, drills, &body.to_string(), &[]);
        assert_eq!(opened.status, 201, "{preset}: {opened:?}");
        let mut seen = Seen::default();
        patient.look(&mut seen);
        patient.end();
        patient.look_back(&mut seen, false);
        Found {
            scenario: None,
            what: format!("a drill of {preset}"),
            is_text: false,
            texts: seen.texts,
            shapes: seen.shapes,
        }
    };
    presets.iter().map(gather).collect()
}

/// A scenario with parameters, or none.
struct Case {
    plugin: Option<&'static dyn Plugin>,
    /// Of a parameter that has a choice, one value.
    choice: Option<(String, Value)>,
    /// With a log of text, as a person reads it.
    is_text: bool,
}

/// Nothing, and each scenario with each value of each parameter that has a choice; what ends the process, and nothing, in
/// both formats of the log.
fn cases() -> Vec<Case> {
    let case = |plugin, choice, is_text| Case {
        plugin,
        choice,
        is_text,
    };
    let mut cases = vec![case(None, None, false), case(None, None, true)];
    for plugin in scenarios::ALL {
        let schema = plugin.schema();
        let properties = schema["properties"].as_object().unwrap().iter();
        let choices = properties.flat_map(|(name, of)| {
            // What takes any text has examples.
            let lists = [&of["enum"], &of["examples"]].into_iter();
            let values = lists.flat_map(|list| list.as_array().into_iter().flatten());
            values.map(move |value| Some((name.clone(), value.clone())))
        });
        let mut choices: Vec<_> = choices.collect();
        if choices.is_empty() {
            choices.push(None);
        }
        for choice in choices {
            cases.push(case(Some(*plugin), choice.clone(), false));
            if plugin.ends_process() {
                cases.push(case(Some(*plugin), choice, true));
            }
        }
    }
    cases
}

impl Case {
    /// None where the machine lacks what the scenario needs.
    fn gather(&self, binary: &Path) -> Option<Found> {
        let mut patient = Patient::start(binary, self.is_text);
        let mut params = self.plugin.map(harmless).unwrap_or_default();
        if let Some((name, value)) = &self.choice {
            params[name] = value.clone();
            if value == "hang" {
                patient.patience = END_WITHIN / 4;
            }
        }
        if let Some(plugin) = self.plugin
            && !self.start(plugin, &mut params, &patient)
        {
            return None;
        }
        if let Some(plugin) = self.plugin.filter(|plugin| plugin.silences_service()) {
            // What can be read is what it leaves.
            let path = format!("/api/v1/scenarios/{}/stop", plugin.name());
            let stopped = request("POST", patient.admin, &path, "", &[]);
            assert_eq!(stopped.status, 200, "{stopped:?}");
        }
        let mut seen = Seen::default();
        patient.look(&mut seen);
        match self.plugin.filter(|plugin| plugin.ends_process()) {
            Some(plugin) => {
                at_once(plugin, &mut params);
                // The answer may be cut off with the process.
                drop(patient.start_of(plugin, &params));
                patient.child.ended();
            }
            None => patient.end(),
        }
        patient.look_back(&mut seen, self.is_text);
        let name = self.plugin.map(Plugin::name);
        Some(Found {
            scenario: name,
            what: format!("{} {params}", name.unwrap_or("nothing")),
            is_text: self.is_text,
            texts: seen.texts,
            shapes: seen.shapes,
        })
    }

    /// Starts the scenario, and takes out parameters that do not go with the choice; false where that itself is refused.
    fn start(&self, plugin: &dyn Plugin, params: &mut Value, patient: &Patient) -> bool {
        loop {
            let answer = patient.start_of(plugin, params);
            let answer = answer.expect("an answer");
            if answer.status == 200 {
                return true;
            }
            assert_eq!(answer.status, 422, "{params}: {answer:?}");
            for error in answer.body["errors"].as_array().unwrap() {
                let name = error["pointer"].as_str().unwrap().trim_start_matches('/');
                if self
                    .choice
                    .as_ref()
                    .is_some_and(|(choice, _)| choice == name)
                {
                    return false;
                }
                let removed = params.as_object_mut().unwrap().remove(name);
                assert!(removed.is_some(), "{params}: {answer:?}");
            }
        }
    }
}

/// Takes all time to wait out of the parameters.
fn at_once(plugin: &dyn Plugin, params: &mut Value) {
    let schema = plugin.schema();
    for (name, value) in params.as_object_mut().unwrap() {
        let of = &schema["properties"][name];
        if of["unit"] == "s" {
            *value = of["minimum"].clone();
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Seen {
    texts: Vec<(String, String)>,
    shapes: BTreeSet<(Of, String)>,
}

impl Seen {
    fn text(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.texts.push((place.into(), text.into()));
    }

    fn shape(&mut self, of: Of, shape: String) {
        self.shapes.insert((of, shape));
    }
}

/// The service, which runs a copy of the program under another name.
struct Patient {
    child: ChildGuard,
    service: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
    collector: Collector,
    /// How long an answer is waited for.
    patience: Duration,
}

impl Patient {
    fn start(binary: &Path, is_text: bool) -> Self {
        let mut collector = Collector::start(Behaviour::Accepts);
        loop {
            let folder = TempDir::new().unwrap();
            let (service, admin) = (free_port(), free_port());
            let format = if is_text { "text" } else { "json" };
            let yaml = format!(
                "{CONFIG}Port: {service}\nAdmin: {{Port: {admin}}}\nLog: {{Level: debug, Format: {format}}}\n\
                 Otel: {{Endpoint: 'http://{}'}}\n",
                collector.address
            );
            fs::write(folder.path().join("app.yaml"), yaml).unwrap();
            let file = fs::File::create(folder.path().join(OUTPUT)).unwrap();
            let child = std::process::Command::new(binary)
                .args(["-f", "app.yaml"])
                .current_dir(folder.path())
                .env("OTEL_BSP_SCHEDULE_DELAY", "20")
                .env("RUST_BACKTRACE", if is_text { "1" } else { "0" })
                .stdin(Stdio::null())
                .stdout(file.try_clone().unwrap())
                .stderr(file)
                .spawn();
            let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
            let mut patient = Self {
                child: ChildGuard(child.unwrap()),
                service: address(service),
                admin: address(admin),
                folder,
                collector,
                patience: ANSWER_WITHIN,
            };
            if patient.is_up() {
                return patient;
            }
            // Another process took a port in the meantime.
            collector = patient.collector;
        }
    }

    /// Waits until it answers; false where it ends before that.
    fn is_up(&mut self) -> bool {
        eventually("the service answers or ends", || {
            if self.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(self.service).ok()?;
            TcpStream::connect(self.admin).ok().map(|_| true)
        })
    }

    fn start_of(&self, plugin: &dyn Plugin, params: &Value) -> Result<Answer, ureq::Error> {
        let url = format!("http://{}{}", self.admin, start_path(plugin.name()));
        agent().post(url).send(params.to_string()).map(Answer::read)
    }

    /// Reads all that can be read while the service lives.
    fn look(&mut self, seen: &mut Seen) {
        let document = request("GET", self.admin, "/openapi.json", "", &[]).body;
        let of_api = document["paths"].as_object().unwrap().keys();
        let of_api = of_api.map(|path| path.replace("{name}", "x").replace("{id}", "x"));
        let mut requests: Vec<_> = of_api.map(|path| ("GET", path)).collect();
        for method in ["GET", "POST", "HEAD", "OPTIONS"] {
            requests.extend(PATHS.map(|path| (method, path.to_owned())));
        }
        for (method, path) in requests {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n");
            self.ask(&format!("{method} {path}"), head.as_bytes(), seen);
        }
        for bytes in RAW {
            self.ask(&String::from_utf8_lossy(bytes), bytes, seen);
        }
        // Last, with the series of all that was asked.
        let open_metrics = "Accept: application/openmetrics-text\r\n";
        for format in ["", open_metrics] {
            let head = format!(
                "GET /metrics HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n{format}\r\n"
            );
            let page = self.ask("GET /metrics", head.as_bytes(), seen);
            for line in page.lines().filter(|_| format.is_empty()) {
                let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
                seen.shape(Of::Series, series.to_owned());
            }
        }
        self.look_at_process(seen);
        self.look_at_files(seen);
    }

    /// Sends `bytes` and returns the body of the answer.
    fn ask(&self, what: &str, bytes: &[u8], seen: &mut Seen) -> String {
        let mut stream = TcpStream::connect(self.service).unwrap();
        stream.set_read_timeout(Some(self.patience)).unwrap();
        stream.write_all(bytes).unwrap();
        // No more comes: else the service waits for the rest of what is no request.
        // A fault may have ended the connection by now.
        stream.shutdown(std::net::Shutdown::Write).ok();
        let mut answer = Vec::new();
        // A fault may cut it off.
        stream.read_to_end(&mut answer).ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        seen.text(what, answer.clone());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        let headers: Vec<&str> = lines.filter_map(|line| line.split(':').next()).collect();
        let mut keys = BTreeSet::new();
        if let Ok(json) = serde_json::from_str(body) {
            keys_of(&json, "", &mut keys);
        }
        seen.shape(
            Of::Answers,
            format!("{what}: {status} {headers:?} {keys:?}"),
        );
        body.to_owned()
    }

    fn look_at_process(&self, seen: &mut Seen) {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        for file in ["comm", "cmdline", "maps"] {
            let text = fs::read_to_string(proc.join(file)).unwrap();
            seen.text(format!("/proc/PID/{file}"), text.replace('\0', " "));
        }
        for task in fs::read_dir(proc.join("task")).unwrap().flatten() {
            // It may have ended.
            if let Ok(name) = fs::read_to_string(task.path().join("comm")) {
                seen.text("/proc/PID/task/TID/comm", name.clone());
                seen.shape(Of::Threads, name);
            }
        }
        for fd in fs::read_dir(proc.join("fd")).unwrap().flatten() {
            if let Ok(target) = fs::read_link(fd.path()) {
                let target = target.to_string_lossy().into_owned();
                seen.text("/proc/PID/fd", target.clone());
                seen.shape(Of::Files, self.without_numbers(&target));
            }
        }
    }

    fn look_at_files(&self, seen: &mut Seen) {
        let mut folders = vec![self.folder.path().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                seen.text("DataDir", path.to_string_lossy());
                seen.shape(Of::Files, self.without_numbers(&path.to_string_lossy()));
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
    }

    /// A path in the service's folder, or any other, with one `#` for each number.
    fn without_numbers(&self, path: &str) -> String {
        let folder = self.folder.path().to_str().unwrap();
        let path = path.replace(folder, "");
        let parts = path.split(|c: char| c.is_ascii_digit());
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        parts.join("#")
    }

    /// Ends the process as an orchestrator does.
    fn end(&mut self) {
        self.child.signal(Signal::TERM);
        let give_up = Instant::now() + END_WITHIN;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill().ok();
        self.child.ended();
    }

    /// Reads what the process has left: its log, its last words and its spans.
    fn look_back(&mut self, seen: &mut Seen, is_text: bool) {
        let output = fs::read_to_string(self.folder.path().join(OUTPUT)).unwrap();
        for line in output.lines().filter(|_| !is_text) {
            seen.shape(Of::Lines, template_of(line));
        }
        seen.text("the log", output);
        let spans = self.collector.everything();
        assert!(spans.contains("http.route"), "no spans came: {spans}");
        seen.text("the traces", spans);
    }
}

/// The paths of all members of `json`; of a list, those of its items.
fn keys_of(json: &Value, at: &str, keys: &mut BTreeSet<String>) {
    let members = json.as_object().into_iter().flatten();
    for (key, value) in members {
        let path = format!("{at}/{key}");
        keys_of(value, &path, keys);
        keys.insert(path);
    }
    for item in json.as_array().into_iter().flatten() {
        keys_of(item, at, keys);
    }
}

/// A line of the JSON log without its values.
fn template_of(line: &str) -> String {
    match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(line) => {
            let names: Vec<&String> = line.keys().collect();
            format!("{} {} {names:?}", line["level"], line["message"])
        }
        Err(_) => line.to_owned(),
    }
}

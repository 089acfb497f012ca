//! A daemon under test: the real binary on free loopback ports, in a folder of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything that must happen may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The scenarios in the order of the document.
pub(crate) const SCENARIOS: [&str; 9] = [
    "cpu_burner",
    "memory_leaker",
    "network_latency",
    "health_check",
    "goroutine_leak",
    "disk_io",
    "crash",
    "dependency",
    "shutdown_hang",
];

/// The probes under all their names.
pub(crate) const PROBES: [&str; 7] = [
    "/health",
    "/healthz",
    "/livez",
    "/ready",
    "/readyz",
    "/startup",
    "/startupz",
];

/// A running daemon; dropping it ends the process.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The working folder: configuration, logs and data.
    pub(crate) folder: Arc<TempDir>,
    /// The log lines that were written after the start, as JSON.
    pub(crate) log: mpsc::Receiver<Value>,
    agent: ureq::Agent,
}

/// An answer: its status, its content type and its body, parsed where it is JSON.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_with("", &[])
    }

    /// Starts with lines added to the configuration, and with environment variables.
    pub(crate) fn start_with(yaml: &str, env: &[(&str, &str)]) -> Self {
        Self::start_under(&["env"], yaml, env)
    }

    /// The same by a command that becomes the daemon, such as `prlimit`.
    pub(crate) fn start_under(by: &[&str], yaml: &str, env: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let base = "Host: 127.0.0.1\nPort: 0\n";
        let config = folder.path().join("mockserver.yaml");
        std::fs::write(&config, format!("{base}{yaml}")).expect("a configuration");
        Self::start_in_under(by, Arc::new(folder), env)
    }

    /// Starts in the folder of a daemon that has ended, with its configuration and data.
    pub(crate) fn start_in(folder: Arc<TempDir>, env: &[(&str, &str)]) -> Self {
        Self::start_in_under(&["env"], folder, env)
    }

    fn start_in_under(by: &[&str], folder: Arc<TempDir>, env: &[(&str, &str)]) -> Self {
        let config = folder.path().join("mockserver.yaml");
        let mut child = Command::new(by[0])
            .args(&by[1..])
            .arg(env!("CARGO_BIN_EXE_mockserver"))
            .arg("-f")
            .arg(&config)
            .current_dir(folder.path())
            .env("MOCKSERVER_LOG_FORMAT", "json")
            .env("MOCKSERVER_ADMIN_PORT", free_port().to_string())
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let (sender, log) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let (mut service, mut admin, mut ready) = (None, None, false);
        while service.is_none() || admin.is_none() || !ready {
            let line = match log.recv_timeout(PATIENCE) {
                Ok(line) => line,
                // Somebody else took the admin port in the meantime: exit code 1, once more.
                Err(mpsc::RecvTimeoutError::Disconnected)
                    if child.wait().expect("its end").code() == Some(1) =>
                {
                    return Self::start_in_under(by, folder, env);
                }
                Err(error) => panic!("the daemon does not say where it listens: {error}"),
            };
            let address = || line["address"].as_str().and_then(|text| text.parse().ok());
            match line["listener"].as_str() {
                Some("service") => service = address(),
                Some("admin") => admin = address(),
                // From here on it hears signals too.
                _ => {
                    let message = line["message"].as_str().unwrap_or_default();
                    ready = matches!(message, "Ready." | "Serving, but not ready yet.");
                }
            }
        }
        let (service, admin) = (service.expect("an address"), admin.expect("an address"));
        Self {
            child,
            service,
            admin,
            folder,
            log,
            agent: agent(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", self.service, path, b"")
    }

    pub(crate) fn admin_get(&self, path: &str) -> Answer {
        self.ask("GET", self.admin, path, b"")
    }

    /// Posts `body` without a Content-Type, as the document's own examples do.
    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", self.service, path, body.as_ref())
    }

    pub(crate) fn admin_post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", self.admin, path, body.as_ref())
    }

    pub(crate) fn ask(&self, method: &str, to: SocketAddr, path: &str, body: &[u8]) -> Answer {
        answer(send(&self.agent, method, to, path, body, &[]))
    }

    /// A client of its own, which may move to another thread.
    pub(crate) fn client(&self) -> Client {
        Client {
            agent: agent(),
            service: self.service,
            admin: self.admin,
        }
    }

    /// The session as the admin listener shows it.
    pub(crate) fn session(&self) -> Value {
        self.admin_get("/api/v1/composite/status").body
    }

    /// Starts a set and gives its report.
    pub(crate) fn started_set(&self, scenarios: Value) -> Value {
        let body = serde_json::json!({ "scenarios": scenarios });
        let answer = self.post("/api/v1/composite/start", body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub(crate) fn stopped(&self, name: &str) -> Value {
        let answer = self.admin_post(&format!("/api/v1/scenarios/{name}/stop"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Waits for the first log line that `wanted` says yes to.
    pub(crate) fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("never logged: {what}"));
            if wanted(&line) {
                return line;
            }
        }
    }

    /// What the kernel tells of the process.
    pub(crate) fn process(&self) -> Process {
        Process::of(self.pid())
    }

    /// Starts one scenario and checks that it did.
    pub(crate) fn started(&self, name: &str, params: Value) -> Value {
        let answer = self.post(
            &format!("/api/v1/scenarios/{name}/start"),
            params.to_string(),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        self.admin_get(&format!("/api/v1/scenarios/{name}/status"))
            .body
    }

    /// Waits until `network_latency` holds exactly so many requests up.
    pub(crate) fn delays(&self, requests: usize) {
        eventually("the requests wait", || {
            let metrics = &self.status("network_latency")["metrics"];
            (metrics["delayed_requests"] == requests).then_some(())
        });
    }

    pub(crate) fn stop_all(&self) -> Answer {
        self.admin_post("/api/v1/composite/stop", "")
    }

    /// Sends a signal to this daemon's own process.
    pub(crate) fn signal(&self, name: Signal) {
        signal(&self.child, name);
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }
}

/// A client that knows both listeners.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Client {
    pub(crate) fn get(&self, path: &str) -> Answer {
        answer(send(&self.agent, "GET", self.service, path, b"", &[]))
    }

    pub(crate) fn admin_get(&self, path: &str) -> Answer {
        answer(send(&self.agent, "GET", self.admin, path, b"", &[]))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        let body = body.as_bytes();
        answer(send(&self.agent, "POST", self.service, path, body, &[]))
    }
}

/// A process, as `/proc` shows it.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// The process `pid`.
    pub(crate) fn of(pid: u32) -> Self {
        Self(pid)
    }

    /// The CPU time of its live threads, to the nanosecond. A thread that ends takes its count along.
    pub(crate) fn live_cpu(self) -> Duration {
        self.of_all_threads(0)
    }

    /// The CPU time of all its threads, dead ones included.
    pub(crate) fn cpu(self) -> Duration {
        let stat = self.read("stat");
        // The name stands in brackets and may hold anything; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum();
        // USER_HZ is 100 on every Linux that Rust's standard targets run on.
        Duration::from_millis(ticks * 10)
    }

    /// How long its live threads were ready to run and did not, because others had the CPU.
    pub(crate) fn waited_for_cpu(self) -> Duration {
        self.of_all_threads(1)
    }

    /// The sum of a field of `schedstat`, in nanoseconds: 0 is time on a CPU, 1 time in wait of one.
    fn of_all_threads(self, field: usize) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process lives");
        let nanos = tasks.flatten().filter_map(|task| {
            let schedstat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            schedstat.split_whitespace().nth(field)?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Resident memory in MiB, counted page by page: the figure in `status` may lag behind.
    pub(crate) fn resident_mb(self) -> f64 {
        self.kilobytes("smaps_rollup", "Rss:") as f64 / 1024.0
    }

    /// The bytes of its address space.
    pub(crate) fn mapped_bytes(self) -> u64 {
        self.kilobytes("status", "VmSize:") * 1024
    }

    /// The figure of a line such as `Rss:  1234 kB`.
    fn kilobytes(self, file: &str, name: &str) -> u64 {
        let text = self.read(file);
        let kb = text.lines().find_map(|line| line.strip_prefix(name));
        let kb = kb.and_then(|text| text.trim().strip_suffix(" kB"));
        kb.expect(name).trim().parse().expect("a number")
    }

    /// Bounds what it may have from now on of a resource, as `prlimit` calls it; the hard limit stays.
    pub(crate) fn limit(self, resource: &str, most: u64) {
        let limit = format!("--{resource}={most}:");
        let limited = Command::new("prlimit")
            .args(["--pid", &self.0.to_string(), &limit])
            .status();
        assert!(limited.expect("prlimit runs").success());
    }

    /// Bytes that it has caused to be sent to the storage layer.
    pub(crate) fn written_bytes(self) -> u64 {
        let io = self.read("io");
        let bytes = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        bytes.expect("write_bytes").parse().expect("a number")
    }

    pub(crate) fn threads(self) -> usize {
        self.entries("task")
    }

    pub(crate) fn open_files(self) -> usize {
        self.entries("fd")
    }

    fn read(self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).expect("the process lives")
    }

    fn entries(self, folder: &str) -> usize {
        let entries = std::fs::read_dir(format!("/proc/{}/{folder}", self.0));
        entries.expect("the process lives").count()
    }
}

/// Tests that load the machine or measure its CPU take turns, or they would measure each other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone, or gone now.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An agent that gives every answer as it is, errors included.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .max_redirects(0)
        .build()
        .into()
}

/// Sends one request and gives the answer with its headers.
pub(crate) fn send(
    agent: &ureq::Agent,
    method: &str,
    to: SocketAddr,
    path: &str,
    body: &[u8],
    headers: &[(&str, &str)],
) -> http::Response<ureq::Body> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("http://{to}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_vec()).expect("a request");
    agent.run(request).expect("an answer")
}

/// A connection of its own over which `bytes` were sent as they are.
pub(crate) fn sent(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(bytes).expect("room for a request");
    stream
}

/// Sends bytes as they are and gives all that comes back until the daemon closes the connection.
pub(crate) fn send_raw(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = sent(to, bytes);
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// The value of `header` in an answer, empty where it has none.
pub(crate) fn header_of(response: &http::Response<ureq::Body>, header: &str) -> String {
    let value = response.headers().get(header);
    value
        .map_or("", |value| value.to_str().expect("a text"))
        .to_owned()
}

pub(crate) fn answer(mut response: http::Response<ureq::Body>) -> Answer {
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type");
    let content_type = content_type
        .map_or("", |value| value.to_str().expect("a text"))
        .to_owned();
    let text = response.body_mut().read_to_string().expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        content_type,
        body,
    }
}

/// Sends a signal to a process of this test's own.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a process of ours");
}

/// Waits until a process has ended.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    eventually("the daemon ends", || child.try_wait().expect("its state"))
}

/// Waits until `check` gives a value.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < give_up, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that was free a moment ago; `Admin.Port: 0` means off, so it cannot ask the system itself.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

//! A daemon under test: the real binary on free loopback ports, in its own temporary folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, Client, agent, send, start_path};
use super::proc::{ChildGuard, Process};
use super::{PATIENCE, eventually};

const CONFIG: &str = "mockserver.yaml";

/// A running daemon; dropping it ends the process.
pub(crate) struct Daemon {
    pub(crate) child: ChildGuard,
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The working folder: configuration, logs and data.
    pub(crate) folder: Arc<TempDir>,
    /// The log lines that were written after the start, as JSON.
    pub(crate) log: mpsc::Receiver<Value>,
    agent: ureq::Agent,
}

/// How a daemon is to be started.
#[derive(Clone)]
pub(crate) struct Builder {
    wrapper: Vec<String>,
    file: String,
    env: Vec<(String, String)>,
    folder: Option<Arc<TempDir>>,
}

impl Builder {
    /// Appends lines to the configuration file, which sets loopback and a free port.
    pub(crate) fn file(mut self, yaml: &str) -> Self {
        self.file.push_str(yaml);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn envs(self, env: &[(&str, &str)]) -> Self {
        let set = |builder: Self, (name, value): &(&str, &str)| builder.env(name, value);
        env.iter().fold(self, set)
    }

    /// Starts the daemon by a command that becomes it, such as `prlimit --nofile=64`.
    pub(crate) fn wrapper(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts in the folder of a daemon that ran before, with its configuration and data.
    pub(crate) fn folder(mut self, folder: &Arc<TempDir>) -> Self {
        self.folder = Some(Arc::clone(folder));
        self
    }

    /// Starts the daemon and waits until it serves and handles signals.
    pub(crate) fn start(self) -> Daemon {
        let folder = self.folder.clone().unwrap_or_else(|| {
            let folder = TempDir::new().unwrap();
            let base = "Host: 127.0.0.1\nPort: 0\n";
            let yaml = format!("{base}{}", self.file);
            std::fs::write(folder.path().join(CONFIG), yaml).unwrap();
            Arc::new(folder)
        });
        // It may be missing in the log of the service.
        let is_silent = ["Blind: true", "Log: {Admin"]
            .iter()
            .any(|key| self.file.contains(key));
        loop {
            let port = free_port();
            let mut child = self.spawn(&folder, port);
            let log = log_of(child.stdout.take().unwrap());
            let admin = is_silent.then(|| SocketAddr::from(([127, 0, 0, 1], port)));
            match addresses(&log, admin) {
                Some((service, admin)) => {
                    return Daemon {
                        child,
                        service,
                        admin,
                        folder,
                        log,
                        agent: agent(),
                    };
                }
                // Another process took the admin port in the meantime: exit code 1, once more.
                None => assert_eq!(child.ended().code(), Some(1), "the daemon failed to start"),
            }
        }
    }

    fn spawn(&self, folder: &TempDir, admin_port: u16) -> ChildGuard {
        let binary = env!("CARGO_BIN_EXE_mockserver");
        let mut words = self.wrapper.iter().map(String::as_str).chain([binary]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .arg("-f")
            .arg(folder.path().join(CONFIG))
            .current_dir(folder.path())
            .env("MOCKSERVER_LOG_FORMAT", "json")
            .env("MOCKSERVER_ADMIN_PORT", admin_port.to_string())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn();
        ChildGuard(child.expect("the daemon can be executed"))
    }
}

/// Reads log lines in a thread, so that the pipe never fills up.
fn log_of(output: ChildStdout) -> mpsc::Receiver<Value> {
    let (sender, log) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    log
}

/// The addresses of both listeners once the daemon serves and handles signals; none if it ends before that.
fn addresses(
    log: &mpsc::Receiver<Value>,
    mut admin: Option<SocketAddr>,
) -> Option<(SocketAddr, SocketAddr)> {
    let (mut service, mut ready) = (None, false);
    loop {
        if let (Some(service), Some(admin), true) = (service, admin, ready) {
            return Some((service, admin));
        }
        let line = match log.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(error) => panic!("the daemon does not log where it listens: {error}"),
        };
        let address = || line["address"].as_str().and_then(|text| text.parse().ok());
        match line["listener"].as_str() {
            Some("service") => service = address(),
            Some("admin") => admin = address(),
            _ => {
                let message = line["message"].as_str().unwrap_or_default();
                ready = matches!(message, "Ready." | "Serving, but not ready yet.");
            }
        }
    }
}

impl Daemon {
    pub(crate) fn builder() -> Builder {
        Builder {
            wrapper: Vec::new(),
            file: String::new(),
            env: Vec::new(),
            folder: None,
        }
    }

    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    /// Starts with lines added to the configuration file, and with environment variables.
    pub(crate) fn start_with(yaml: &str, env: &[(&str, &str)]) -> Self {
        Self::builder().file(yaml).envs(env).start()
    }

    /// Starts another daemon in the folder of this one, with its configuration and data.
    pub(crate) fn start_again(&self) -> Self {
        Self::builder().folder(&self.folder).start()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The daemon's process, as the kernel describes it.
    pub(crate) fn process(&self) -> Process {
        Process(self.pid())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.ended()
    }

    /// Waits for the first log line that `matches`.
    pub(crate) fn wait_for_log(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("never logged: {what}"));
            if matches(&line) {
                return line;
            }
        }
    }

    /// Ends the daemon by SIGTERM and returns all its log lines since the start.
    pub(crate) fn whole_log(&mut self) -> Vec<Value> {
        self.signal(Signal::TERM);
        self.ended();
        std::iter::from_fn(|| self.log.recv_timeout(PATIENCE).ok()).collect()
    }

    // === Requests ===

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", self.service, path, b"")
    }

    pub(crate) fn admin_get(&self, path: &str) -> Answer {
        self.ask("GET", self.admin, path, b"")
    }

    /// Posts `body` without a Content-Type.
    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", self.service, path, body.as_ref())
    }

    pub(crate) fn admin_post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", self.admin, path, body.as_ref())
    }

    pub(crate) fn ask(&self, method: &str, to: SocketAddr, path: &str, body: &[u8]) -> Answer {
        Answer::read(send(&self.agent, method, to, path, body, &[]))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.service, self.admin)
    }

    // === Scenarios ===

    /// Asks for the start of one scenario, whatever the answer.
    pub(crate) fn try_start(&self, name: &str, body: Value) -> Answer {
        self.post(&start_path(name), body.to_string())
    }

    /// Starts one scenario and returns the report.
    pub(crate) fn start_scenario(&self, name: &str, params: Value) -> Value {
        let answer = self.try_start(name, params);
        assert_eq!(answer.status, 200, "start of {name}: {answer:?}");
        answer.body
    }

    /// Asks for a composite start, whatever the answer.
    pub(crate) fn try_start_set(&self, body: Value) -> Answer {
        self.post("/api/v1/composite/start", body.to_string())
    }

    /// Starts a set and returns the report.
    pub(crate) fn start_set(&self, scenarios: Value) -> Value {
        let answer = self.try_start_set(json!({ "scenarios": scenarios }));
        assert_eq!(answer.status, 200, "start of {scenarios}: {answer:?}");
        answer.body
    }

    /// Stops one scenario over the admin listener and returns its last status.
    pub(crate) fn stop_scenario(&self, name: &str) -> Value {
        let answer = self.admin_post(&format!("/api/v1/scenarios/{name}/stop"), "");
        assert_eq!(answer.status, 200, "stop of {name}: {answer:?}");
        answer.body
    }

    pub(crate) fn stop_all(&self) -> Answer {
        self.admin_post("/api/v1/composite/stop", "")
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        let path = format!("/api/v1/scenarios/{name}/status");
        self.admin_get(&path).body
    }

    /// The session as the admin listener shows it.
    pub(crate) fn session(&self) -> Value {
        self.admin_get("/api/v1/composite/status").body
    }

    /// The scenarios that the list shows as running, in the order of the list.
    pub(crate) fn running(&self) -> Vec<String> {
        let list = self.admin_get("/api/v1/scenarios").body;
        let rows = list["scenarios"].as_array().expect("a list of scenarios");
        rows.iter()
            .filter(|row| row["running"] == true)
            .map(|row| {
                row["name"]
                    .as_str()
                    .expect("every row has a name")
                    .to_owned()
            })
            .collect()
    }

    /// Waits until a metric of a scenario's status satisfies `is_met`, and returns it.
    pub(crate) fn wait_for_metric(
        &self,
        name: &str,
        metric: &str,
        is_met: impl Fn(f64) -> bool,
    ) -> f64 {
        eventually(&format!("{metric} of {name} is as expected"), || {
            let value = self.status(name)["metrics"][metric].as_f64();
            value.filter(|value| is_met(*value))
        })
    }

    /// Waits until `network_latency` delays exactly this many requests.
    pub(crate) fn wait_for_delayed_requests(&self, requests: usize) {
        self.wait_for_metric("network_latency", "delayed_requests", |delayed| {
            delayed == requests as f64
        });
    }

    /// Waits until the run of `name` has ended, and returns its end.
    pub(crate) fn wait_for_end(&self, name: &str) -> Value {
        eventually(&format!("the run of {name} ends"), || {
            let end = self.status(name)["end"].take();
            end.is_object().then_some(end)
        })
    }
}

/// A port that was free a moment ago; `Admin.Port: 0` means off, so the kernel cannot choose one at bind.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

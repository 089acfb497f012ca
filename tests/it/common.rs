//! A daemon under test: the real binary on free loopback ports, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything that must happen may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon; dropping it ends the process.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The working folder: configuration, logs and data.
    pub(crate) folder: TempDir,
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
        let folder = TempDir::new().expect("a folder");
        let base = "Host: 127.0.0.1\nPort: 0\n";
        let config = folder.path().join("mockserver.yaml");
        std::fs::write(&config, format!("{base}{yaml}")).expect("a configuration");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
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
        let (mut service, mut admin) = (None, None);
        while service.is_none() || admin.is_none() {
            let line = log
                .recv_timeout(PATIENCE)
                .expect("the daemon says where it listens");
            let address = || line["address"].as_str().and_then(|text| text.parse().ok());
            match line["listener"].as_str() {
                Some("service") => service = address(),
                Some("admin") => admin = address(),
                _ => {}
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
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{to}{path}"))
            .body(body.to_vec())
            .expect("a request");
        answer(self.agent.run(request).expect("an answer"))
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

    pub(crate) fn stop_all(&self) -> Answer {
        self.admin_post("/api/v1/composite/stop", "")
    }

    /// Sends a signal to this daemon's own process.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.pid().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(Instant::now() < give_up, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
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
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

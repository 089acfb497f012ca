//! A patient with its kubelet: a blind service that is started again whenever its process has ended.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Answer, Daemon, agent};

const CONFIG: &str =
    "Name: shop\nVersion: 1.0.0\nBlind: true\nWorkload: shop\nTraffic: {Rps: 40}\n";
/// How often the kubelet looks.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process has to end.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) struct Patient {
    pub(crate) daemon: Daemon,
    wrapper: Vec<String>,
    agent: ureq::Agent,
}

/// A drill that is open.
pub(crate) struct Open {
    pub(crate) id: String,
    pub(crate) deadline: Instant,
}

impl Patient {
    /// Started by a command that becomes it; empty starts it plainly.
    pub(crate) fn start(wrapper: &[&str]) -> Self {
        let daemon = Daemon::builder().file(CONFIG).wrapper(wrapper).start();
        Self {
            daemon,
            wrapper: wrapper.iter().map(|&word| word.to_owned()).collect(),
            agent: agent(),
        }
    }

    /// Starts the process again if it has ended.
    pub(crate) fn look(&mut self) {
        if self.daemon.child.0.try_wait().unwrap().is_none() {
            return;
        }
        let wrapper: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let again = Daemon::builder().file(CONFIG).wrapper(&wrapper);
        self.daemon = again.folder(&self.daemon.folder).start();
    }

    /// Plays the kubelet until `end`.
    pub(crate) fn live_until(&mut self, end: Instant) {
        while Instant::now() < end {
            self.look();
            sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Plays the kubelet until `end`, a scraper of the service's metrics, and once, half-way, a roll-out that asks the
    /// process to end and kills it when it does not.
    pub(crate) fn live_among_peers(&mut self, end: Instant) {
        let half = end.saturating_duration_since(Instant::now()) / 2;
        let rolls_out = Instant::now() + half;
        while Instant::now() < rolls_out {
            self.look();
            self.scrape();
        }
        self.daemon.signal(Signal::TERM);
        let grace = Instant::now() + GRACE;
        while Instant::now() < grace && self.daemon.child.0.try_wait().unwrap().is_none() {
            sleep(LOOK);
        }
        // It may have ended by itself.
        self.daemon.child.0.kill().ok();
        self.daemon.ended();
        self.live_until(end);
    }

    /// What it answers does not matter, nor whether it does.
    fn scrape(&self) {
        let url = format!("http://{}/metrics", self.daemon.service);
        let within = Some(Duration::from_millis(300));
        let request = self.agent.get(url).config().timeout_global(within).build();
        drop(request.call());
        sleep(LOOK);
    }

    /// Asks the admin listener, again and again where the process dies meanwhile.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let end = Instant::now() + PATIENCE;
        loop {
            self.look();
            let url = format!("http://{}{path}", self.daemon.admin);
            let sent = match method {
                "GET" => self.agent.get(url).call(),
                _ => self.agent.post(url).send(body.to_string()),
            };
            match sent {
                Ok(answer) => return Answer::read(answer),
                Err(error) => assert!(Instant::now() < end, "{method} {path}: {error}"),
            }
            sleep(LOOK);
        }
    }

    /// Opens a drill of which all is over `length` after the opening.
    pub(crate) fn open(&mut self, mut body: Value, length: Duration) -> Result<Open, Answer> {
        body["replace"] = json!(true);
        let answer = self.ask("POST", "/api/v1/drills", &body);
        if answer.status != 201 {
            return Err(answer);
        }
        let id = answer.body["drill_id"].as_str().unwrap().to_owned();
        let deadline = Instant::now() + length;
        Ok(Open { id, deadline })
    }

    /// Closes the drill and returns its report as text.
    pub(crate) fn close(&mut self, drill: &Open) -> Answer {
        let path = format!("/api/v1/drills/{}/close", drill.id);
        self.ask("POST", &path, &json!({}))
    }

    /// The drill's own file.
    pub(crate) fn file(&self, drill: &Open) -> PathBuf {
        let folder = self.daemon.folder.path().join("data/drills");
        folder.join(format!("{}.jsonl", drill.id))
    }

    /// The report that the program computes of the drill's file.
    pub(crate) fn recomputed(&self, drill: &Open) -> String {
        let mut program = Command::new(env!("CARGO_BIN_EXE_mockserver"));
        let output = program
            .args(["exam", "score"])
            .arg(self.file(drill))
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// What runs now.
    pub(crate) fn running(&mut self) -> Value {
        self.ask("GET", "/api/v1/composite/status", &json!({})).body["scenarios"].take()
    }

    /// Every preset, as the examiner sees it.
    pub(crate) fn presets(&mut self) -> Vec<Value> {
        let mut answer = self.ask("GET", "/api/v1/presets", &json!({}));
        serde_json::from_value(answer.body["presets"].take()).unwrap()
    }
}

//! The same binary in a container with real limits, on the host's network.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::support::proc::Process;
use crate::support::{Answer, agent, eventually, free_port};

const IMAGE: &str = "debian:bookworm-slim";

/// A running container; dropping it removes it.
pub(crate) struct Container {
    pub(crate) process: Process,
    id: String,
    pub(crate) admin: SocketAddr,
    agent: ureq::Agent,
}

/// Why no container can run here, if so.
pub(crate) fn missing() -> Option<String> {
    match podman(&["image", "exists", IMAGE]) {
        Ok(_) => None,
        Err(_) => Some(format!("podman or its image {IMAGE} is missing")),
    }
}

impl Container {
    /// Starts the daemon with limits such as `--cpus=0.5`.
    pub(crate) fn start(limits: &[&str]) -> Self {
        let binary = env!("CARGO_BIN_EXE_mockserver");
        let admin: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let mount = format!("{binary}:/mockserver:ro");
        let port = format!("MOCKSERVER_ADMIN_PORT={}", admin.port());
        let mut args = vec![
            "run",
            "--detach",
            "--network=host",
            "--volume",
            &mount,
            "--env",
            &port,
        ];
        args.extend(["--env", "MOCKSERVER_PORT=0"]);
        args.extend(limits);
        args.extend([IMAGE, "/mockserver"]);
        let id = podman(&args).unwrap();
        let pid = podman(&["inspect", "--format", "{{.State.Pid}}", &id]).unwrap();
        let process = Process(pid.parse().unwrap());
        let container = Self {
            process,
            id,
            admin,
            agent: agent(),
        };
        eventually("the container answers", || {
            let url = format!("http://{}/health", container.admin);
            container.agent.get(url).call().ok()
        });
        container
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let url = format!("http://{}{path}", self.admin);
        Answer::read(self.agent.post(url).send(body.to_string()).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Option<Answer> {
        self.agent
            .get(format!("http://{}{path}", self.admin))
            .call()
            .ok()
            .map(Answer::read)
    }

    /// Once it has ended: the exit code, and whether the kernel killed it for its memory.
    pub(crate) fn ended(&self) -> Option<(i64, bool)> {
        let format = "{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}}";
        let state = podman(&["inspect", "--format", format, &self.id]).unwrap();
        let [running, code, oom] = state.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        (running == "false").then(|| (code.parse().unwrap(), oom == "true"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        podman(&["rm", "--force", "--time=0", &self.id]).ok();
    }
}

fn podman(args: &[&str]) -> Result<String, String> {
    // A container that the kernel kills for its memory leaves a file in its working folder.
    let output = Command::new("podman")
        .args(args)
        .current_dir(std::env::temp_dir())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

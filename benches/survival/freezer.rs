//! Blocks single threads of a process with the kernel's freezer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::support::eventually;

const ROOT: &str = "/sys/fs/cgroup/freezer";

/// Threads that are frozen until this is dropped.
pub(crate) struct Frozen {
    group: PathBuf,
    threads: Vec<String>,
}

impl Frozen {
    /// Freezes the threads of the runtime that serves requests: its workers, and the main thread.
    pub(crate) fn workers_of(pid: u32) -> io::Result<Self> {
        let mut threads = Vec::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let name = fs::read_to_string(task.path().join("comm"))?;
            let thread = task.file_name().to_string_lossy().into_owned();
            if name.starts_with("tokio-") || thread == pid.to_string() {
                threads.push(thread);
            }
        }
        let group = Path::new(ROOT).join(format!("survival-{}", std::process::id()));
        fs::create_dir(&group)?;
        // From here on, dropping it thaws the threads.
        let frozen = Self { group, threads };
        for thread in &frozen.threads {
            fs::write(frozen.group.join("tasks"), thread)?;
        }
        fs::write(frozen.state(), "FROZEN")?;
        eventually("the workers are frozen", || {
            let state = fs::read_to_string(frozen.state()).ok()?;
            (state.trim() == "FROZEN").then_some(())
        });
        Ok(frozen)
    }

    fn state(&self) -> PathBuf {
        self.group.join("freezer.state")
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // The threads may have ended with their process.
        fs::write(self.state(), "THAWED").ok();
        for thread in &self.threads {
            fs::write(Path::new(ROOT).join("tasks"), thread).ok();
        }
        fs::remove_dir(&self.group).ok();
    }
}

//! A control group with limits, for what needs them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";
/// Half a CPU, and memory that a leak reaches soon.
const QUOTA_US: &str = "50000";
const MEMORY: &str = "268435456";

/// The group; dropping it removes it.
pub(crate) struct Limited {
    folders: Vec<PathBuf>,
    /// Starts a program in the group.
    pub(crate) wrapper: Vec<String>,
}

impl Limited {
    /// # Errors
    /// There is no cgroup v1, or this is not root.
    pub(crate) fn new() -> std::io::Result<Self> {
        let name = format!("exam-{}", std::process::id());
        let folders = ["cpu", "memory"].map(|kind| PathBuf::from(ROOT).join(kind).join(&name));
        let mut group = Self {
            folders: Vec::new(),
            wrapper: Vec::new(),
        };
        for folder in folders {
            fs::create_dir(&folder)?;
            group.folders.push(folder);
        }
        fs::write(group.folders[0].join("cpu.cfs_quota_us"), QUOTA_US)?;
        fs::write(group.folders[1].join("memory.limit_in_bytes"), MEMORY)?;
        let enter: String = group
            .folders
            .iter()
            .map(|folder| format!("echo $$ > {}/cgroup.procs && ", folder.display()))
            .collect();
        group.wrapper = vec![
            "sh".to_owned(),
            "-c".to_owned(),
            format!("{enter}exec \"$@\""),
            "sh".to_owned(),
        ];
        Ok(group)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // The kernel takes a moment to let a process go that was just killed.
        let end = Instant::now() + Duration::from_secs(5);
        for folder in &self.folders {
            while fs::remove_dir(folder).is_err() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

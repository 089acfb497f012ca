//! `disk_fill`: space as the file system counts it, on one of its own: ext4 in a file, or in memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const MIB: f64 = 1_048_576.0;
const SIZE_MB: u32 = 1024;

/// A mounted file system; unmounted when dropped.
struct Mounted {
    folder: tempfile::TempDir,
    kind: &'static str,
}

impl Mounted {
    fn new() -> Option<Self> {
        Self::ext4().or_else(|| {
            let folder = tempfile::tempdir().unwrap();
            let size = format!("size={SIZE_MB}m");
            let kind = "tmpfs";
            run("mount", &["-t", kind, "-o", &size, kind], folder.path())
                .then_some(Self { folder, kind })
        })
    }

    fn ext4() -> Option<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(u64::from(SIZE_MB) << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        let image = image.to_str().unwrap();
        let is_made = run("mkfs.ext4", &["-q", "-F"], Path::new(image));
        let kind = "ext4";
        (is_made && run("mount", &["-o", "loop", image], &at)).then_some(Self { folder, kind })
    }

    fn path(&self) -> std::path::PathBuf {
        match self.kind {
            "ext4" => self.folder.path().join("disk"),
            _ => self.folder.path().to_owned(),
        }
    }

    fn free_mb(&self) -> f64 {
        let system = rustix::fs::statvfs(self.path()).unwrap();
        (system.f_bavail * system.f_frsize) as f64 / MIB
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.path());
    }
}

fn run(program: &str, args: &[&str], at: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(args).arg(at).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(crate) fn measure(table: &mut Table) {
    let Some(disk) = Mounted::new() else {
        table.note("disk_fill: this user may not mount a file system.");
        return;
    };
    let daemon = Daemon::builder()
        .env("MOCKSERVER_DATA_DIR", disk.path().to_str().unwrap())
        .start();
    daemon.session();
    let before = disk.free_mb();
    for (params, taken) in [
        (json!({ "size_mb": 700, "rate_mb": 2000 }), 700.0),
        (
            json!({ "leave_free_mb": 100, "rate_mb": 2000 }),
            before - 100.0,
        ),
    ] {
        daemon.start_scenario("disk_fill", params);
        daemon.wait_for_metric("disk_fill", "current_mb", |mb| (mb - taken).abs() <= 1.0);
        let gone = before - disk.free_mb();
        let from = Instant::now();
        daemon.stop_all();
        let (took, left) = (from.elapsed().as_secs_f64(), before - disk.free_mb());
        let kind = disk.kind;
        table.row(Row {
            what: &format!("fill: space taken, of {kind}"),
            asked: format!("{taken:.1} MiB"),
            achieved: format!("{gone:.2} MiB"),
            error: format!("{:+.2} MiB", gone - taken),
            bar: "1 MiB",
            held: (gone - taken).abs() <= 1.0,
        });
        table.row(Row {
            what: &format!("fill: left when stop answers, of {kind}"),
            asked: "0 MiB in 1 s".to_owned(),
            achieved: format!("{left:.2} MiB in {took:.3} s"),
            error: String::new(),
            bar: "1 MiB; 1 s",
            held: left.abs() <= 1.0 && took <= 1.0,
        });
    }
}

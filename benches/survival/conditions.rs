//! The conditions: each fault at its worst, then all of them at once.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Waiting, ask};
use crate::container;
use crate::freezer::Frozen;
use crate::groups::Group;
use crate::subject::Subject;
use crate::support::eventually;
use crate::table::Table;
use crate::trial::{Held, ON_MACHINE_MS, Trial, UNDER_QUOTA_MS};

pub(crate) const GROUPS: &[Group] = &[
    ("cpu", cpu),
    ("quota", cpu_under_quota),
    ("tasks", tasks),
    ("latency", latency),
    ("files", files),
    ("workers", workers),
    ("disk", disk),
    ("memory", memory),
    ("all", all),
];

const TASKS: f64 = 1e6;
/// So slow that there are not many more by the end of the measurement.
const TASKS_PER_SECOND: u32 = 100_000;
const WAITING: usize = 5_000;
/// How much of its memory limit a container uses in the condition. The rest is for requests: a container that the
/// kernel kills cannot be measured.
const FULL_PERCENT: f64 = 96.0;

/// A daemon whose `DataDir` is a small file system.
const ON_SMALL_DISK: &[&str] = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mkdir -p data && mount -t tmpfs -o size=16m tmpfs data && exec \"$0\" \"$@\"",
];

fn cpu(table: &mut Table) {
    let subject = Subject::on_machine(&["env"]);
    on_machine(&subject).run(table, burn);
}

fn cpu_under_quota(table: &mut Table) {
    let Some(subject) = contained(table, "the CPU quota", &["--cpus=0.25"]) else {
        return;
    };
    let trial = Trial {
        bar_ms: UNDER_QUOTA_MS,
        ..on_machine(&subject)
    };
    trial.run(table, |subject| {
        let (held, during) = burn(subject);
        (held, format!("{during} of 0.25 CPU"))
    });
}

fn burn(subject: &Subject) -> (Held, String) {
    subject.start(&json!([burner()]));
    subject.reached("cpu_burner", "current_cpu_percent", 1.0);
    // Its figure is a mean over a second.
    std::thread::sleep(Duration::from_secs(2));
    let percent = subject.reached("cpu_burner", "current_cpu_percent", 1.0);
    (Held::default(), format!("CPU at {percent:.0} %"))
}

fn tasks(table: &mut Table) {
    let subject = Subject::on_machine(&["env"]);
    on_machine(&subject).run(table, |subject| {
        subject.start(&json!([leak()]));
        let tasks = subject.reached("goroutine_leak", "current_goroutines", TASKS);
        (
            Held::default(),
            format!("{tasks:.0} tasks are leaked and more come"),
        )
    });
}

fn latency(table: &mut Table) {
    let subject = Subject::on_machine(&["env"]);
    on_machine(&subject).run(table, |subject| {
        subject.start(&json!([late()]));
        let waiting = wait(subject, WAITING);
        (waiting, format!("{WAITING} requests wait 60 s"))
    });
}

fn files(table: &mut Table) {
    const REQUESTS: usize = 100;
    let subject = Subject::on_machine(&["env"]);
    on_machine(&subject).run(table, |subject| {
        subject.start(&json!([late()]));
        let mut held = wait(subject, REQUESTS);
        let open = subject.process.open_files();
        held.others.push(Box::new(subject.without_more_files()));
        (held, format!("all {open} file descriptors are taken"))
    });
}

fn workers(table: &mut Table) {
    let subject = Subject::on_machine(&["env"]);
    if let Err(error) = Frozen::workers_of(subject.pid()) {
        table.note(format!(
            "blocked workers: no thread can be frozen here: {error}"
        ));
        return;
    }
    let trial = Trial {
        service_answers: false,
        ..on_machine(&subject)
    };
    trial.run(table, |subject| {
        subject.start(&json!([late(), { "name": "health_check" }]));
        let mut held = wait(subject, 100);
        freeze(subject, &mut held);
        (
            held,
            "every thread of the service runtime is blocked".to_owned(),
        )
    });
    table.note("the service listener under blocked workers: no thread can answer");
}

fn disk(table: &mut Table) {
    let subject = Subject::on_machine(ON_SMALL_DISK);
    on_machine(&subject).run(table, |subject| {
        subject.start(&json!([{ "name": "health_check" }]));
        let held = Held {
            others: vec![
                Box::new(fill_disk(subject)),
                Box::new(KeepsWriting::begin(subject)),
            ],
            ..Held::default()
        };
        let failed = || {
            let error = &subject.status("disk_io")["end"]["error"];
            error
                .as_str()
                .is_some_and(|error| error.contains("disk"))
                .then_some(())
        };
        eventually("the disk refuses", failed);
        (
            held,
            "disk_io tries again and again on a full disk".to_owned(),
        )
    });
}

fn memory(table: &mut Table) {
    let Some(subject) = contained(table, "memory at its limit", &["--memory=256m"]) else {
        return;
    };
    on_machine(&subject).run(table, |subject| {
        let percent = fill_memory(subject);
        (
            Held::default(),
            format!("memory at {percent:.0} % of 256 MiB"),
        )
    });
}

fn all(table: &mut Table) {
    let limits = [
        "--memory=2g",
        "--tmpfs=/data:size=16m",
        "--env=MOCKSERVER_DATA_DIR=/data",
    ];
    let Some(subject) = contained(table, "all faults at once", &limits) else {
        return;
    };
    let can_freeze = Frozen::workers_of(subject.pid()).is_ok();
    let trial = Trial {
        service_answers: !can_freeze,
        ..on_machine(&subject)
    };
    trial.run(table, |subject| {
        let mut leak = leak();
        // More tasks would take the memory that is filled below.
        leak["params"]["max_goroutines"] = json!(TASKS);
        subject.start(&json!([burner(), leak, late(), { "name": "health_check" }]));
        subject.reached("goroutine_leak", "current_goroutines", TASKS);
        let mut held = wait(subject, WAITING);
        held.others.push(Box::new(fill_disk(subject)));
        held.others.push(Box::new(KeepsWriting::begin(subject)));
        if can_freeze {
            freeze(subject, &mut held);
        }
        // Last of all that takes memory, and before the file descriptors that measure it run out.
        let percent = fill_memory(subject);
        held.others.push(Box::new(subject.without_more_files()));
        (
            held,
            format!("all of these at once, memory at {percent:.0} % of 2 GiB"),
        )
    });
}

// === Parts ===

fn on_machine(subject: &Subject) -> Trial<'_> {
    Trial {
        subject,
        bar_ms: ON_MACHINE_MS,
        service_answers: true,
    }
}

fn contained(table: &mut Table, what: &str, limits: &[&str]) -> Option<Subject> {
    match container::missing() {
        None => Some(Subject::in_container(limits)),
        Some(reason) => {
            table.note(format!("{what}: {reason}"));
            None
        }
    }
}

fn burner() -> Value {
    json!({ "name": "cpu_burner", "params": { "target_percent": 100 } })
}

fn leak() -> Value {
    json!({ "name": "goroutine_leak", "params": { "goroutines_per_second": TASKS_PER_SECOND } })
}

fn late() -> Value {
    json!({ "name": "network_latency", "params": { "latency_ms": 60_000 } })
}

/// Sends requests that wait in a delay.
fn wait(subject: &Subject, many: usize) -> Held {
    let waiting = Waiting::begin(subject.service, many);
    subject.reached("network_latency", "delayed_requests", many as f64);
    Held {
        waiting: Some(waiting),
        ..Held::default()
    }
}

fn freeze(subject: &Subject, held: &mut Held) {
    let frozen = Frozen::workers_of(subject.pid());
    held.frozen = Some(frozen.expect("the threads could be frozen before"));
}

/// Leaks memory until the container uses [`FULL_PERCENT`] of its limit; returns what is in use then.
fn fill_memory(subject: &Subject) -> f64 {
    let (used_mb, limit_mb) = subject.memory_mb();
    let target_mb = (limit_mb * FULL_PERCENT / 100.0 - used_mb).floor();
    subject.add(
        "memory_leaker",
        &json!({ "target_mb": target_mb, "leak_rate_mb": 300 }),
    );
    subject.reached("memory_leaker", "current_mb", target_mb);
    let (used_mb, limit_mb) = subject.memory_mb();
    used_mb / limit_mb * 100.0
}

/// Fills `DataDir` until this is dropped.
fn fill_disk(subject: &Subject) -> impl Any + use<> {
    struct Filler(String);
    impl Drop for Filler {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }
    let filler = Filler(format!("{}/filler", subject.data_dir()));
    // The error shows that the disk is full.
    std::fs::write(&filler.0, vec![1; 32 << 20]).expect_err("the disk is small");
    filler
}

/// Starts `disk_io` again and again, until this is dropped.
struct KeepsWriting {
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl KeepsWriting {
    fn begin(subject: &Subject) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (ended, admin) = (Arc::clone(&end), subject.admin);
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // It may start and fail at once, or not start.
                ask(admin, "POST", "/api/v1/scenarios/disk_io/start", "").ok();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            end,
            thread: Some(thread),
        }
    }
}

impl Drop for KeepsWriting {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

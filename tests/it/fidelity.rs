use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Daemon, alone, eventually};

fn sleep_until(deadline: Instant) {
    std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
}

/// The bar of the benchmark is 0.2 points; this holds twice that. Too much is never excused. Too little
/// is by the time in which the process was ready to run and the machine ran others.
#[test]
fn cpu_is_held_within_four_tenths_of_a_point_by_the_cpu_clock() {
    let _turn = alone();
    let daemon = Daemon::start();
    let cores = daemon_cores(&daemon);
    for target in [10.0, 50.0] {
        daemon.started("cpu_burner", json!({ "target_percent": target }));
        sleep_until(Instant::now() + Duration::from_secs(1));
        let process = daemon.process();
        let (from, cpu, waited) = (Instant::now(), process.live_cpu(), process.waited_for_cpu());
        sleep_until(from + Duration::from_secs(10));
        let window = from.elapsed().as_secs_f64() * cores;
        let used = (process.live_cpu() - cpu).as_secs_f64() / window * 100.0;
        let waited = (process.waited_for_cpu() - waited).as_secs_f64() / window * 100.0;
        // A debt of 100 ms of the schedule from before the window may be paid back in it.
        let most = target + 0.4 + if waited > 0.4 { target * 0.01 } else { 0.0 };
        assert!(
            used <= most && used + waited >= target - 0.4,
            "{used:.2} % of {target} %, and {waited:.2} % in wait for a CPU"
        );
    }
}

fn daemon_cores(daemon: &Daemon) -> f64 {
    daemon.started("cpu_burner", json!({ "target_percent": 1 }));
    eventually("the limit is known", || {
        daemon.status("cpu_burner")["metrics"]["limit_cores"].as_f64()
    })
}

#[test]
fn memory_stands_within_two_mebibytes_of_its_target_and_all_of_it_comes_back() {
    let _turn = alone();
    let daemon = Daemon::start();
    let leak = |mb: u32| {
        daemon.started(
            "memory_leaker",
            json!({ "target_mb": mb, "leak_rate_mb": 2000 }),
        );
        eventually("the leak is full", || {
            let current = daemon.status("memory_leaker")["metrics"]["current_mb"].as_f64();
            (current >= Some(f64::from(mb))).then_some(())
        });
    };
    // The code and the buffers of a first run are not the leak's.
    leak(1);
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    leak(300);
    let grown = daemon.process().resident_mb() - base;
    assert!((grown - 300.0).abs() <= 2.0, "{grown} MiB of 300");
    daemon.stop_all();
    let left = daemon.process().resident_mb() - base;
    assert!(left <= 6.0, "{left} MiB of 300 are left");
}

#[test]
fn a_leaked_task_takes_no_more_than_its_bytes_and_the_count_is_exact() {
    let _turn = alone();
    let daemon = Daemon::start();
    let base = daemon.process().resident_mb();
    let from = Instant::now();
    daemon.started(
        "goroutine_leak",
        json!({ "goroutines_per_second": 100_000 }),
    );
    let started = Instant::now();
    let count = eventually("two hundred thousand tasks", || {
        let count = daemon.status("goroutine_leak")["metrics"]["current_goroutines"].as_f64()?;
        (count >= 200_000.0).then_some(count)
    });
    let most = from.elapsed().as_secs_f64() * 100_000.0;
    assert!(count <= most, "{count} tasks where {most} were due");
    assert!(started.elapsed() >= Duration::from_secs_f64(2.0 - (started - from).as_secs_f64()));
    let bytes = (daemon.process().resident_mb() - base) * 1_048_576.0 / count;
    assert!(bytes <= 800.0, "{bytes} bytes each");
}

#[test]
fn disk_writes_are_no_more_than_a_tenth_above_what_was_asked() {
    let _turn = alone();
    let daemon = Daemon::start();
    daemon.started("disk_io", json!({ "write_rate_mb": 4 }));
    let process = daemon.process();
    sleep_until(Instant::now() + Duration::from_secs(1));
    let (from, before) = (Instant::now(), process.written_bytes());
    sleep_until(from + Duration::from_secs(5));
    let effect = daemon.status("disk_io")["effect"].take();
    let written = (process.written_bytes() - before) as f64 / 1_048_576.0;
    let rate = written / from.elapsed().as_secs_f64();
    assert!(rate <= 4.4, "{rate} MiB/s of 4");
    // A busy disk may take less; then the run says so.
    assert!(
        rate >= 3.6 || effect["shortfall"] == "contended",
        "{rate} MiB/s of 4: {effect}"
    );
}

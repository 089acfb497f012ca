//! `disk_io`: bytes that the kernel says were written, against the rate.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::proc;
use crate::row::Row;
use crate::support::Daemon;
use crate::support::proc::Process;
use crate::table::Table;

const RATES: &[f64] = &[1.0, 20.0, 100.0];
const MIB: f64 = 1_048_576.0;

pub(crate) fn measure(table: &mut Table) {
    // On the disk that the build is on: a memory file system would take anything.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for rate in RATES {
        one_rate(table, *rate, folder.path().to_str().unwrap());
    }
    let (reads, operations) = (json!({ "read_rate_mb": 20 }), json!({ "iops": 200 }));
    let folder = folder.path().to_str().unwrap();
    other(table, "read_bytes", &reads, 20.0, folder, |process| {
        process.read_bytes()
    });
    // More than the file holds, in large pieces, and then small ones over them.
    let again = json!({ "write_rate_mb": { "steps": [[0, 300], [2.5, 5]] } });
    other(
        table,
        "write_bytes over what was written",
        &again,
        5.0,
        folder,
        |process| process.written_bytes(),
    );
    let rate = 200.0 * 4096.0 / MIB;
    other(
        table,
        "write_bytes of 200 operations/s",
        &operations,
        rate,
        folder,
        |process| process.written_bytes(),
    );
}

/// The mean of 5 s of what else can be asked, in MiB/s.
fn other(
    table: &mut Table,
    what: &str,
    params: &serde_json::Value,
    rate: f64,
    data_dir: &str,
    bytes: fn(Process) -> u64,
) {
    let daemon = Daemon::builder()
        .env("MOCKSERVER_DATA_DIR", data_dir)
        .start();
    daemon.start_scenario("disk_io", params.clone());
    // What is read is written at first.
    proc::sleep_until(Instant::now() + Duration::from_secs(3));
    let (from, before) = (Instant::now(), bytes(daemon.process()));
    proc::sleep_until(from + Duration::from_secs(5));
    let moved = (bytes(daemon.process()) - before) as f64 / MIB;
    let mean = moved / from.elapsed().as_secs_f64();
    let off = (mean / rate - 1.0) * 100.0;
    table.row(Row {
        what: &format!("disk: {what}, mean of 5 s"),
        asked: format!("{rate:.2} MiB/s"),
        achieved: format!("{mean:.2} MiB/s"),
        error: format!("{off:+.1} %"),
        bar: "5 %",
        held: off.abs() <= 5.0,
    });
}

fn one_rate(table: &mut Table, rate: f64, data_dir: &str) {
    let daemon = Daemon::builder()
        .env("MOCKSERVER_DATA_DIR", data_dir)
        .start();
    daemon.start_scenario("disk_io", json!({ "write_rate_mb": rate }));
    proc::sleep_until(Instant::now() + Duration::from_secs(1));
    let start = (Instant::now(), daemon.process().written_bytes());
    let (mut last, mut fastest) = (start, 0.0_f64);
    while start.0.elapsed() < Duration::from_secs(10) {
        proc::sleep_until(last.0 + Duration::from_millis(200));
        let now = (Instant::now(), daemon.process().written_bytes());
        fastest = fastest.max((now.1 - last.1) as f64 / MIB / (now.0 - last.0).as_secs_f64());
        last = now;
    }
    let mean = (last.1 - start.1) as f64 / MIB / (last.0 - start.0).as_secs_f64();
    let off = (mean / rate - 1.0) * 100.0;
    let reported = daemon.status("disk_io")["effect"]["achieved"]
        .as_f64()
        .unwrap_or(f64::NAN);
    table.row(Row {
        what: &format!("disk: write_bytes, mean of 10 s (reported {reported:.2})"),
        asked: format!("{rate} MiB/s"),
        achieved: format!("{mean:.2} MiB/s"),
        error: format!("{off:+.1} %"),
        bar: "5 %",
        held: off.abs() <= 5.0,
    });
    table.row(Row {
        what: "disk: fastest 200 ms",
        asked: format!("{rate} MiB/s"),
        achieved: format!("{fastest:.2} MiB/s"),
        error: format!("x{:.2}", fastest / rate),
        bar: "at most x2",
        held: fastest <= 2.0 * rate,
    });
}

//! `disk_io`: bytes that the kernel says were written, against the rate.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::proc;
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const RATES: &[f64] = &[1.0, 20.0, 100.0];
const MIB: f64 = 1_048_576.0;

pub(crate) fn measure(table: &mut Table) {
    // On the disk that the build is on: a memory file system would take anything.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for rate in RATES {
        one_rate(table, *rate, folder.path().to_str().unwrap());
    }
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

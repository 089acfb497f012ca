//! `rate_limit`: the requests that pass in ten seconds; `connection_abort`: how soon a stop frees hung requests.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load::Load;
use crate::row::Row;
use crate::support::{Daemon, connect_and_write};
use crate::table::Table;

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    for (rps, passing) in [
        (json!(20), 200.0),
        (json!(200), 2000.0),
        (
            json!({ "ramp": { "from": 0, "to": 400, "over_s": 10 } }),
            2000.0,
        ),
    ] {
        rate(table, &daemon, rps, passing);
    }
    hung(table);
}

fn rate(table: &mut Table, daemon: &Daemon, rps: Value, asked: f64) {
    let load = Load {
        address: daemon.service,
        path: "/health",
        connections: 100,
        per_second: 1000,
    };
    let what = format!("passed in 10 s of {rps} requests/s");
    daemon.start_scenario("rate_limit", json!({ "rps": rps }));
    let passed = load.run(Duration::from_secs(10)).served() as f64;
    daemon.stop_all();
    table.row(Row {
        what: &what,
        asked: format!("{asked}"),
        achieved: format!("{passed}"),
        error: format!("{:+.2} %", (passed / asked - 1.0) * 100.0),
        bar: "2 %",
        held: (passed - asked).abs() <= asked * 0.02,
    });
}

fn hung(table: &mut Table) {
    const HUNG: usize = 1000;
    let daemon = Daemon::start();
    daemon.start_scenario("connection_abort", json!({ "mode": "hang" }));
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    let hung: Vec<_> = (0..HUNG)
        .map(|_| connect_and_write(daemon.service, request))
        .collect();
    daemon.wait_for_metric("connection_abort", "aborted_requests", |n| n == HUNG as f64);
    let start = Instant::now();
    daemon.stop_all();
    for mut stream in hung {
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    let took = start.elapsed();
    table.row(Row {
        what: "1,000 hung requests answered after the stop",
        asked: "at once".to_owned(),
        achieved: format!("{} ms", took.as_millis()),
        error: String::new(),
        bar: "1 s",
        held: took < Duration::from_secs(1),
    });
}

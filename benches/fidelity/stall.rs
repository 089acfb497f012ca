//! `runtime_stall` and `deadlock`: what callers of the service see of them, and the admin listener meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::load::{Load, admin_row};
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const WINDOW: Duration = Duration::from_secs(8);

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    daemon.start_scenario(
        "runtime_stall",
        json!({ "stall_ms": 200, "every_ms": 1000 }),
    );
    // So many that each has its answer before its next request is due: an open loop.
    let load = |address, connections| Load {
        address,
        path: "/health",
        connections,
        per_second: 200,
    };
    let admin = load(daemon.admin, 4);
    let of_admin = std::thread::spawn(move || admin.run(WINDOW));
    let service = load(daemon.service, 100).run(WINDOW);
    let (p99, of_admin) = (service.at(0.99), of_admin.join().unwrap().at(0.99));
    table.row(Row {
        what: "stall: p99 of /health at 200 requests/s, 200 ms every 1 s",
        asked: "150 to 260 ms".to_owned(),
        achieved: format!("{p99:.1} ms"),
        error: String::new(),
        bar: "150 to 260 ms",
        held: (150.0..=260.0).contains(&p99),
    });
    let effect = daemon.status("runtime_stall")["effect"].take();
    let achieved = effect["achieved"].as_f64().unwrap_or(f64::NAN);
    table.row(Row {
        what: "stall: the workers were blocked in the mean (reported)",
        asked: "200 ms".to_owned(),
        achieved: format!("{achieved:.1} ms"),
        error: format!("{:+.1} ms", achieved - 200.0),
        bar: "10 ms",
        held: (achieved - 200.0).abs() <= 10.0,
    });
    admin_row(table, "stall", of_admin);
    daemon.stop_all();
    deadlock(table, &daemon, load(daemon.admin, 4));
}

fn deadlock(table: &mut Table, daemon: &Daemon, admin: Load) {
    daemon.start_scenario("deadlock", json!({}));
    daemon.wait_for_metric("deadlock", "waiting_workers", |count| count > 0.0);
    let of_admin = std::thread::spawn(move || admin.run(Duration::from_secs(2)));
    let silent = !is_answered(daemon.service, Duration::from_secs(1));
    let of_admin = of_admin.join().unwrap().at(0.99);
    let from = Instant::now();
    daemon.stop_all();
    let revived = is_answered(daemon.service, Duration::from_secs(5));
    let took = from.elapsed().as_secs_f64();
    table.row(Row {
        what: "deadlock: no answer within 1 s; answers after the stop",
        asked: "1 s".to_owned(),
        achieved: format!("{took:.3} s"),
        error: String::new(),
        bar: "silent, then within 1 s",
        held: silent && revived && took <= 1.0,
    });
    admin_row(table, "deadlock", of_admin);
}

/// Whether a request on a new connection is answered within `patience`.
fn is_answered(to: SocketAddr, patience: Duration) -> bool {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    matches!(stream.read(&mut [0]), Ok(1))
}

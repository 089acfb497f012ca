//! The life of a drill: how it is kept over crashes, restarts and other versions, and what it does to the traffic.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::quick;
use crate::support::{Answer, Daemon, agent, eventually, send};

const BLIND: &str =
    "Name: orders\nVersion: 1.1.0\nBlind: true\nWorkload: {Routes: [{Path: '/work/{id}'}]}\n";
/// What it says when the process vanishes or ends.
const VERSION: &str = "MOCKSERVER_VERSION";

fn blind() -> Daemon {
    Daemon::start_with(BLIND, &[])
}

fn detected() -> String {
    json!({ "detected": true, "findings": [], "decision": "rollback" }).to_string()
}

impl Daemon {
    fn open_drill(&self, body: &Value) -> Value {
        let opened = self.admin_post("/api/v1/drills", body.to_string());
        assert_eq!(opened.status, 201, "{opened:?}");
        opened.body
    }

    fn current_drill(&self) -> Answer {
        self.admin_get("/api/v1/drills/current")
    }

    fn answer_drill(&self, id: &str) -> Answer {
        self.admin_post(&format!("/api/v1/drills/{id}/answers"), detected())
    }

    fn close_drill(&self, id: &str) -> Answer {
        self.admin_post(&format!("/api/v1/drills/{id}/close"), "")
    }

    fn drill_file(&self, id: &str) -> PathBuf {
        self.folder.path().join(format!("data/drills/{id}.jsonl"))
    }

    fn drill_events(&self, id: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.drill_file(id)).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("every line is whole"))
            .collect()
    }

    fn runs_now(&self) -> Vec<String> {
        let status = self.admin_get("/api/v1/composite/status").body;
        let scenarios = status["scenarios"].as_array().unwrap();
        let names = scenarios.iter().map(|name| name.as_str().unwrap());
        names.map(str::to_owned).collect()
    }

    /// Kills it and starts it again, with more in its environment.
    fn killed_and_back(mut self, env: &[(&str, &str)]) -> Self {
        self.signal(Signal::KILL);
        self.ended();
        self.back(env)
    }

    /// Starts it again after its end.
    fn back(&self, env: &[(&str, &str)]) -> Self {
        let daemon = Daemon::builder().file(BLIND).folder(&self.folder);
        daemon.envs(env).start()
    }

    /// Why the drill `id` was closed.
    fn reason(&self, id: &str) -> String {
        let last = self.drill_events(id).pop().unwrap();
        assert_eq!(last["kind"], "drill_closed", "{last}");
        last["drill"]["reason"].as_str().unwrap().to_owned()
    }
}

/// The file has each event once, in order.
fn assert_whole(events: &[Value]) {
    assert_eq!(events[0]["kind"], "drill_opened");
    let seqs: Vec<_> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    let is_next = |pair: &[u64]| pair[1] == pair[0] + 1;
    assert!(seqs.windows(2).all(is_next), "{seqs:?}");
}

// === Crashes, restarts and versions ===

#[test]
fn a_kill_at_any_time_leaves_a_drill_that_the_next_boot_goes_on_with() {
    let daemon = blind();
    let id = daemon.open_drill(&quick("latency_regression_p50"))["drill_id"].clone();
    let id = id.as_str().unwrap();
    assert_eq!(daemon.answer_drill(id).status, 202);
    let daemon = daemon.killed_and_back(&[]);
    let current = daemon.current_drill();
    assert_eq!(current.body["drill_id"], id);
    assert_eq!(current.body["answers_left"], 4);
    assert_eq!(daemon.runs_now(), ["network_latency"]);
    let report = daemon.close_drill(id);
    assert_eq!(report.status, 200, "{report:?}");
    assert_eq!(daemon.runs_now(), [""; 0]);
    let daemon = daemon.killed_and_back(&[]);
    assert_eq!(daemon.current_drill().status, 404);
    assert_eq!(daemon.close_drill(id), report);
    assert_eq!(daemon.reason(id), "finished");
    assert_whole(&daemon.drill_events(id));
    assert_eq!(daemon.runs_now(), [""; 0]);
}

/// Sends a request and kills the daemon within it or around it; returns the answer, if one came.
fn killed_during(daemon: &Daemon, path: &str, body: &str, after: Duration) -> Option<Answer> {
    let (admin, path, body) = (daemon.admin, path.to_owned(), body.to_owned());
    let client = thread::spawn(move || send(&agent(), "POST", admin, &path, body.as_bytes(), &[]));
    let began = Instant::now();
    while began.elapsed() < after {
        thread::yield_now();
    }
    daemon.signal(Signal::KILL);
    // Without an answer it panics.
    client.join().ok().map(Answer::read)
}

#[test]
fn a_kill_within_the_opening_leaves_a_drill_or_none() {
    let mut opened = 0;
    for ms in [1, 3, 5, 8, 12, 20] {
        let mut daemon = blind();
        let body = quick("latency_regression_p50").to_string();
        let after = Duration::from_millis(ms);
        let answer = killed_during(&daemon, "/api/v1/drills", &body, after);
        daemon.ended();
        let daemon = daemon.back(&[]);
        let current = daemon.current_drill();
        if let Some(answer) = answer {
            assert_eq!(
                answer.body["drill_id"], current.body["drill_id"],
                "after {ms} ms"
            );
        }
        if current.status == 200 {
            opened += 1;
            assert_eq!(daemon.runs_now(), ["network_latency"]);
            let id = current.body["drill_id"].as_str().unwrap();
            assert_eq!(daemon.close_drill(id).status, 200);
            assert_whole(&daemon.drill_events(id));
        }
        // The next one can be opened whatever is left.
        daemon.open_drill(&quick("control_quiet"));
    }
    println!("{opened} of 6 were open");
}

#[test]
fn an_answer_that_was_accepted_survives_a_kill_at_any_time() {
    for ms in [0, 1, 2, 4, 7] {
        let mut daemon = blind();
        let id = daemon.open_drill(&quick("control_quiet"))["drill_id"].clone();
        let path = format!("/api/v1/drills/{}/answers", id.as_str().unwrap());
        let answer = killed_during(&daemon, &path, &detected(), Duration::from_millis(ms));
        daemon.ended();
        let daemon = daemon.back(&[]);
        let left = daemon.current_drill().body["answers_left"]
            .as_u64()
            .unwrap();
        assert!(
            left == 4 || answer.is_none() && left == 5,
            "{answer:?} {left}"
        );
    }
}

#[test]
fn a_kill_within_the_close_leaves_a_drill_that_can_be_closed() {
    for ms in [0, 1, 2, 4, 8, 15] {
        let mut daemon = blind();
        let id = daemon.open_drill(&quick("latency_regression_p50"))["drill_id"].clone();
        let id = id.as_str().unwrap();
        let path = format!("/api/v1/drills/{id}/close");
        let report = killed_during(&daemon, &path, "", Duration::from_millis(ms));
        daemon.ended();
        let daemon = daemon.back(&[]);
        let again = daemon.close_drill(id);
        assert_eq!(again.status, 200, "{again:?}");
        if let Some(report) = report {
            assert_eq!(report, again);
        }
        assert_eq!(daemon.reason(id), "finished");
        assert_whole(&daemon.drill_events(id));
        assert_eq!(daemon.runs_now(), [""; 0]);
    }
}

#[test]
fn a_graceful_end_leaves_it_open() {
    let mut daemon = blind();
    let id = daemon.open_drill(&quick("latency_regression_p50"))["drill_id"].clone();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    let daemon = daemon.back(&[]);
    assert_eq!(daemon.current_drill().body["drill_id"], id);
    assert_eq!(daemon.runs_now(), ["network_latency"]);
}

#[test]
fn another_version_is_a_rollback_and_a_safe_boot_aborts() {
    for (env, reason) in [
        ((VERSION, "1.0.0"), "rolled_back"),
        (("MOCKSERVER_SAFE_BOOT", "1"), "aborted"),
    ] {
        let daemon = blind();
        let id = daemon.open_drill(&quick("latency_regression_p50"))["drill_id"].clone();
        let id = id.as_str().unwrap();
        let daemon = daemon.killed_and_back(&[env]);
        assert_eq!(daemon.current_drill().status, 404);
        assert_eq!(daemon.reason(id), reason);
        assert_eq!(daemon.runs_now(), [""; 0]);
        assert_eq!(daemon.answer_drill(id).status, 410);
        assert_whole(&daemon.drill_events(id));
    }
}

#[test]
fn a_deadline_that_passes_while_the_process_is_down_is_kept() {
    let mut daemon = blind();
    let mut short = quick("latency_regression_p50");
    short["duration_s"] = 0.5.into();
    short["time_scale"] = 0.01.into();
    let opened = daemon.open_drill(&short);
    daemon.signal(Signal::KILL);
    daemon.ended();
    let deadline = time_of(&opened["deadline_at"]);
    while now() < deadline {
        thread::yield_now();
    }
    let daemon = daemon.back(&[]);
    assert_eq!(daemon.current_drill().status, 404);
    assert_eq!(
        daemon.reason(opened["drill_id"].as_str().unwrap()),
        "expired"
    );
}

#[test]
fn a_version_that_crashes_after_each_boot_crashes_until_another_boots() {
    let mut daemon = blind();
    let mut crashes = quick("crash_loop_on_boot");
    crashes["time_scale"] = 0.2.into();
    let id = daemon.open_drill(&crashes)["drill_id"].clone();
    let id = id.as_str().unwrap();
    for _ in 0..2 {
        assert_eq!(daemon.ended().code(), Some(1));
        daemon = daemon.back(&[]);
    }
    assert_eq!(daemon.ended().code(), Some(1));
    let daemon = daemon.back(&[(VERSION, "1.0.0")]);
    assert_eq!(daemon.reason(id), "rolled_back");
    let events = daemon.drill_events(id);
    assert_whole(&events);
    let exits = events.iter().filter(|event| event["kind"] == "exit_intent");
    assert_eq!(exits.count(), 3);
}

// === Stamps ===

fn now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

/// Seconds since 1970.
fn time_of(time: &Value) -> f64 {
    let text = time.as_str().expect("a time");
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    parsed.expect("RFC 3339").unix_timestamp_nanos() as f64 / 1e9
}

/// The differences between when something was sent and its stamp, in ms; the least counts where the machine is busy.
fn least_difference(mut measure: impl FnMut() -> f64) -> f64 {
    let differences: Vec<f64> = (0..5).map(|_| measure()).collect();
    assert!(differences.iter().all(|ms| *ms >= -0.01), "{differences:?}");
    differences.into_iter().fold(f64::INFINITY, f64::min)
}

#[test]
fn an_answer_is_stamped_at_its_receipt() {
    let daemon = blind();
    let id = daemon.open_drill(&quick("control_quiet"))["drill_id"].clone();
    let id = id.as_str().unwrap();
    let off = least_difference(|| {
        let sent = now();
        (time_of(&daemon.answer_drill(id).body["received_at"]) - sent) * 1e3
    });
    assert!(off < 10.0, "{off} ms");
}

#[test]
fn the_first_request_that_is_touched_is_stamped_and_noted() {
    let daemon = blind();
    let off = least_difference(|| {
        let id = daemon.open_drill(&quick("latency_regression_p50"))["drill_id"].clone();
        let id = id.as_str().unwrap();
        let sent = now();
        assert_eq!(daemon.get("/work/1").status, 200);
        let first_touch =
            |event: &Value| event["drill"]["runs"][0].get("first_touched_at").cloned();
        let stamp = eventually("the touch is noted", || {
            let mut measured = daemon.events_of("drill_measured");
            measured.retain(|event| event["drill_id"] == id);
            measured.iter().find_map(first_touch)
        });
        let status = daemon
            .admin_get("/api/v1/scenarios/network_latency/status")
            .body;
        assert_eq!(status["metrics"]["first_touched_at"], stamp);
        assert_eq!(daemon.close_drill(id).status, 200);
        let off = (time_of(&stamp) - sent) * 1e3;
        // A probe of the drill itself may have come first, which says nothing.
        if off < 0.0 { f64::INFINITY } else { off }
    });
    assert!(off < 10.0, "{off} ms");
}

// === Traffic ===

#[test]
fn a_drill_brings_its_traffic_and_probes_and_takes_them_with_it() {
    let daemon = blind();
    let threads = daemon.process().threads();
    let mut noisy = quick("readiness_never_true");
    noisy["traffic_rps"] = 50.into();
    let id = daemon.open_drill(&noisy)["drill_id"].clone();
    let id = id.as_str().unwrap();
    let flip = daemon.wait_for_event("drill_probe_flip");
    assert_eq!(
        flip["drill"],
        json!({ "probe": "/ready", "succeeds": false })
    );
    let served = || {
        let page = daemon.get("/metrics").body;
        let count = "http_server_request_duration_seconds_count";
        let lines = page.as_str().unwrap().lines();
        let of_work = lines.filter(|line| line.starts_with(count) && line.contains("/work/{id}"));
        of_work
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum::<f64>()
    };
    eventually("its requests come", || (served() > 20.0).then_some(()));
    assert_eq!(daemon.close_drill(id).status, 200);
    let after = served();
    eventually("its threads end", || {
        (daemon.process().threads() <= threads).then_some(())
    });
    assert_eq!(served(), after);
}

#[test]
fn the_traffic_of_the_configuration_changes_within_a_second_and_back() {
    let daemon = Daemon::start_with(&format!("{BLIND}Traffic: {{Rps: 5}}\n"), &[]);
    let rate = || {
        let page = daemon.admin_get("/metrics").body;
        let lines = page.as_str().unwrap().lines();
        let mut rate = lines.filter_map(|line| line.strip_prefix("mockserver_traffic_rate "));
        rate.next().unwrap().parse::<f64>().unwrap()
    };
    let changes_to = |asked: f64| {
        let began = Instant::now();
        eventually("the rate changes", || (rate() == asked).then_some(()));
        // A second, and a busy machine.
        assert!(
            began.elapsed() < Duration::from_millis(1500),
            "{:?}",
            began.elapsed()
        );
    };
    changes_to(5.0);
    let mut busy = quick("control_quiet");
    busy["traffic_rps"] = 40.into();
    let id = daemon.open_drill(&busy)["drill_id"].clone();
    changes_to(40.0);
    assert_eq!(daemon.close_drill(id.as_str().unwrap()).status, 200);
    changes_to(5.0);
}

//! The labels: what sessions and rows say of a run, whatever became of it, of the process and of the clock.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Daemon, PATIENCE, UNUSABLE_DATA_DIR, event_labels, eventually, header_of, send,
};

/// All runs, in the order in which they were accepted.
fn runs(daemon: &Daemon) -> Vec<Value> {
    let mut answer = daemon.admin_get("/api/v1/sessions?limit=10000");
    let sessions = answer.body["sessions"].as_array_mut().unwrap();
    let runs = sessions
        .iter_mut()
        .flat_map(|session| session["runs"].take().as_array().cloned());
    runs.flatten().collect()
}

/// The newest run of a scenario.
fn run_of(daemon: &Daemon, scenario: &str) -> Value {
    let mut runs = runs(daemon);
    runs.retain(|run| run["scenario"] == scenario);
    runs.pop().unwrap()
}

/// Starts a leak that is far from its target for a minute, and returns its status once it is effective.
fn effective_leak(daemon: &Daemon) -> Value {
    daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": 240, "leak_rate_mb": 4 }),
    );
    eventually("the leak is effective", || {
        let effect = daemon.status("memory_leaker")["effect"].take();
        effect["effective_since"].is_string().then_some(effect)
    })
}

fn figure(run: &Value, key: &str) -> f64 {
    run[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no {key}: {run}"))
}

fn text<'v>(value: &'v Value, context: &Value) -> &'v str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {context}"))
}

#[test]
fn a_live_run_shows_what_is_measured_now_and_since_when_it_is_effective() {
    let daemon = Daemon::start();
    let effect = effective_leak(&daemon);
    let effective = daemon.wait_for_event("effective");
    assert_eq!(effective["time"], effect["effective_since"]);
    let since_then = figure(&effective, "achieved") + 1.0;
    let run = eventually("the row grows", || {
        let run = run_of(&daemon, "memory_leaker");
        (figure(&run, "achieved") > since_then).then_some(run)
    });
    assert_eq!(
        run["measured"],
        json!([{ "from": effect["effective_since"], "to": null }])
    );
    assert_eq!((&run["end"], &run["target"]), (&Value::Null, &json!(240.0)));
}

#[test]
fn a_run_that_is_killed_keeps_what_it_achieved_and_its_interval() {
    let mut daemon = Daemon::start();
    let effect = effective_leak(&daemon);
    daemon.start_scenario("dependency", json!({}));
    eventually("the leak grows", || {
        (figure(&daemon.status("memory_leaker")["effect"], "achieved") > 6.0).then_some(())
    });
    let status = daemon.status("memory_leaker")["effect"].take();
    daemon.signal(Signal::KILL);
    daemon.ended();
    let next = daemon.start_again();
    let run = run_of(&next, "memory_leaker");
    assert_eq!(
        (&run["end"], &run["target"]),
        (&json!("unclean"), &json!(240.0))
    );
    // The last half second may be missing, and more where the machine is busy.
    assert!(figure(&run, "achieved") > 1.0, "{run}");
    assert!(
        figure(&run, "achieved") <= figure(&status, "asked") + 4.0,
        "{run} after {status}"
    );
    let measured = &run["measured"][0];
    assert_eq!(measured["from"], effect["effective_since"], "{run}");
    assert_eq!(measured["to"], run["last_measured_at"], "{run}");
    assert!(text(&measured["to"], &run) <= text(&run["ended_before"], &run));
    let untouched = run_of(&next, "dependency");
    assert_eq!(
        (&untouched["measured"], &untouched["asked"]),
        (&json!([]), &json!(1.0))
    );
}

#[test]
fn a_kill_before_an_announced_crash_is_no_planned_end() {
    let mut daemon = Daemon::start();
    let crash = json!({ "crash_delay": 0, "scrape_window": 3600 });
    daemon.start_scenario("crash", crash);
    daemon.wait_for_event("exit_intent");
    daemon.signal(Signal::KILL);
    daemon.ended();
    let run = run_of(&daemon.start_again(), "crash");
    assert_eq!(
        (&run["end"], &run["ended_at"]),
        (&json!("unclean"), &Value::Null),
        "{run}"
    );
}

#[test]
fn an_announced_crash_ends_runs_only_when_it_comes() {
    let mut daemon = Daemon::start();
    effective_leak(&daemon);
    let crash = |window| json!({ "crash_delay": 0, "scrape_window": window, "exit_code": 7 });
    daemon.start_scenario("crash", crash(3600));
    daemon.wait_for_event("exit_intent");
    let run = run_of(&daemon, "crash");
    assert_eq!(
        (&run["end"], &run["achieved"]),
        (&Value::Null, &json!(1.0)),
        "{run}"
    );
    daemon.stop_scenario("crash");
    let run = run_of(&daemon, "crash");
    assert_eq!(
        (&run["end"], &run["achieved"]),
        (&json!("stopped"), &json!(0.0)),
        "{run}"
    );
    assert_eq!(run["measured"], json!([]), "{run}");
    let status = daemon.status("crash");
    assert_eq!(status["end"]["effect"]["achieved"], 0.0, "{status}");
    assert_eq!(status["metrics"]["seconds_left"], Value::Null, "{status}");
    let leak = run_of(&daemon, "memory_leaker");
    assert_eq!(
        (&leak["end"], &leak["measured"][0]["to"]),
        (&Value::Null, &Value::Null)
    );

    daemon.start_scenario("crash", crash(1));
    assert_eq!(daemon.ended().code(), Some(7));
    let next = daemon.start_again();
    let run = run_of(&next, "crash");
    assert_eq!(
        (&run["end"], &run["achieved"]),
        (&json!("exit"), &json!(1.0)),
        "{run}"
    );
    let measured = run["measured"].as_array().unwrap();
    assert_eq!(
        (measured.len(), &measured[0]["to"]),
        (1, &run["ended_at"]),
        "{run}"
    );
    let leak = run_of(&next, "memory_leaker");
    assert_eq!(
        (&leak["end"], &leak["ended_at"]),
        (&json!("exit"), &run["ended_at"]),
        "{leak}"
    );
    assert_eq!(leak["measured"][0]["to"], run["ended_at"], "{leak}");
}

#[test]
fn a_start_that_fails_is_an_end_like_any_other() {
    let daemon = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    let answer = daemon.try_start("disk_io", json!({}));
    assert_eq!(answer.status, 500, "{answer:?}");
    assert_eq!(
        event_labels(&daemon.events())[1..],
        ["accepted disk_io", "failed disk_io", "cleared disk_io"]
    );
    let status = daemon.status("disk_io");
    assert_eq!(
        (&status["running"], &status["start_time"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(status["end"]["reason"], "failed", "{status}");
    let page = daemon.admin_get("/metrics").body;
    let series = "mockserver_fault_runs_total{scenario=\"disk_io\",end=\"failed\"} 1";
    assert!(page.as_str().unwrap().contains(series));
    assert!(
        page.as_str()
            .unwrap()
            .contains("\nmockserver_ledger_not_durable 1")
    );
    assert_eq!(run_of(&daemon, "disk_io")["end"], "failed");
}

#[test]
fn a_client_that_sees_an_end_finds_it_in_the_ledger() {
    let daemon = Daemon::start();
    for ends in 1..=5 {
        daemon.start_scenario("dependency", json!({ "duration": 0.05 }));
        // Without a pause: the ledger is asked as soon as the end is seen.
        let give_up = Instant::now() + PATIENCE;
        while daemon.status("dependency")["running"] == true {
            assert!(Instant::now() < give_up, "it does not end");
        }
        assert_eq!(daemon.events_of("cleared").len(), ends);
        assert_eq!(runs(&daemon).pop().unwrap()["end"], "expired");
    }
    daemon.start_set(json!([{ "name": "dependency", "duration": 0.05 }]));
    let give_up = Instant::now() + PATIENCE;
    while daemon.session()["session_id"] != "" {
        assert!(Instant::now() < give_up, "it does not end");
    }
    assert_eq!(daemon.events_of("cleared").len(), 6);
}

#[test]
fn sessions_come_page_by_page_in_either_order() {
    let daemon = Daemon::start();
    for _ in 0..5 {
        daemon.start_scenario("dependency", json!({}));
        daemon.stop_all();
    }
    let ids = |page: &Value| -> Vec<String> {
        let sessions = page["sessions"].as_array().unwrap().iter();
        sessions
            .map(|session| session["session_id"].to_string())
            .collect()
    };
    let all = ids(&daemon.get("/api/v1/sessions").body);
    assert_eq!(all.len(), 5);
    let mut newest_first = all.clone();
    newest_first.reverse();
    for (order, expected) in [("asc", all), ("desc", newest_first)] {
        let (mut seen, mut since) = (Vec::new(), json!(0));
        loop {
            let query = format!("/api/v1/sessions?order={order}&limit=2&since={since}");
            let mut page = daemon.get(&query).body;
            seen.extend(ids(&page));
            since = page["next"].take();
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(seen, expected, "{order}");
    }
    let table = "/api/v1/sessions?format=csv&limit=4";
    let answer = send(
        &crate::support::agent(),
        "GET",
        daemon.admin,
        table,
        b"",
        &[],
    );
    let link = header_of(&answer, "link");
    let next = link
        .strip_prefix('<')
        .and_then(|link| link.strip_suffix(">; rel=\"next\""));
    let next = next.unwrap_or_else(|| panic!("{link}"));
    let rest = daemon.admin_get(&format!("/api/v1/sessions{next}")).body;
    assert_eq!(rest.as_str().unwrap().lines().count(), 2, "{rest}");
    for query in ["limit=0", "limit=10001", "since=-1", "order=up"] {
        let refused = daemon.get(&format!("/api/v1/sessions?{query}"));
        assert_eq!(refused.status, 422, "{query}");
    }
}

#[test]
fn a_process_that_was_stopped_for_a_while_says_so() {
    let daemon = Daemon::start();
    daemon.signal(Signal::STOP);
    // The freeze itself.
    std::thread::sleep(Duration::from_secs(2));
    daemon.signal(Signal::CONT);
    let frozen = daemon.wait_for_event("frozen");
    let (from, to) = (text(&frozen["from"], &frozen), text(&frozen["to"], &frozen));
    assert!(
        from < to && to <= text(&frozen["time"], &frozen),
        "{frozen}"
    );
}

#[test]
fn a_clock_that_is_set_back_is_recorded_and_turns_no_interval_round() {
    let folder = TempDir::new().unwrap();
    let (shim, step) = (folder.path().join("shim.so"), folder.path().join("step"));
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/support/stepped_clock.c"
    );
    let mut cc = Command::new("cc");
    let built = cc
        .args(["-shared", "-fPIC", "-o"])
        .arg(&shim)
        .arg(source)
        .status();
    assert!(built.expect("a C compiler").success());
    std::fs::write(&step, "0").unwrap();
    let (preload, path) = (shim.to_str().unwrap(), step.to_str().unwrap());
    let env = [("LD_PRELOAD", preload), ("CLOCK_STEP", path)];
    let mut daemon = Daemon::builder().envs(&env).start();

    effective_leak(&daemon);
    std::fs::write(&step, "-7200").unwrap();
    let stepped = daemon.wait_for_event("clock_stepped");
    assert!(
        stepped["to"].as_str() < stepped["from"].as_str(),
        "{stepped}"
    );
    daemon.start_scenario("dependency", json!({}));
    daemon.stop_scenario("memory_leaker");
    let run = run_of(&daemon, "memory_leaker");
    let in_order = [
        &run["planned"]["from"],
        &run["started_at"],
        &run["measured"][0]["from"],
        &run["measured"][0]["to"],
        &run["ended_at"],
    ];
    let in_order = in_order.map(|time| text(time, &run));
    assert!(in_order.is_sorted(), "{run}");
    let status = daemon.status("memory_leaker");
    assert!(
        status["start_time"].as_str() < status["end"]["at"].as_str(),
        "{status}"
    );
    assert_eq!(status["end"]["at"], run["ended_at"]);
    // The run that joined its session is by the same clock.
    let joined = run_of(&daemon, "dependency");
    assert!(
        text(&joined["started_at"], &joined) > in_order[2],
        "{joined}"
    );
    let lines = daemon.events();
    let nanos = lines
        .iter()
        .map(|event| event["monotonic_ns"].as_u64().unwrap());
    assert!(nanos.is_sorted(), "{lines:?}");

    daemon.signal(Signal::KILL);
    daemon.ended();
    let next = Daemon::builder().folder(&daemon.folder).envs(&env).start();
    let run = run_of(&next, "dependency");
    assert!(
        text(&run["ended_before"], &run) > text(&run["started_at"], &run),
        "{run}"
    );
}

//! `mockserver ctl`: the API from a terminal.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{command, run, run_in, stderr, stdout, with_file};
use crate::support::{ChildGuard, Daemon, PATIENCE, free_port};

fn url_of(admin: SocketAddr) -> String {
    format!("http://{admin}")
}

/// `mockserver ctl` with these words, for this daemon.
fn ctl(daemon: &Daemon, words: &[&str]) -> Output {
    let mut all = vec!["ctl"];
    all.extend(words);
    run(&all, &[("MOCKSERVER_URL", &url_of(daemon.admin))])
}

/// What a command prints that succeeds.
fn printed(daemon: &Daemon, words: &[&str]) -> String {
    let output = ctl(daemon, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    stdout(&output)
}

// === One daemon ===

#[test]
fn a_scenario_is_started_shown_and_stopped() {
    let daemon = Daemon::start();
    let words = ["start", "network_latency", "latency_ms=20", "--for", "5m"];
    let started = printed(&daemon, &words);
    assert!(
        started.starts_with("network_latency runs until 2"),
        "{started}"
    );
    let status = daemon.status("network_latency");
    assert_eq!(status["params"], json!({ "latency_ms": 20 }));
    assert!(status["expires_at"].is_string());

    let shown = printed(&daemon, &["status"]);
    let row = shown
        .lines()
        .find(|line| line.starts_with("network_latency"));
    let cells: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(cells[1], "20", "{shown}");
    assert!(
        shown.contains("SHORTFALL") && shown.contains(" ms "),
        "{shown}"
    );
    let as_json: Value = serde_json::from_str(&printed(&daemon, &["status", "--json"])).unwrap();
    assert_eq!(as_json["scenarios"], json!(["network_latency"]));
    let listed = printed(&daemon, &["list"]);
    let running = listed.lines().filter(|line| line.contains(" yes "));
    assert_eq!(running.count(), 1, "{listed}");

    assert_eq!(
        printed(&daemon, &["stop", "network_latency"]),
        "network_latency is stopped.\n"
    );
    assert_eq!(daemon.running(), [""; 0]);
    assert_eq!(printed(&daemon, &["status"]), "nothing runs\n");
    printed(&daemon, &["start", "network_latency", "after=1h"]);
    let planned = printed(&daemon, &["status"]);
    let words = "nothing runs; network_latency starts at 2";
    assert!(planned.starts_with(words), "{planned}");
}

#[test]
fn parts_of_parameters_are_given_with_dots() {
    let daemon = Daemon::start();
    let words = [
        "start",
        "http_error",
        "match.share=0.5",
        "match.routes=[\"/a/*\"]",
        "retry_after_s=3",
    ];
    printed(&daemon, &words);
    let params = daemon.status("http_error")["params"].clone();
    assert_eq!(params["match"]["share"], json!(0.5));
    assert_eq!(params["match"]["routes"], json!(["/a/*"]));
    assert_eq!(params["retry_after_s"], json!(3));
}

#[test]
fn a_scenario_is_described_with_its_parameters() {
    let daemon = Daemon::start();
    let shown = printed(&daemon, &["show", "health_check"]);
    let row = |name: &str| {
        let row = shown.lines().find(|line| line.starts_with(name));
        row.unwrap_or_else(|| panic!("{name} in {shown}"))
            .to_owned()
    };
    assert!(
        row("failure_mode").contains("always, intermittent, delayed"),
        "{shown}"
    );
    assert!(row("fail_rate").contains("0 to 1"), "{shown}");
}

#[test]
fn a_refused_request_is_explained_and_changes_nothing() {
    let daemon = Daemon::start();
    for (words, code, expected) in [
        (
            &["start", "cpu_burner", "target_percent=180"][..],
            1,
            "/target_percent: must be",
        ),
        (&["start", "cpu_burnr"], 1, "cpu_burner"),
        (&["show", "cpu_burnr"], 1, "cpu_burner"),
        (&["start", "cpu_burner", "80"], 64, "NAME=VALUE"),
        (
            &["start", "cpu_burner", "--for", "soon"],
            1,
            "/duration: must be",
        ),
        (&["set", "no-such-file"], 1, "no-such-file cannot be read"),
        (&["status", "--url", "localhost"], 64, "http://host:port"),
        (&["status", "--share", "2"], 64, "at most 1"),
        (&["fly"], 64, "unrecognized subcommand"),
    ] {
        let output = ctl(&daemon, words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert!(stderr(&output).contains(expected), "{words:?}: {output:?}");
        assert_eq!(stdout(&output), "", "{words:?}");
    }
    assert_eq!(daemon.running(), [""; 0]);
}

#[test]
fn a_set_comes_from_a_file_and_a_dry_run_starts_nothing() {
    let daemon = Daemon::start();
    let yaml = "- name: cpu_burner\n  params: {target_percent: 5}\n  duration: 5m\n- name: network_latency\n";
    let folder = with_file(yaml);
    let environment = [("MOCKSERVER_URL", url_of(daemon.admin))];
    let environment = environment
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let set = |more: &[&str]| {
        let words = [&["ctl", "set", "a.yaml"], more].concat();
        let output = run_in(&folder, &words, &environment);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        stdout(&output)
    };
    let planned = set(&["--dry-run"]);
    assert!(planned.contains("cpu_burner would start"), "{planned}");
    assert_eq!(daemon.running(), [""; 0]);
    assert_eq!(set(&[]).lines().count(), 2);
    assert_eq!(daemon.running(), ["cpu_burner", "network_latency"]);
    let stopped = printed(&daemon, &["stop"]);
    assert!(stopped.contains("cpu_burner, network_latency"), "{stopped}");
}

#[test]
fn a_halt_refuses_starts_until_rearmed() {
    let daemon = Daemon::start();
    printed(&daemon, &["halt"]);
    let refused = ctl(&daemon, &["start", "network_latency"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("Halted since"), "{refused:?}");
    printed(&daemon, &["rearm"]);
    printed(&daemon, &["start", "network_latency"]);
}

#[test]
fn a_token_comes_from_a_file_or_a_variable() {
    let daemon = Daemon::start_with("Auth: {Token: open-sesame}\n", &[]);
    let url = url_of(daemon.admin);
    let folder = with_file("open-sesame\n");
    let halt = ["ctl", "--url", &url, "halt"];
    assert_eq!(run(&halt, &[]).status.code(), Some(1));
    let by_variable = run(&halt, &[("MOCKSERVER_TOKEN", "open-sesame")]);
    assert_eq!(by_variable.status.code(), Some(0), "{by_variable:?}");
    let rearm = ["ctl", "rearm", "--url", &url, "--token-file", "a.yaml"];
    assert_eq!(run_in(&folder, &rearm, &[]).status.code(), Some(0));
}

// === As it goes on ===

/// A command that goes on, and the lines that it prints.
fn going_on(daemon: &Daemon, words: &[&str]) -> (ChildGuard, mpsc::Receiver<String>) {
    let folder = TempDir::new().unwrap();
    let mut child = command(&folder, &["ctl"])
        .args(words)
        .env("MOCKSERVER_URL", url_of(daemon.admin))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    (ChildGuard(child), lines)
}

#[test]
fn events_are_printed_as_they_happen() {
    let daemon = Daemon::start();
    let (_child, lines) = going_on(&daemon, &["events", "--follow", "--since", "0"]);
    let wait_for = |kind: &str| loop {
        let line = lines.recv_timeout(PATIENCE).expect(kind);
        if line.split(' ').nth(1) == Some(kind) {
            return line;
        }
    };
    wait_for("boot");
    printed(&daemon, &["start", "network_latency", "latency_ms=7"]);
    let accepted = wait_for("accepted");
    assert!(
        accepted.contains("network_latency") && accepted.contains("\"latency_ms\":7"),
        "{accepted}"
    );
    printed(&daemon, &["stop"]);
    wait_for("cleared");
    let once = printed(&daemon, &["events", "--json"]);
    let first: Value = serde_json::from_str(once.lines().next().unwrap()).unwrap();
    assert_eq!(first["kind"], "boot");
}

#[test]
fn a_watch_shows_a_curve_of_what_was_achieved() {
    let daemon = Daemon::start();
    printed(
        &daemon,
        &["start", "goroutine_leak", "goroutines_per_second=1000"],
    );
    let shown = printed(&daemon, &["watch", "--every", "0.3", "--count", "3"]);
    let rows: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("goroutine_leak"))
        .collect();
    assert_eq!(rows.len(), 3, "{shown}");
    let curve = rows[2].split_whitespace().last().unwrap();
    assert_eq!(curve.chars().count(), 3, "{shown}");
    assert!(curve.chars().all(|c| ('▁'..='█').contains(&c)), "{shown}");
}

// === Several daemons ===

#[test]
fn several_daemons_are_asked_at_once_and_answer_by_instance() {
    let daemons = [Daemon::start(), Daemon::start()];
    let urls = daemons.each_ref().map(|daemon| url_of(daemon.admin));
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let started = run(
        &[
            "ctl",
            "--url",
            &urls[0],
            "--url",
            &urls[1],
            "start",
            "network_latency",
        ],
        &[],
    );
    assert_eq!(started.status.code(), Some(0), "{started:?}");
    for daemon in &daemons {
        assert_eq!(daemon.running(), ["network_latency"]);
        let prefix = format!("{}: network_latency runs", daemon.admin);
        assert!(stdout(&started).contains(&prefix), "{started:?}");
    }
    let all = [urls[0].as_str(), &nowhere, &urls[1]].join(",");
    let stopped = run(&["ctl", "stop"], &[("MOCKSERVER_URL", &all)]);
    assert_eq!(stopped.status.code(), Some(1), "one of them is not there");
    assert!(stderr(&stopped).starts_with(nowhere.trim_start_matches("http://")));
    for daemon in &daemons {
        assert_eq!(daemon.running(), [""; 0]);
    }
    let states = run(&["ctl", "status", "--json"], &[("MOCKSERVER_URL", &all)]);
    let states: Value = serde_json::from_str(&stdout(&states)).unwrap();
    let statuses = [0, 1, 2].map(|n| states[n]["status"].clone());
    assert_eq!(statuses, [json!(200), json!(null), json!(200)]);
}

#[test]
fn a_share_of_the_daemons_is_the_same_each_time() {
    let daemons = [Daemon::start(), Daemon::start()];
    let all = daemons
        .each_ref()
        .map(|daemon| url_of(daemon.admin))
        .join(",");
    let environment = [("MOCKSERVER_URL", all.as_str())];
    for _ in 0..3 {
        let words = [
            "ctl",
            "start",
            "network_latency",
            "--share",
            "0.5",
            "--seed",
            "7",
        ];
        assert_eq!(run(&words, &environment).status.code(), Some(0));
    }
    let running = daemons.iter().filter(|daemon| !daemon.running().is_empty());
    assert_eq!(running.count(), 1);
}

// === Documents ===

#[test]
fn completions_and_the_manual_know_the_subcommands() {
    for words in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["docs", "--format", "man"],
    ] {
        let output = run(words, &[]);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        for known in ["ctl", "healthcheck"] {
            assert!(stdout(&output).contains(known), "{words:?}: {known}");
        }
    }
    assert!(stdout(&run(&["completions", "bash"], &[])).contains("rearm"));
}

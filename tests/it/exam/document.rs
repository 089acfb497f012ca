//! The commands of `etc/exam/README.md`, as they are printed.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::Daemon;

const DOCUMENT: &str = include_str!("../../../etc/exam/README.md");
const PATIENT: &str = include_str!("../../../etc/exam/patient.yaml");

/// The blocks of commands below the heading `## heading`.
fn commands_below(heading: &str) -> Vec<&'static str> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (_, block) = section.split_once("```bash\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block.lines().collect()
}

/// Runs `command` where the daemon runs; returns what it prints.
fn run(daemon: &Daemon, command: &str) -> String {
    let script = command
        .replace("localhost:8889", &daemon.admin.to_string())
        .replace("mockserver exam", "\"$MOCKSERVER\" exam");
    let curl = "curl() { command curl -q -sS --fail-with-body --max-time 60 \"$@\"; }";
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{curl}\n{script}"))
        .current_dir(daemon.folder.path())
        .env("MOCKSERVER", env!("CARGO_BIN_EXE_mockserver"))
        .env("no_proxy", "*")
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{command} gave {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs the block below `heading`: the mark that `close` gives, and the one that is computed again.
fn sit(heading: &str) -> (String, String) {
    let daemon = Daemon::start_with(PATIENT, &[]);
    let commands = commands_below(heading);
    let [opening @ .., close, score] = commands.as_slice() else {
        panic!("{heading} has no commands");
    };
    assert_eq!(opening.len(), 4, "{opening:?}");
    for command in opening {
        let answer: Value = serde_json::from_str(&run(&daemon, command)).expect("JSON");
        assert!(answer.is_object(), "{command}: {answer}");
    }
    let report = run(&daemon, close);
    assert_eq!(
        fs::read_dir(daemon.folder.path().join("data/drills"))
            .unwrap()
            .count(),
        1
    );
    (report, run(&daemon, score))
}

#[test]
fn a_fault_a_control_a_crash_and_a_rollback_are_marked_by_six_commands_each() {
    for heading in ["A fault", "A control", "A crash", "A rollback"] {
        let (report, again) = sit(heading);
        assert_eq!(report, again, "{heading}");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert!(report["drill_id"].is_string(), "{heading}: {report}");
    }
}

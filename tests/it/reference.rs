//! `etc/reference/README.md` is what `mockserver docs` prints.

use std::process::Command;

use mockserver::scenarios;

use crate::support::{Daemon, exclusive, start_path};

fn docs(format: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .args(["docs", "--format", format])
        .env_clear()
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_reference_in_the_repository_is_the_generated_one() {
    let kept = include_str!("../../etc/reference/README.md");
    assert!(
        docs("markdown") == kept,
        "run: cargo run -- docs --format markdown > etc/reference/README.md"
    );
    for plugin in scenarios::ALL {
        assert!(kept.contains(&format!("### `{}`", plugin.name())));
    }
}

/// `every_command_of_the_other_documents_does_what_it_says` runs them as they are printed.
#[test]
fn every_scenario_is_shown_with_a_start_that_a_stop_ends() {
    let _turn = exclusive();
    let reference = docs("markdown");
    let mut daemon = Daemon::start();
    for plugin in scenarios::ALL {
        let (name, example) = (plugin.name(), plugin.example());
        let path = start_path(name);
        let shown = format!("\ncurl -X POST http://localhost:8888{path} -d '{example}'\n");
        assert!(reference.contains(&shown), "{name}");
        let answer = daemon.post(&path, example);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(daemon.status(name)["running"], true, "{name}");
        daemon.stop_scenario(name);
        assert_eq!(daemon.status(name)["running"], false, "{name}");
        let ended = daemon.child.try_wait().expect("its state");
        assert_eq!(ended, None, "{name} was stopped in time");
    }
}

#[test]
fn the_api_description_is_printed_without_a_daemon() {
    let document: serde_json::Value = serde_json::from_str(&docs("openapi")).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}

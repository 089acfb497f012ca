//! `etc/reference/README.md` is what `mockserver docs` prints.

use std::process::Command;

use mockserver::scenarios;

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

#[test]
fn the_api_description_is_printed_without_a_daemon() {
    let document: serde_json::Value = serde_json::from_str(&docs("openapi")).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}

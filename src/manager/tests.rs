//! Starts of scenarios that cannot run together.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fault::table::FaultTable;
use crate::plugin::{
    Active, Conflicts, Group, Reading, RunContext, Scenario, Services, StartError, plugin,
};
use session::Onsets;

const REASON: &str = "there is one switch for both";

/// A scenario named `left`, `right` or `other`.
#[derive(Debug)]
struct Switch<const SIDE: char>;

impl<const SIDE: char> Scenario for Switch<SIDE> {
    const NAME: &'static str = match SIDE {
        'l' => "left",
        'r' => "right",
        _ => "other",
    };
    const GROUP: Group = Group::Process;
    const SUMMARY: &'static str = "Does nothing";
    const EXAMPLE: &'static str = "{}";
    const CONFLICTS: Conflicts = match SIDE {
        // One names the other; that is enough.
        'r' => &[("left", REASON)],
        _ => &[],
    };

    fn read(_: &mut Fields) -> Self {
        Self
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        Ok(Active::hold(Reading::default, (), cx.stop))
    }
}

static SWITCHES: &[&dyn Plugin] = &[
    plugin::<Switch<'l'>>(),
    plugin::<Switch<'r'>>(),
    plugin::<Switch<'o'>>(),
];

fn manager() -> ScenarioManager {
    let services = Arc::new(Services::for_tests("/nowhere"));
    let (table, root) = (FaultTable::default(), CancellationToken::new());
    let (sessions, _) = SessionManager::spawn(services, table, root, Onsets::new());
    let nowhere = Cgroup::at("/nowhere", "/nowhere");
    ScenarioManager::new(SWITCHES, sessions, Limits::default(), nowhere)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn running(manager: &ScenarioManager) -> Vec<&'static str> {
    let rows = manager.list().into_iter();
    rows.filter(|row| row.running).map(|row| row.name).collect()
}

fn set(names: &[&str]) -> Map<String, Value> {
    let entries = names.iter().map(|name| json!({ "name": name }));
    object(json!({ "scenarios": entries.collect::<Vec<_>>() }))
}

#[tokio::test]
async fn a_start_beside_what_it_cannot_run_beside_is_refused() {
    let manager = manager();
    let start = |name, body| manager.start_one(name, object(body), None);
    for name in ["left", "other"] {
        start(name, json!({})).await.expect("nothing is in its way");
    }
    for body in [json!({}), json!({ "dry_run": true })] {
        let refused = start("right", body).await.expect_err("left runs");
        let conflict = Conflict {
            name: "left",
            reason: REASON,
        };
        let starts = "right";
        let expected = SessionError::Conflict { starts, conflict };
        assert_eq!(refused, expected.into());
    }
    assert_eq!(running(&manager), ["left", "other"]);
    // It replaces its own run, and a set replaces all.
    start("left", json!({})).await.expect("a new run");
    let replaced = manager.start_set(set(&["right", "other"]), None).await;
    replaced.expect("left goes first");
    let refused = start("left", json!({})).await.expect_err("right runs");
    let reason = format!("left cannot run beside right, which runs: {REASON}. Stop that first.");
    assert_eq!(refused.to_string(), reason);
    manager.stop_one("right", None).await.expect("it stops");
    start("left", json!({})).await.expect("right is gone");
}

#[tokio::test]
async fn a_set_with_a_conflict_is_refused_whole() {
    let manager = manager();
    manager.start_set(set(&["left"]), None).await.expect("one");
    for names in [["right", "other", "left"], ["left", "other", "right"]] {
        let refused = manager.start_set(set(&names), None).await;
        let (last, first) = (names[2], names[0]);
        let reason = format!("{last} cannot run beside {first}: {REASON}");
        let expected = vec![FieldError::new("/scenarios/2", reason)];
        assert_eq!(refused, Err(ManagerError::Invalid(expected)));
    }
    assert_eq!(running(&manager), ["left"]);
}

#[tokio::test]
async fn both_sides_of_a_conflict_are_described() {
    let manager = manager();
    for (name, others) in [
        ("left", vec!["right"]),
        ("right", vec!["left"]),
        ("other", vec![]),
    ] {
        let described = manager.describe(name).expect("it is known");
        let named: Vec<_> = described.conflicts.iter().map(|c| c.name).collect();
        assert_eq!(named, others, "{name}");
    }
    let shown = serde_json::json!(manager.describe("left").expect("it is known"));
    let expected = json!([{ "name": "right", "reason": REASON }]);
    assert_eq!(shown["conflicts"], expected);
}

#[test]
fn the_schema_of_a_set_refuses_a_conflict() {
    let schema = schema::of_set(SWITCHES, |plugin| plugin.schema());
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let accepts = |names: &[&str]| validator.is_valid(&Value::Object(set(names)));
    assert!(accepts(&["left", "other"]) && accepts(&["other", "right"]));
    assert!(!accepts(&["left", "other", "right"]) && !accepts(&["right", "left"]));
}

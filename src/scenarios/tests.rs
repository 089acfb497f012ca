//! What every scenario must hold, and helpers for the tests of each.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::input::json::arbitrary;
use crate::input::{FieldError, Fields};
use crate::plugin::{Exit, RunContext, Scenario, Services, conflicts_of};

/// Reads the parameters of a start: the scenario and its effective parameters.
pub(super) fn read<S: Scenario>(given: Value) -> Result<(S, Map<String, Value>), Vec<FieldError>> {
    let mut fields = Fields::new("", object(given));
    let scenario = S::read(&mut fields);
    Ok((scenario, fields.finish()?))
}

pub(super) fn assert_defaults<S: Scenario>(expected: Value) {
    let (_, effective) = read::<S>(json!({})).expect("the defaults are valid");
    assert_eq!(Value::Object(effective), expected);
}

pub(super) async fn starts_and_stops<S: Scenario>(given: Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let services = Arc::new(Services::for_tests(folder.path()));
    let plan = plugin::<S>().plan("", object(given)).expect("in range");
    let stop = CancellationToken::new();
    let cx = RunContext::for_tests(&services, S::NAME, &stop);
    let active = plan.start(cx).await.expect("it starts");
    active.probe.read();
    stop.cancel();
    assert_eq!(active.body.await, Exit::Stopped);
    assert_eq!(services.live_guards.count(), 0);
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn validator(plugin: &dyn Plugin) -> jsonschema::Validator {
    jsonschema::validator_for(&plugin.schema()).expect("a schema")
}

/// A scenario, and parameters that are nearly valid.
fn any_start() -> impl Strategy<Value = (&'static dyn Plugin, Map<String, Value>)> {
    prop::sample::select(ALL.to_vec()).prop_flat_map(|plugin| {
        let schema = plugin.schema();
        let specs = schema["properties"].as_object().expect("properties");
        let keys: Vec<&'static str> = specs.keys().map(|key| leak(key)).collect();
        let choices = specs.values().flat_map(|spec| {
            let of_items = spec["items"]["enum"].as_array();
            spec["enum"].as_array().or(of_items).into_iter().flatten()
        });
        let texts: Vec<&'static str> = choices.filter_map(|text| text.as_str().map(leak)).collect();
        (Just(plugin), arbitrary::object(&keys, &texts))
    })
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

proptest! {
    #[test]
    fn parameters_are_refused_with_reasons_or_kept_as_they_were_given(
        (plugin, given) in any_start()
    ) {
        match plugin.plan("/params", given.clone()) {
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(error.pointer.starts_with("/params/"), "{:?}", error);
                    prop_assert!(!error.detail.is_empty());
                }
            }
            Ok(plan) => {
                for key in given.keys() {
                    prop_assert!(plan.params.contains_key(key), "{} is gone", key);
                }
                let again = plugin.plan("", plan.params.clone());
                let again = again.expect("effective parameters are valid parameters");
                prop_assert_eq!(again.params, plan.params);
            }
        }
    }

    #[test]
    fn the_reader_accepts_parameters_exactly_where_the_schema_does((plugin, given) in any_start()) {
        let valid = validator(plugin).is_valid(&Value::Object(given.clone()));
        let accepted = plugin.plan("", given.clone());
        let accepted = accepted.map_err(|errors| format!("{errors:?}"));
        prop_assert_eq!(accepted.is_ok(), valid, "{:?}: {:?}", given, accepted);
    }
}

#[test]
fn the_required_scenarios_come_first_and_in_their_order() {
    let required = [
        "cpu_burner",
        "memory_leaker",
        "network_latency",
        "health_check",
        "goroutine_leak",
        "disk_io",
        "crash",
        "dependency",
        "shutdown_hang",
    ];
    let names = ALL.iter().map(|plugin| plugin.name());
    assert!(names.take(required.len()).eq(required));
}

#[test]
fn every_scenario_has_a_unique_name_in_snake_case_and_a_summary() {
    let mut seen = HashSet::new();
    for plugin in ALL {
        let name = plugin.name();
        assert!(seen.insert(name), "{name} is there twice");
        let is_word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9'))
        };
        assert!(name.split('_').all(is_word), "{name} is not in snake case");
        assert!(!plugin.summary().is_empty(), "{name} has no summary");
    }
}

#[test]
fn every_default_plan_passes_its_own_schema() {
    for plugin in ALL {
        let plan = plugin.plan("", Map::new()).expect("the defaults are valid");
        let params = Value::Object(plan.params);
        let checked = validator(*plugin)
            .validate(&params)
            .map_err(|e| e.to_string());
        assert_eq!(checked, Ok(()), "{}: {params}", plugin.name());
    }
}

/// For each bounded parameter: its ends are accepted, and values just beyond are not.
#[test]
fn every_range_in_a_schema_is_enforced() {
    let mut ranges = 0;
    for plugin in ALL {
        let schema = plugin.schema();
        for (name, spec) in schema["properties"].as_object().expect("properties") {
            ranges += usize::from(spec["maximum"].is_number());
            assert_enforced(*plugin, name, spec);
        }
    }
    assert!(ranges >= 12, "only {ranges} ranges were checked");
}

/// What the rules over several parameters want beside `name`, each the same `value` where it is a number.
fn beside(plugin: &dyn Plugin, name: &str, value: &Value) -> Map<String, Value> {
    let schema = plugin.schema();
    let mut given = Map::new();
    for rule in schema["allOf"].as_array().into_iter().flatten() {
        if let Some(other) = rule["dependentRequired"][name][0].as_str() {
            given.insert(other.to_owned(), value.clone());
        }
        let choices = rule["if"]["properties"][name]["enum"].as_array();
        if choices.is_some_and(|choices| choices.contains(value)) {
            let needed = rule["then"]["required"][0].as_str().expect("a name");
            let least = schema["properties"][needed]["minimum"].clone();
            given.insert(needed.to_owned(), least);
        }
        if rule["if"] == json!({ "required": [name] }) {
            for (member, choices) in rule["then"]["properties"].as_object().expect("a choice") {
                given.insert(member.clone(), choices["enum"][0].clone());
            }
        }
    }
    given
}

fn assert_enforced(plugin: &dyn Plugin, name: &str, spec: &Value) {
    assert!(spec["description"].is_string(), "{name} has no description");
    let accepts = |value: Value| {
        let mut given = beside(plugin, name, &value);
        given.insert(name.to_owned(), value);
        plugin.plan("", given).is_ok()
    };
    let mut wrong = vec![json!(null)];
    let takes_any_text = spec["type"] == "string" && spec["enum"].is_null();
    if !takes_any_text {
        wrong.push(json!("no such value"));
    }
    if spec["type"] != "object" {
        wrong.push(json!({}));
    }
    let mut right: Vec<Value> = spec["enum"].as_array().cloned().unwrap_or_default();
    let is_integer = spec["type"] == "integer";
    assert!(!is_integer || spec["minimum"].is_number(), "{name}");
    if let Some(low) = spec["minimum"].as_f64() {
        right.push(json!(low));
        wrong.push(json!(low - 1.0));
        if is_integer {
            wrong.push(json!(low + 0.5));
        }
    }
    if let Some(low) = spec["exclusiveMinimum"].as_f64() {
        right.push(json!(low + 0.001));
        wrong.push(json!(low));
    }
    if let Some(high) = spec["maximum"].as_f64() {
        right.push(json!(high));
        wrong.push(json!(high + 1.0));
    }
    for value in right {
        assert!(accepts(value.clone()), "{name}: {value} is refused");
    }
    for value in wrong {
        assert!(!accepts(value.clone()), "{name}: {value} is accepted");
    }
}

#[test]
fn every_example_is_a_start_that_shows_what_the_scenario_is_for() {
    for plugin in ALL {
        let (name, example) = (plugin.name(), plugin.example());
        let given: Value = serde_json::from_str(example).expect(name);
        let given = object(given);
        let defaults = plugin.plan("", Map::new()).expect("the defaults are valid");
        let plan = plugin.plan("", given.clone());
        let plan = plan.unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        if !defaults.params.is_empty() {
            assert!(!given.is_empty(), "{name}: nothing is shown");
        }
        // It is shown in a shell, within single quotes.
        assert!(!example.contains('\'') && !example.contains('\n'), "{name}");
        for key in given.keys() {
            assert!(plan.params.contains_key(key), "{name}: {key}");
        }
    }
}

#[test]
fn a_conflict_is_with_another_scenario_of_the_registry_and_has_a_reason() {
    let known: HashSet<_> = ALL.iter().map(|plugin| plugin.name()).collect();
    for plugin in ALL {
        for (other, reason) in plugin.conflicts() {
            let name = plugin.name();
            assert!(known.contains(other), "{name} conflicts with {other}");
            assert_ne!(*other, name, "it replaces itself");
            assert!(!reason.is_empty() && !reason.ends_with('.'), "{reason}");
        }
        for conflict in conflicts_of(ALL, *plugin) {
            let other = ALL.iter().find(|other| other.name() == conflict.name);
            let of_other = conflicts_of(ALL, *other.expect("it is known"));
            let back = of_other.iter().find(|back| back.name == plugin.name());
            assert!(back.is_some(), "{} and {}", plugin.name(), conflict.name);
        }
    }
}

//! Whether a preset makes sense, and each of its scenarios can start, whatever is drawn and at any time scale.

use serde_json::{Map, Value, json};

use super::drawing::{self, Ends, resolve};
use super::read::MOST_TRAFFIC;
use super::{Decision, Preset};
use crate::exam::patient::Patient;
use crate::exam::request::{LARGEST_TIME_SCALE, SMALLEST_TIME_SCALE};
use crate::exam::scale;
use crate::input::suggest::did_you_mean;
use crate::input::{FieldError, Fields, pointer_to};
use crate::manager::plan_entry;
use crate::plugin::Registry;

/// Reports every mistake to `fields`, which has read the preset. Without a `registry`, what depends on one is left out.
pub(super) fn check(preset: &Preset, fields: &mut Fields, registry: Option<Registry>) {
    check_expectation(preset, fields);
    let mut mistakes = Vec::new();
    for (i, scenario) in preset.scenarios.iter().enumerate() {
        let at = format!("/scenarios/{i}/params");
        let params = scenario.params.iter();
        mistakes.extend(
            params.flat_map(|(name, value)| drawing::mistakes(value, &pointer_to(&at, name))),
        );
    }
    let traffic = preset.traffic.iter();
    mistakes.extend(traffic.flat_map(|shape| drawing::mistakes(shape, "/traffic")));
    if mistakes.is_empty() {
        mistakes = registry.map_or_else(Vec::new, |registry| of_starts(preset, registry));
        mistakes.extend(of_traffic(preset));
    }
    for error in mistakes {
        fields.reject_at(&error.pointer, error.detail);
    }
    if let Some(registry) = registry {
        check_names(preset, fields, registry);
    }
}

fn check_expectation(preset: &Preset, fields: &mut Fields) {
    let expect = &preset.expect;
    if preset.is_control() != (expect.decision == Decision::Promote) {
        let detail = match preset.is_control() {
            true => "must be promote: without causes nothing is wrong",
            false => "must not be promote: the causes are reasons not to",
        };
        fields.reject_at("/expect/decision", detail);
    }
    for (i, cause) in expect.causes.iter().enumerate() {
        let at = format!("/expect/causes/{i}");
        if !preset
            .scenarios
            .iter()
            .any(|scenario| scenario.name == *cause)
        {
            fields.reject_at(
                &at,
                format!("{cause} is none of the scenarios of the preset"),
            );
        }
        if expect.causes[..i].contains(cause) {
            fields.reject_at(&at, format!("{cause} is listed twice"));
        }
        if expect.derived.contains(cause) {
            let detail = format!("{cause} is among derived too: it is one or the other");
            fields.reject_at(&at, detail);
        }
    }
    for (i, scenario) in preset.scenarios.iter().enumerate() {
        let name = &scenario.name;
        if !expect.causes.contains(name) && !expect.derived.contains(name) {
            let detail = format!("{name} must be among expect.causes or expect.derived");
            fields.reject_at(&format!("/scenarios/{i}/name"), detail);
        }
    }
}

/// Refuses names that no answer can have.
fn check_names(preset: &Preset, fields: &mut Fields, registry: Registry) {
    let known: Vec<&str> = registry.iter().map(|plugin| plugin.name()).collect();
    let expect = &preset.expect;
    for (list, names) in [("causes", &expect.causes), ("derived", &expect.derived)] {
        for (i, name) in names.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let meant = did_you_mean(name, known.iter().copied());
                let detail = format!(
                    "unknown scenario {name:?}; known: {}{meant}",
                    known.join(", ")
                );
                fields.reject_at(&format!("/expect/{list}/{i}"), detail);
            }
        }
    }
}

/// What a start would refuse at the ends of all that is drawn, at the ends of the time scale; the first of it.
fn of_starts(preset: &Preset, registry: Registry) -> Vec<FieldError> {
    for time_scale in [1.0, SMALLEST_TIME_SCALE, LARGEST_TIME_SCALE] {
        for way in 0..preset.ways() {
            let mut errors = of_start(preset, registry, way, time_scale);
            if errors.is_empty() {
                continue;
            }
            for error in &mut errors {
                error.detail = shown(&error.detail, time_scale);
            }
            return errors;
        }
    }
    Vec::new()
}

fn shown(detail: &str, time_scale: f64) -> String {
    match time_scale {
        1.0 => detail.to_owned(),
        other => format!("at a time_scale of {other} it {detail}"),
    }
}

fn of_start(preset: &Preset, registry: Registry, way: usize, time_scale: f64) -> Vec<FieldError> {
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    let patient = Patient::complete();
    for (i, scenario) in preset.scenarios.iter().enumerate() {
        let params = scenario.params.iter().map(|(name, value)| {
            let value = resolve(value, name, &mut Ends(way), &patient);
            (name.clone(), value)
        });
        let mut params: Map<String, Value> = params.collect();
        scale::scale(&mut params, &scenario.times, &scenario.rates, time_scale);
        let entry = json!({ "name": scenario.name, "params": params });
        let at = format!("/scenarios/{i}");
        let planned = plan_entry(registry, &at, entry, &mut seen, &[]);
        errors.extend(planned.err().into_iter().flatten());
    }
    errors
}

/// What is wrong with the shape of the traffic.
fn of_traffic(preset: &Preset) -> Vec<FieldError> {
    let Some(traffic) = &preset.traffic else {
        return Vec::new();
    };
    for way in 0..drawing::ways(traffic) {
        let shape = resolve(traffic, "", &mut Ends(way), &Patient::complete());
        let given = Map::from_iter([("traffic".to_owned(), shape)]);
        let mut fields = Fields::new("", given);
        fields.field("traffic", "").shape(0.0..=MOST_TRAFFIC, 1.0);
        if let Err(errors) = fields.finish() {
            return errors;
        }
    }
    Vec::new()
}

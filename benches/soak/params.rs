//! Random parameters of any scenario, from its schema: small enough for the machine, and something of everything.

use mockserver::plugin::Plugin;
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

/// The most that is asked for in each unit.
const MOST: &[(&str, f64)] = &[
    ("percent of the CPU limit", 30.0),
    ("cores", 0.3),
    ("MiB", 32.0),
    ("percent of the memory limit", 0.1),
    ("MiB/s", 16.0),
    ("ms", 50.0),
    ("tasks", 20_000.0),
    ("tasks/s", 20_000.0),
    ("lines/s", 2_000.0),
    ("descriptors", 500.0),
    ("threads", 50.0),
    ("KiB", 1024.0),
    ("us", 100.0),
    ("MiB on disk", 64.0),
    // The more is left, the less is taken.
    ("MiB left free", 16_777_216.0),
    ("percent of the file system", 1.0),
    ("series", 5_000.0),
    ("ppm", 1_000.0),
    ("series/min", 100_000.0),
    ("s", 2.0),
];
/// The most in a unit that is not listed.
const MOST_OF_OTHERS: f64 = 10.0;
/// A delay that only a stop or a client that gives up ends.
const LONG_MS: f64 = 60_000.0;

/// Parameters with which a start is valid.
pub(crate) fn random(plugin: &dyn Plugin, rng: &mut SmallRng) -> Map<String, Value> {
    let schema = plugin.schema();
    let specs = schema["properties"].as_object().unwrap();
    loop {
        let mut params = Map::new();
        for (name, spec) in specs {
            let is_optional = spec.get("default").is_none();
            if rng.random_bool(if is_optional { 0.2 } else { 0.7 })
                && let Some(value) = value_of(spec, rng)
            {
                params.insert(name.clone(), value);
            }
        }
        // Quantiles come in their order.
        if let (Some(p50), Some(p99)) = (number(&params, "p50_ms"), number(&params, "p99_ms")) {
            params.insert("p50_ms".to_owned(), json!(p50.min(p99)));
            params.insert("p99_ms".to_owned(), json!(p50.max(p99)));
        }
        // Some exclude each other.
        if plugin.plan("", params.clone()).is_ok() {
            return params;
        }
    }
}

/// A random value of a parameter; none if its type is not known here.
fn value_of(spec: &Value, rng: &mut SmallRng) -> Option<Value> {
    if let Some(choices) = spec["enum"].as_array() {
        return choices.choose(rng).cloned();
    }
    if let Some(choices) = spec["items"]["enum"].as_array() {
        let count = rng.random_range(1..=choices.len());
        let chosen: Vec<Value> = choices.sample(rng, count).cloned().collect();
        return Some(chosen.into());
    }
    let (least, most) = range_of(spec, rng)?;
    match number_of(&spec["type"])? {
        "integer" => Some(rng.random_range(least as i64..=most as i64).into()),
        "number" => Some(json!(rng.random_range(least..=most))),
        _ => None,
    }
}

/// Which kind of number a type is, or has among others: some parameters also take a text or a shape.
fn number_of(of_spec: &Value) -> Option<&str> {
    let among = of_spec.as_array().into_iter().flatten();
    let mut all = among.chain([of_spec]).filter_map(Value::as_str);
    all.find(|kind| matches!(*kind, "integer" | "number"))
}

fn range_of(spec: &Value, rng: &mut SmallRng) -> Option<(f64, f64)> {
    let most = spec["maximum"].as_f64()?;
    let least = match spec["minimum"].as_f64() {
        Some(least) => least,
        None => spec["exclusiveMinimum"].as_f64()? + 0.01,
    };
    let bound = match spec["unit"].as_str() {
        None => most,
        Some("ms") if rng.random_bool(0.2) => LONG_MS,
        Some(unit) => {
            let listed = MOST.iter().find(|(of, _)| *of == unit);
            listed.map_or(MOST_OF_OTHERS, |(_, most)| *most)
        }
    };
    Some((least, most.min(bound.max(least))))
}

fn number(params: &Map<String, Value>, name: &str) -> Option<f64> {
    params.get(name).and_then(Value::as_f64)
}

//! The time scale of a drill: what becomes of the times and the rates of its parameters.
//!
//! A drill at a time scale of 0.1 goes through the same in a tenth of the time: times are multiplied, and rates of
//! growth divided, so that a leak gets as far.

use serde_json::{Map, Value};

use super::preset::drawing::plain;
use super::streams::rounded;

/// A time of a preset is not made shorter than this, in seconds: what is shorter is not seen.
const SHORTEST_S: f64 = 0.5;
/// Nor a period than this: what goes up and down faster is not measured.
const SHORTEST_PERIOD_S: f64 = 10.0;
/// More digits than anything is measured with.
const DIGITS: usize = 6;

/// The times in the forms of shapes, each by the form that has it and with the shortest that it is made.
const TIMES: [(&str, &str, f64); 4] = [
    ("ramp", "over_s", SHORTEST_S),
    ("decay", "half_s", SHORTEST_S),
    ("square", "period_s", SHORTEST_PERIOD_S),
    ("sine", "period_s", SHORTEST_PERIOD_S),
];
/// The form whose items begin with a time.
const STEPS: &str = "steps";
/// The form that has no time.
const CONSTANT: &str = "constant";

/// `time_s` at this scale, in seconds.
pub(super) fn scaled_s(time_s: f64, time_scale: f64) -> f64 {
    scaled_to(time_s, time_scale, SHORTEST_S)
}

/// The same down to `shortest_s`; what was shorter before stays as it was.
fn scaled_to(time_s: f64, time_scale: f64, shortest_s: f64) -> f64 {
    let least_s = time_s.min(shortest_s);
    rounded((time_s * time_scale).max(least_s), DIGITS)
}

/// Brings `params` to this scale: the times in shapes, and the parameters named in `times` and `rates`.
pub(super) fn scale(params: &mut Map<String, Value>, times: &[String], rates: &[String], to: f64) {
    for (name, value) in params.iter_mut() {
        scale_shapes(value, to);
        if times.contains(name) {
            change(value, &|time_s| scaled_s(time_s, to));
        }
        if rates.contains(name) {
            divide(value, to);
        }
    }
}

/// The times of the shapes in `value`.
pub(super) fn scale_shapes(value: &mut Value, to: f64) {
    for (form, time, shortest_s) in TIMES {
        if let Some(time) = value.get_mut(form).and_then(|form| form.get_mut(time)) {
            change(time, &|time_s| scaled_to(time_s, to, shortest_s));
        }
    }
    if let Some(Value::Array(steps)) = value.get_mut(STEPS) {
        for since in steps.iter_mut().filter_map(|step| step.get_mut(0)) {
            // Not kept from becoming short: steps must not meet.
            change(since, &|since_s| rounded(since_s * to, DIGITS));
        }
    }
    if let Value::Object(members) = value {
        members
            .values_mut()
            .for_each(|inner| scale_shapes(inner, to));
    }
}

/// A rate, or each value of one that is a shape.
fn divide(value: &mut Value, by: f64) {
    let divided = |rate: f64| rounded(rate / by, DIGITS);
    change(value, &divided);
    for form in TIMES.map(|(form, ..)| form) {
        for end in ["from", "to", "low", "high"] {
            if let Some(end) = value.get_mut(form).and_then(|form| form.get_mut(end)) {
                change(end, &divided);
            }
        }
    }
    if let Some(constant) = value.get_mut(CONSTANT) {
        change(constant, &divided);
    }
    if let Some(Value::Array(steps)) = value.get_mut(STEPS) {
        for rate in steps.iter_mut().filter_map(|step| step.get_mut(1)) {
            change(rate, &divided);
        }
    }
}

/// Replaces `value` where it is a number.
fn change(value: &mut Value, to: &dyn Fn(f64) -> f64) {
    if let Some(number) = value.as_f64() {
        *value = plain(to(number));
    }
}

/// Gives each shape with noise in `value` a seed of its own, where it has none.
pub(super) fn seed_noise(value: &mut Value, seed: &mut dyn FnMut() -> u32) {
    match value {
        Value::Object(members) => {
            if members.contains_key("noise") && !members.contains_key("seed") {
                members.insert("seed".to_owned(), seed().into());
            }
            members
                .values_mut()
                .for_each(|inner| seed_noise(inner, seed));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| seed_noise(item, seed)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scaled(params: Value, times: &[&str], rates: &[&str], to: f64) -> Value {
        let Value::Object(mut params) = params else {
            panic!("an object")
        };
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        scale(&mut params, &owned(times), &owned(rates), to);
        params.into()
    }

    #[test]
    fn times_shrink_and_rates_grow() {
        let params = json!({
            "crash_delay": 90,
            "leak_rate_mb": { "ramp": { "from": 0, "to": 3, "over_s": 60 }, "noise": 0.1 },
            "per_second": { "steps": [[0, 1], [100, 2.5]] },
            "latency_ms": { "square": { "low": 5, "high": 9, "period_s": 60, "duty": 0.1 } },
            "match": { "share": { "decay": { "from": 1, "to": 0, "half_s": 4 } } },
            "size": 7,
        });
        let expected = json!({
            "crash_delay": 9,
            "leak_rate_mb": { "ramp": { "from": 0, "to": 30, "over_s": 6 }, "noise": 0.1 },
            "per_second": { "steps": [[0, 10], [10, 25]] },
            "latency_ms": { "square": { "low": 5, "high": 9, "period_s": 10, "duty": 0.1 } },
            "match": { "share": { "decay": { "from": 1, "to": 0, "half_s": 0.5 } } },
            "size": 7,
        });
        let rates = ["leak_rate_mb", "per_second"];
        assert_eq!(
            scaled(params.clone(), &["crash_delay"], &rates, 0.1),
            expected
        );
        assert_eq!(
            scaled(params.clone(), &["crash_delay"], &rates, 1.0),
            params
        );
    }

    #[test]
    fn a_time_that_was_short_stays_as_it_was() {
        assert_eq!(scaled_s(0.2, 0.01), 0.2);
        assert_eq!(scaled_s(0.0, 0.01), 0.0);
        assert_eq!(scaled_s(30.0, 0.01), 0.5);
        assert_eq!(scaled_s(0.2, 10.0), 2.0);
    }

    #[test]
    fn noise_gets_seeds_but_for_those_that_are_given() {
        let mut value = json!([{ "constant": 1, "noise": 0.1 }, { "x": { "constant": 1, "noise": 0.1, "seed": 5 } }]);
        seed_noise(&mut value, &mut || 9);
        let expected = json!([
            { "constant": 1, "noise": 0.1, "seed": 9 },
            { "x": { "constant": 1, "noise": 0.1, "seed": 5 } },
        ]);
        assert_eq!(value, expected);
    }
}

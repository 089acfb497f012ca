//! Figures that change while time passes: one grammar for every member that may be a shape.
//!
//! A shape depends on nothing but its age, so that two runs with the same parameters ask for the same at the same time.

mod over_time;
#[cfg(test)]
mod tests;

use std::f64::consts::TAU;
use std::sync::LazyLock;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::rule::{self, Rule, above, short};
use super::{Field, FieldError, Fields};

/// The longest time in a shape: a year, as that of a run.
const LONGEST_S: f64 = 31_536_000.0;
/// The most steps of a curve.
const MOST_STEPS: usize = 1000;
/// Noise is cut at this many sigmas, so that a shape has a largest value.
const MOST_SIGMAS: f64 = 4.0;
/// The forms, each by the member that gives it.
const FORMS: [&str; 6] = ["constant", "ramp", "decay", "square", "sine", "steps"];

/// What a shape is, for messages.
pub(super) const FORM: &str =
    "a shape: an object with constant, ramp, decay, square, sine or steps";

/// A figure over time, in the unit of its member.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    form: Form,
    noise: Option<Noise>,
    /// The ends of the member's range, which noise does not leave.
    least: f64,
    most: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Constant(f64),
    /// A straight line, then `to` for good.
    Ramp {
        from: f64,
        to: f64,
        over_s: f64,
    },
    /// Half of what is left of the way to `to` is gone every `half_s`.
    Decay {
        from: f64,
        to: f64,
        half_s: f64,
    },
    /// High for the share `duty` of each period, which begins high.
    Square {
        low: f64,
        high: f64,
        period_s: f64,
        duty: f64,
    },
    /// From the middle, up first.
    Sine {
        low: f64,
        high: f64,
        period_s: f64,
    },
    /// Each value from its second on; the first is at 0, the last lasts.
    Steps(Vec<(f64, f64)>),
}

/// Gaussian noise that changes each second.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Noise {
    /// One sigma, as a share of the value.
    share: f64,
    seed: u32,
}

impl Shape {
    /// The same at all times.
    #[must_use]
    pub fn constant(value: f64) -> Self {
        Self {
            form: Form::Constant(value),
            noise: None,
            least: f64::NEG_INFINITY,
            most: f64::INFINITY,
        }
    }

    /// The value at `age` since the start.
    #[must_use]
    pub fn value_at(&self, age: Duration) -> f64 {
        let value = self.form.value_at(age.as_secs_f64());
        let Some(noise) = self.noise else {
            return value;
        };
        (value * (1.0 + noise.at(age.as_secs()))).clamp(self.least, self.most)
    }

    /// The largest value that it can ever have, noise included.
    #[must_use]
    pub fn largest(&self) -> f64 {
        let value = self.form.largest();
        let noise = self.noise.map_or(0.0, |noise| noise.share * MOST_SIGMAS);
        (value + value.abs() * noise).clamp(self.least, self.most)
    }

    /// Whether it has noise.
    pub(crate) fn has_noise(&self) -> bool {
        self.noise.is_some()
    }

    /// Whether it is the same at all times.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        matches!(self.form, Form::Constant(_)) && self.noise.is_none()
    }
}

impl Form {
    fn value_at(&self, age_s: f64) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Ramp { from, to, over_s } => from + (to - from) * (age_s / over_s).min(1.0),
            Self::Decay { from, to, half_s } => to + (from - to) * (-age_s / half_s).exp2(),
            Self::Square {
                low,
                high,
                period_s,
                duty,
            } => match age_s % period_s < duty * period_s {
                true => high,
                false => low,
            },
            Self::Sine {
                low,
                high,
                period_s,
            } => f64::midpoint(low, high) + (high - low) / 2.0 * (TAU * age_s / period_s).sin(),
            Self::Steps(ref steps) => {
                let next = steps.partition_point(|(since_s, _)| *since_s <= age_s);
                // The first is at 0.
                steps[next.saturating_sub(1)].1
            }
        }
    }

    fn largest(&self) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Ramp { from, to, .. } | Self::Decay { from, to, .. } => from.max(to),
            Self::Square { low, duty: 0.0, .. } => low,
            Self::Square { high, .. } | Self::Sine { high, .. } => high,
            Self::Steps(ref steps) => {
                let values = steps.iter().map(|(_, value)| *value);
                values.fold(f64::NEG_INFINITY, f64::max)
            }
        }
    }
}

impl Noise {
    /// The share to add to the value in a second.
    fn at(self, second: u64) -> f64 {
        // Far apart, so that no two seeds have a second in common.
        let mut rng = SmallRng::seed_from_u64((u64::from(self.seed) << 32) ^ second);
        let sigmas = standard_normal(|| rng.random());
        self.share * sigmas.clamp(-MOST_SIGMAS, MOST_SIGMAS)
    }
}

/// A number of the standard normal distribution from two that are uniform in `[0, 1)`, by the method of Box and Muller.
pub(crate) fn standard_normal(mut uniform: impl FnMut() -> f64) -> f64 {
    let (radius, angle) = (1.0 - uniform(), uniform());
    (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()
}

/// Reads one value of a shape by the rule of its member; none where it is absent or bad, which is reported.
type ReadValue<'r> = &'r dyn Fn(Field<'_>) -> Option<f64>;

/// The members of a shape, by the rule of its values: the shape where they are good, and what reading them gives else.
pub(super) fn read(
    fields: &mut Fields,
    each: &Rule<'_, f64>,
    value: ReadValue<'_>,
) -> Option<Shape> {
    let given = FORMS.into_iter().filter(|form| fields.has(form));
    match given.collect::<Vec<_>>()[..] {
        [form] if fields.peek(form) == Some(&Value::Null) => {
            fields.reject(form, "must not be null");
        }
        [_] => {}
        [] => fields.reject_at("", format!("must have one of {}", FORMS.join(", "))),
        [first, second, ..] => {
            fields.reject(second, format!("give either {first} or {second}, not both"));
        }
    }
    let form = read_form(fields, value);
    let about = "Gaussian noise that changes each second: one sigma, as a share of the value.";
    let share = fields
        .field("noise", about)
        .optional()
        .number(above(0.0, 1.0));
    if fields.has("seed") && share.is_none() {
        fields.reject("seed", "has no effect without noise");
    }
    let about = "Makes another sequence of noise.";
    let seed = fields.field("seed", about).integer(0..=u32::MAX, 0);
    if share.is_none() {
        fields.withdraw("seed");
    }
    let end = |keyword: &str| each.schema.get(keyword).and_then(Value::as_f64);
    Some(Shape {
        form: form?,
        noise: share.map(|share| Noise { share, seed }),
        least: end("minimum").unwrap_or(f64::NEG_INFINITY),
        most: end("maximum").unwrap_or(f64::INFINITY),
    })
}

/// Reads every form, so that the schema has all of them; the first that is given.
fn read_form(fields: &mut Fields, value: ReadValue<'_>) -> Option<Form> {
    let about = "The same value at all times, for noise.";
    let constant = value(fields.field("constant", about));
    let about = "A straight line from one value to another, which then lasts.";
    let ramp = fields.optional_section("ramp", about, |ramp| {
        let (from, to) = from_to(ramp, value);
        let over_s = seconds(ramp, "over_s", "How long the line is.");
        Some(Form::Ramp {
            from: from?,
            to: to?,
            over_s: over_s?,
        })
    });
    let about = "From one value towards another, ever slower, as a cache warms up.";
    let decay = fields.optional_section("decay", about, |decay| {
        let (from, to) = from_to(decay, value);
        let half_s = seconds(decay, "half_s", "Half of the way is left after this time.");
        Some(Form::Decay {
            from: from?,
            to: to?,
            half_s: half_s?,
        })
    });
    let about = "High for a share of each period, then low, as a cron job.";
    let square = fields.optional_section("square", about, |square| {
        let (low, high) = low_high(square, value);
        let period_s = seconds(square, "period_s", "How long a period is.");
        let duty = square.field("duty", "Share of the period that is high.");
        let duty = duty.number(0.0..=1.0, 0.5);
        Some(Form::Square {
            low: low?,
            high: high?,
            period_s: period_s?,
            duty,
        })
    });
    let about = "Up and down from the middle, as the load of a day.";
    let sine = fields.optional_section("sine", about, |sine| {
        let (low, high) = low_high(sine, value);
        let period_s = seconds(sine, "period_s", "How long a period is.");
        Some(Form::Sine {
            low: low?,
            high: high?,
            period_s: period_s?,
        })
    });
    let steps = read_steps(fields, value).map(Form::Steps);
    let forms = [ramp, decay, square, sine].into_iter().flatten();
    let constant = constant.map(Form::Constant);
    constant.or(forms.flatten().next()).or(steps)
}

fn required(
    fields: &mut Fields,
    name: &'static str,
    about: &'static str,
    value: ReadValue<'_>,
) -> Option<f64> {
    fields.require(name);
    value(fields.field(name, about))
}

fn seconds(fields: &mut Fields, name: &'static str, about: &'static str) -> Option<f64> {
    fields.require(name);
    let time = fields.field(name, about).optional();
    let time = time.seconds(above(0.0, LONGEST_S));
    time.map(|time| time.as_secs_f64())
}

fn from_to(fields: &mut Fields, value: ReadValue<'_>) -> (Option<f64>, Option<f64>) {
    let from = required(fields, "from", "The value at the start.", value);
    (from, required(fields, "to", "The value at the end.", value))
}

fn low_high(fields: &mut Fields, value: ReadValue<'_>) -> (Option<f64>, Option<f64>) {
    let low = required(fields, "low", "The lowest value.", value);
    let high = required(fields, "high", "The highest value.", value);
    if low.zip(high).is_some_and(|(low, high)| high < low) {
        fields.reject("high", "must not be below low");
    }
    (low, high)
}

/// A curve as it was recorded; none where it is absent or bad.
fn read_steps(fields: &mut Fields, value: ReadValue<'_>) -> Option<Vec<(f64, f64)>> {
    const ABOUT: &str = "Pairs of a time in seconds and the value from then on; the first is at 0, the last value lasts.";
    let given = fields.peek("steps").cloned();
    let mut before = None;
    let steps = fields.list("steps", ABOUT, |at, item| {
        let pair = match item {
            Value::Array(pair) if pair.len() == 2 => pair,
            other => {
                let detail = "must be a pair of a time in seconds and a value";
                let detail = format!("{detail}, not {}", short(&other));
                return Err(vec![FieldError::new(at, detail)]);
            }
        };
        // As an object, so that an error points to one of the two.
        let names = ["0", "1"].map(str::to_owned);
        let mut pair = Fields::new(at, names.into_iter().zip(pair).collect());
        let (since, figure) = read_step(&mut pair, value);
        if let Some(since) = since {
            match before.replace(since) {
                None if since != 0.0 => {
                    pair.reject("0", "must be 0: the first value is that of the start")
                }
                Some(before) if since <= before => {
                    pair.reject(
                        "0",
                        format!("must be above {before}, the time of the step before"),
                    );
                }
                _ => {}
            }
        }
        let shown = pair.finish()?.into_iter().map(|(_, shown)| shown);
        Ok((since.zip(figure), shown.collect()))
    });
    let length = given.as_ref().and_then(Value::as_array).map(Vec::len);
    match length {
        None if given.is_none() => fields.withdraw("steps"),
        Some(length) if !(1..=MOST_STEPS).contains(&length) => {
            let detail = format!("must have 1 to {MOST_STEPS} steps, not {length}");
            fields.reject("steps", detail);
        }
        _ => {}
    }
    let steps = steps.into_iter().collect::<Option<Vec<_>>>()?;
    (!steps.is_empty()).then_some(steps)
}

/// The time and the value of a step.
fn read_step(pair: &mut Fields, value: ReadValue<'_>) -> (Option<f64>, Option<f64>) {
    let since = pair.field("0", "The time.").optional();
    let since = since.seconds(0.0..=LONGEST_S);
    let since = since.map(|since| since.as_secs_f64());
    (since, value(pair.field("1", "The value from then on.")))
}

/// Where a schema of [`MEMBERS`] is that of a value.
const VALUES: [&str; 10] = [
    "/constant",
    "/ramp/properties/from",
    "/ramp/properties/to",
    "/decay/properties/from",
    "/decay/properties/to",
    "/square/properties/low",
    "/square/properties/high",
    "/sine/properties/low",
    "/sine/properties/high",
    "/steps/items/prefixItems/1",
];

/// The schemas of the members of a shape of any numbers: made once, since they are many.
static MEMBERS: LazyLock<Value> = LazyLock::new(|| {
    let any = || rule::number(.., None);
    let value = |field: Field<'_>| field.optional().by(any());
    let mut shape = Fields::new("", Map::new());
    read(&mut shape, &any(), &value);
    let mut step = Fields::new("", Map::new());
    read_step(&mut step, &value);
    let mut step = step.schema();
    let step = ["0", "1"].map(|of| step["properties"][of].take());
    let mut members = shape.schema()["properties"].take();
    members["steps"] = json!({
        "description": members["steps"]["description"],
        "type": "array", "minItems": 1, "maxItems": MOST_STEPS,
        "items": { "type": "array", "prefixItems": step, "items": {}, "minItems": 2, "maxItems": 2 },
    });
    members
});

/// The schema of a member that is a value by the rule `one`, or a shape of values by the rule `each`.
pub(super) fn schema(one: &Rule<'_, f64>, each: &Rule<'_, f64>) -> Map<String, Value> {
    let mut members = MEMBERS.clone();
    for at in VALUES {
        if let Some(Value::Object(value)) = members.pointer_mut(at) {
            value.extend(each.schema.clone());
        }
    }
    let mut kinds = match &one.schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    kinds.push("object".into());
    let forms = FORMS.map(|form| json!({ "required": [form] }));
    let mut schema = one.schema.clone();
    schema.extend([
        ("type".to_owned(), kinds.into()),
        ("properties".to_owned(), members),
        ("additionalProperties".to_owned(), false.into()),
        ("dependentRequired".to_owned(), json!({ "seed": ["noise"] })),
        ("if".to_owned(), json!({ "type": "object" })),
        ("then".to_owned(), json!({ "oneOf": forms })),
    ]);
    schema
}

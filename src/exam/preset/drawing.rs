//! Values of a preset that are drawn: what may be written in the place of a plain value, and what becomes of it.
//!
//! | written | becomes |
//! |---|---|
//! | `{draw: [0.5, 3]}` | a number of that range, log-uniform, with two digits |
//! | `{choose: [error, refused]}` | one of the list |
//! | `{choose: upstreams}`, `{choose: routes}` | one of those of the service's workload |
//! | `{of_limit: 1.5}` | so many times the CPU limit, in cores |
//!
//! They may be at any depth of the parameters, and in each other.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::exam::patient::{Need, Patient};
use crate::exam::streams::rounded;
use crate::input::{FieldError, pointer_to};

const DRAW: &str = "draw";
const CHOOSE: &str = "choose";
const OF_LIMIT: &str = "of_limit";
/// A parameter of this name is a share of the memory limit.
const OF_MEMORY_LIMIT: &str = "target_percent_of_limit";

/// Where the values come from.
pub(crate) trait Drawing {
    /// A number from `low` to `high`, for the value at the dotted path `at`.
    fn number(&mut self, at: &str, low: f64, high: f64) -> f64;
    /// A number below `count`, for the choice at the dotted path `at`.
    fn index(&mut self, at: &str, count: usize) -> usize;
}

/// A value that is drawn.
enum Drawn<'v> {
    Number(f64, f64),
    OneOf(&'v [Value]),
    Upstream,
    Route,
    OfLimit(&'v Value),
}

impl<'v> Drawn<'v> {
    /// None where `value` is a plain one.
    ///
    /// # Errors
    /// It is one that is written wrong: the member, and what must be there.
    fn read(value: &'v Value) -> Result<Option<Self>, (&'static str, &'static str)> {
        let Value::Object(members) = value else {
            return Ok(None);
        };
        let mut known = [DRAW, CHOOSE, OF_LIMIT].into_iter();
        let Some(key) = known.find(|key| members.contains_key(*key)) else {
            return Ok(None);
        };
        let given = &members[key];
        if members.len() > 1 {
            return Err((key, "must be alone in its object"));
        }
        match key {
            DRAW => match numbers(given) {
                Some((low, high)) => Ok(Some(Self::Number(low, high))),
                None => Err((
                    key,
                    "must be a pair of numbers above 0, or of numbers below 0: the lowest and the highest",
                )),
            },
            CHOOSE => match given {
                Value::Array(several) if !several.is_empty() => Ok(Some(Self::OneOf(several))),
                Value::String(of) if of == "upstreams" => Ok(Some(Self::Upstream)),
                Value::String(of) if of == "routes" => Ok(Some(Self::Route)),
                _ => Err((
                    key,
                    "must be a list that is not empty, or upstreams, or routes",
                )),
            },
            _ => Ok(Some(Self::OfLimit(given))),
        }
    }
}

/// The ends of a range, which does not have 0.
fn numbers(given: &Value) -> Option<(f64, f64)> {
    let [low, high] = &given.as_array()?[..] else {
        return None;
    };
    let (low, high) = (low.as_f64()?, high.as_f64()?);
    (low <= high && low * high > 0.0).then_some((low, high))
}

/// Every mistake in how values at `pointer` are drawn.
pub(super) fn mistakes(value: &Value, pointer: &str) -> Vec<FieldError> {
    match Drawn::read(value) {
        Err((key, detail)) => return vec![FieldError::new(pointer_to(pointer, key), detail)],
        Ok(Some(Drawn::OfLimit(share))) => {
            let pointer = pointer_to(pointer, OF_LIMIT);
            let is_number = share.is_number() || matches!(Drawn::read(share), Ok(Some(_)));
            return match is_number {
                true => mistakes(share, &pointer),
                false if share.is_object() => mistakes(share, &pointer),
                false => vec![FieldError::new(pointer, "must be a number, or one to draw")],
            };
        }
        Ok(_) => {}
    }
    let below = members(value).into_iter();
    let below = below.map(|(name, value)| mistakes(value, &pointer_to(pointer, &name)));
    below.flatten().collect()
}

/// What `value` needs of the service.
pub(super) fn needs(value: &Value) -> BTreeSet<Need> {
    let own = match Drawn::read(value) {
        Ok(Some(Drawn::Upstream)) => Some(Need::Upstreams),
        Ok(Some(Drawn::Route)) => Some(Need::Routes),
        Ok(Some(Drawn::OfLimit(_))) => Some(Need::CpuLimit),
        _ => value.get(OF_MEMORY_LIMIT).map(|_| Need::MemoryLimit),
    };
    let below = members(value).into_iter();
    let below = below.flat_map(|(_, value)| needs(value));
    own.into_iter().chain(below).collect()
}

/// `value` at the dotted path `at`, with everything drawn that is to be drawn. The service must have what it
/// [`needs`], and there must be no [`mistakes`].
pub(crate) fn resolve(
    value: &Value,
    at: &str,
    drawing: &mut dyn Drawing,
    patient: &Patient,
) -> Value {
    let mut one_of = |names: &[String]| {
        let index = drawing.index(at, names.len());
        json!(names.get(index))
    };
    match Drawn::read(value) {
        Ok(Some(Drawn::Number(low, high))) => plain(drawing.number(at, low, high)),
        Ok(Some(Drawn::Upstream)) => one_of(&patient.upstreams),
        Ok(Some(Drawn::Route)) => one_of(&patient.routes),
        Ok(Some(Drawn::OneOf(several))) => {
            let index = drawing.index(at, several.len());
            // The inner number must not be the one that has chosen.
            resolve(&several[index], &format!("{at}.chosen"), drawing, patient)
        }
        Ok(Some(Drawn::OfLimit(share))) => {
            let share = resolve(share, at, drawing, patient).as_f64();
            let cores = patient.cpu_limit_cores.unwrap_or(1.0);
            plain(rounded(share.unwrap_or(1.0) * cores, 3))
        }
        Ok(None) | Err(_) => match value {
            Value::Object(members) => {
                let resolved = members.iter().map(|(name, value)| {
                    let below = resolve(value, &dotted(at, name), drawing, patient);
                    (name.clone(), below)
                });
                Value::Object(resolved.collect::<Map<_, _>>())
            }
            Value::Array(items) => {
                let resolved = items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| resolve(item, &dotted(at, &i.to_string()), drawing, patient));
                resolved.collect()
            }
            one => one.clone(),
        },
    }
}

/// How many ways there are to choose, at most: so many values of [`Ends`] are to be tried.
pub(super) fn ways(value: &Value) -> usize {
    let own = match Drawn::read(value) {
        Ok(Some(Drawn::OneOf(several))) => several.len(),
        Ok(Some(Drawn::Number(..))) => 2,
        _ => 1,
    };
    let below = members(value).into_iter().map(|(_, value)| ways(value));
    below.fold(own, usize::max)
}

/// Takes the ends of ranges and each of the choices in turn.
pub(crate) struct Ends(pub(crate) usize);

impl Drawing for Ends {
    fn number(&mut self, _: &str, low: f64, high: f64) -> f64 {
        match self.0.is_multiple_of(2) {
            true => low,
            false => high,
        }
    }

    fn index(&mut self, _: &str, count: usize) -> usize {
        self.0 % count.max(1)
    }
}

/// The members of an object or a list, by name or number.
fn members(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(members) => {
            let members = members.iter();
            members.map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(i, item)| (i.to_string(), item)).collect()
        }
        _ => Vec::new(),
    }
}

fn dotted(at: &str, name: &str) -> String {
    match at {
        "" => name.to_owned(),
        at => format!("{at}.{name}"),
    }
}

/// The number as people write it: `80`, not `80.0`.
pub(crate) fn plain(number: f64) -> Value {
    /// Below this, every whole number is exact.
    const EXACT: f64 = 9e15;
    match number.fract() == 0.0 && number.abs() < EXACT {
        // The check makes the cast exact.
        true => json!(number as i64),
        false => json!(number),
    }
}

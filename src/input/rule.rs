//! What one member may be: its JSON Schema, the same as a sentence, and the parser that enforces both.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::ceilings::Ceiling;

/// A number greater than `low` and at most `high`, as a range for [`Field::number`](super::Field::number).
#[must_use]
pub fn above(low: f64, high: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(low), Bound::Included(high))
}

type Parse<'r, T> = Box<dyn Fn(&Value) -> Option<T> + 'r>;

/// The rule for one member.
pub(super) struct Rule<'r, T> {
    pub(super) schema: Map<String, Value>,
    /// Completes "Parameter x ..." in messages.
    pub(super) text: String,
    /// The names that it may have, where it is one or some of them.
    pub(super) names: Vec<&'static str>,
    /// Whether no value is left that it may have: the least is above the ceiling.
    pub(super) allows_nothing: bool,
    pub(super) parse: Parse<'r, T>,
}

impl<'r, T> Rule<'r, T> {
    pub(super) fn new(
        schema: Value,
        text: impl Into<String>,
        parse: impl Fn(&Value) -> Option<T> + 'r,
    ) -> Self {
        let schema = match schema {
            Value::Object(schema) => schema,
            _ => Map::new(),
        };
        Self {
            schema,
            text: text.into(),
            names: Vec::new(),
            allows_nothing: false,
            parse: Box::new(parse),
        }
    }

    fn named(self, names: Vec<&'static str>) -> Self {
        Self { names, ..self }
    }
}

/// A whole number within `range` and at most the ceiling.
pub(super) fn integer<'r, T>(range: &RangeInclusive<T>, ceiling: Option<Ceiling>) -> Rule<'r, T>
where
    T: Copy + Into<i64> + TryFrom<i64> + 'r,
{
    let (low, high): (i64, i64) = ((*range.start()).into(), (*range.end()).into());
    let (end, limit) = end_of_range(high as f64, ceiling);
    // The cast saturates.
    let high = high.min(end.floor() as i64);
    let parse = move |value: &Value| {
        let number = whole(value).filter(|n| (low..=high).contains(n))?;
        T::try_from(number).ok()
    };
    if high < low {
        let schema = json!({ "type": "integer", "not": {} });
        let text = format!("nothing is allowed{limit}; the least is {low}");
        return Rule {
            allows_nothing: true,
            ..Rule::new(schema, text, parse)
        };
    }
    let schema = json!({ "type": "integer", "minimum": low, "maximum": high });
    let text = format!("must be an integer from {low} to {high}{limit}");
    Rule::new(schema, text, parse)
}

/// A finite number within `range` and at most the ceiling.
pub(super) fn number<'r>(
    range: impl RangeBounds<f64> + 'r,
    ceiling: Option<Ceiling>,
) -> Rule<'r, f64> {
    let mut schema = json!({ "type": "number" });
    let mut limits = Vec::new();
    match range.start_bound() {
        Bound::Included(low) => {
            schema["minimum"] = plain(*low);
            limits.push(format!("at least {low}"));
        }
        Bound::Excluded(low) => {
            schema["exclusiveMinimum"] = plain(*low);
            limits.push(format!("greater than {low}"));
        }
        Bound::Unbounded => {}
    }
    let mut most = f64::INFINITY;
    if let Bound::Included(high) = range.end_bound() {
        let (high, limit) = end_of_range(*high, ceiling);
        most = high;
        schema["maximum"] = plain(high);
        limits.push(format!("at most {high}{limit}"));
    }
    let text = format!("must be a number {}", limits.join(" and "));
    Rule::new(schema, text, move |value| {
        let number = value.as_f64()?;
        (range.contains(&number) && number <= most).then_some(number)
    })
}

/// One of the named values.
pub(super) fn choice<'r, T: Copy>(choices: &'r [(&'static str, T)]) -> Rule<'r, T> {
    let names = names_of(choices);
    let text = format!("must be one of {}", quoted(&names));
    let schema = json!({ "type": "string", "enum": names });
    Rule::new(schema, text, |value| named(choices, value)).named(names)
}

/// A non-empty list of the named values without repeats.
pub(super) fn any_of<'r, T: Copy>(choices: &'r [(&'static str, T)]) -> Rule<'r, Vec<T>> {
    let names = names_of(choices);
    let text = format!(
        "must be a non-empty list without repeats of {}",
        quoted(&names)
    );
    let schema = json!({
        "type": "array", "items": { "type": "string", "enum": names },
        "minItems": 1, "uniqueItems": true,
    });
    Rule::new(schema, text, |value| {
        let list = value.as_array()?;
        let repeats = (1..list.len()).any(|i| list[..i].contains(&list[i]));
        if list.is_empty() || repeats {
            return None;
        }
        list.iter().map(|item| named(choices, item)).collect()
    })
    .named(names)
}

/// A text that `parse` accepts; `text` says which that is.
pub(super) fn text<'r, T>(text: &str, parse: impl Fn(&str) -> Option<T> + 'r) -> Rule<'r, T> {
    let schema = json!({ "type": "string" });
    Rule::new(schema, text, move |given| given.as_str().and_then(&parse))
}

/// A list of texts that `parse` accepts, each as `item` describes it; `what` says what they are.
pub(super) fn list_of<'r, T>(
    item: Value,
    what: &str,
    parse: impl Fn(&str) -> Option<T> + 'r,
) -> Rule<'r, Vec<T>> {
    let schema = json!({ "type": "array", "items": item });
    let text = format!("must be a list of {what}");
    Rule::new(schema, text, move |given| {
        let items = given.as_array()?.iter();
        items.map(|item| item.as_str().and_then(&parse)).collect()
    })
}

/// Header fields by name.
///
/// Source of the patterns: `token` in RFC 9110, section 5.6.2, and visible ASCII, which is all that a JSON text can
/// name without doubt.
pub(super) fn headers<'r>() -> Rule<'r, Vec<(HeaderName, HeaderValue)>> {
    let schema = json!({
        "type": "object",
        "propertyNames": { "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" },
        "additionalProperties": { "type": "string", "pattern": "^[ -~]*$" },
    });
    let text = "must be an object of header names and texts of visible ASCII characters";
    Rule::new(schema, text, |given| {
        let header = |(name, value): (&String, &Value)| {
            let value = value.as_str()?;
            let is_visible = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let value = HeaderValue::from_str(value).ok().filter(|_| is_visible)?;
            Some((HeaderName::try_from(name).ok()?, value))
        };
        given.as_object()?.iter().map(header).collect()
    })
}

/// The end of a range that is at most `high`, and in brackets the limit that lowers it.
pub(super) fn end_of_range(high: f64, ceiling: Option<Ceiling>) -> (f64, String) {
    match ceiling.filter(|ceiling| ceiling.most < high) {
        Some(ceiling) => (ceiling.most, format!(" (Limits.{})", ceiling.key)),
        None => (high, String::new()),
    }
}

/// The number as people write it: `80`, not `80.0`.
pub(super) fn plain(number: f64) -> Value {
    match whole(&json!(number)) {
        Some(integer) => json!(integer),
        None => json!(number),
    }
}

fn whole(value: &Value) -> Option<i64> {
    /// The first integer that f64 cannot distinguish from its neighbour.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // The range check makes the cast exact.
        (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
    })
}

fn names_of<T>(choices: &[(&'static str, T)]) -> Vec<&'static str> {
    choices.iter().map(|(name, _)| *name).collect()
}

fn named<T: Copy>(choices: &[(&'static str, T)], value: &Value) -> Option<T> {
    let name = value.as_str()?;
    let found = choices.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value)
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

/// The value as it appears in a message: whole when short, cut when long.
pub(super) fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}…")
}

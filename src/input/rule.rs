//! What one member may be: its JSON Schema, the same as a sentence, and the parser that enforces both.

use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::ceilings::Ceiling;
use super::times::{self, Texts};

/// A number greater than `low` and at most `high`, as a range for [`Field::number`](super::Field::number).
#[must_use]
pub fn above(low: f64, high: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(low), Bound::Included(high))
}

/// The smallest of the numbers that must be greater than 0. What is smaller would have no effect, or round to 0.
pub(crate) const SMALLEST: f64 = 1e-9;

type Parse<'r, T> = Box<dyn Fn(&Value) -> Option<T> + 'r>;

type NumberOf = Box<dyn Fn(&str) -> Option<f64>>;

/// The rule for one member.
pub(super) struct Rule<'r, T> {
    pub(super) schema: Map<String, Value>,
    /// Completes "Parameter x ..." in messages.
    pub(super) text: String,
    /// The names that it may have, where it is one or some of them.
    pub(super) names: Vec<&'static str>,
    /// Whether no value is left that it may have: the least is above the ceiling.
    pub(super) allows_nothing: bool,
    /// The smallest number above 0, where it is a quantity.
    pub(super) smallest: Option<f64>,
    /// The number that a text stands for, where it may be given as a text.
    pub(super) number_of: Option<NumberOf>,
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
            smallest: None,
            number_of: None,
            parse: Box::new(parse),
        }
    }

    /// The same rule for what `of` makes of the value.
    pub(super) fn map<U>(self, of: impl Fn(T) -> U + 'r) -> Rule<'r, U>
    where
        T: 'r,
    {
        let parse = self.parse;
        Rule {
            schema: self.schema,
            text: self.text,
            names: self.names,
            allows_nothing: self.allows_nothing,
            smallest: self.smallest,
            number_of: self.number_of,
            parse: Box::new(move |value| parse(value).map(&of)),
        }
    }

    /// Whether a text, or a list of texts, is wanted, other than one of known names.
    pub(super) fn wants_text(&self) -> bool {
        let is_text = |schema: Option<&Value>| schema.is_some_and(|kind| kind == "string");
        let items = self.schema.get("items");
        self.names.is_empty()
            && (is_text(self.schema.get("type"))
                || is_text(items.and_then(|items| items.get("type"))))
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
    numeric("a number", range, ceiling, SMALLEST)
}

/// The unit of a member that is a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum TimeUnit {
    S,
    /// Whole seconds, as a header carries them.
    WholeS,
    Ms,
}

impl TimeUnit {
    /// As the schema names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::S | Self::WholeS => "s",
            Self::Ms => "ms",
        }
    }

    pub(super) fn duration(self, number: f64) -> Duration {
        Duration::from_secs_f64(match self {
            Self::S | Self::WholeS => number,
            Self::Ms => number / 1e3,
        })
    }

    fn nanos(self) -> f64 {
        match self {
            Self::S | Self::WholeS => 1e9,
            Self::Ms => 1e6,
        }
    }

    /// The smallest time above 0: a nanosecond.
    fn smallest(self) -> f64 {
        1.0 / self.nanos()
    }
}

/// A time within `range` and at most the ceiling: a number in `unit`, or a text with a unit of its own. Where
/// `zero_is_apart`, what is not zero must not round to it.
pub(super) fn time<'r>(
    unit: TimeUnit,
    range: impl RangeBounds<f64> + 'r,
    ceiling: Option<Ceiling>,
    zero_is_apart: bool,
) -> Rule<'r, Duration> {
    let (what, form, kind) = match unit {
        TimeUnit::S => ("a number of seconds", times::FORM, "number"),
        TimeUnit::WholeS => ("a whole number of seconds", times::WHOLE_FORM, "integer"),
        TimeUnit::Ms => ("a number of milliseconds", times::FORM, "number"),
    };
    let is_positive = matches!(range.start_bound(), Bound::Excluded(_));
    let most = match range.end_bound() {
        Bound::Included(high) => end_of_range(*high, ceiling).0,
        Bound::Excluded(_) | Bound::Unbounded => f64::MAX,
    };
    let texts = Texts {
        // The cast saturates.
        most: (most * unit.nanos()).floor() as u128,
        whole: matches!(unit, TimeUnit::WholeS),
    };
    let smallest = unit.smallest();
    let Rule {
        mut schema,
        text,
        allows_nothing,
        parse,
        ..
    } = numeric(what, range, ceiling, smallest);
    let parse = move |value: &Value| {
        let number = parse(value)?;
        let is_kept = !zero_is_apart || number == 0.0 || number >= smallest;
        let is_fine = !texts.whole || number.fract() == 0.0;
        (is_kept && is_fine).then(|| unit.duration(number))
    };
    if allows_nothing {
        return Rule {
            allows_nothing,
            ..Rule::new(schema.into(), text, parse)
        };
    }
    schema.insert("type".to_owned(), json!([kind, "string"]));
    schema.insert("pattern".to_owned(), texts.pattern().into());
    if is_positive {
        let zero = json!({ "type": "string", "pattern": Texts::ZERO });
        schema.insert("not".to_owned(), zero);
    } else if zero_is_apart {
        let tiny = json!({ "type": kind, "exclusiveMinimum": 0, "exclusiveMaximum": smallest });
        schema.insert("not".to_owned(), tiny);
    }
    let number_of = move |text: &str| {
        let nanos = texts
            .read(text)
            .filter(|nanos| *nanos > 0 || !is_positive)?;
        Some(nanos as f64 / unit.nanos())
    };
    Rule {
        smallest: Some(smallest),
        number_of: Some(Box::new(number_of)),
        ..Rule::new(schema.into(), format!("{text}, or {form}"), parse)
    }
}

fn numeric<'r>(
    what: &str,
    range: impl RangeBounds<f64> + 'r,
    ceiling: Option<Ceiling>,
    smallest: f64,
) -> Rule<'r, f64> {
    let mut schema = json!({ "type": "number" });
    let mut limits = Vec::new();
    let mut least = f64::NEG_INFINITY;
    match range.start_bound() {
        Bound::Included(low) => {
            least = *low;
            schema["minimum"] = plain(*low);
            limits.push(format!("at least {low}"));
        }
        Bound::Excluded(low) => {
            least = low + smallest;
            schema["exclusiveMinimum"] = plain(*low);
            schema["minimum"] = json!(least);
            limits.push(format!("greater than {low}"));
        }
        Bound::Unbounded => {}
    }
    let (mut most, mut limit) = (f64::INFINITY, String::new());
    if let Bound::Included(high) = range.end_bound() {
        (most, limit) = end_of_range(*high, ceiling);
        schema["maximum"] = plain(most);
        limits = match range.start_bound() {
            Bound::Included(low) => vec![format!("from {low} to {most}{limit}")],
            _ => [limits, vec![format!("at most {most}{limit}")]].concat(),
        };
    }
    let parse = move |value: &Value| {
        let number = value.as_f64()?;
        (range.contains(&number) && number >= least && number <= most).then_some(number)
    };
    if most < least {
        let schema = json!({ "type": "number", "not": {} });
        let text = format!("nothing is allowed{limit}; the least is {least}");
        return Rule {
            allows_nothing: true,
            ..Rule::new(schema, text, parse)
        };
    }
    let text = format!("must be {what} {}", limits.join(" and "));
    Rule {
        smallest: Some(smallest),
        ..Rule::new(schema, text, parse)
    }
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

/// A name as hosts have it.
pub(super) fn host_name<'r>() -> Rule<'r, String> {
    const LONGEST: usize = 63;
    let schema = json!({ "type": "string", "pattern": "^[0-9A-Za-z.-]{1,63}$" });
    let text = "must be a name of at most 63 letters, digits, dots and hyphens, such as inventory";
    Rule::new(schema, text, |given| {
        let name = given.as_str()?;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        let is_name = !name.is_empty() && name.len() <= LONGEST && name.bytes().all(is_part);
        is_name.then(|| name.to_owned())
    })
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

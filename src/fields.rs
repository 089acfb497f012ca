//! Reads one JSON object from outside into typed, bounded values, and tells all that is wrong with it.
//!
//! Whoever takes input (a scenario's parameters, the configuration, a request's envelope) writes one
//! function that asks a [`Fields`] for its members in turn. That one function yields the validation,
//! the defaults, the effective values and the JSON Schema, so they cannot disagree. Nothing is ever
//! defaulted silently: a member that is present is honoured or refused, and one that nobody asked for
//! is refused too. Every fault is collected; reading goes on with the default so that a caller hears of
//! all of them at once.

use std::borrow::Cow;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::ceilings::{Ceiling, Ceilings, Resource};

/// One bad value: where it stands and what would have been allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// RFC 6901 pointer into the document that was sent, such as `/scenarios/1/params/target_percent`.
    pub pointer: String,
    /// What is wrong and what is allowed, as a sentence.
    pub detail: String,
}

impl FieldError {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// The pointer to the member `name` of the object at `at`, escaped as RFC 6901 wants it.
#[must_use]
pub fn pointer_to(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A number greater than `low` and at most `high`, as [`Field::number`] takes it.
#[must_use]
pub fn above(low: f64, high: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(low), Bound::Included(high))
}

/// The members of one JSON object while they are being read.
#[derive(Debug)]
pub struct Fields {
    pointer: String,
    given: Map<String, Value>,
    effective: Map<String, Value>,
    properties: Map<String, Value>,
    /// Pairs of members that stand for the same thing.
    either: Vec<[&'static str; 2]>,
    ceilings: Ceilings,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Starts to read `given`, which stands at `pointer` in the document ("" for the whole of it).
    #[must_use]
    pub fn new(pointer: impl Into<String>, given: Map<String, Value>) -> Self {
        Self {
            pointer: pointer.into(),
            given,
            effective: Map::new(),
            properties: Map::new(),
            either: Vec::new(),
            ceilings: Ceilings::default(),
            errors: Vec::new(),
        }
    }

    /// Ends the ranges of members that ask for something at what `ceilings` allow.
    #[must_use]
    pub fn below(mut self, ceilings: Ceilings) -> Self {
        self.ceilings = ceilings;
        self
    }

    /// Whether something ends the range of members that ask for `resource`.
    #[must_use]
    pub fn is_limited(&self, resource: Resource) -> bool {
        self.ceilings.of(resource).is_some()
    }

    /// The next member to read: its name and one sentence on what it does.
    pub fn field(&mut self, name: &'static str, about: &'static str) -> Field<'_> {
        Field {
            fields: self,
            name,
            about,
            unit: None,
            secret: false,
            ceiling: None,
        }
    }

    /// As [`Fields::object`], for a section of a file.
    pub fn section<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Fields) -> T,
    ) -> T {
        // A YAML section whose every line is a comment reads as null.
        if self.given.get(name).is_some_and(Value::is_null) {
            self.given.remove(name);
        }
        self.object(name, about, read)
    }

    /// Reads a nested object with the same rules; an absent one reads as all defaults.
    pub fn object<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Fields) -> T,
    ) -> T {
        let pointer = self.pointer_to(name);
        let given = match self.given.remove(name) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                // The value is not shown: it may be a secret that lost its key.
                self.reject(name, "must be an object");
                Map::new()
            }
        };
        let mut inner = Fields::new(pointer, given);
        let value = read(&mut inner);
        inner.refuse_unknown();
        self.errors.append(&mut inner.errors);
        self.effective
            .insert(name.to_owned(), Value::Object(inner.effective));
        let mut schema = object_schema(inner.properties);
        schema["description"] = about.into();
        self.properties.insert(name.to_owned(), schema);
        value
    }

    /// The same for an object that may be absent and then means nothing at all.
    pub fn optional_section<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Fields) -> T,
    ) -> Option<T> {
        let given = self.given.get(name).is_some_and(|value| !value.is_null());
        let value = self.section(name, about, read);
        if !given {
            self.withdraw(name);
        }
        given.then_some(value)
    }

    /// Reads a list, empty by default, item by item: `read` is told where the item stands, and gives its
    /// value and its effective form.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        mut read: impl FnMut(&str, Value) -> Result<(T, Value), Vec<FieldError>>,
    ) -> Vec<T> {
        let schema = json!({ "type": "array", "default": [], "description": about });
        self.properties.insert(name.to_owned(), schema);
        let (mut values, mut shown) = (Vec::new(), Vec::new());
        match self.given.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => {
                for (i, item) in items.into_iter().enumerate() {
                    match read(&format!("{}/{i}", self.pointer_to(name)), item) {
                        Ok((value, effective)) => {
                            values.push(value);
                            shown.push(effective);
                        }
                        Err(mut errors) => self.errors.append(&mut errors),
                    }
                }
            }
            Some(other) => self.reject(name, format!("must be a list, not {}", short(&other))),
        }
        self.effective.insert(name.to_owned(), shown.into());
        values
    }

    /// Whether the caller sent this member; true only until it is read.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Refuses two members that stand for the same thing where both are given. To be called before
    /// either is read.
    pub fn either(&mut self, first: &'static str, second: &'static str) {
        if self.has(first) && self.has(second) {
            self.reject(second, format!("give either {first} or {second}, not both"));
        }
        self.either.push([first, second]);
    }

    /// Refuses the member `name` for a reason that only the reader knows, such as a clash of two.
    pub fn reject(&mut self, name: &str, detail: impl Into<String>) {
        self.errors
            .push(FieldError::new(self.pointer_to(name), detail));
    }

    /// The same for a member of a nested object, at `pointer` below this one.
    pub fn reject_at(&mut self, pointer: &str, detail: impl Into<String>) {
        let at = format!("{}{pointer}", self.pointer);
        self.errors.push(FieldError::new(at, detail));
    }

    /// Takes a default back out of the effective values, where another member makes it void.
    pub fn withdraw(&mut self, name: &str) {
        self.effective.remove(name);
    }

    /// Ends the reading: the effective values, defaults filled in.
    ///
    /// # Errors
    /// Every bad value met, and every member that nobody asked for.
    pub fn finish(mut self) -> Result<Map<String, Value>, Vec<FieldError>> {
        self.refuse_unknown();
        if self.errors.is_empty() {
            Ok(self.effective)
        } else {
            Err(self.errors)
        }
    }

    /// The JSON Schema (2020-12) of everything that was asked for.
    #[must_use]
    pub fn schema(self) -> Value {
        let mut schema = object_schema(self.properties);
        let clashes = self.either.iter();
        let clashes = clashes.map(|both| json!({ "not": { "required": both } }));
        match clashes.collect::<Vec<_>>() {
            none if none.is_empty() => {}
            clashes => schema["allOf"] = clashes.into(),
        }
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        schema
    }

    fn refuse_unknown(&mut self) {
        let known: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        let detail = if known.is_empty() {
            "unknown key; no key is allowed here".to_owned()
        } else {
            format!("unknown key; allowed here: {}", known.join(", "))
        };
        let unknown: Vec<String> = self
            .given
            .keys()
            .map(|name| self.pointer_to(&cut(name)))
            .collect();
        self.errors.extend(
            unknown
                .into_iter()
                .map(|at| FieldError::new(at, detail.clone())),
        );
        self.given.clear();
    }

    fn pointer_to(&self, name: &str) -> String {
        pointer_to(&self.pointer, name)
    }
}

fn object_schema(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// One member that is about to be read; the last call says its type.
#[derive(Debug)]
#[must_use = "a field is read by its last call, such as `integer`"]
pub struct Field<'f> {
    fields: &'f mut Fields,
    name: &'static str,
    about: &'static str,
    unit: Option<&'static str>,
    secret: bool,
    ceiling: Option<Ceiling>,
}

impl Field<'_> {
    /// Names the unit in the schema, such as `ms` or `MiB/s`.
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Keeps the value out of every message and of the effective values.
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Says what the number asks for: its range ends, and its default too, at what is allowed of that.
    pub fn asks_for(mut self, resource: Resource) -> Self {
        self.ceiling = self.fields.ceilings.of(resource);
        self
    }

    /// The end of a range that is at most `high`, and in brackets who drew it there.
    fn end_of_range(&self, high: f64) -> (f64, String) {
        match self.ceiling.filter(|ceiling| ceiling.most < high) {
            Some(ceiling) => (ceiling.most, format!(" ({})", ceiling.key)),
            None => (high, String::new()),
        }
    }

    /// A whole number within `range`; `80.0` is as good as `80`.
    pub fn integer<T>(self, range: RangeInclusive<T>, default: T) -> T
    where
        T: Copy + Into<i64> + TryFrom<i64>,
    {
        let (low, high): (i64, i64) = ((*range.start()).into(), (*range.end()).into());
        let (end, limit) = self.end_of_range(high as f64);
        // The cast saturates.
        let high = high.min(end.floor() as i64);
        let default = T::try_from(default.into().min(high)).unwrap_or(default);
        let (rule, schema) = if high < low {
            let rule = format!("nothing is allowed{limit}; the least is {low}");
            if !self.fields.has(self.name) {
                self.fields.reject(self.name, rule.as_str());
            }
            (rule, json!({ "type": "integer", "not": {} }))
        } else {
            let rule = format!("must be an integer from {low} to {high}{limit}");
            let schema = json!({ "type": "integer", "minimum": low, "maximum": high });
            (rule, schema)
        };
        let parse = |value: &Value| {
            whole(value)
                .filter(|n| (low..=high).contains(n))
                .and_then(|n| T::try_from(n).ok())
        };
        self.read(schema, &rule, Some((default, json!(default.into()))), parse)
            .unwrap_or(default)
    }

    /// A finite number within `range`.
    pub fn number(self, range: impl RangeBounds<f64>, default: f64) -> f64 {
        let default = default.min(self.end_of_range(default).0);
        let shown_default = (default, plain(default));
        self.read_number(&range, Some(shown_default))
            .unwrap_or(default)
    }

    /// A finite number within `range`, or none when the member is absent.
    pub fn optional_number(self, range: impl RangeBounds<f64>) -> Option<f64> {
        self.read_number(&range, None)
    }

    /// A whole number within `range`, or none when the member is absent.
    pub fn optional_integer(self, range: RangeInclusive<u32>) -> Option<u32> {
        let (low, high) = (i64::from(*range.start()), i64::from(*range.end()));
        let rule = format!("must be an integer from {low} to {high}");
        let schema = json!({ "type": "integer", "minimum": low, "maximum": high });
        let parse = |value: &Value| whole(value).and_then(|n| u32::try_from(n).ok());
        self.read(schema, &rule, None, |value| {
            parse(value).filter(|n| range.contains(n))
        })
    }

    /// True or false.
    pub fn flag(self, default: bool) -> bool {
        let schema = json!({ "type": "boolean" });
        let rule = "must be true or false";
        self.read(
            schema,
            rule,
            Some((default, default.into())),
            Value::as_bool,
        )
        .unwrap_or(default)
    }

    /// A member of a form that its reader checks itself, as `schema` tells it; none when it is absent.
    pub fn any(self, schema: Value) -> Option<Value> {
        self.read(schema, "", None, |value| Some(value.clone()))
    }

    /// One of the named values; the first is the default.
    pub fn choice<T: Copy>(self, choices: &[(&'static str, T)]) -> T {
        let (default_name, default) = choices[0];
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let rule = format!("must be one of {}", quoted(&names));
        let schema = json!({ "type": "string", "enum": names });
        let parse = |value: &Value| named(choices, value);
        self.read(schema, &rule, Some((default, default_name.into())), parse)
            .unwrap_or(default)
    }

    /// One of the named values, or none when the member is absent.
    pub fn optional_choice<T: Copy>(self, choices: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let rule = format!("must be one of {}", quoted(&names));
        let schema = json!({ "type": "string", "enum": names });
        self.read(schema, &rule, None, |value| named(choices, value))
    }

    /// A non-empty list of the named values without repeats; those named in `default` by default.
    pub fn any_of<T: Copy>(self, choices: &[(&'static str, T)], default: &[&str]) -> Vec<T> {
        let by_default = choices.iter().filter(|(name, _)| default.contains(name));
        let by_default: Vec<T> = by_default.map(|(_, value)| *value).collect();
        let shown_default = (by_default.clone(), json!(default));
        self.read_list(choices, Some(shown_default))
            .unwrap_or(by_default)
    }

    /// The same, or none when the member is absent.
    pub fn optional_any_of<T: Copy>(self, choices: &[(&'static str, T)]) -> Option<Vec<T>> {
        self.read_list(choices, None)
    }

    fn read_list<T: Copy>(
        self,
        choices: &[(&'static str, T)],
        default: Option<(Vec<T>, Value)>,
    ) -> Option<Vec<T>> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let rule = format!(
            "must be a non-empty list without repeats of {}",
            quoted(&names)
        );
        let schema = json!({
            "type": "array", "items": { "type": "string", "enum": names },
            "minItems": 1, "uniqueItems": true,
        });
        self.read(schema, &rule, default, |value| {
            let list = value.as_array()?;
            let repeats = list
                .iter()
                .enumerate()
                .any(|(i, item)| list[..i].contains(item));
            if list.is_empty() || repeats {
                return None;
            }
            list.iter().map(|item| named(choices, item)).collect()
        })
    }

    /// A text that `parse` accepts; `rule` says what that is.
    pub fn text<T: Clone>(
        self,
        rule: &str,
        default: (T, &str),
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let (value, shown_default) = default;
        let schema = json!({ "type": "string" });
        let parse = |given: &Value| given.as_str().and_then(&parse);
        self.read(
            schema,
            rule,
            Some((value.clone(), shown_default.into())),
            parse,
        )
        .unwrap_or(value)
    }

    /// A text that `parse` accepts, or none when the member is absent.
    pub fn optional_text<T>(self, rule: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let schema = json!({ "type": "string" });
        self.read(schema, rule, None, |given| given.as_str().and_then(&parse))
    }

    /// A list of texts that `parse` accepts; `what` says what they are. Empty by default.
    pub fn texts<T>(self, what: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let schema = json!({ "type": "array", "items": { "type": "string" } });
        let rule = format!("must be a list of {what}");
        let parse = |given: &Value| {
            let items = given.as_array()?.iter();
            items.map(|item| item.as_str().and_then(&parse)).collect()
        };
        self.read(schema, &rule, Some((Vec::new(), json!([]))), parse)
            .unwrap_or_default()
    }

    fn read_number(
        self,
        range: &impl RangeBounds<f64>,
        default: Option<(f64, Value)>,
    ) -> Option<f64> {
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
            let (high, limit) = self.end_of_range(*high);
            most = high;
            schema["maximum"] = plain(high);
            limits.push(format!("at most {high}{limit}"));
        }
        let rule = format!("must be a number {}", limits.join(" and "));
        self.read(schema, &rule, default, |value| {
            let number = value.as_f64()?;
            (range.contains(&number) && number <= most).then_some(number)
        })
    }

    /// Takes the member out of the object, records its schema and effective value, and parses it.
    /// A refused value is recorded as an error and yields the default, so that reading can go on.
    fn read<T>(
        self,
        mut schema: Value,
        rule: &str,
        default: Option<(T, Value)>,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let Self {
            fields,
            name,
            about,
            unit,
            secret,
            ceiling: _,
        } = self;
        schema["description"] = about.into();
        if let Some(unit) = unit {
            schema["unit"] = unit.into();
        }
        let (default, shown_default) = default.unzip();
        if let Some(shown) = &shown_default {
            schema["default"] = shown.clone();
        }
        fields.properties.insert(name.to_owned(), schema);

        let Some(given) = fields.given.remove(name) else {
            if let Some(shown) = shown_default {
                fields.effective.insert(name.to_owned(), shown);
            }
            return default;
        };
        if let Some(value) = parse(&given) {
            let shown = match given.as_f64() {
                _ if secret => "(hidden)".into(),
                Some(number) => plain(number),
                None => given,
            };
            fields.effective.insert(name.to_owned(), shown);
            return Some(value);
        }
        let detail = match secret {
            true => rule.to_owned(),
            false => format!("{rule}, not {}", short(&given)),
        };
        fields.reject(name, detail);
        default
    }
}

/// A name that nobody knows, as far as a message needs it.
fn cut(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 100;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

/// The number as people write it: `80`, not `80.0`.
fn plain(number: f64) -> Value {
    match whole(&json!(number)) {
        Some(integer) => json!(integer),
        None => json!(number),
    }
}

fn whole(value: &Value) -> Option<i64> {
    /// The first integer that f64 cannot tell from its neighbour.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // The range check makes the cast exact.
        (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
    })
}

fn named<T: Copy>(choices: &[(&'static str, T)], value: &Value) -> Option<T> {
    let name = value.as_str()?;
    choices
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The value as it goes into a message: whole when short, cut when long.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Fields {
        let Value::Object(map) = value else {
            panic!("the test gives an object")
        };
        Fields::new("", map)
    }

    /// Reads one integer from 0 to 100 and gives the outcome.
    fn percent(value: Value) -> Result<u8, String> {
        let mut f = fields(json!({ "p": value }));
        let read = f.field("p", "a share").integer(0..=100_u8, 50);
        f.finish()
            .map(|_| read)
            .map_err(|errors| errors[0].detail.clone())
    }

    #[test]
    fn an_integer_may_be_written_as_a_whole_float_and_as_nothing_else() {
        assert_eq!(percent(json!(80)), Ok(80));
        assert_eq!(percent(json!(80.0)), Ok(80));
        assert_eq!(percent(json!(0)), Ok(0));
        assert_eq!(percent(json!(100)), Ok(100));
        for bad in [
            json!(101),
            json!(-1),
            json!(80.5),
            json!("80"),
            json!(null),
            json!(true),
            json!([80]),
            json!({}),
            json!(1e300),
            json!(u64::MAX),
            json!(i64::MIN),
        ] {
            let detail = percent(bad.clone()).expect_err("must be refused");
            assert_eq!(
                detail,
                format!("must be an integer from 0 to 100, not {bad}")
            );
        }
    }

    #[test]
    fn a_number_keeps_to_its_open_and_closed_ends() {
        let rate = |value: Value| {
            let mut f = fields(json!({ "r": value }));
            let read = f
                .field("r", "a rate")
                .unit("MiB/s")
                .number(above(0.0, 10.0), 1.0);
            f.finish()
                .map(|_| read)
                .map_err(|errors| errors[0].detail.clone())
        };
        assert_eq!(rate(json!(0.5)), Ok(0.5));
        assert_eq!(rate(json!(10)), Ok(10.0));
        let refused = "must be a number greater than 0 and at most 10, not 0";
        assert_eq!(rate(json!(0)), Err(refused.to_owned()));
        assert!(rate(json!(10.1)).is_err());
        assert!(rate(json!("1")).is_err());
    }

    #[test]
    fn every_fault_is_told_at_once_and_unknown_keys_are_faults() {
        let mut f = fields(json!({ "a": -1, "b": "x", "c~/d": 1 }));
        f.field("a", "").integer(0..=9_u8, 0);
        f.field("b", "").choice(&[("one", 1), ("two", 2)]);
        let errors = f.finish().expect_err("three faults");
        let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(at, ["/a", "/b", "/c~0~1d"]);
        assert_eq!(
            errors[1].detail,
            "must be one of \"one\", \"two\", not \"x\""
        );
        assert_eq!(errors[2].detail, "unknown key; allowed here: a, b");
    }

    #[test]
    fn an_unknown_key_is_told_as_far_as_a_message_needs_it() {
        let errors = fields(json!({ "ö".repeat(60_000): 1 })).finish();
        let [error] = &errors.expect_err("a fault")[..] else {
            panic!("one fault")
        };
        assert_eq!(error.pointer, format!("/{}…", "ö".repeat(100)));
        assert_eq!(error.detail, "unknown key; no key is allowed here");
    }

    #[test]
    fn effective_values_fill_in_defaults_and_write_whole_floats_as_integers() {
        let mut f = fields(json!({ "a": 7.0 }));
        f.field("a", "").integer(0..=9_u8, 0);
        f.field("b", "").number(0.0..=1.0, 0.5);
        f.field("c", "").optional_number(0.0..=1.0);
        f.section("d", "nested", |inner| {
            inner.field("e", "").choice(&[("on", true)])
        });
        let effective = f.finish().expect("all good");
        assert_eq!(
            Value::Object(effective),
            json!({ "a": 7, "b": 0.5, "d": { "e": "on" } })
        );
    }

    #[test]
    fn a_fault_in_a_section_points_into_it() {
        let mut f = fields(json!({ "Log": { "Level": "loud", "x": 1 } }));
        f.section("Log", "", |log| {
            log.field("Level", "").choice(&[("info", 0)])
        });
        let errors = f.finish().expect_err("two faults");
        let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(at, ["/Log/Level", "/Log/x"]);
    }

    #[test]
    fn a_list_of_choices_refuses_repeats_emptiness_and_strangers() {
        let list = |value: Value| {
            let mut f = fields(json!({ "l": value }));
            let read = f.field("l", "").any_of(&[("a", 'a'), ("b", 'b')], &["a"]);
            f.finish().map(|_| read).map_err(|errors| errors.len())
        };
        let mut absent = fields(json!({}));
        let by_default = absent.field("l", "").any_of(&[("a", 1), ("b", 2)], &["b"]);
        assert_eq!(by_default, [2]);
        let effective = absent.finish().expect("good");
        assert_eq!(effective["l"], json!(["b"]));
        assert_eq!(list(json!(["b"])), Ok(vec!['b']));
        assert_eq!(list(json!(["b", "a"])), Ok(vec!['b', 'a']));
        for bad in [
            json!([]),
            json!(["a", "a"]),
            json!(["c"]),
            json!("a"),
            json!([1]),
        ] {
            assert_eq!(list(bad), Err(1));
        }
    }

    #[test]
    fn a_list_is_read_item_by_item_and_a_faulty_item_is_pointed_at() {
        let read = |value: Value| {
            let mut f = fields(json!({ "l": value }));
            let even = |at: &str, item: Value| match item.as_i64() {
                Some(n) if n % 2 == 0 => Ok((n, item)),
                _ => Err(vec![FieldError::new(at, "must be even")]),
            };
            let values = f.list("l", "", even);
            f.finish().map(|effective| (values, effective))
        };
        let (values, effective) = read(json!([2, 4])).expect("good");
        assert_eq!((values, &effective["l"]), (vec![2, 4], &json!([2, 4])));
        let errors = read(json!([1, 2, "x"])).expect_err("two faults");
        let at: Vec<&str> = errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(at, ["/l/0", "/l/2"]);
        assert!(read(json!({})).is_err());
    }

    #[test]
    fn an_absent_section_may_mean_nothing_and_a_given_one_is_read() {
        let read = |value: Value| {
            let mut f = fields(value);
            let flag = |inner: &mut Fields| inner.field("on", "").flag(true);
            let value = f.optional_section("s", "", flag);
            f.finish()
                .map(|effective| (value, Value::Object(effective)))
        };
        assert_eq!(read(json!({})), Ok((None, json!({}))));
        let given = read(json!({ "s": {} }));
        assert_eq!(given, Ok((Some(true), json!({ "s": { "on": true } }))));
        assert_eq!(
            read(json!({ "s": { "on": false } })).expect("good").0,
            Some(false)
        );
        for bad in [json!({ "s": 1 }), json!({ "s": { "on": "no" } })] {
            assert!(read(bad).is_err());
        }
    }

    #[test]
    fn the_schema_says_type_range_default_and_unit() {
        let mut f = fields(json!({}));
        f.field("rate", "How fast.")
            .unit("MiB/s")
            .number(above(0.0, 9.0), 2.5);
        let schema = f.schema();
        assert_eq!(
            schema["properties"]["rate"],
            json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 9, "default": 2.5,
                    "unit": "MiB/s", "description": "How fast." })
        );
        assert_eq!(schema["additionalProperties"], json!(false));
    }

    #[test]
    fn a_ceiling_ends_the_range_and_the_default_and_says_who_set_it() {
        let mut limits = fields(json!({ "LatencyMs": 49.5, "DiskMbPerSecond": 2 }));
        let set = crate::limits::Limits::read(&mut limits, &[]);
        let cgroup = crate::host::cgroup::Cgroup::at("/no", "/no");
        let read = |value: Value| {
            let mut f = fields(value).below(set.ceilings(&cgroup));
            let ms = f.field("ms", "").asks_for(Resource::LatencyMs);
            let ms = ms.integer(0..=600_u32, 100);
            let rate = f.field("rate", "").asks_for(Resource::DiskMbPerSecond);
            let rate = rate.number(above(0.0, 100.0), 50.0);
            let free = f.field("free", "").integer(0..=600_u32, 100);
            (ms, rate, free, f)
        };
        let (ms, rate, free, f) = read(json!({}));
        assert_eq!((ms, rate, free), (49, 2.0, 100));
        assert_eq!(
            Value::Object(f.finish().expect("good")),
            json!({ "ms": 49, "rate": 2, "free": 100 })
        );
        let errors = read(json!({ "ms": 50, "rate": 2.5 })).3.finish();
        let details: Vec<String> = errors
            .expect_err("two")
            .into_iter()
            .map(|e| e.detail)
            .collect();
        assert_eq!(
            details,
            [
                "must be an integer from 0 to 49 (Limits.LatencyMs), not 50",
                "must be a number greater than 0 and at most 2 (Limits.DiskMbPerSecond), not 2.5",
            ]
        );
        let schema = read(json!({})).3.schema();
        assert_eq!(schema["properties"]["ms"]["maximum"], 49);
        assert_eq!(schema["properties"]["rate"]["maximum"], 2);
    }

    #[test]
    fn a_ceiling_below_the_least_value_leaves_nothing() {
        let mut limits = fields(json!({ "LatencyMs": 0.5 }));
        let set = crate::limits::Limits::read(&mut limits, &[]);
        let cgroup = crate::host::cgroup::Cgroup::at("/no", "/no");
        let told = "nothing is allowed (Limits.LatencyMs); the least is 1";
        let read = |value: Value| {
            let mut f = fields(value).below(set.ceilings(&cgroup));
            let ms = f.field("ms", "").asks_for(Resource::LatencyMs);
            ms.integer(1..=9_u32, 5);
            f
        };
        for (given, told) in [
            (json!({}), told.to_owned()),
            (json!({ "ms": 3 }), format!("{told}, not 3")),
        ] {
            let errors = read(given).finish().expect_err("nothing");
            let details: Vec<_> = errors.into_iter().map(|error| error.detail).collect();
            assert_eq!(details, [told]);
        }
        let schema = read(json!({})).schema();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        assert!((0..10).all(|ms| !validator.is_valid(&json!({ "ms": ms }))));
        assert!(schema["properties"]["ms"].get("maximum").is_none());
    }

    #[test]
    fn two_names_of_one_thing_clash_in_the_reading_and_in_the_schema() {
        let read = |value: Value| {
            let mut f = fields(value);
            f.either("a", "b");
            f.field("a", "").integer(0..=9_u8, 0);
            f.field("b", "").optional_number(0.0..=1.0);
            f
        };
        assert!(read(json!({ "a": 1 })).finish().is_ok());
        assert!(read(json!({ "b": 1 })).finish().is_ok());
        let errors = read(json!({ "a": 1, "b": 1 })).finish();
        let clash = FieldError::new("/b", "give either a or b, not both");
        assert_eq!(errors, Err(vec![clash]));
        let schema = read(json!({})).schema();
        assert_eq!(
            schema["allOf"],
            json!([{ "not": { "required": ["a", "b"] } }])
        );
    }

    #[test]
    fn a_secret_is_in_no_message_and_in_no_effective_value() {
        let read = |value: Value| {
            let mut f = fields(json!({ "token": value }));
            let any = |text: &str| Some(text.to_owned());
            f.field("token", "")
                .secret()
                .optional_text("must be a text", any);
            f.finish()
        };
        let effective = read(json!("s3cret")).expect("good");
        assert_eq!(effective["token"], "(hidden)");
        let errors = read(json!(12_345_678)).expect_err("not a text");
        assert_eq!(errors[0].detail, "must be a text");
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let detail = percent(json!("x".repeat(10_000))).expect_err("not a number");
        assert!(detail.chars().count() < 120, "{detail}");
    }
}

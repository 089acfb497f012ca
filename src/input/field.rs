//! One member of an object that is about to be read; the last call says its type.

use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::Fields;
use super::ceilings::{Ceiling, Resource};
use super::error::RefusedValue;
use super::rule::{self, Rule, TimeUnit, end_of_range, plain, short};
use super::shape::{self, Shape};
use super::suggest::did_you_mean;
use super::times::in_ms;

/// A member that has a default. The last call, such as [`Field::integer`], reads it.
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

/// A member without a default: `None` when it is absent. Made by [`Field::optional`].
#[derive(Debug)]
#[must_use = "a field is read by its last call, such as `integer`"]
pub struct OptionalField<'f>(Field<'f>);

impl<'f> Field<'f> {
    pub(super) fn new(fields: &'f mut Fields, name: &'static str, about: &'static str) -> Self {
        Self {
            fields,
            name,
            about,
            unit: None,
            secret: false,
            ceiling: None,
        }
    }

    /// Names the unit in the schema, such as `ms` or `MiB/s`.
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Keeps the value out of every message and of the effective values.
    pub(crate) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Names the resource that the number asks for: its range and its default end at the operator's limit.
    pub fn asks_for(mut self, resource: Resource) -> Self {
        self.ceiling = self.fields.ceiling_of(resource);
        self
    }

    /// Gives the member no default: it is `None` when absent.
    pub fn optional(self) -> OptionalField<'f> {
        OptionalField(self)
    }

    /// A whole number within `range`; `80.0` is as good as `80`.
    pub fn integer<T>(self, range: RangeInclusive<T>, default: T) -> T
    where
        T: Copy + Into<i64> + TryFrom<i64>,
    {
        let rule = rule::integer(&range, self.ceiling);
        let most = end_of_range(default.into() as f64, self.ceiling).0;
        // The cast saturates.
        let default = T::try_from(most.floor() as i64).unwrap_or(default);
        self.quantity(rule, default, json!(default.into()))
    }

    /// A finite number within `range`.
    pub fn number(self, range: impl RangeBounds<f64>, default: f64) -> f64 {
        let default = end_of_range(default, self.ceiling).0;
        let rule = rule::number(range, self.ceiling);
        self.quantity(rule, default, plain(default))
    }

    /// A time within `range` in seconds; a text with a unit of its own, such as `"5m"`, is as good.
    pub fn seconds(self, range: impl RangeBounds<f64>, default: f64) -> Duration {
        self.time(TimeUnit::S, range, default, false)
    }

    /// The same where 0 means something else than a short time.
    pub(crate) fn seconds_or_zero(self, range: impl RangeBounds<f64>, default: f64) -> Duration {
        self.time(TimeUnit::S, range, default, true)
    }

    /// The same in milliseconds.
    pub fn milliseconds(self, range: impl RangeBounds<f64>, default: f64) -> Duration {
        self.time(TimeUnit::Ms, range, default, false)
    }

    fn time(
        self,
        unit: TimeUnit,
        range: impl RangeBounds<f64>,
        default: f64,
        zero_is_apart: bool,
    ) -> Duration {
        let default = end_of_range(default, self.ceiling).0;
        let rule = rule::time(unit, range, self.ceiling, zero_is_apart);
        let field = self.unit(unit.name());
        field.quantity(rule, unit.duration(default), plain(default))
    }

    /// A number within `range`, or a shape: such numbers over time, which may come down to an excluded lower end.
    pub fn shape(self, range: impl RangeBounds<f64> + Clone, default: f64) -> Shape {
        let (ceiling, each) = (self.ceiling, with_its_lower_end(&range));
        let one = rule::number(range, ceiling);
        self.shape_by(one, &|| rule::number(each, ceiling), default)
    }

    /// A time within `range` in milliseconds, or a shape: such times over time. Its values are in milliseconds.
    pub fn shape_of_milliseconds(
        self,
        range: impl RangeBounds<f64> + Clone,
        default: f64,
    ) -> Shape {
        let (unit, ceiling) = (TimeUnit::Ms, self.ceiling);
        let rule = || rule::time(unit, range.clone(), ceiling, false).map(in_ms);
        self.unit(unit.name()).shape_by(rule(), &rule, default)
    }

    fn shape_by<'r>(
        self,
        one: Rule<'r, f64>,
        each: &'r dyn Fn() -> Rule<'r, f64>,
        default: f64,
    ) -> Shape {
        let default = end_of_range(default, self.ceiling).0;
        if one.allows_nothing && !self.fields.has(self.name) {
            self.fields.reject(self.name, one.text.as_str());
        }
        let shape = self.shaped(one, each, Some(plain(default)));
        shape.unwrap_or_else(|| Shape::constant(default))
    }

    /// Reads a number by `one`, or a shape with each of its values by `each`.
    fn shaped<'r>(
        self,
        one: Rule<'r, f64>,
        each: &'r dyn Fn() -> Rule<'r, f64>,
        default: Option<Value>,
    ) -> Option<Shape> {
        let value = |field: Field<'_>| field.optional().by(each());
        let schema = match self.fields.is_only_read() {
            true => one.schema.clone(),
            false => shape::schema(&one, &each()),
        };
        let Some(Value::Object(given)) = self.fields.peek(self.name).cloned() else {
            // A client that gives a number means one.
            let text = match self.fields.peek(self.name) {
                Some(Value::Number(_)) => one.text,
                _ => format!("{}, or {}", one.text, shape::FORM),
            };
            let one = Rule {
                schema,
                text,
                ..one
            };
            return self.take(one, default).map(Shape::constant);
        };
        let schema = self.described(schema, default.as_ref());
        self.fields.take(self.name, schema);
        let shape = self.fields.read_inner(self.name, given, |inner| {
            shape::read(inner, &each(), &value)
        });
        if let Some(shape) = &shape {
            self.fields.keep_shape(self.name, shape.clone());
        }
        shape
    }

    /// Reads by `rule`; where a ceiling leaves no value, an absent member is refused too.
    fn quantity<T>(self, rule: Rule<'_, T>, default: T, shown: Value) -> T {
        if rule.allows_nothing && !self.fields.has(self.name) {
            self.fields.reject(self.name, rule.text.as_str());
        }
        self.read(rule, default, shown)
    }

    /// True or false.
    pub fn flag(self, default: bool) -> bool {
        let schema = json!({ "type": "boolean" });
        let rule = Rule::new(schema, "must be true or false", Value::as_bool);
        self.read(rule, default, default.into())
    }

    /// One of the named values; the first is the default.
    pub fn choice<T: Copy>(self, choices: &[(&'static str, T)]) -> T {
        let (default_name, default) = choices[0];
        self.read(rule::choice(choices), default, default_name.into())
    }

    /// A non-empty list of the named values without repeats; those named in `default` by default.
    pub fn any_of<T: Copy>(self, choices: &[(&'static str, T)], default: &[&str]) -> Vec<T> {
        let by_default = choices.iter().filter(|(name, _)| default.contains(name));
        let by_default = by_default.map(|(_, value)| *value).collect();
        self.read(rule::any_of(choices), by_default, json!(default))
    }

    /// A text that `parse` accepts; `rule` says which that is.
    pub fn text<T>(
        self,
        rule: &str,
        (default, shown): (T, &str),
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.read(rule::text(rule, parse), default, shown.into())
    }

    /// A list of texts that `parse` accepts, each as `item` describes it; `what` says what they are. Empty by
    /// default.
    pub fn list_of<T>(self, item: Value, what: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        self.read(rule::list_of(item, what, parse), Vec::new(), json!([]))
    }

    /// Headers by name, each with one value. None by default.
    pub fn headers(self) -> Vec<(HeaderName, HeaderValue)> {
        self.read(rule::headers(), Vec::new(), json!({}))
    }

    /// A value that `parse` accepts; `schema` and `rule` say which.
    pub fn value<T>(
        self,
        schema: Value,
        rule: &str,
        (default, shown): (T, Value),
        parse: impl Fn(&Value) -> Option<T>,
    ) -> T {
        self.read(Rule::new(schema, rule, parse), default, shown)
    }

    fn read<T>(self, rule: Rule<'_, T>, default: T, shown: Value) -> T {
        self.take(rule, Some(shown)).unwrap_or(default)
    }

    /// Takes the member out of the object, records its schema and effective value, and parses it.
    /// A refused value is recorded as an error; reading goes on with the default.
    fn take<T>(self, rule: Rule<'_, T>, shown_default: Option<Value>) -> Option<T> {
        let schema = self.described(rule.schema.clone(), shown_default.as_ref());
        let Some(given) = self.fields.take(self.name, schema) else {
            if let Some(shown) = shown_default {
                self.fields.show(self.name, shown);
            }
            return None;
        };
        let number = given.as_str().zip(rule.number_of.as_ref());
        let number = number.and_then(|(text, number_of)| number_of(text));
        let read = number.map_or_else(|| given.clone(), Value::from);
        let Some(value) = (rule.parse)(&read) else {
            self.fields
                .reject_value(self.name, refusal(&rule, &given, self.secret));
            return None;
        };
        let shown = match read.as_f64() {
            _ if self.secret => "(hidden)".into(),
            Some(number) => plain(number),
            None => given,
        };
        self.fields.show(self.name, shown);
        Some(value)
    }

    /// `schema` with what is known of the member.
    fn described(
        &self,
        mut schema: Map<String, Value>,
        default: Option<&Value>,
    ) -> Map<String, Value> {
        schema.insert("description".to_owned(), self.about.into());
        if let Some(unit) = self.unit {
            schema.insert("unit".to_owned(), unit.into());
        }
        if let Some(default) = default {
            schema.insert("default".to_owned(), default.clone());
        }
        schema
    }
}

impl OptionalField<'_> {
    /// A whole number within `range`.
    pub fn integer<T>(self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + Into<i64> + TryFrom<i64>,
    {
        let rule = rule::integer(&range, self.0.ceiling);
        self.0.take(rule, None)
    }

    /// A finite number within `range`.
    pub fn number(self, range: impl RangeBounds<f64>) -> Option<f64> {
        let rule = rule::number(range, self.0.ceiling);
        self.0.take(rule, None)
    }

    /// A value by `rule`.
    pub(super) fn by<T>(self, rule: Rule<'_, T>) -> Option<T> {
        self.0.take(rule, None)
    }

    /// A number within `range`, or a shape: such numbers over time.
    pub fn shape(self, range: impl RangeBounds<f64> + Clone) -> Option<Shape> {
        let (ceiling, each) = (self.0.ceiling, with_its_lower_end(&range));
        let one = rule::number(range, ceiling);
        self.0.shaped(one, &|| rule::number(each, ceiling), None)
    }

    /// A time within `range` in seconds; a text with a unit of its own, such as `"5m"`, is as good.
    pub fn seconds(self, range: impl RangeBounds<f64>) -> Option<Duration> {
        self.time(TimeUnit::S, range)
    }

    /// The same where it must be whole seconds.
    pub(crate) fn whole_seconds(self, range: impl RangeBounds<f64>) -> Option<Duration> {
        self.time(TimeUnit::WholeS, range)
    }

    /// The same in milliseconds.
    pub(crate) fn milliseconds(self, range: impl RangeBounds<f64>) -> Option<Duration> {
        self.time(TimeUnit::Ms, range)
    }

    fn time(self, unit: TimeUnit, range: impl RangeBounds<f64>) -> Option<Duration> {
        let rule = rule::time(unit, range, self.0.ceiling, false);
        self.0.unit(unit.name()).take(rule, None)
    }

    /// One of the named values.
    pub fn choice<T: Copy>(self, choices: &[(&'static str, T)]) -> Option<T> {
        self.0.take(rule::choice(choices), None)
    }

    /// A non-empty list of the named values without repeats.
    pub fn any_of<T: Copy>(self, choices: &[(&'static str, T)]) -> Option<Vec<T>> {
        self.0.take(rule::any_of(choices), None)
    }

    /// A text that `parse` accepts; `rule` says which that is.
    pub fn text<T>(self, rule: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.0.take(rule::text(rule, parse), None)
    }

    /// A name as hosts have it.
    pub fn host_name(self) -> Option<String> {
        self.0.take(rule::host_name(), None)
    }

    /// A value that `parse` accepts; `rule` says which that is.
    pub fn value<T>(
        self,
        schema: Value,
        rule: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        self.0.take(Rule::new(schema, rule, parse), None)
    }

    /// A value that its reader checks itself, as `schema` describes it.
    pub(crate) fn any(self, schema: Value) -> Option<Value> {
        self.0
            .take(Rule::new(schema, "", |value| Some(value.clone())), None)
    }
}

/// `range` with its lower end, where that is excluded: a rate must be above 0, and one that changes may rest.
fn with_its_lower_end(range: &impl RangeBounds<f64>) -> (Bound<f64>, Bound<f64>) {
    let low = match range.start_bound().cloned() {
        Bound::Excluded(low) => Bound::Included(low),
        low => low,
    };
    (low, range.end_bound().cloned())
}

/// Why `given` is refused by `rule`.
fn refusal<T>(rule: &Rule<'_, T>, given: &Value, is_secret: bool) -> (String, RefusedValue) {
    let text = &rule.text;
    let refused = RefusedValue {
        rule: text.clone(),
        found: given.into(),
        wants_text: rule.wants_text(),
        is_secret,
    };
    let number = given.as_f64().map(f64::abs);
    let smallest = rule.smallest.zip(number);
    let detail = match smallest.filter(|(smallest, number)| 0.0 < *number && number < smallest) {
        _ if is_secret => text.clone(),
        Some((smallest, _)) => {
            format!("is below the smallest value above 0, which is {smallest:e}; {text}")
        }
        None => {
            let meant = meant(given, &rule.names);
            format!("{text}, not {}{meant}", short(given))
        }
    };
    (detail, refused)
}

/// The name that the first unknown one of `given` was meant for, as a question; nothing where none is close.
fn meant(given: &Value, names: &[&'static str]) -> String {
    let given = match given {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut texts = given.iter().filter_map(Value::as_str);
    let unknown = texts.find(|text| !names.contains(text));
    let meant = unknown.map(|text| did_you_mean(text, names.iter().copied()));
    meant.unwrap_or_default()
}

//! Reads one JSON object into typed, bounded values, and reports everything that is wrong with it.
//!
//! For each kind of input (a scenario's parameters, the configuration, the envelope of a start) one function asks a
//! [`Fields`] for its members in turn. That one function yields the validation, the defaults, the effective values and
//! the JSON Schema, so they cannot disagree. Nothing is defaulted silently: a member that is present is honoured or
//! refused, and an unknown one is refused too. Errors are collected, and reading goes on with the default, so that the
//! client sees all of them at once.
//!
//! Not serde with a validator and schemars: those cannot lower a range, its default and its schema by a limit that is
//! known at run time only, nor echo the effective values.

use serde_json::{Map, Value, json};

use super::ceilings::{Ceiling, Ceilings, Resource};
use super::error::RefusedValue;
use super::rule::short;
use super::shape::Shape;
use super::suggest::did_you_mean;
use super::{Field, FieldError, cut, pointer_to};

/// A name for an object, and what makes it.
pub(crate) type NamedSet = (&'static str, fn() -> Map<String, Value>);

/// The members of one JSON object while they are being read.
#[derive(Debug)]
pub struct Fields {
    pointer: String,
    given: Map<String, Value>,
    effective: Map<String, Value>,
    properties: Map<String, Value>,
    /// Names that are allowed here and are read elsewhere.
    beside: Vec<&'static str>,
    /// Names that do not belong here, each with where it does.
    elsewhere: Vec<(String, &'static str)>,
    /// Pairs of members that mean the same.
    either: Vec<[&'static str; 2]>,
    /// Further rules over several members, as schemas.
    pub(super) rules: Vec<Value>,
    /// Names of members that must be given.
    required: Vec<&'static str>,
    ceilings: Ceilings,
    /// The members that were given as shapes, those of nested objects by `object.member`.
    shapes: Vec<(String, Shape)>,
    /// Whether nothing is made for a schema that would cost much.
    is_only_read: bool,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Starts to read `given`, which is at `pointer` in the document ("" for the whole of it).
    #[must_use]
    pub fn new(pointer: impl Into<String>, given: Map<String, Value>) -> Self {
        Self {
            pointer: pointer.into(),
            given,
            effective: Map::new(),
            properties: Map::new(),
            beside: Vec::new(),
            elsewhere: Vec::new(),
            either: Vec::new(),
            rules: Vec::new(),
            required: Vec::new(),
            ceilings: Ceilings::default(),
            shapes: Vec::new(),
            is_only_read: false,
            errors: Vec::new(),
        }
    }

    /// For a reader that needs no [`schema`](Self::schema): what only that needs is left out.
    #[must_use]
    pub(crate) fn only_read(mut self) -> Self {
        self.is_only_read = true;
        self
    }

    /// Ends the ranges of members that ask for something at what `ceilings` allow.
    #[must_use]
    pub fn below(mut self, ceilings: Ceilings) -> Self {
        self.ceilings = ceilings;
        self
    }

    /// Names members of the same object that another reader has taken out, so that messages list all that is allowed.
    #[must_use]
    pub(crate) fn beside(mut self, names: &[&'static str]) -> Self {
        self.beside = names.to_vec();
        self
    }

    /// Says in which place `names` belong, for a client that gives one of them here.
    #[must_use]
    pub(crate) fn elsewhere(
        mut self,
        names: impl IntoIterator<Item = impl Into<String>>,
        place: &'static str,
    ) -> Self {
        let names = names.into_iter().map(Into::into);
        self.elsewhere.extend(names.map(|name| (name, place)));
        self
    }

    /// Whether something ends the range of members that ask for `resource`.
    #[must_use]
    pub fn is_limited(&self, resource: Resource) -> bool {
        self.ceilings.of(resource).is_some()
    }

    /// The most of `resource` that may be held at any time, also by a share of a limit that grows meanwhile.
    #[must_use]
    pub fn lasting_ceiling(&self, resource: Resource) -> Option<f64> {
        self.ceilings.lasting(resource).map(|ceiling| ceiling.most)
    }

    /// The next member to read: its name and one sentence on what it does.
    pub fn field(&mut self, name: &'static str, about: &'static str) -> Field<'_> {
        Field::new(self, name, about)
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
            self.given.shift_remove(name);
        }
        self.object(name, about, read)
    }

    /// As [`Fields::object`] for one that may be absent and then means something else than all its defaults.
    pub fn optional_object<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Fields) -> T,
    ) -> Option<T> {
        let given = self.has(name);
        let value = self.object(name, about, read);
        if let Some(Value::Object(schema)) = self.properties.get_mut(name) {
            schema.remove("default");
        }
        if !given {
            self.withdraw(name);
        }
        given.then_some(value)
    }

    /// Reads a nested object with the same rules; an absent one reads as all defaults.
    pub fn object<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        read: impl FnOnce(&mut Fields) -> T,
    ) -> T {
        let pointer = self.pointer_to(name);
        let given = match self.given.shift_remove(name) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                // The value is not shown: it may be a secret that lost its key.
                self.reject(name, "must be an object");
                Map::new()
            }
        };
        let mut inner = Fields::new(pointer, given).below(self.ceilings.clone());
        inner.is_only_read = self.is_only_read;
        let value = read(&mut inner);
        inner.refuse_unknown();
        self.errors.append(&mut inner.errors);
        let shapes = std::mem::take(&mut inner.shapes).into_iter();
        let shapes = shapes.map(|(member, shape)| (format!("{name}.{member}"), shape));
        self.shapes.extend(shapes);
        self.effective
            .insert(name.to_owned(), Value::Object(inner.effective));
        let defaults = inner.properties.iter().filter_map(|(name, schema)| {
            let default = schema.get("default")?;
            Some((name.clone(), default.clone()))
        });
        let defaults = defaults.collect::<Map<_, _>>();
        let mut schema = object_schema(inner.properties, &inner.required);
        schema["default"] = defaults.into();
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
        if !given && self.is_only_read {
            self.given.shift_remove(name);
            self.properties.insert(name.to_owned(), Value::Null);
            return None;
        }
        let errors = self.errors.len();
        let value = self.section(name, about, read);
        if !given {
            self.withdraw(name);
            // Of what an object must have.
            self.errors.truncate(errors);
        }
        if let Some(Value::Object(schema)) = self.properties.get_mut(name) {
            schema.remove("default");
        }
        given.then_some(value)
    }

    /// The same where one of `sets` may be given by its name instead.
    pub(crate) fn optional_section_or<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        sets: &[NamedSet],
        read: impl FnOnce(&mut Fields) -> T,
    ) -> Option<T> {
        let names: Vec<&str> = sets.iter().map(|(set, _)| *set).collect();
        if let Some(Value::String(given)) = self.given.get(name) {
            let mut sets = sets.iter();
            let Some((_, set)) = sets.find(|(set, _)| set.eq_ignore_ascii_case(given)) else {
                let detail = format!("must be an object or one of {}", names.join(", "));
                let meant = did_you_mean(given, names.iter().copied());
                self.reject(
                    name,
                    format!("{detail}, not {}{meant}", short(&self.given[name])),
                );
                self.given.shift_remove(name);
                return self.optional_section(name, about, read);
            };
            let set = Value::Object(set());
            self.given.insert(name.to_owned(), set);
        }
        let value = self.optional_section(name, about, read);
        if let Some(schema) = self.properties.get_mut(name) {
            let object = std::mem::take(schema);
            *schema = json!({ "description": about, "anyOf": [{ "enum": names }] });
            if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
                forms.push(object);
            }
        }
        value
    }

    /// Refuses an absent member. To be called before it is read.
    pub(crate) fn require(&mut self, name: &'static str) {
        if !self.has(name) {
            self.reject(name, "is missing");
        }
        self.required.push(name);
    }

    /// Reads a list of objects, empty by default, each with the same rules as this one.
    pub(crate) fn objects<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        mut read: impl FnMut(&mut Fields) -> T,
    ) -> Vec<T> {
        let mut shape = Fields::new("", Map::new());
        read(&mut shape);
        let ceilings = self.ceilings.clone();
        let values = self.list(name, about, |pointer, item| {
            let Value::Object(given) = item else {
                let detail = format!("must be an object, not {}", short(&item));
                return Err(vec![FieldError::new(pointer, detail)]);
            };
            let mut fields = Fields::new(pointer, given).below(ceilings.clone());
            let value = read(&mut fields);
            Ok((value, fields.finish()?.into()))
        });
        self.properties[name]["items"] = object_schema(shape.properties, &shape.required);
        values
    }

    /// Reads a list, empty by default, item by item: `read` gets the pointer to the item and the item, and returns its
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
        match self.given.shift_remove(name) {
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

    /// Whether nothing has been refused so far.
    pub(crate) fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    /// Refuses two members that mean the same where both are given. To be called before either is read.
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
        self.effective.shift_remove(name);
    }

    /// The members that were given as shapes so far, those of nested objects by `object.member`.
    #[must_use]
    pub fn shapes(&self) -> &[(String, Shape)] {
        &self.shapes
    }

    /// Ends the reading: the effective values, defaults filled in.
    ///
    /// # Errors
    /// Every bad value, and every unknown member.
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
        let mut schema = object_schema(self.properties, &self.required);
        let clashes = self.either.iter();
        let clashes = clashes.map(|both| json!({ "not": { "required": both } }));
        match clashes.chain(self.rules).collect::<Vec<_>>() {
            none if none.is_empty() => {}
            clashes => schema["allOf"] = clashes.into(),
        }
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        schema
    }

    pub(super) fn ceiling_of(&self, resource: Resource) -> Option<Ceiling> {
        self.ceilings.of(resource)
    }

    /// Takes the member `name` out of the object and adds `schema` to the description of the whole.
    pub(super) fn take(&mut self, name: &str, schema: Map<String, Value>) -> Option<Value> {
        self.properties.insert(name.to_owned(), schema.into());
        self.given.shift_remove(name)
    }

    pub(super) fn keep_shape(&mut self, name: &str, shape: Shape) {
        self.shapes.push((name.to_owned(), shape));
    }

    pub(super) fn is_only_read(&self) -> bool {
        self.is_only_read
    }

    /// A member that is not read yet.
    pub(super) fn peek(&self, name: &str) -> Option<&Value> {
        self.given.get(name)
    }

    /// Reads `given`, which was the member `name`, by the same rules as this object.
    pub(super) fn read_inner<T>(
        &mut self,
        name: &str,
        given: Map<String, Value>,
        read: impl FnOnce(&mut Fields) -> T,
    ) -> T {
        let mut inner = Fields::new(self.pointer_to(name), given).below(self.ceilings.clone());
        let value = read(&mut inner);
        match inner.finish() {
            Ok(effective) => self.show(name, effective.into()),
            Err(mut errors) => self.errors.append(&mut errors),
        }
        value
    }

    /// Adds `value` to the effective values.
    pub(super) fn show(&mut self, name: &str, value: Value) {
        self.effective.insert(name.to_owned(), value);
    }

    /// Refuses a value.
    pub(super) fn reject_value(&mut self, name: &str, (detail, refused): (String, RefusedValue)) {
        self.errors.push(FieldError {
            refused: Some(Box::new(refused)),
            ..FieldError::new(self.pointer_to(name), detail)
        });
    }

    fn refuse_unknown(&mut self) {
        let known = self.properties.keys().map(String::as_str);
        let known: Vec<&str> = known.chain(self.beside.iter().copied()).collect();
        let rule = if known.is_empty() {
            "unknown key; no key is allowed here".to_owned()
        } else {
            format!("unknown key; allowed here: {}", known.join(", "))
        };
        let refuse = |name: &String| {
            let mut elsewhere = self.elsewhere.iter();
            let meant = match elsewhere.find(|(other, _)| other == name) {
                Some((_, place)) => format!("; {place}"),
                None => did_you_mean(name, known.iter().copied()),
            };
            FieldError::new(self.pointer_to(&cut(name)), format!("{rule}{meant}"))
        };
        let unknown: Vec<_> = self.given.keys().map(refuse).collect();
        self.errors.extend(unknown);
        self.given.clear();
    }

    fn pointer_to(&self, name: &str) -> String {
        pointer_to(&self.pointer, name)
    }
}

fn object_schema(properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object" });
    // Not in the macro, which would copy all of it at each level.
    schema["properties"] = properties.into();
    schema["additionalProperties"] = false.into();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

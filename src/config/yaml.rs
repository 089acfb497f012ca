//! Reads YAML as strictly as JSON, with merge keys, and keeps how each value is written.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::input::json::{StrictValue, tiny};

/// One YAML document.
#[derive(Debug)]
pub(super) struct Yaml {
    pub(super) values: Value,
    /// The same, each number, boolean and text as it is written.
    pub(super) written: Value,
}

/// Reads one document.
///
/// # Errors
/// It is no YAML, or not strict; as a sentence.
pub(super) fn read(text: &str) -> Result<Yaml, String> {
    let invalid = |error: serde_yaml::Error| format!("not valid YAML: {error}");
    let StrictValue(mut values) = serde_yaml::from_str(text).map_err(invalid)?;
    let written = Written(&values).deserialize(serde_yaml::Deserializer::from_str(text));
    let mut written = written.map_err(invalid)?;
    keep_tiny_numbers(&mut values, &written);
    merge(&mut values)?;
    merge(&mut written)?;
    Ok(Yaml { values, written })
}

/// Puts the smallest number in the place of each that is read as 0 and is written as another.
fn keep_tiny_numbers(value: &mut Value, written: &Value) {
    match (value, written) {
        (Value::Object(members), Value::Object(written)) => {
            for (value, written) in members.values_mut().zip(written.values()) {
                keep_tiny_numbers(value, written);
            }
        }
        (Value::Array(items), Value::Array(written)) => {
            for (value, written) in items.iter_mut().zip(written) {
                keep_tiny_numbers(value, written);
            }
        }
        (value @ Value::Number(_), Value::String(text)) => {
            if let Some(number) = tiny(text) {
                *value = number.into();
            }
        }
        _ => {}
    }
}

/// Replaces each merge key `<<` by the members of its mapping, or of its list of mappings, that are not there yet.
fn merge(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(merge),
        Value::Object(members) => {
            members.values_mut().try_for_each(merge)?;
            let merged = match members.shift_remove("<<") {
                None => return Ok(()),
                Some(Value::Array(several)) => several,
                Some(one) => vec![one],
            };
            for one in merged {
                let Value::Object(one) = one else {
                    return Err(
                        "the merge key << must have a mapping, or a list of mappings".into(),
                    );
                };
                for (key, value) in one {
                    members.entry(key).or_insert(value);
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads a document once more, by the shape that is known: each scalar as the text that it is written as.
struct Written<'v>(&'v Value);

impl<'de> DeserializeSeed<'de> for Written<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0 {
            Value::Object(_) => deserializer.deserialize_map(self),
            Value::Array(_) => deserializer.deserialize_seq(self),
            Value::Null => deserializer.deserialize_ignored_any(self),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                deserializer.deserialize_str(self)
            }
        }
    }
}

impl<'de> Visitor<'de> for Written<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the same value again")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut known = self.0.as_array().into_iter().flatten();
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(Written(known.next().unwrap_or(&Value::Null)))?
        {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value =
                members.next_value_seed(Written(self.0.get(&key).unwrap_or(&Value::Null)))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_scalar_is_kept_as_it_is_written() {
        let text =
            "a: &a 1.10\nb: [0x1F, TRUE, yes, ~, *a]\nc: {d: 1e-400, e: \"1.10\", f: 0o17}\n";
        let Yaml { values, written } = read(text).expect("good");
        let expected = json!({
            "a": 1.1, "b": [31, true, "yes", null, 1.1], "c": { "d": 5e-324, "e": "1.10", "f": 15 },
        });
        assert_eq!(values, expected);
        let expected = json!({
            "a": "1.10", "b": ["0x1F", "TRUE", "yes", null, "1.10"],
            "c": { "d": "1e-400", "e": "1.10", "f": "0o17" },
        });
        assert_eq!(written, expected);
        assert_eq!(read("").expect("good").values, Value::Null);
    }

    #[test]
    fn a_merge_key_adds_what_is_not_there_yet() {
        let text = "x-a: &a {p: 1, q: {r: 2}}\nx-b: &b {<<: *a, p: 3, s: 4}\n\
                    one: {<<: *a, p: 5}\ntwo: {<<: [*b, {t: 6, s: 7}]}\n";
        let values = read(text).expect("good").values;
        assert_eq!(values["one"], json!({ "p": 5, "q": { "r": 2 } }));
        assert_eq!(
            values["two"],
            json!({ "p": 3, "s": 4, "q": { "r": 2 }, "t": 6 })
        );
        for bad in ["a: {<<: 1}", "a: {<<: [1]}", "<<: text"] {
            let error = read(bad).expect_err(bad);
            assert!(error.starts_with("the merge key <<"), "{error}");
        }
    }
}

//! Strict JSON: what [`serde_json`] reads, except that a key that stands twice in an object is refused.
//!
//! The ordinary reader keeps the last of two and says nothing, so one of the two values that a caller
//! sent would be dropped silently.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON value without repeated keys.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictValue(pub Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without repeated keys")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    /// How YAML reads an empty document.
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(StrictValue(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {key:?} stands twice")));
            }
            let StrictValue(value) = members.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_repeated_key_is_refused_at_any_depth_with_its_place() {
        let error = serde_json::from_str::<StrictValue>("{\"a\": [{\"b\": 1,\n\"b\": 2}]}")
            .expect_err("b stands twice");
        assert_eq!(error.line(), 2);
        assert!(error.to_string().contains("\"b\" stands twice"), "{error}");
    }

    #[test]
    fn everything_else_reads_as_usual() {
        let value = json!({ "a": [1, -2, 3.5, "x", null, true, {}], "b": { "a": 1e300 } });
        let StrictValue(read) = serde_json::from_value(value.clone()).expect("good");
        assert_eq!(read, value);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(serde_json::from_slice::<StrictValue>(&bytes));
        }

        #[test]
        fn what_it_reads_is_what_the_ordinary_reader_reads(text in "[\\[\\]{}\":,0-9a-c ]{0,24}") {
            if let Ok(StrictValue(read)) = serde_json::from_str(&text) {
                prop_assert_eq!(Some(read), serde_json::from_str::<Value>(&text).ok());
            }
        }
    }
}

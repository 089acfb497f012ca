//! Strict JSON: what [`serde_json`] reads, except that nothing which a caller sent is dropped silently.
//!
//! Of two members with one key the ordinary reader keeps the last; here the object is refused. A number that is too
//! small for a double, such as `1e-400`, it reads as 0; here it stays above 0, so that who reads it can refuse it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one JSON text.
///
/// # Errors
/// It is not JSON, or repeats a key; with the line and the column.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(&with_tiny_numbers(text)).map(|StrictValue(value)| value)
}

/// The smallest number above 0, as text and as a number.
const TINY: (&[u8], f64) = (b"5e-324", 5e-324);

/// The number, where `text` writes one that is not 0 and yet is read as 0: the smallest that there is.
pub(crate) fn tiny(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().ok().filter(|number| *number == 0.0)?;
    let digits = text.split(['e', 'E']).next()?;
    let is_zero = !digits.contains(|c: char| matches!(c, '1'..='9'));
    (!is_zero).then(|| TINY.1.copysign(number))
}

/// `text` with the smallest number in the place of each that would be read as 0; all else keeps its place.
fn with_tiny_numbers(text: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Cow::Borrowed(text);
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let length = match byte {
            b'\\' if in_string => 2,
            b'0'..=b'9' if !in_string => number_length(rest),
            _ => 1,
        };
        in_string ^= byte == b'"';
        let number = std::str::from_utf8(&rest[..length.min(rest.len())]);
        if length >= TINY.0.len() && number.is_ok_and(|number| tiny(number).is_some()) {
            let number = &mut text.to_mut()[at..at + length];
            number.fill(b' ');
            number[..TINY.0.len()].copy_from_slice(TINY.0);
        }
        at += length;
    }
    text
}

fn number_length(text: &[u8]) -> usize {
    let is_part =
        |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    text.iter()
        .position(|byte| !is_part(byte))
        .unwrap_or(text.len())
}

/// A JSON value without repeated keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StrictValue(pub Value);

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
                return Err(de::Error::custom(format!("the key {key:?} is given twice")));
            }
            let StrictValue(value) = members.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// JSON values of every kind and depth, for tests of whatever reads them.
#[cfg(test)]
pub(crate) mod arbitrary {
    use proptest::prelude::*;

    use super::*;

    /// Any value; the keys of its objects are often of `keys`, and its texts often of `texts`.
    pub(crate) fn value(keys: &[&'static str], texts: &[&'static str]) -> BoxedStrategy<Value> {
        let (key, text) = (one_of(keys), one_of(texts));
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            // Numbers that every reader reads back to the last bit.
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
            prop::sample::select(vec![1e300, -1e300, 1e-300, -0.0]).prop_map(Value::from),
            (0..1000_i32).prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
        .boxed()
    }

    /// The members of any object.
    pub(crate) fn object(
        keys: &[&'static str],
        texts: &[&'static str],
    ) -> impl Strategy<Value = Map<String, Value>> + use<> {
        prop::collection::vec((one_of(keys), value(keys, texts)), 0..5)
            .prop_map(|members| members.into_iter().collect())
    }

    /// One of `texts`, or any other.
    fn one_of(texts: &[&'static str]) -> BoxedStrategy<String> {
        if texts.is_empty() {
            return ".{0,8}".boxed();
        }
        let known = prop::sample::select(texts.to_vec()).prop_map(str::to_owned);
        prop_oneof![4 => known, 1 => ".{0,8}"].boxed()
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
            .expect_err("b is repeated");
        assert_eq!(error.line(), 2);
        assert!(
            error.to_string().contains("\"b\" is given twice"),
            "{error}"
        );
    }

    #[test]
    fn a_number_that_is_too_small_stays_above_0() {
        let zeros = format!("0.{}1", "0".repeat(400));
        for (text, expected) in [
            ("1e-400", 5e-324),
            ("-1e-400", -5e-324),
            ("1E-400", 5e-324),
            ("2e-324", 5e-324),
            ("5e-324", 5e-324),
            (zeros.as_str(), 5e-324),
            ("0e-400", 0.0),
            ("0.000000", 0.0),
            ("1e-300", 1e-300),
        ] {
            let value =
                parse(format!("{{\"a\": [{text}], \"1e-400\\\"1e-400\": \"1e-400\"}}").as_bytes());
            let value = value.expect("good");
            assert_eq!(value["a"], json!([expected]), "{text}");
            assert_eq!(value["1e-400\"1e-400"], "1e-400");
        }
        let error = parse(b"{\"a\": 1e-4000,}").expect_err("a comma too many");
        assert_eq!((error.line(), error.column()), (1, 15));
        assert!(parse(b"1e-400e").is_err() && parse(b"1e-400-1").is_err());
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
            drop(parse(&bytes));
        }

        #[test]
        fn what_was_written_is_read_back(value in arbitrary::value(&["a", "b"], &[])) {
            let read = parse(value.to_string().as_bytes()).expect("good");
            prop_assert_eq!(read, value);
        }

        #[test]
        fn a_key_that_stands_twice_is_refused_wherever_it_stands(
            around in prop::sample::select(vec!["@", "[1, @]", "{\"x\": @}", "[[{\"x\": @}]]"]),
            key in "[a-z\u{e9}\\\\n]{0,3}",
            values in (0..9_u8, 0..9_u8),
        ) {
            let key = Value::from(key);
            let object = format!("{{{key}: {}, {key}: {}}}", values.0, values.1);
            let error = serde_json::from_str::<StrictValue>(&around.replace('@', &object));
            let text = error.expect_err("a repeated key").to_string();
            prop_assert!(text.contains("is given twice"), "{}", text);
        }

        #[test]
        fn what_it_reads_is_what_the_ordinary_reader_reads(text in "[\\[\\]{}\":,0-9a-c ]{0,24}") {
            if let Ok(StrictValue(read)) = serde_json::from_str(&text) {
                prop_assert_eq!(Some(read), serde_json::from_str::<Value>(&text).ok());
            }
        }
    }
}

//! Parameters as they are written on a command line.

use serde_json::{Map, Value};

/// Reads `name=value` pairs; dots in a name lead into objects.
///
/// # Errors
/// The pair that is none, or that clashes with another, and why.
pub(super) fn parse(pairs: &[String]) -> Result<Map<String, Value>, String> {
    let mut parameters = Map::new();
    for pair in pairs {
        let parsed = pair.split_once('=').filter(|(name, _)| {
            let mut parts = name.split('.');
            parts.all(|part| !part.is_empty())
        });
        let Some((name, value)) = parsed else {
            return Err(format!("{pair:?} is not of the form NAME=VALUE"));
        };
        insert(&mut parameters, name, value_of(value))
            .ok_or_else(|| format!("{name} is given twice, or once with and once without parts"))?;
    }
    Ok(parameters)
}

/// None where the place is taken.
fn insert(parameters: &mut Map<String, Value>, name: &str, value: Value) -> Option<()> {
    match name.split_once('.') {
        None if parameters.contains_key(name) => None,
        None => {
            parameters.insert(name.to_owned(), value);
            Some(())
        }
        Some((first, rest)) => {
            let inner = parameters.entry(first).or_insert_with(|| Map::new().into());
            insert(inner.as_object_mut()?, rest, value)
        }
    }
}

/// JSON where it is that, else the text itself.
pub(super) fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(pairs: &[&str]) -> Result<Value, String> {
        let pairs: Vec<String> = pairs.iter().map(|&pair| pair.to_owned()).collect();
        parse(&pairs).map(Value::Object)
    }

    #[test]
    fn values_are_json_or_texts_and_dots_lead_into_objects() {
        let given = [
            "target_percent=80",
            "mode=always",
            "match.share=0.1",
            "match.routes=[\"/a/*\"]",
            "body={\"error\": \"a=b\"}",
        ];
        let expected = json!({
            "target_percent": 80,
            "mode": "always",
            "match": { "share": 0.1, "routes": ["/a/*"] },
            "body": { "error": "a=b" },
        });
        assert_eq!(parsed(&given), Ok(expected));
    }

    #[test]
    fn what_is_no_pair_or_clashes_is_refused_by_name() {
        for (given, named) in [
            (&["target_percent"][..], "target_percent"),
            (&["=80"], "=80"),
            (&["a..b=1"], "a..b=1"),
            (&["a=1", "a=2"], "a is given twice"),
            (&["a=1", "a.b=2"], "a.b is given twice"),
        ] {
            let error = parsed(given).expect_err("no good pairs");
            assert!(error.contains(named), "{error}");
        }
    }
}

//! What a body looks like that is not JSON, and the JSON that was most likely meant. It is only said, never done.

use serde_json::{Map, Value};

/// Longer bodies come from programs, which need no hint.
const LONGEST: usize = 4 * 1024;

/// A hint for the client that sent `text`, as a sentence.
pub(super) fn hint(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.len() > LONGEST {
        return None;
    }
    let (looks_like, meant) = look(text)?;
    Some(match meant {
        Some(meant) => format!("{looks_like} Send JSON: {}", Value::Object(meant)),
        None => format!("{looks_like} Send JSON, such as {{\"duration\": 60}}"),
    })
}

type Look = (&'static str, Option<Map<String, Value>>);

fn look(text: &str) -> Option<Look> {
    let is_form = || fields_of_form(text).filter(|fields| !fields.is_empty());
    Some(match text.chars().next()? {
        '<' => ("It looks like XML or HTML.", None),
        '@' => (
            "It looks like the name of a file: curl reads one for -d @name, not for --data-raw.",
            None,
        ),
        '\'' | '\\' => (
            "It begins with a quote of the shell: cmd.exe takes -d \"{\\\"duration\\\": 60}\".",
            None,
        ),
        '-' if text.contains("form-data") => (
            "It looks like a multipart form.",
            Some(fields_of_multipart(text)),
        ),
        '{' => (
            "Names and texts need double quotes, which some shells remove.",
            Some(yaml(text)?),
        ),
        _ => match is_form() {
            Some(fields) => ("It looks like a form.", Some(fields)),
            None => ("It looks like YAML.", Some(yaml(text)?)),
        },
    })
}

/// The fields of `a=b&c=d`.
fn fields_of_form(text: &str) -> Option<Map<String, Value>> {
    let is_name =
        |name: &str| !name.is_empty() && !name.contains(|c: char| " \t\r\n{}\":".contains(c));
    let is_field = |field: &str| field.split_once('=').is_some_and(|(name, _)| is_name(name));
    let fields = form_urlencoded::parse(text.as_bytes());
    text.split('&').all(is_field).then(|| {
        fields
            .map(|(name, value)| (name.into_owned(), typed(&value)))
            .collect()
    })
}

/// The fields of a multipart form: each has its name in a header, an empty line, and its value.
fn fields_of_multipart(text: &str) -> Map<String, Value> {
    let parts = text.split("name=\"").skip(1);
    let field = |part: &str| {
        let (name, rest) = part.split_once('"')?;
        let (_, value) = rest.split_once("\r\n\r\n")?;
        let (value, _) = value.split_once("\r\n--")?;
        Some((name.to_owned(), typed(value)))
    };
    parts.filter_map(field).collect()
}

/// A form knows only texts: what reads as a number or as true or false is one.
fn typed(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(scalar @ (Value::Number(_) | Value::Bool(_))) => scalar,
        _ => Value::from(value),
    }
}

/// YAML takes JSON with single quotes and without any, and commas too many.
fn yaml(text: &str) -> Option<Map<String, Value>> {
    // What is quoted as JSON wants has another mistake.
    if text
        .trim_start_matches(['{', ' ', '\t', '\r', '\n'])
        .starts_with('"')
    {
        return None;
    }
    serde_yaml::from_str(text)
        .ok()
        .filter(|map: &Map<_, _>| !map.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_json_that_was_meant_is_shown() {
        for (body, begin, json) in [
            (
                "target_percent=80&mode=a+b%21",
                "It looks like a form.",
                r#"{"target_percent":80,"mode":"a b!"}"#,
            ),
            (
                "latency_ms=5",
                "It looks like a form.",
                r#"{"latency_ms":5}"#,
            ),
            (
                "{'mode': 'error', 'n': 5}",
                "Names and texts",
                r#"{"mode":"error","n":5}"#,
            ),
            (
                "{target_percent: 80}",
                "Names and texts",
                r#"{"target_percent":80}"#,
            ),
            (
                "target_percent: 80\ndry_run: true",
                "It looks like YAML.",
                r#"{"target_percent":80,"dry_run":true}"#,
            ),
            (
                "--x\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n80\r\n--x--\r\n",
                "It looks like a multipart form.",
                r#"{"n":80}"#,
            ),
        ] {
            let hint = hint(body.as_bytes()).expect(body);
            assert!(hint.starts_with(begin), "{hint}");
            assert!(hint.ends_with(&format!("Send JSON: {json}")), "{hint}");
        }
        for body in [
            "<a/>",
            "<!DOCTYPE html>",
            "@params.json",
            "'{target_percent:",
        ] {
            let hint = hint(body.as_bytes()).expect(body);
            assert!(hint.contains("Send JSON, such as"), "{hint}");
        }
    }

    #[test]
    fn json_with_another_mistake_gets_no_hint() {
        for body in [
            "",
            "{",
            "{\"a\": 5,}",
            "{\"a\": NaN}",
            "{ \"a\": 05}",
            "x",
            "5",
            "{}{}",
            "[1",
            "\u{0}",
            "a == b",
            "a&b",
        ] {
            assert_eq!(hint(body.as_bytes()), None, "{body}");
        }
        assert_eq!(hint("a=b&".repeat(2_000).as_bytes()), None);
        assert_eq!(hint(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_looked_at(text in "[-<@'{}a-z:=&\" \r\n]{0,24}") {
            hint(text.as_bytes());
        }
    }
}

//! Reads the query of a request as strictly as a body: every bad, repeated or unknown value is refused.

use std::fmt;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde_json::{Map, Value};

use crate::http::problem::Problem;
use crate::input::{FieldError, Fields, pointer_to};

/// What a query says, read by one function that is its only definition.
pub(in crate::http) trait Parameters: fmt::Debug + Send + Sized {
    /// Asks `fields` for every value.
    fn read(fields: &mut Fields) -> Self;
}

/// The query of a request.
#[derive(Debug)]
pub(in crate::http) struct Query<T>(pub(in crate::http) T);

impl<T: Parameters, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts.uri.query().unwrap_or_default();
        parse(text).map(Self).map_err(Problem::invalid)
    }
}

fn parse<T: Parameters>(text: &str) -> Result<T, Vec<FieldError>> {
    let (mut given, mut errors) = (Map::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        // A query knows only texts; where a number is wanted, one that reads as such is one.
        let value = value
            .parse::<i64>()
            .map_or_else(|_| Value::from(value.as_ref()), Value::from);
        if given.insert(name.clone().into_owned(), value).is_some() {
            errors.push(FieldError::new(pointer_to("", &name), "is given twice"));
        }
    }
    let mut fields = Fields::new("", given);
    let parameters = T::read(&mut fields);
    errors.extend(fields.finish().err().into_iter().flatten());
    if errors.is_empty() {
        Ok(parameters)
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Two(i64, Option<String>);

    impl Parameters for Two {
        fn read(fields: &mut Fields) -> Self {
            let n = fields.field("n", "A number.").integer(0..=9_i64, 1);
            let any = |text: &str| Some(text.to_owned());
            Self(
                n,
                fields.field("t", "A text.").optional().text("a text", any),
            )
        }
    }

    #[test]
    fn values_are_decoded_and_defaults_filled_in() {
        assert_eq!(parse(""), Ok(Two(1, None)));
        assert_eq!(parse("n=7&t=a%20b+c"), Ok(Two(7, Some("a b c".to_owned()))));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_reasons(text in ".{0,40}") {
            if let Err(errors) = parse::<Two>(&text) {
                prop_assert!(!errors.is_empty());
            }
        }

        #[test]
        fn what_was_encoded_is_read_back(n in 0..=9_i64, text in "[^0-9+-].{0,12}") {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("t", &text)
                .append_pair("n", &n.to_string())
                .finish();
            prop_assert_eq!(parse(&query), Ok(Two(n, Some(text))));
        }
    }

    #[test]
    fn every_bad_value_is_reported() {
        let errors = parse::<Two>("n=x&n=12&u=1").expect_err("three are bad");
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/n", "/n", "/u"]);
    }
}

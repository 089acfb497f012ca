//! Reads the query of a request with the same strictness as a body: every bad, repeated or unknown
//! value is told.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::fields::{FieldError, Fields, pointer_to};

/// The query as it was sent, each name once.
#[derive(Debug)]
pub(super) struct Query {
    given: Map<String, Value>,
    repeated: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    fn parse(text: &str) -> Self {
        let (mut given, mut repeated) = (Map::new(), Vec::new());
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            // A query knows only texts; where a number is wanted, one that reads as such is one.
            let value = value
                .parse::<i64>()
                .map_or_else(|_| Value::from(value.as_ref()), Value::from);
            if given.insert(name.clone().into_owned(), value).is_some() {
                repeated.push(FieldError::new(pointer_to("", &name), "stands twice"));
            }
        }
        Self { given, repeated }
    }

    /// Reads all values by `read`.
    ///
    /// # Errors
    /// A problem that lists every value that is bad, repeated or unknown.
    pub(super) fn read<T>(self, read: impl FnOnce(&mut Fields) -> T) -> Result<T, Problem> {
        let mut fields = Fields::new("", self.given);
        let value = read(&mut fields);
        let mut errors = self.repeated;
        errors.extend(fields.finish().err().into_iter().flatten());
        if errors.is_empty() {
            Ok(value)
        } else {
            Err(Problem::invalid(errors))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(i64, Option<String>), Vec<FieldError>> {
        let query = Query::parse(text);
        let read = query.read(|fields| {
            let n = fields.field("n", "A number.").integer(0..=9_i64, 1);
            let any = |text: &str| Some(text.to_owned());
            (n, fields.field("t", "A text.").optional_text("a text", any))
        });
        read.map_err(|problem| problem.errors)
    }

    #[test]
    fn values_are_decoded_and_defaults_filled_in() {
        assert_eq!(read(""), Ok((1, None)));
        assert_eq!(read("n=7&t=a%20b+c"), Ok((7, Some("a b c".to_owned()))));
    }

    #[test]
    fn every_bad_value_is_told() {
        let errors = read("n=x&n=12&u=1").expect_err("three are bad");
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/n", "/n", "/u"]);
    }
}

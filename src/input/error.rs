//! One bad value of a request or of the configuration.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// One bad value: where it is and what would have been allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// RFC 6901 pointer into the document that was sent, such as `/scenarios/1/params/target_percent`.
    pub pointer: String,
    /// What is wrong and what is allowed, as a sentence.
    pub detail: String,
    /// What was found and what is allowed, for the configuration, which knows how the value was written.
    #[serde(skip)]
    pub(crate) refused: Option<Box<RefusedValue>>,
}

/// A value that its rule does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedValue {
    /// What is allowed, as the beginning of a sentence.
    pub(crate) rule: String,
    pub(crate) found: Found,
    /// Whether a text, or a list of texts, is wanted.
    pub(crate) wants_text: bool,
    pub(crate) is_secret: bool,
}

/// The kind of a refused value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Boolean,
    Number,
    Other,
}

impl From<&Value> for Found {
    /// Of a list, the first item that is no text.
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::Array(items) => {
                let mut others = items.iter().filter(|item| !item.is_string());
                others.next().map_or(Self::Other, Self::from)
            }
            Value::String(_) | Value::Object(_) => Self::Other,
        }
    }
}

impl FieldError {
    /// An error at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
            refused: None,
        }
    }
}

/// The pointer to the member `name` of the object at `at`, escaped as RFC 6901 requires.
pub(crate) fn pointer_to(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Both values, or the errors of either.
///
/// # Errors
/// Those of both.
pub(crate) fn collect<A, B>(
    a: Result<A, Vec<FieldError>>,
    b: Result<B, Vec<FieldError>>,
) -> Result<(A, B), Vec<FieldError>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(mut a), Err(b)) => {
            a.extend(b);
            Err(a)
        }
        (Err(errors), _) | (_, Err(errors)) => Err(errors),
    }
}

/// An unknown name, as far as a message needs it.
pub(crate) fn cut(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 100;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

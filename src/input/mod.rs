//! Everything that comes from outside is read here: typed, bounded, and refused with a reason.
//!
//! [`Fields`] reads one JSON object; `json` parses strictly; `limits` says how much of a resource may be
//! asked for, as `ceilings`; `suggest` finds what an unknown name was meant for.

pub(crate) mod ceilings;
mod error;
mod field;
mod fields;
pub(crate) mod json;
pub(crate) mod limits;
mod rule;
mod shape;
pub(crate) mod suggest;
#[cfg(test)]
mod tests;
mod times;
mod together;

pub(crate) use ceilings::Resource;
pub use error::FieldError;
pub(crate) use error::{Found, collect, cut, pointer_to};
pub use field::{Field, OptionalField};
pub use fields::Fields;
pub(crate) use rule::SMALLEST;
pub use rule::above;
pub use shape::Shape;
pub(crate) use shape::standard_normal;
pub(crate) use times::in_ms;

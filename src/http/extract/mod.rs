//! What handlers take from a request, strictly read.

mod body;
mod caller;
mod lookalike;
mod media;
mod query;

pub(super) use body::{JsonObject, LargeBodies, Name, NoParameters};
pub(super) use caller::Caller;
pub(crate) use caller::Client;
pub(super) use query::{Parameters, Query};

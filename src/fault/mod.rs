//! Request faults: how a run touches the requests of the service listener.
//!
//! A scenario arms a fault behind a [`Matcher`]; the session actor publishes all live faults as one immutable table; the
//! layer reads that table once per request. No handler and no layer knows which scenario it serves.

mod action;
pub(crate) mod arrivals;
mod body;
mod draw;
mod exchange;
mod law;
pub(crate) mod layer;
mod matcher;
pub(crate) mod pool;
mod probe;
pub(crate) mod table;
mod tally;
pub(crate) mod timer;

pub use action::{Action, CallFailure, CallFault, Edit, Ending, Reply, Rewrite};
pub(crate) use action::{Cause, plain_error};
pub use draw::Draw;
pub use exchange::{Exchange, Surface, Surfaces};
pub use law::Law;
pub use matcher::Matcher;
pub use pool::{Pool, PoolSpec, ShownPool};
pub use probe::TrafficProbe;
pub use tally::Tally;

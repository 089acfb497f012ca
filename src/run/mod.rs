//! What a run is, in the words that every part of the daemon shares: its tag, its effect, its end.
//!
//! A leaf: it does no I/O and imports nothing else of this crate.

mod effect;
mod end_reason;
mod initiator;
mod tag;
mod timestamp;

pub use effect::{MEMORY_UNIT, Probe, Reading, Shortfall};
pub use end_reason::EndReason;
pub use initiator::Initiator;
pub use tag::RunTag;
pub use timestamp::Timestamp;

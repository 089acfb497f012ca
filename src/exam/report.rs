//! The mark as JSON.

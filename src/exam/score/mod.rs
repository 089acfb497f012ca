//! The mark: a pure function of what happened.

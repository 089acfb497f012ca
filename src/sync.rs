//! What threads share their state with: the standard library's types, named in one place.
//!
//! `tests/interleavings` compiles the modules that take them from here with those of loom instead, and
//! tries every order in which the threads can run.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread::{Builder, JoinHandle};

//! The standard library's types that threads share state with, named in one place.
//!
//! `tests/interleavings` compiles the modules that import them from here with loom's types instead, and explores every
//! order in which the threads can run.

mod lock;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread::{Builder, JoinHandle};

pub(crate) use lock::Lock;

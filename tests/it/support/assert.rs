//! Assertions that wait, and the assertion that every refusal shares.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use super::client::Answer;

/// Waits until `check` returns a value.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < give_up, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Checks that `answer` is a problem document of this status and kind, and returns the document.
pub(crate) fn assert_problem(answer: Answer, status: u16, kind: &str, context: &str) -> Value {
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (status, "application/problem+json"),
        "{context}: {answer:?}"
    );
    let problem = answer.body;
    assert_eq!(problem["status"], status, "{context}");
    let uri = format!("urn:mockserver:problem:{kind}");
    assert_eq!(problem["type"], uri, "{context}");
    for member in ["title", "detail"] {
        let text = problem[member].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{context}: no {member} in {problem}");
    }
    problem
}

/// Serialises tests that load the machine or measure its CPU, or they would measure each other.
pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What the lines of a flood say: a service that logs too much says it about its own work.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tracing::Level;

use crate::lifecycle::service_log::LogLine;
use crate::run::Timestamp;

/// The longest text of one's own, in characters.
pub(super) const LONGEST_TEXT: usize = 2000;
/// How often a refresh is tried before it is given up.
const ATTEMPTS: u32 = 5;
const FIRST_BACKOFF_MS: u64 = 100;

/// What a client that keeps an entry of a cache up to date runs into.
const ERRORS: [&str; 4] = [
    "connection reset by peer (os error 104)",
    "deadline has elapsed",
    "connection refused (os error 111)",
    "broken pipe (os error 32)",
];
const KINDS: [&str; 4] = ["price", "product", "customer", "stock"];
/// What is found out at each request by who debugs a cache and a pool.
const DEBUG: [&str; 5] = [
    "Cache hit.",
    "Cache miss.",
    "Query finished.",
    "Connection checked out.",
    "Connection returned.",
];
/// The calls below the one that failed, outermost last.
const FRAMES: [(&str, &str); 5] = [
    (
        "app::cache::refresh::{{closure}}",
        "./src/cache/refresh.rs:118:14",
    ),
    (
        "app::cache::Cache::load::{{closure}}",
        "./src/cache/mod.rs:74:9",
    ),
    (
        "<tracing::instrument::Instrumented<T> as core::future::future::Future>::poll",
        "/usr/local/cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tracing-0.1.41/src/instrument.rs:321:15",
    ),
    (
        "tokio::runtime::task::core::Core<T,S>::poll",
        "/usr/local/cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.47.1/src/runtime/task/core.rs:365:24",
    ),
    (
        "tokio::runtime::scheduler::multi_thread::worker::Context::run_task",
        "/usr/local/cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.47.1/src/runtime/scheduler/multi_thread/worker.rs:596:18",
    ),
];

/// What the lines are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Template {
    /// Warnings of a call that is tried again and again.
    Retry,
    /// Errors, each with where it comes from.
    StackTrace,
    /// What is of interest to developers only.
    Debug,
    /// Always the same text.
    Own(String),
}

impl Template {
    pub(super) const NAMES: [&str; 3] = ["retry", "stack_trace", "debug"];

    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_plain = |c: char| c == '\n' || !c.is_ascii_control();
        match text {
            "retry" => Some(Self::Retry),
            "stack_trace" => Some(Self::StackTrace),
            "debug" => Some(Self::Debug),
            own => {
                let length = own.chars().count();
                let is_good = (1..=LONGEST_TEXT).contains(&length) && own.chars().all(is_plain);
                is_good.then(|| Self::Own(own.to_owned()))
            }
        }
    }

    /// The level that such lines have.
    pub(super) fn level(&self) -> Level {
        match self {
            Self::Retry => Level::WARN,
            Self::StackTrace => Level::ERROR,
            Self::Debug => Level::DEBUG,
            Self::Own(_) => Level::INFO,
        }
    }
}

/// Makes one line after the other.
#[derive(Debug)]
pub(super) struct Lines {
    template: Template,
    level: Level,
    rng: SmallRng,
    /// The refresh that is tried.
    key: String,
    attempt: u32,
}

impl Lines {
    pub(super) fn new(template: Template, level: Level) -> Self {
        Self {
            template,
            level,
            rng: SmallRng::seed_from_u64(rand::random()),
            key: String::new(),
            attempt: ATTEMPTS,
        }
    }

    /// A number in `[0, 1)`.
    pub(super) fn uniform(&mut self) -> f64 {
        self.rng.random()
    }

    /// The next line, as of `time`.
    pub(super) fn next(&mut self, time: Timestamp) -> LogLine {
        let (message, fields, trace) = match &self.template {
            Template::Retry => self.retry(),
            Template::StackTrace => self.stack_trace(),
            Template::Debug => self.debug(),
            Template::Own(text) => (text.clone(), Vec::new(), None),
        };
        LogLine {
            time,
            level: self.level,
            message,
            fields,
            trace,
        }
    }

    fn retry(&mut self) -> Content {
        if self.attempt >= ATTEMPTS || self.rng.random_bool(0.3) {
            (self.key, self.attempt) = (self.any_key(), 0);
        }
        self.attempt += 1;
        let backoff_ms = FIRST_BACKOFF_MS << self.attempt;
        let backoff_ms = backoff_ms + self.rng.random_range(0..backoff_ms / 4);
        let fields = vec![
            ("key", json!(self.key)),
            ("attempt", json!(self.attempt)),
            ("backoff_ms", json!(backoff_ms)),
            ("error", json!(self.any_error())),
        ];
        let message = "Cache refresh failed: trying again.".to_owned();
        (message, fields, None)
    }

    fn stack_trace(&mut self) -> Content {
        let fields = vec![
            ("key", json!(self.any_key())),
            ("error", json!(self.any_error())),
        ];
        let frames = FRAMES.iter().enumerate();
        let frames =
            frames.map(|(n, (what, at))| format!("  {n:>2}: {what}\n             at {at}"));
        let trace = frames.collect::<Vec<_>>().join("\n");
        ("Cache refresh failed.".to_owned(), fields, Some(trace))
    }

    fn debug(&mut self) -> Content {
        let message = DEBUG.choose(&mut self.rng).copied().unwrap_or_default();
        // Most are quick, and some are not.
        let took_us = 40.0 * (-(1.0 - self.uniform()).ln()).exp();
        let fields = vec![
            ("key", json!(self.any_key())),
            ("took_us", json!(took_us as u64)),
        ];
        (message.to_owned(), fields, None)
    }

    fn any_key(&mut self) -> String {
        let kind = KINDS.choose(&mut self.rng).copied().unwrap_or_default();
        format!("{kind}:{}", self.rng.random_range(10_000..100_000))
    }

    fn any_error(&mut self) -> &'static str {
        ERRORS.choose(&mut self.rng).copied().unwrap_or_default()
    }
}

/// Message, fields and trace.
type Content = (String, Vec<(&'static str, Value)>, Option<String>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_ones_own_is_bounded_and_has_no_control_characters() {
        let own = |text: &str| Some(Template::Own(text.to_owned()));
        for good in ["x", "two\nlines", "größer", &"y".repeat(LONGEST_TEXT)] {
            assert_eq!(Template::parse(good), own(good));
        }
        for bad in ["", "a\tb", "\u{1b}[1m", &"y".repeat(LONGEST_TEXT + 1)] {
            assert_eq!(Template::parse(bad), None, "{bad:?}");
        }
        for name in Template::NAMES {
            assert!(!matches!(
                Template::parse(name),
                Some(Template::Own(_)) | None
            ));
        }
    }

    #[test]
    fn retries_count_up_and_wait_longer_each_time() {
        let mut lines = Lines::new(Template::Retry, Level::WARN);
        let mut before = (String::new(), 0, 0);
        let mut counted = 0;
        for _ in 0..1000 {
            let line = lines.next(Timestamp::now());
            let field = |name| {
                &line
                    .fields
                    .iter()
                    .find(|(of, _)| *of == name)
                    .expect(name)
                    .1
            };
            let key = field("key").to_string();
            let attempt = field("attempt").as_u64().expect("a number");
            let backoff = field("backoff_ms").as_u64().expect("a number");
            if attempt > 1 {
                counted += 1;
                assert_eq!((&key, attempt), (&before.0, before.1 + 1));
                assert!(backoff > before.2, "{line:?} after {before:?}");
            }
            before = (key, attempt, backoff);
        }
        assert!((500..800).contains(&counted), "{counted}");
    }
}

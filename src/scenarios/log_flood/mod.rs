//! `log_flood`: the service logs far more than it should.
//!
//! A thread makes the lines and adds them to the queue of the log's own writer, so that it never waits for the reader.
//! Rates are in lines as they are written: an error with its stack trace is several in text and one in JSON.

mod template;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing::Level;

use self::template::{LONGEST_TEXT, Lines, Template};
use super::metrics;
use crate::host::cgroup::Cgroup;
use crate::input::{Fields, Resource, Shape};
use crate::lifecycle::service_log::{LineTally, LogFeed};
use crate::plugin::effort::{Effort, Work};
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::shaped::Shaped;
use crate::plugin::{Active, Group, Probe, Reading, RunContext, Scenario, Shortfall, StartError};
use crate::run::ServiceClock;
use crate::sync::Lock;

/// How often the lines due are made.
const STEP: Duration = Duration::from_millis(5);
/// The largest backlog. What cannot be made for longer is dropped and shows as a shortfall.
const LONGEST_BACKLOG_S: f64 = 0.1;
/// The time over which the reported rate is measured: longer for a slow flood, until it had some lines to write.
const REPORT_OVER: Duration = Duration::from_secs(1);
const LONGEST_REPORT: Duration = Duration::from_secs(60);
const LINES_TO_REPORT: f64 = 50.0;
/// A rate below this share of the asked one is a shortfall.
const TOLERANCE: f64 = 0.95;

/// Adds lines to the service's log.
#[derive(Debug)]
pub(super) struct LogFlood {
    lines_per_second: Shape,
    level: Option<Level>,
    template: Template,
}

impl Scenario for LogFlood {
    const NAME: &'static str = "log_flood";
    const GROUP: Group = Group::Signals;
    const SUMMARY: &'static str = "Writes lines of the service to its log at the specified rate";
    const EXAMPLE: &'static str = r#"{"lines_per_second": 2000, "template": "stack_trace"}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How many lines are written in each second, whatever the level of the log.";
        let field = fields.field("lines_per_second", about).unit("lines/s");
        let lines_per_second = field
            .asks_for(Resource::LogLinesPerSecond)
            .shape(0.0..=100_000.0, 1000.0);
        let about = "The level of the lines; without it the one that such lines have: warn (retry), error \
                     (stack_trace), debug (debug) or info (a text of your own).";
        let level = fields.field("level", about).optional().choice(&[
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
        ]);
        let about = "What the lines say: retry (a call that is tried again and again), stack_trace (errors, each with \
                     its calls), debug, or any other text, which is the line itself.";
        let schema = json!({
            "type": "string", "minLength": 1, "maxLength": LONGEST_TEXT,
            "pattern": "^[^\\x00-\\x09\\x0b-\\x1f\\x7f]+$", "examples": Template::NAMES,
        });
        let rule = format!(
            "must be {} or a text of at most {LONGEST_TEXT} characters without control characters",
            Template::NAMES.join(", ")
        );
        let default = (Template::Retry, json!(Template::NAMES[0]));
        let template = fields
            .field("template", about)
            .value(schema, &rule, default, |given| {
                given.as_str().and_then(Template::parse)
            });
        Self {
            lines_per_second,
            level,
            template,
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let Self {
            lines_per_second,
            level,
            template,
        } = self;
        let level = level.unwrap_or_else(|| template.level());
        let feed = cx.hooks().log.feed();
        let flood = Arc::new(Flood {
            rate: Shaped::begin(lines_per_second, cx.lived()),
            tally: Arc::clone(feed.tally()),
            recent_rate: Gauge::default(),
            is_measured: AtomicBool::new(false),
            shortfall: Lock::new(None),
        });
        let (work, cgroup) = (Arc::clone(&flood), cx.cgroup().clone());
        let clock = cx.hooks().clock.clone();
        let mut threads = cx.threads();
        threads.spawn("lines", move |stop| {
            let lines = Lines::new(template, level);
            work.run(lines, (&feed, &clock), &cgroup, stop);
            // What waits for a slow reader goes with it.
            drop(feed);
            work.recent_rate.set(0.0);
            Ok(())
        })?;
        Ok(Active::new(flood, threads.run_until(cx.stop)))
    }
}

/// The flood and its figures. Rates are in lines per second.
#[derive(Debug)]
struct Flood {
    rate: Shaped,
    tally: Arc<LineTally>,
    recent_rate: Gauge,
    is_measured: AtomicBool,
    shortfall: Lock<Option<Shortfall>>,
}

impl Flood {
    /// The work of the thread: makes the lines due, sleeps.
    fn run(
        &self,
        mut lines: Lines,
        (feed, clock): (&LogFeed, &ServiceClock),
        cgroup: &Cgroup,
        stop: &StopFlag,
    ) {
        let mut effort = Effort::new(cgroup);
        let shape = self.rate.shape();
        let mut report = Report::new(Duration::ZERO);
        // In lines since the start. Each is due at some moment of its own part of the time: the count is exact, and the
        // lines do not come like the ticks of a clock.
        let (mut due, mut made) = (0.0, 0.0);
        let mut next_at = lines.uniform();
        let (mut until, mut step_at) = (Duration::ZERO, Instant::now());
        loop {
            let now = self.rate.age();
            let passed = (now - until).as_secs_f64();
            let came_due = shape.value_at(until + (now - until) / 2) * passed;
            until = now;
            due += came_due;
            report.due += came_due;
            let (work, ()) = Work::of(|| {
                while due >= next_at && !stop.is_set() {
                    let added = feed.add(&lines.next(clock.now())) as f64;
                    made += added;
                    next_at = made + lines.uniform() * added;
                    report.largest = report.largest.max(added);
                }
            });
            let cause = effort.cause(work);
            let most_owed = shape.value_at(now) * LONGEST_BACKLOG_S;
            due = f64::min(due, next_at + most_owed);
            if report.is_due(now) {
                let (rate, is_short, has_lost) = report.next(now, &self.tally);
                let cause = if has_lost {
                    Shortfall::SlowReader
                } else {
                    cause
                };
                self.recent_rate.set(rate);
                *self.shortfall.lock() = is_short.then_some(cause);
                self.is_measured.store(true, Ordering::Relaxed);
            }
            step_at = (step_at + STEP).max(Instant::now());
            if stop.sleep_until(step_at) {
                break;
            }
        }
    }
}

/// The time over which a rate is measured.
struct Report {
    start: Duration,
    /// Lines that came due so far.
    due: f64,
    /// The most lines that came at once.
    largest: f64,
    /// At the start.
    written: u64,
    lost: u64,
}

impl Report {
    fn new(start: Duration) -> Self {
        Self {
            start,
            due: 0.0,
            largest: 1.0,
            written: 0,
            lost: 0,
        }
    }

    fn is_due(&self, now: Duration) -> bool {
        let length = now - self.start;
        let has_enough = self.due >= LINES_TO_REPORT || length >= LONGEST_REPORT;
        length >= REPORT_OVER && has_enough
    }

    /// The rate of this time, whether it is too low, and whether lines were lost in it; begins the next.
    fn next(&mut self, now: Duration, tally: &LineTally) -> (f64, bool, bool) {
        let (written, lost) = (tally.written(), tally.lost());
        let lines = (written - self.written) as f64;
        let rate = lines / (now - self.start).as_secs_f64();
        let is_short = lines + self.largest < self.due * TOLERANCE;
        let has_lost = lost > self.lost;
        *self = Self {
            start: now,
            due: 0.0,
            largest: self.largest,
            written,
            lost,
        };
        (rate, is_short, has_lost)
    }
}

impl Probe for Flood {
    fn read(&self) -> Reading {
        let recent = self.recent_rate.get();
        let is_measured = self.is_measured.load(Ordering::Relaxed);
        Reading {
            asked: self.rate.now(),
            achieved: is_measured.then_some(recent),
            unit: "lines/s",
            shortfall: *self.shortfall.lock(),
            metrics: metrics([
                ("current_lines_per_second", recent.round().into()),
                ("written_lines", self.tally.written().into()),
                ("lost_lines", self.tally.lost().into()),
            ]),
        }
    }

    fn target(&self) -> Option<f64> {
        self.rate.peak()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::tests::{assert_defaults, read, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<LogFlood>(json!({ "lines_per_second": 1000, "template": "retry" }));
    }

    #[test]
    fn lines_have_the_level_of_their_kind_unless_one_is_given() {
        let level = |given| {
            let (flood, _) = read::<LogFlood>(given).expect("valid");
            flood.level.unwrap_or_else(|| flood.template.level())
        };
        assert_eq!(level(json!({ "template": "stack_trace" })), Level::ERROR);
        assert_eq!(level(json!({ "template": "Out of paper." })), Level::INFO);
        let given = json!({ "template": "debug", "level": "error" });
        assert_eq!(level(given), Level::ERROR);
    }

    #[tokio::test]
    async fn a_flood_of_nothing_starts_and_stops() {
        starts_and_stops::<LogFlood>(json!({ "lines_per_second": 0 })).await;
    }

    #[test]
    fn a_slow_flood_is_measured_for_longer_and_a_trace_is_no_shortfall() {
        let second = Duration::from_secs(1);
        let mut report = Report::new(Duration::ZERO);
        report.due = 10.0;
        assert!(!report.is_due(second * 10) && report.is_due(second * 60));
        (report.due, report.largest) = (100.0, 11.0);
        assert!(report.is_due(second * 10));
        let tally = LineTally::default();
        tally.note(88, true);
        assert_eq!(report.next(second * 10, &tally), (8.8, false, false));
        report.due = 100.0;
        tally.note(80, true);
        tally.note(20, false);
        assert_eq!(report.next(second * 20, &tally), (8.0, true, true));
    }
}

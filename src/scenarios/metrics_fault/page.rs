//! A page of metrics as text, whose counters begin anew.
//!
//! Both formats write a sample the same way: the series, a space, the value.

use std::collections::HashMap;
use std::fmt::Write;

use crate::run::Timestamp;

/// Counters of the container outlive a process in it.
const OF_CONTAINER: &str = "container_";
/// When the process began; it is a gauge.
const START: &str = "process_start_time_seconds";

/// The counters of a page, each with its value.
#[derive(Debug)]
pub(super) struct Baseline {
    values: HashMap<String, f64>,
    /// In seconds since 1970.
    start: f64,
}

impl Baseline {
    /// Of a `page` that was written at `time`.
    pub(super) fn of(page: &str, time: Timestamp) -> Self {
        let mut values = HashMap::new();
        for line in Lines::of(page) {
            if let Line::Counter { series, value } = line {
                values.insert(series.to_owned(), value.parse().unwrap_or(0.0));
            }
        }
        Self {
            values,
            start: time.seconds_since(Timestamp::default()),
        }
    }

    /// `page` as a process would write it that began when the baseline was taken.
    pub(super) fn since(&self, page: &str) -> String {
        let mut text = String::with_capacity(page.len());
        for line in Lines::of(page) {
            match line {
                Line::Counter { series, value } => {
                    let before = self.values.get(series).copied().unwrap_or(0.0);
                    text += series;
                    text.push(' ');
                    push_like(&mut text, value, |now| (now - before).max(0.0));
                }
                Line::Start { value } => {
                    text += START;
                    text.push(' ');
                    push_like(&mut text, value, |_| self.start);
                }
                Line::Other(line) => text += line,
            }
            text.push('\n');
        }
        text
    }
}

/// Adds a changed value in the way in which `value` is written: with or without a fraction.
fn push_like(text: &mut String, value: &str, change: impl Fn(f64) -> f64) {
    let changed = value.parse().map(change);
    // Writing to a text cannot fail.
    match changed {
        Err(_) => text.push_str(value),
        Ok(changed) if value.bytes().all(|byte| byte.is_ascii_digit()) => {
            write!(text, "{changed:.0}").ok();
        }
        Ok(changed) => {
            write!(text, "{changed:?}").ok();
        }
    }
}

/// A line of a page.
enum Line<'p> {
    /// A sample of a counter or of a histogram, which is made of counters.
    Counter {
        series: &'p str,
        value: &'p str,
    },
    Start {
        value: &'p str,
    },
    Other(&'p str),
}

/// The lines of a page, each by the kind of its family.
struct Lines<'p> {
    lines: std::str::Lines<'p>,
    are_counters: bool,
}

impl<'p> Lines<'p> {
    fn of(page: &'p str) -> Self {
        Self {
            lines: page.lines(),
            are_counters: false,
        }
    }
}

impl<'p> Iterator for Lines<'p> {
    type Item = Line<'p>;

    fn next(&mut self) -> Option<Line<'p>> {
        let line = self.lines.next()?;
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let is_of_process = !family.starts_with(OF_CONTAINER);
            let is_counter = family.ends_with(" counter") || family.ends_with(" histogram");
            self.are_counters = is_of_process && is_counter;
        }
        let sample = line.rsplit_once(' ').filter(|_| !line.starts_with('#'));
        Some(match sample {
            Some((series, value)) if self.are_counters => Line::Counter { series, value },
            Some((START, value)) => Line::Start { value },
            _ => Line::Other(line),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP process_start_time_seconds Start\n# TYPE process_start_time_seconds gauge\n\
                        process_start_time_seconds 1700000000.0\n# TYPE steps counter\nsteps_total 3.5\n\
                        # TYPE time histogram\ntime_sum{route=\"/a b\"} 1.25\ntime_count{route=\"/a b\"} 4\n\
                        time_bucket{le=\"+Inf\",route=\"/a b\"} 4\n# TYPE level gauge\nlevel 7\n\
                        # TYPE container_periods counter\ncontainer_periods_total 9\n# EOF\n";

    #[test]
    fn counters_of_the_process_begin_anew_and_all_else_stays() {
        let began = Timestamp::default().plus_seconds(1_800_000_000.0);
        let baseline = Baseline::of(PAGE, began);
        let at_once = baseline.since(PAGE);
        let expected = PAGE
            .replace("1700000000.0", "1800000000.0")
            .replace("total 3.5", "total 0.0")
            .replace("1.25", "0.0")
            .replace("} 4\n", "} 0\n");
        assert_eq!(at_once, expected);
        let later = PAGE
            .replace("total 3.5", "total 4.75")
            .replace("} 4\n", "} 6\n")
            .replace("# EOF", "# TYPE new counter\nnew_total 2\n# EOF");
        let later = baseline.since(&later);
        assert!(later.contains("steps_total 1.25\n"), "{later}");
        assert!(later.contains("time_count{route=\"/a b\"} 2\n"), "{later}");
        assert!(later.contains("new_total 2\n"), "{later}");
    }

    #[test]
    fn a_counter_that_others_have_set_back_is_never_below_zero() {
        let baseline = Baseline::of(PAGE, Timestamp::default());
        let page = baseline.since("# TYPE steps counter\nsteps_total 1.0\n");
        assert_eq!(page, "# TYPE steps counter\nsteps_total 0.0\n");
    }
}

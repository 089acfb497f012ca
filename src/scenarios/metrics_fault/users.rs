//! A counter with a label that has ever more values: the mistake of a developer who counts requests by user.
//!
//! Nothing is kept for a series: its label and its value follow from its number and its age.

use std::fmt::Write;
use std::time::Duration;

use crate::plugin::PageFormat;

const FAMILY: &str = "user_requests";
const HELP: &str = "Requests by user";
/// About the bytes of one series.
const SERIES_BYTES: usize = 48;

/// The lowest of the ids, which all have the same length.
const FIRST_ID: u64 = 10_000_000;
const IDS: u64 = 90_000_000;
/// Has no factor in common with [`IDS`], so that no two of as many series have the same id.
const STEP: u64 = 48_271_001;

/// The users of one run.
#[derive(Debug)]
pub(super) struct Users {
    offset: u64,
}

impl Users {
    pub(super) fn new() -> Self {
        Self {
            offset: rand::random_range(0..IDS),
        }
    }

    /// `page` with the series of the first `count` users, of which the n-th is there for `age(n)`.
    pub(super) fn added_to(
        &self,
        mut page: String,
        format: PageFormat,
        count: u64,
        age: impl Fn(u64) -> Duration,
    ) -> String {
        if count == 0 {
            return page;
        }
        page.reserve(count as usize * SERIES_BYTES + 128);
        let (end, suffix) = match format {
            PageFormat::OpenMetrics => ("# EOF\n", ""),
            PageFormat::Prometheus => ("", "_total"),
        };
        page.truncate(page.len() - if page.ends_with(end) { end.len() } else { 0 });
        // Writing to a text cannot fail.
        write!(
            page,
            "# HELP {FAMILY}{suffix} {HELP}\n# TYPE {FAMILY}{suffix} counter\n"
        )
        .ok();
        for n in 0..count {
            let (id, value) = (self.id(n), self.value(n, age(n)));
            writeln!(page, "{FAMILY}_total{{user_id=\"{id}\"}} {value}").ok();
        }
        page + end
    }

    fn id(&self, n: u64) -> u64 {
        FIRST_ID + (n * STEP + self.offset) % IDS
    }

    /// One request at first, and then one in some minutes: some users ask more often than others.
    fn value(&self, n: u64, age: Duration) -> u64 {
        let minutes_between = 1 + self.id(n) % 13;
        1 + age.as_secs() / 60 / minutes_between
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_series_are_the_same_and_values_never_fall() {
        let users = Users::new();
        let ids: HashSet<u64> = (0..100_000).map(|n| users.id(n)).collect();
        assert_eq!(ids.len(), 100_000);
        assert!(ids.iter().all(|id| id.to_string().len() == 8));
        let minute = Duration::from_secs(60);
        for n in 0..100 {
            let values: Vec<u64> = (0..60).map(|age| users.value(n, minute * age)).collect();
            assert!(
                values.is_sorted() && values[0] == 1 && values[59] > 1,
                "{values:?}"
            );
        }
    }

    #[test]
    fn the_series_come_before_the_end_mark() {
        let users = Users { offset: 0 };
        let page =
            |text: &str, format| users.added_to(text.to_owned(), format, 1, |_| Duration::ZERO);
        assert_eq!(
            page("a 1\n# EOF\n", PageFormat::OpenMetrics),
            "a 1\n# HELP user_requests Requests by user\n# TYPE user_requests counter\n\
             user_requests_total{user_id=\"10000000\"} 1\n# EOF\n"
        );
        assert_eq!(
            page("a 1\n", PageFormat::Prometheus),
            "a 1\n# HELP user_requests_total Requests by user\n# TYPE user_requests_total counter\n\
             user_requests_total{user_id=\"10000000\"} 1\n"
        );
    }
}

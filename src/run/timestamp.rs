//! Wall-clock time as the API, the ledger and the metrics write it.
//!
//! Written by hand: `Rfc3339` of the `time` crate drops trailing zeros, and texts of one length are easier to read and
//! sort.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time in UTC, in microseconds since 1970; written as RFC 3339 with six digits of a second.
///
/// Not for deadlines: the wall clock may step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent, extend("format" = "date-time"))]
pub struct Timestamp(#[schemars(with = "String")] i64);

const MICROS_PER_SECOND: i64 = 1_000_000;
/// The end of the year 9999, the latest time that RFC 3339 can write.
const LATEST: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The wall-clock time now.
    #[must_use]
    pub fn now() -> Self {
        Self::from(OffsetDateTime::now_utc())
    }

    /// This time plus `duration`, at most the end of the year 9999.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_seconds(duration.as_secs_f64())
    }

    /// This time plus `seconds`, within the years 1970 to 9999.
    #[must_use]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        // The cast saturates: a duration from a ledger file has no bounds.
        let later = self
            .0
            .saturating_add((seconds * MICROS_PER_SECOND as f64) as i64);
        Self(later.clamp(0, LATEST))
    }

    /// As headers of HTTP have it (RFC 9110), without the fraction of the second.
    pub(crate) fn http_date(self) -> String {
        const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        // Every timestamp is within the range of the clock's type.
        let time = OffsetDateTime::from_unix_timestamp(seconds);
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let day = DAYS[usize::from(time.weekday().number_days_from_monday())];
        let month = MONTHS[usize::from(u8::from(time.month())) - 1];
        let (h, m, s) = time.to_hms();
        let (day_of_month, year) = (time.day(), time.year());
        format!("{day}, {day_of_month:02} {month} {year:04} {h:02}:{m:02}:{s:02} GMT")
    }

    /// How many seconds this is after `earlier`.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / MICROS_PER_SECOND as f64
    }
}

/// The difference from which two clocks are held to disagree: more than the time between reading one and the other.
const CLOCKS_DISAGREE_NS: i128 = 50_000_000;

/// One moment by two clocks: the wall clock, which may step, and one that nothing sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock.
    pub time: Timestamp,
    /// By the clock that nothing sets.
    pub monotonic_ns: u64,
}

impl Moment {
    /// When this was by the wall clock as it went at `anchor`, whatever steps it has made since. Both moments are of one
    /// process.
    #[must_use]
    pub fn by_the_clock_at(self, anchor: Self) -> Timestamp {
        let passed_ns = i128::from(self.monotonic_ns) - i128::from(anchor.monotonic_ns);
        let shown_ns = (i128::from(self.time.0) - i128::from(anchor.time.0)) * 1000;
        if (passed_ns - shown_ns).abs() <= CLOCKS_DISAGREE_NS {
            return self.time;
        }
        anchor.time.plus_seconds(passed_ns as f64 / 1e9)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(time: OffsetDateTime) -> Self {
        // Microseconds in an i64 cover 290,000 years, more than the clock's type does.
        Self(i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or_default())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (
            self.0.div_euclid(MICROS_PER_SECOND),
            self.0.rem_euclid(MICROS_PER_SECOND),
        );
        let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        let (date, (h, m, s)) = (time.date(), time.time().as_hms());
        write!(f, "{date}T{h:02}:{m:02}:{s:02}.{micros:06}Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339)
            .map(Self::from)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_writable_timestamp_is_read_back(micros in 0..=LATEST, seconds: f64) {
            for time in [Timestamp(micros), Timestamp(micros).plus_seconds(seconds)] {
                let text = serde_json::to_string(&time).expect("a timestamp is a JSON string");
                let again: Timestamp = serde_json::from_str(&text).expect("RFC 3339");
                prop_assert_eq!(again, time);
            }
        }

        #[test]
        fn any_text_is_a_timestamp_or_an_error(text in "[-+0-9TZ:. ]{0,30}|.{0,10}") {
            if let Ok(time) = serde_json::from_value::<Timestamp>(text.into()) {
                prop_assert!(serde_json::to_string(&time).is_ok());
            }
        }
    }

    #[test]
    fn a_timestamp_is_written_with_six_digits_and_read_with_any_number() {
        for (given, micros, written) in [
            (
                "2024-10-25T08:30:00Z",
                1_729_845_000_000_000,
                "2024-10-25T08:30:00.000000Z",
            ),
            (
                "2024-10-25T08:30:00.25Z",
                1_729_845_000_250_000,
                "2024-10-25T08:30:00.250000Z",
            ),
            (
                "2024-10-25T10:30:00.000001999+02:00",
                1_729_845_000_000_001,
                "2024-10-25T08:30:00.000001Z",
            ),
            (
                "1969-12-31T23:59:59.999999Z",
                -1,
                "1969-12-31T23:59:59.999999Z",
            ),
        ] {
            let time: Timestamp = serde_json::from_value(given.into()).expect("RFC 3339");
            assert_eq!(
                (time, time.to_string().as_str()),
                (Timestamp(micros), written)
            );
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_no_moment_after_its_anchor() {
        let moment = |micros, monotonic_ns| Moment {
            time: Timestamp(micros),
            monotonic_ns,
        };
        let anchor = moment(8_000_000_000, 1_000_000_000);
        // Ten seconds later, by a clock that was set two hours back, and by one that was not.
        let stepped = moment(810_000_000, 11_000_000_000);
        assert_eq!(stepped.by_the_clock_at(anchor), Timestamp(8_010_000_000));
        let steady = moment(8_010_000_900, 11_000_000_000);
        assert_eq!(steady.by_the_clock_at(anchor), steady.time);
        assert_eq!(anchor.by_the_clock_at(stepped), Timestamp(800_000_000));
    }

    #[test]
    fn a_date_of_http_is_written_as_in_its_standard() {
        let date = Timestamp(784_111_777_900_000).http_date();
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_time_beyond_the_year_9999_is_clamped() {
        assert_eq!(Timestamp(0).plus_seconds(1.5), Timestamp(1_500_000));
        let end = Timestamp::now().plus(Duration::MAX);
        assert_eq!(end.to_string(), "9999-12-31T23:59:59.999999Z");
    }
}

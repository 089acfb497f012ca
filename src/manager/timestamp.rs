//! Moments as sessions show them.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC, written as RFC 3339 to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent, extend("format" = "date-time"))]
pub struct Timestamp(#[schemars(with = "String")] OffsetDateTime);

impl Timestamp {
    /// The wall clock's time now. For output only: nothing is ever timed by it.
    #[must_use]
    pub fn now() -> Self {
        Self::at(OffsetDateTime::now_utc())
    }

    /// This moment plus `duration`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        // A duration is bounded when it is read; an overflow could only be the clock's own doing.
        Self::at(
            self.0
                .checked_add(duration.try_into().unwrap_or_default())
                .unwrap_or(self.0),
        )
    }

    fn at(moment: OffsetDateTime) -> Self {
        Self(
            moment
                .replace_millisecond(moment.millisecond())
                .unwrap_or(moment),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_rfc_3339_in_utc() {
        let moment = OffsetDateTime::from_unix_timestamp(1_729_845_000).expect("a time");
        let text = serde_json::to_string(&Timestamp::at(moment)).expect("json");
        assert_eq!(text, "\"2024-10-25T08:30:00Z\"");
    }
}

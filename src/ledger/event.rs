//! What the ledger is made of: one typed [`Event`] for each thing that happened to a fault or to the
//! daemon.
//!
//! An event is one JSON object on one line, on the wire as on disk. Members that do not apply are
//! left out; readers must ignore members that they do not know.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::manager::end_reason::EndReason;
use crate::plugin::probe::{Probe, Reading, Shortfall};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EventKind")]
pub enum Kind {
    /// The daemon began, and tells how the process before it ended.
    Boot,
    /// A start was checked and taken up; its effect is not on yet.
    Accepted,
    /// The scenario is up: its effect begins.
    Started,
    /// The measured effect passed half of its target.
    Effective,
    /// The measured effect came within the tolerance of its target.
    TargetReached,
    /// The measured effect fell below half of its target and stayed there, while running.
    Lost,
    /// Somebody asked for the end, the session ends by itself, or the daemon ends: the effect is being
    /// taken off.
    Stopping,
    /// The duration is over: the effect is being taken off.
    Expired,
    /// A later start takes its place: the effect is being taken off.
    Replaced,
    /// It could not start, or could not go on.
    Failed,
    /// All that the run held is released.
    Cleared,
    /// The process is about to end because a scenario was told so.
    ExitIntent,
    /// Everything is being ended and no start is taken any more.
    Halted,
    /// Starts are taken again.
    Rearmed,
    /// Every fault is off and the daemon ends.
    Shutdown,
}

/// A moment in UTC, written as RFC 3339 with six digits of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(transparent, extend("format" = "date-time"))]
pub struct Moment(#[schemars(with = "String")] i64);

const MICROS: i64 = 1_000_000;
/// The end of the year 9999, the latest that RFC 3339 can write.
const LATEST: i64 = 253_402_300_799_999_999;

impl Moment {
    /// The wall clock's time now.
    #[must_use]
    pub fn now() -> Self {
        Self::from(OffsetDateTime::now_utc())
    }

    /// This moment plus `seconds`.
    #[must_use]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        // The cast saturates. A duration is bounded when it is asked for, but not one in a file.
        let later = self.0.saturating_add((seconds * MICROS as f64) as i64);
        Self(later.clamp(0, LATEST))
    }
}

impl From<OffsetDateTime> for Moment {
    fn from(time: OffsetDateTime) -> Self {
        // Microseconds in an i64 reach 290,000 years; the clock's type ends before.
        Self(i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or_default())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(MICROS), self.0.rem_euclid(MICROS));
        let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| fmt::Error)?;
        let (date, (h, m, s)) = (time.date(), time.time().as_hms());
        write!(f, "{date}T{h:02}:{m:02}:{s:02}.{micros:06}Z")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339)
            .map(Self::from)
            .map_err(serde::de::Error::custom)
    }
}

/// Who asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A client, written as its address.
    Client(SocketAddr),
    /// The boot profile of the configuration, written as `boot`.
    Boot,
    /// A signal to the process, written as `signal`.
    Signal,
}

const BOOT: &str = "boot";
const SIGNAL: &str = "signal";

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(address) => address.fmt(f),
            Self::Boot => f.write_str(BOOT),
            Self::Signal => f.write_str(SIGNAL),
        }
    }
}

impl Serialize for Asker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Asker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match &*text {
            BOOT => Ok(Self::Boot),
            SIGNAL => Ok(Self::Signal),
            address => address
                .parse()
                .map(Self::Client)
                .map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Asker {
    fn schema_name() -> Cow<'static, str> {
        "Asker".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A client's address, `boot` for the boot profile of the configuration, or `signal`.",
        })
    }
}

/// How the process before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LastEnd {
    /// It was told to end, and took every fault off.
    Graceful,
    /// A scenario ended it, as it was told.
    Planned,
    /// It vanished: killed, crashed, or the machine went down.
    Unclean,
    /// It vanished, and what is known points to the kernel's out-of-memory killer.
    SuspectedOutOfMemory,
}

/// What a boot found of the process before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Previous {
    /// Its boot id.
    pub boot_id: String,
    /// How it ended.
    pub end: LastEnd,
    /// What it was told from: the planned exit, or the reason of a suspicion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Its last event.
    pub last_seq: u64,
}

/// What a boot knows of its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootFacts {
    /// The daemon's version.
    pub version: Cow<'static, str>,
    /// The process.
    pub pid: u32,
    /// The most memory that the process can have, in bytes.
    pub memory_limit_bytes: u64,
    /// Kills by the out-of-memory killer that the control group has counted so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Bytes of a torn last line that were cut off the journal.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub healed_bytes: u64,
    /// Lines of the journal that could not be read and were passed over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable_lines: u64,
    /// The boot profile, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Map<String, Value>>,
    /// Which boot of the profile's crash loop this is, from 1; none where it is not to crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashing_boot: Option<u32>,
    /// The boot profile was to be ignored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub safe_boot: bool,
    /// The process before; none when this is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it by reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its place in the ledger: each is one more than the one before, over restarts too.
    pub seq: u64,
    /// When it happened, by the wall clock.
    pub time: Moment,
    /// The same in nanoseconds since the daemon began, by a clock that nobody sets.
    pub monotonic_ns: u64,
    /// Names this life of the daemon.
    pub boot_id: Cow<'static, str>,
    /// What happened.
    pub kind: Kind,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The run: the `seq` of its `accepted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<u64>,
    /// The scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Cow<'static, str>>,
    /// Who asked for it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Asker>,
    /// The effective parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// After how many seconds the run ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// What the effect should measure at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<f64>,
    /// What it measures at this moment; of `cleared`, what is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<f64>,
    /// Where the effect goes in the end, where that is not what is asked at this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// The unit of the three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Cow<'static, str>>,
    /// Why less is achieved than was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
    /// What will come in the effect's way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Why the run ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// The same in words, where there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The status that the process will exit with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What a boot knows. Boxed: a third of an event would be room for what one in thousands has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Box<BootFacts>>,
}

/// Which run an event tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTag {
    /// The session it belongs to.
    pub session_id: String,
    /// The `seq` of its `accepted`.
    pub run_id: u64,
    /// The scenario.
    pub scenario: &'static str,
}

/// An event that has happened and waits for its place in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub(super) at: Instant,
    /// The event, but for its place.
    pub event: Event,
}

impl Draft {
    /// Something that happens now.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let event = Event {
            seq: 0,
            time: Moment::now(),
            monotonic_ns: 0,
            boot_id: Cow::Borrowed(""),
            kind,
            session_id: None,
            run_id: None,
            scenario: None,
            by: None,
            params: None,
            duration_s: None,
            asked: None,
            achieved: None,
            target: None,
            unit: None,
            shortfall: None,
            warning: None,
            reason: None,
            because: None,
            error: None,
            exit_code: None,
            boot: None,
        };
        Self {
            at: Instant::now(),
            event,
        }
    }

    /// Something that happens now to the run `tag`.
    #[must_use]
    pub fn of(kind: Kind, tag: &RunTag) -> Self {
        let mut draft = Self::new(kind);
        draft.event.session_id = Some(tag.session_id.clone());
        draft.event.run_id = Some(tag.run_id);
        draft.event.scenario = Some(tag.scenario.into());
        draft
    }

    /// Adds who asked for it.
    #[must_use]
    pub fn by(mut self, by: Option<Asker>) -> Self {
        self.event.by = by;
        self
    }

    /// Adds why the run ends.
    #[must_use]
    pub fn reason(mut self, reason: EndReason) -> Self {
        self.event.reason = Some(reason);
        self
    }

    /// Adds why the run ends in words, where there is more to say.
    #[must_use]
    pub fn because(mut self, because: Option<String>) -> Self {
        self.event.because = because;
        self
    }

    /// Adds what went wrong, if anything did.
    #[must_use]
    pub fn error(mut self, error: Option<String>) -> Self {
        self.event.error = error;
        self
    }

    /// Adds after what time the run ends by itself.
    #[must_use]
    pub fn duration(mut self, duration: Option<Duration>) -> Self {
        let seconds = duration.map(|duration| duration.as_secs_f64());
        self.event.duration_s = seconds.filter(|seconds| *seconds > 0.0);
        self
    }

    /// Adds what is asked and achieved.
    #[must_use]
    pub fn effect(mut self, reading: &Reading, probe: &dyn Probe) -> Self {
        let event = &mut self.event;
        event.asked = Some(rounded(reading.asked));
        event.achieved = reading.achieved.map(rounded);
        event.target = probe.target().map(rounded);
        event.unit = unit_of(reading);
        event.shortfall = reading.shortfall;
        self
    }

    /// Adds what is left of an effect that was taken off.
    #[must_use]
    pub fn left(mut self, reading: &Reading, probe: &dyn Probe) -> Self {
        self.event.achieved = probe.left().map(rounded);
        self.event.unit = self.event.achieved.and_then(|_| unit_of(reading));
        self
    }
}

fn unit_of(reading: &Reading) -> Option<Cow<'static, str>> {
    (!reading.unit.is_empty()).then_some(Cow::Borrowed(reading.unit))
}

/// No measurement here is finer than a thousandth, and short lines keep more history.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn any_moment_that_can_be_written_is_read_back(micros in 0..=LATEST, seconds: f64) {
            for moment in [Moment(micros), Moment(micros).plus_seconds(seconds)] {
                let text = serde_json::to_string(&moment).expect("it has a form");
                prop_assert_eq!(serde_json::from_str::<Moment>(&text).expect("a moment"), moment);
            }
        }

        #[test]
        fn any_text_is_a_moment_or_none(text in "[-+0-9TZ:. ]{0,30}|.{0,10}") {
            if let Ok(moment) = serde_json::from_value::<Moment>(text.into()) {
                prop_assert!(serde_json::to_string(&moment).is_ok());
            }
        }
    }

    #[test]
    fn a_moment_has_six_digits_and_reads_back_the_same() {
        for (micros, text) in [
            (1_729_845_000_000_000, "\"2024-10-25T08:30:00.000000Z\""),
            (1_729_845_000_000_001, "\"2024-10-25T08:30:00.000001Z\""),
            (-1, "\"1969-12-31T23:59:59.999999Z\""),
        ] {
            let moment = Moment(micros);
            assert_eq!(serde_json::to_string(&moment).expect("json"), text);
            assert_eq!(
                serde_json::from_str::<Moment>(text).expect("a moment"),
                moment
            );
        }
        assert_eq!(Moment(0).plus_seconds(1.5), Moment(1_500_000));
    }

    #[test]
    fn who_asked_is_an_address_or_the_boot_profile() {
        let client = Asker::Client(([127, 0, 0, 1], 4711).into());
        for (asker, text) in [(client, "\"127.0.0.1:4711\""), (Asker::Boot, "\"boot\"")] {
            assert_eq!(serde_json::to_string(&asker).expect("json"), text);
            assert_eq!(serde_json::from_str::<Asker>(text).expect("it"), asker);
        }
        assert!(serde_json::from_str::<Asker>("\"somebody\"").is_err());
    }

    #[test]
    fn an_event_leaves_out_what_does_not_apply_and_passes_over_what_it_does_not_know() {
        let mut event = Draft::new(Kind::TargetReached).event;
        event.time = Moment(0);
        let mut written = serde_json::to_value(&event).expect("json");
        let expected = json!({
            "seq": 0, "time": "1970-01-01T00:00:00.000000Z", "monotonic_ns": 0, "boot_id": "",
            "kind": "target_reached",
        });
        assert_eq!(written, expected);
        written["of_a_later_version"] = json!([1]);
        assert_eq!(
            serde_json::from_value::<Event>(written).expect("an event"),
            event
        );
    }
}

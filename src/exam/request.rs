//! The body of a request to open a drill.

use serde_json::{Map, Value, json};

use super::preset::{Difficulty, Persist};
use super::record::Reveal;
use crate::input::{FieldError, Fields};

/// The ends of the time scale.
pub(super) const SMALLEST_TIME_SCALE: f64 = 0.01;
pub(super) const LARGEST_TIME_SCALE: f64 = 100.0;
/// The longest time of a request, in seconds: a week.
const LONGEST_S: f64 = 604_800.0;
/// The shortest time that faults last, in seconds.
const SHORTEST_S: f64 = 0.5;
/// The most requests a second.
const MOST_RPS: f64 = 20_000.0;
const MOST_ANSWERS: u32 = 100;
/// The most characters of a text.
const MOST_CHARS: usize = 1000;
const TEXT_RULE: &str = "must be a text of 1 to 1000 characters";

/// What drill is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DrillRequest {
    /// What everything is drawn from; none draws that too.
    pub seed: Option<String>,
    /// None takes presets of any.
    pub difficulty: Option<Difficulty>,
    /// How often nothing is wrong.
    pub control_rate: f64,
    /// The preset, in the place of one that is drawn.
    pub preset: Option<String>,
    /// The range of the onset, in seconds after the opening.
    pub onset_s: (f64, f64),
    /// How long the faults last after the onset, in seconds.
    pub duration_s: f64,
    /// Multiplies the times of the preset and divides its rates of growth.
    pub time_scale: f64,
    /// Requests a second while the drill is open; none leaves the traffic as it is.
    pub traffic_rps: Option<f64>,
    pub max_answers: u32,
    /// What a restart does; none as the preset says.
    pub persist: Option<Persist>,
    pub reveal: Reveal,
    /// In seconds after the opening; none as it follows from the rest.
    pub deadline_s: Option<f64>,
    pub note: Option<String>,
    /// Whether it closes a drill that is open.
    pub replace: bool,
    /// Whether it may be opened where nothing of it would outlive the process.
    pub volatile: bool,
}

impl DrillRequest {
    /// # Errors
    /// Every bad value, and every unknown member.
    pub(crate) fn read(body: Map<String, Value>) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::new("", body).only_read();
        let request = Self::of(&mut fields);
        fields.finish().map(|_| request)
    }

    /// JSON Schema of the body.
    pub(crate) fn schema() -> Value {
        let mut fields = Fields::new("", Map::new());
        Self::of(&mut fields);
        fields.schema()
    }

    fn of(fields: &mut Fields) -> Self {
        fields.either("preset", "difficulty");
        let about =
            "What the plan is drawn from: the same seed gives the same plan. Absent: a new one.";
        let seed = text(fields, "seed", about);
        let about = "The presets that it is drawn from: all.";
        fields.field("pool", about).choice(&[("release", ())]);
        let about = "How hard to diagnose the presets are that it is drawn from.";
        let [easy, medium, hard] = Difficulty::NAMES.map(|(name, of)| (name, Some(of)));
        let difficulty = fields.field("difficulty", about);
        let difficulty = difficulty.choice(&[("any", None), easy, medium, hard]);
        let about = "How often nothing is wrong: the share of drills that are controls.";
        let control_rate = fields.field("control_rate", about).number(0.0..=1.0, 0.25);
        let about = "The preset, in the place of one that is drawn.";
        let preset = text(fields, "preset", about);
        let times = Times::read(fields);
        let about =
            "Requests a second while the drill is open. Absent: as the configuration has it.";
        let traffic_rps = fields.field("traffic_rps", about).unit("1/s").optional();
        let traffic_rps = traffic_rps.number(0.0..=MOST_RPS);
        let about = "How many answers are taken.";
        let max_answers = fields
            .field("max_answers", about)
            .integer(1..=MOST_ANSWERS, 5);
        let about = "What a restart of the process does to the faults: they are back as long as the same version \
                     boots (release), or gone (process). Absent: as the preset says.";
        let persist = fields.field("persist", about).optional();
        let persist = persist.choice(&Persist::NAMES);
        let about = "Who may read the report of the closed drill: the examiner alone, or the candidate too.";
        let reveal = fields.field("reveal", about);
        let reveal = reveal.choice(&[("admin", Reveal::Admin), ("after", Reveal::After)]);
        let note = text(
            fields,
            "note",
            "A note of the examiner, kept in the report.",
        );
        let about = "Whether a drill that is open is closed first, without a mark.";
        let replace = fields.field("replace", about).flag(false);
        let about =
            "Whether the drill may be opened though nothing of it would outlive the process.";
        let volatile = fields.field("volatile", about).flag(false);
        Self {
            seed,
            difficulty,
            control_rate,
            preset,
            onset_s: times.onset_s,
            duration_s: times.duration_s,
            time_scale: times.time_scale,
            traffic_rps,
            max_answers,
            persist,
            reveal,
            deadline_s: times.deadline_s,
            note,
            replace,
            volatile,
        }
    }
}

/// When what happens.
struct Times {
    onset_s: (f64, f64),
    duration_s: f64,
    time_scale: f64,
    deadline_s: Option<f64>,
}

impl Times {
    fn read(fields: &mut Fields) -> Self {
        let about = "The range that the onset is drawn from, after the opening.";
        let number = json!({ "type": "number", "minimum": 0, "maximum": LONGEST_S });
        let schema = json!({ "type": "array", "items": number, "minItems": 2, "maxItems": 2 });
        let rule =
            "must be a pair of numbers of seconds from 0 to 604800, the earliest and the latest";
        let onset = fields.field("onset_s", about).unit("s");
        let onset_s = onset.value(schema, rule, ((30.0, 180.0), json!([30, 180])), pair);
        let about = "How long the faults last after the onset.";
        let duration = fields.field("duration_s", about);
        let duration = duration.seconds(SHORTEST_S..=LONGEST_S, 900.0);
        let about = "Multiplies the times of the preset, and divides its rates of growth.";
        let time_scale = fields.field("time_scale", about);
        let time_scale = time_scale.number(SMALLEST_TIME_SCALE..=LARGEST_TIME_SCALE, 1.0);
        let about = "When the drill is closed, after the opening. Absent, and at the earliest: the latest onset, the duration \
                     and 120 s x time_scale.";
        let deadline = fields.field("deadline_s", about).optional();
        let deadline = deadline.seconds(SHORTEST_S..=3.0 * LONGEST_S);
        Self {
            onset_s,
            duration_s: duration.as_secs_f64(),
            time_scale,
            deadline_s: deadline.map(|deadline| deadline.as_secs_f64()),
        }
    }
}

fn pair(given: &Value) -> Option<(f64, f64)> {
    let [low, high] = &given.as_array()?[..] else {
        return None;
    };
    let (low, high) = (low.as_f64()?, high.as_f64()?);
    (0.0 <= low && low <= high && high <= LONGEST_S).then_some((low, high))
}

fn text(fields: &mut Fields, name: &'static str, about: &'static str) -> Option<String> {
    fields
        .field(name, about)
        .optional()
        .text(TEXT_RULE, |text| {
            let count = text.chars().count();
            (1..=MOST_CHARS).contains(&count).then(|| text.to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<DrillRequest, Vec<(String, String)>> {
        let Value::Object(body) = body else {
            panic!("an object")
        };
        let shown = |errors: Vec<FieldError>| {
            let errors = errors.into_iter();
            errors.map(|error| (error.pointer, error.detail)).collect()
        };
        DrillRequest::read(body).map_err(shown)
    }

    #[test]
    fn an_empty_body_is_all_defaults() {
        let request = read(json!({})).expect("good");
        assert_eq!(request.onset_s, (30.0, 180.0));
        assert_eq!((request.duration_s, request.time_scale), (900.0, 1.0));
        assert_eq!((request.control_rate, request.max_answers), (0.25, 5));
        assert_eq!((request.difficulty, request.persist), (None, None));
        assert_eq!((request.seed, request.deadline_s), (None, None));
        assert_eq!((request.replace, request.volatile), (false, false));
        assert_eq!(request.reveal, Reveal::Admin);
    }

    #[test]
    fn every_member_is_read() {
        let request = read(json!({
            "seed": "7f3a", "pool": "release", "difficulty": "hard", "control_rate": 0.3, "onset_s": [1, 2.5],
            "duration_s": "5m", "time_scale": 0.01, "traffic_rps": 40, "max_answers": 2, "persist": "process",
            "reveal": "after", "deadline_s": 700, "note": "build 812", "replace": true, "volatile": true,
        }));
        let expected = DrillRequest {
            seed: Some("7f3a".to_owned()),
            difficulty: Some(Difficulty::Hard),
            control_rate: 0.3,
            preset: None,
            onset_s: (1.0, 2.5),
            duration_s: 300.0,
            time_scale: 0.01,
            traffic_rps: Some(40.0),
            max_answers: 2,
            persist: Some(Persist::Process),
            reveal: Reveal::After,
            deadline_s: Some(700.0),
            note: Some("build 812".to_owned()),
            replace: true,
            volatile: true,
        };
        assert_eq!(request, Ok(expected));
        assert_eq!(
            read(json!({ "preset": "x" }))
                .expect("good")
                .preset
                .as_deref(),
            Some("x")
        );
    }

    #[test]
    fn every_bad_value_is_refused_where_it_is() {
        let bad = json!({
            "seed": "", "pool": "all", "difficulty": "soft", "control_rate": 1.1, "onset_s": [5, 4], "duration_s": 0.4,
            "time_scale": 0.009, "traffic_rps": -1, "max_answers": 0, "persist": "no", "reveal": "now",
            "deadline_s": 0, "note": 5, "replace": 1, "volatile": "yes", "durations": 3,
        });
        let members: Vec<String> = bad
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        let errors = read(bad).expect_err("bad");
        for member in &members {
            let pointer = format!("/{member}");
            assert!(
                errors.iter().any(|(at, _)| *at == pointer),
                "{member}: {errors:?}"
            );
        }
        assert_eq!(errors.len(), members.len(), "{errors:?}");
        let errors = read(json!({ "preset": "x", "difficulty": "easy" })).expect_err("both");
        assert_eq!(errors[0].0, "/difficulty");
    }

    #[test]
    fn the_schema_takes_what_the_reader_takes() {
        let schema = DrillRequest::schema();
        let good = json!({ "seed": "a", "onset_s": [0, 1], "difficulty": "any", "duration_s": 2 });
        assert!(jsonschema::is_valid(&schema, &good) && read(good).is_ok());
        for bad in [
            json!({ "seeds": 1 }),
            json!({ "onset_s": [1] }),
            json!({ "time_scale": 0 }),
        ] {
            assert!(!jsonschema::is_valid(&schema, &bad) && read(bad).is_err());
        }
    }
}

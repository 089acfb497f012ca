//! Presets from data: one grammar for the file and for the configuration.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Decision, Difficulty, EMBEDDED, ExamSpec, Expected, Persist, Preset, PresetScenario, Truth,
    check, drawing,
};
use crate::input::Fields;
use crate::plugin::Registry;

/// The longest time in a preset, in seconds: a day.
const LONGEST_S: f64 = 86_400.0;
/// The most times the usual traffic.
pub(super) const MOST_TRAFFIC: f64 = 1000.0;
const NAME_RULE: &str = "must be a name of at most 64 small letters, digits and underscores";
const TEXT_RULE: &str = "must be a text that is not empty";

/// What a right answer may decide.
const DECISIONS: [(&str, Decision); 3] = [
    ("rollback", Decision::Rollback),
    ("hold", Decision::Hold),
    ("promote", Decision::Promote),
];

impl ExamSpec {
    /// Reads the member `Exam`.
    pub(crate) fn read(fields: &mut Fields, registry: Registry) -> Self {
        fields.section("Exam", "Drills that mark a diagnosis.", |exam| {
            // Those that are built in are read only where they are needed.
            let taken: &[Preset] = match exam.has("Presets") {
                true => &EMBEDDED,
                false => &[],
            };
            Self {
                presets: presets(exam, Some(registry), taken),
            }
        })
    }
}

/// Reads the member `Presets`, whose names must not be among those that are `taken`. Where a `registry` is given, each
/// preset is checked against it.
pub(super) fn presets(
    fields: &mut Fields,
    registry: Option<Registry>,
    taken: &[Preset],
) -> Vec<Preset> {
    let about = "What drills can be made of, beside the presets that are built in.";
    let mut seen = Vec::new();
    let presets = fields.objects("Presets", about, |fields| {
        let preset = Preset::read(fields, registry)?;
        let name = &preset.name;
        if taken.iter().any(|taken| taken.name == *name) {
            let detail = format!("must not be {name}, which is built in: take another name");
            fields.reject("name", detail);
        }
        if seen.contains(name) {
            fields.reject("name", format!("must not be {name}, which is there before"));
        }
        seen.push(name.clone());
        Some(preset)
    });
    presets.into_iter().flatten().collect()
}

impl Preset {
    /// None where something is missing, which is reported.
    fn read(fields: &mut Fields, registry: Option<Registry>) -> Option<Self> {
        let name = name(fields, "The name of the preset.");
        fields.require("difficulty");
        let about = "How hard it is to diagnose.";
        let difficulty = fields.field("difficulty", about).optional();
        let difficulty = difficulty.choice(&Difficulty::NAMES);
        let description = text(fields, "description", "What happens.");
        let about = "What separates it, in what others can see, from what it is mistaken for.";
        let tell_tale = text(fields, "tell_tale", about);
        let about = "Whether the onset is the opening of the drill and not drawn.";
        let from_birth = fields.field("from_birth", about).flag(false);
        let about = "Whether a restart of the same version finds the faults again, unless the drill says it.";
        let persist = fields.field("persist", about).optional();
        let persist = persist.choice(&Persist::NAMES);
        let about = "The faults; each scenario at most once.";
        let scenarios = fields.objects("scenarios", about, PresetScenario::read);
        let about = "A shape that multiplies the requests of the traffic, from the onset on.";
        let traffic = fields.field("traffic", about).optional();
        let traffic = traffic.any(json!({ "type": "object" }));
        fields.require("expect");
        let expect = fields.object("expect", "What a right answer is.", Expected::read);
        let preset = Self {
            name: name?,
            difficulty: difficulty?,
            description: description?,
            tell_tale: tell_tale?,
            from_birth,
            persist,
            scenarios: scenarios.into_iter().collect::<Option<_>>()?,
            traffic,
            expect: expect?,
        };
        // Of a preset with errors, a part may be missing here.
        if fields.is_good() {
            check::check(&preset, fields, registry);
        }
        Some(preset)
    }
}

impl PresetScenario {
    /// None where something is missing, which is reported.
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.require("name");
        let about = "The name of the scenario.";
        let name = fields.field("name", about).optional();
        let name = name.text(TEXT_RULE, not_empty);
        let about = "Seconds after the onset, or a range to draw them from, as {draw: [30, 60]}.";
        let after = time(fields, "after", about);
        let about = "Seconds, or a range to draw them from. Absent: as long as the drill's faults.";
        let duration = time(fields, "duration", about);
        let about = "As in a start; in the place of any value, {draw: [low, high]} for a number, {choose: [..]} for \
                     one of a list, of upstreams or of routes, and {of_limit: x} for a share of the CPU limit in cores.";
        let params = fields.field("params", about).optional();
        let rule = "must be an object";
        let schema = json!({ "type": "object" });
        let params = params.value(schema, rule, |params| params.as_object().cloned());
        let params = params.unwrap_or_default();
        let about = "Parameters that are rates of growth, which a time scale divides.";
        let rates = names(fields, "rates", about);
        let about = "Parameters that are times in seconds, which a time scale multiplies.";
        let times = names(fields, "times", about);
        let graded = graded(fields);
        let scaled = [("rates", rates.iter()), ("times", times.iter())];
        let scaled = scaled
            .into_iter()
            .flat_map(|(list, names)| names.map(move |n| (list, n)));
        let marked = graded.keys().map(|name| ("graded", name));
        for (list, name) in scaled.chain(marked) {
            if !params.contains_key(name) {
                fields.reject(list, format!("has {name}, which is none of its params"));
            }
        }
        Some(Self {
            name: name?,
            after: after.unwrap_or_else(|| 0.into()),
            duration,
            params,
            rates,
            times,
            graded,
        })
    }
}

impl Expected {
    /// None where something is missing, which is reported.
    fn read(fields: &mut Fields) -> Option<Self> {
        let about = "The scenarios that are independent causes; none for a control.";
        let causes = names(fields, "causes", about);
        let about = "The scenarios that may be named too, without credit or blame: consequences and passing oddities.";
        let derived = names(fields, "derived", about);
        fields.require("decision");
        let about = "What to do with the release.";
        let decision = fields.field("decision", about).optional();
        let decision = decision.choice(&DECISIONS)?;
        Some(Self {
            causes,
            derived,
            decision,
        })
    }
}

fn name(fields: &mut Fields, about: &'static str) -> Option<String> {
    const LONGEST: usize = 64;
    fields.require("name");
    let name = fields.field("name", about).optional();
    name.text(NAME_RULE, |name| {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name = !name.is_empty() && name.len() <= LONGEST && name.bytes().all(is_part);
        is_name.then(|| name.to_owned())
    })
}

fn text(fields: &mut Fields, name: &'static str, about: &'static str) -> Option<String> {
    fields.require(name);
    fields
        .field(name, about)
        .optional()
        .text(TEXT_RULE, not_empty)
}

fn not_empty(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn names(fields: &mut Fields, name: &'static str, about: &'static str) -> Vec<String> {
    let item = json!({ "type": "string" });
    let what = "names";
    fields.field(name, about).list_of(item, what, not_empty)
}

/// A time in seconds, or one that is drawn.
fn time(fields: &mut Fields, name: &'static str, about: &'static str) -> Option<Value> {
    let rule = "must be a number of seconds from 0 to 86400, or {draw: [low, high]} with such numbers above 0";
    let schema = json!({ "type": ["number", "object"] });
    let field = fields.field(name, about).unit("s").optional();
    field.value(schema, rule, |given| {
        let is_time = |time: &Value| {
            time.as_f64()
                .is_some_and(|s| (0.0..=LONGEST_S).contains(&s))
        };
        let ends = given.get("draw").and_then(Value::as_array);
        let is_good = match ends {
            Some(ends) => ends.iter().all(is_time) && drawing::mistakes(given, "").is_empty(),
            None => is_time(given),
        };
        is_good.then(|| given.clone())
    })
}

/// Which parameters are marked, and where the truth is.
fn graded(fields: &mut Fields) -> BTreeMap<String, Truth> {
    let about = "The parameters that an answer may give, each with where its true value is read: the mean of what is \
                 achieved, its slope, or what is asked.";
    let names = Truth::NAMES.map(|(name, _)| name);
    let schema = json!({ "type": "object", "additionalProperties": { "enum": names } });
    let rule = "must be an object of names of parameters, each with achieved, slope or asked";
    let of = |truth: &Value| {
        let mut known = Truth::NAMES.into_iter();
        known
            .find(|(name, _)| truth == name)
            .map(|(_, truth)| truth)
    };
    let field = fields.field("graded", about);
    field.value(schema, rule, (BTreeMap::new(), json!({})), |given| {
        let given = given.as_object()?.iter();
        given
            .map(|(name, truth)| Some((name.clone(), of(truth)?)))
            .collect()
    })
}

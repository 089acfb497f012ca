//! `bad_payload`: answers say 200 and have the wrong content, as a functional regression does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::fault::{Action, Edit, Exchange, Matcher, Rewrite, TrafficProbe};
use crate::input::Fields;
use crate::plugin::{Active, Group, RunContext, Scenario, StartError};
use crate::sync::Lock;

/// The most answers that `stale` remembers, and the bytes of all of them.
const MOST_ANSWERS: usize = 1000;
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Changes the JSON of matching answers that say success.
#[derive(Debug)]
pub(super) struct BadPayload {
    mode: Mode,
    matcher: Matcher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The text ends in its middle.
    TruncatedJson,
    /// The first member of each object has another type.
    WrongType,
    /// The first member of each object is not there.
    MissingField,
    /// The first answer on a path is repeated.
    Stale,
    /// There is no text.
    Empty,
}

impl Scenario for BadPayload {
    const NAME: &'static str = "bad_payload";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str = "Answers with success and the wrong JSON";
    const EXAMPLE: &'static str = r#"{"mode": "missing_field", "match": {"share": 0.5}}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "JSON that ends in its middle, a member of the wrong type, one that is missing, the first answer \
                     on each path again, or no content.";
        let mode = fields.field("mode", about).choice(&[
            ("truncated_json", Mode::TruncatedJson),
            ("wrong_type", Mode::WrongType),
            ("missing_field", Mode::MissingField),
            ("stale", Mode::Stale),
            ("empty", Mode::Empty),
        ]);
        Self {
            mode,
            matcher: Matcher::read(fields),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let mode = self.mode;
        let first = Arc::new(FirstAnswers::default());
        let tally = cx.arm(self.matcher, move |exchange, _| {
            Action::Edit(Edit::Rewrite(match mode {
                Mode::Stale => stale(&first, exchange),
                Mode::TruncatedJson => Rewrite::new(truncated),
                Mode::WrongType => Rewrite::new(|body| edited(body, wrong_type)),
                Mode::MissingField => Rewrite::new(|body| edited(body, without)),
                Mode::Empty => Rewrite::new(|_| Some(Bytes::new())),
            }))
        });
        let probe = TrafficProbe::share(tally, "share of requests").metrics(&[
            ("matched_requests", |tally| tally.matched().into()),
            ("changed_answers", |tally| tally.touched().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

/// The first half of an object, a list or a text; a half of anything else may be whole.
fn truncated(body: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?.trim_end();
    let is_closed = text.ends_with(['}', ']', '"']);
    let half = (0..=text.len() / 2).rev();
    let half = half.into_iter().find(|at| text.is_char_boundary(*at))?;
    (is_closed && half > 0).then(|| body.slice(..half))
}

/// The body after `edit` of the first member of its object, or of each object in its list; none where there is none.
fn edited(body: &Bytes, edit: fn(&mut Object, String)) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    let objects: Vec<&mut Value> = match &mut value {
        Value::Array(items) => items.iter_mut().collect(),
        one => vec![one],
    };
    let mut is_edited = false;
    for object in objects.into_iter().filter_map(Value::as_object_mut) {
        if let Some(name) = object.keys().next().cloned() {
            edit(object, name);
            is_edited = true;
        }
    }
    is_edited.then(|| value.to_string().into())
}

type Object = serde_json::Map<String, Value>;

fn without(object: &mut Object, name: String) {
    object.shift_remove(&name);
}

fn wrong_type(object: &mut Object, name: String) {
    let Some(member) = object.get_mut(&name) else {
        return;
    };
    *member = match member.take() {
        Value::String(text) => json!(text.len()),
        Value::Number(number) => json!(number.to_string()),
        Value::Bool(flag) => json!(flag.to_string()),
        Value::Null => json!(0),
        Value::Array(_) => json!({}),
        Value::Object(_) => json!([]),
    };
}

/// The first answer on each path.
#[derive(Debug, Default)]
struct FirstAnswers(Lock<Answers>);

#[derive(Debug, Default)]
struct Answers {
    by_path: HashMap<String, Bytes>,
    bytes: usize,
}

impl FirstAnswers {
    /// The first answer on `path` where `body` is another one. A first one is remembered where it is `counted` and
    /// there is room.
    fn instead_of(&self, path: String, body: &Bytes, counted: bool) -> Option<Bytes> {
        let mut answers = self.0.lock();
        let has_room = answers.by_path.len() < MOST_ANSWERS
            && answers.bytes.saturating_add(body.len()) <= MOST_BYTES;
        match answers.by_path.entry(path) {
            Entry::Occupied(first) => Some(first.get().clone()).filter(|first| first != body),
            Entry::Vacant(place) => {
                if counted && has_room {
                    place.insert(body.clone());
                    answers.bytes += body.len();
                }
                None
            }
        }
    }
}

fn stale(first: &Arc<FirstAnswers>, exchange: &Exchange<'_>) -> Rewrite {
    let (first, counted) = (Arc::clone(first), exchange.counted);
    let path = exchange.path.to_owned();
    Rewrite::new(move |body| first.instead_of(path.clone(), body, counted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::tests::assert_defaults;

    #[test]
    fn defaults() {
        assert_defaults::<BadPayload>(json!({
            "mode": "truncated_json",
            "match": {
                "routes": [], "headers": {}, "probes": true, "share": 1, "every": 1,
            },
        }));
    }

    fn text(body: Option<Bytes>) -> Option<String> {
        body.map(|body| String::from_utf8(body.to_vec()).expect("a text"))
    }

    #[test]
    fn json_is_cut_in_its_middle_and_never_whole() {
        for body in [r#"{"a":1}"#, "[1,2,3]", r#""ä""#, r#"{"ä":"öü"}"#] {
            let cut = text(truncated(&body.into())).expect("it can be cut");
            assert!(body.starts_with(&cut) && cut.len() <= body.len() / 2);
            assert!(serde_json::from_str::<Value>(&cut).is_err(), "{cut}");
        }
        for body in ["1234", "true", ""] {
            assert_eq!(truncated(&body.into()), None, "{body}");
        }
    }

    #[test]
    fn the_first_member_changes_its_type_or_is_missing() {
        for (body, changed, missing) in [
            (r#"{"a":"xy","b":2}"#, r#"{"a":2,"b":2}"#, r#"{"b":2}"#),
            (
                r#"[{"a":1},{"a":null}]"#,
                r#"[{"a":"1"},{"a":0}]"#,
                "[{},{}]",
            ),
            (r#"{"items":[1]}"#, r#"{"items":{}}"#, "{}"),
            (r#"{"o":{},"c":1}"#, r#"{"o":[],"c":1}"#, r#"{"c":1}"#),
            (r#"{"ok":true}"#, r#"{"ok":"true"}"#, "{}"),
        ] {
            let body = body.into();
            assert_eq!(text(edited(&body, wrong_type)).as_deref(), Some(changed));
            assert_eq!(text(edited(&body, without)).as_deref(), Some(missing));
        }
        for body in ["{}", "[]", "[1]", "7", "{"] {
            assert_eq!(edited(&body.into(), without), None, "{body}");
        }
    }

    #[test]
    fn the_first_answer_on_a_path_is_the_stale_one() {
        let first = FirstAnswers::default();
        let answer = |path: &str, body: &'static str, counted| {
            let body = Bytes::from_static(body.as_bytes());
            text(first.instead_of(path.to_owned(), &body, counted))
        };
        assert_eq!(answer("/a", "own", false), None);
        assert_eq!(answer("/a", "1", true), None);
        assert_eq!(answer("/a", "2", true).as_deref(), Some("1"));
        assert_eq!(answer("/a", "1", true), None, "nothing changes");
        assert_eq!(answer("/b", "3", true), None);
    }

    #[test]
    fn no_more_answers_are_remembered_than_there_is_room_for() {
        let first = FirstAnswers::default();
        for n in 0..2 * MOST_ANSWERS {
            first.instead_of(n.to_string(), &Bytes::from_static(b"1"), true);
        }
        assert_eq!(first.0.lock().by_path.len(), MOST_ANSWERS);
        let first = FirstAnswers::default();
        let large = Bytes::from(vec![b' '; MOST_BYTES / 2 + 1]);
        first.instead_of("a".to_owned(), &large, true);
        first.instead_of("b".to_owned(), &large, true);
        assert_eq!(first.0.lock().by_path.len(), 1);
    }
}

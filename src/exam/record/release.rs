//! What a release system says that it did.

use serde_json::{Map, Value};

use super::facts::{ReleaseAct, ReleaseFacts};
use crate::input::FieldError;

/// The acts, by the names that a plain event has.
const KINDS: [(&str, ReleaseAct); 5] = [
    ("rolled_back", ReleaseAct::RolledBack),
    ("promoted", ReleaseAct::Promoted),
    ("paused", ReleaseAct::Paused),
    ("restarted", ReleaseAct::Restarted),
    ("other", ReleaseAct::Other),
];
/// The phases of a Flagger canary that say what was done with it.
///
/// Source: the event webhook of <https://docs.flagger.app/usage/webhooks>.
const PHASES: [(&str, ReleaseAct); 2] = [
    ("Succeeded", ReleaseAct::Promoted),
    ("Failed", ReleaseAct::RolledBack),
];

impl ReleaseFacts {
    /// Reads `{"kind": "rolled_back", ...}`, or what Flagger's event webhook sends. Further members are kept as they are:
    /// senders have their own.
    ///
    /// # Errors
    /// Neither `kind` nor `phase` is there, or it is no known one.
    pub(crate) fn read(body: Map<String, Value>) -> Result<Self, Vec<FieldError>> {
        let what = match (body.get("kind"), body.get("phase")) {
            (Some(kind), _) => named(kind, &KINDS).ok_or_else(|| {
                let names = KINDS.map(|(name, _)| name).join(", ");
                FieldError::new("/kind", format!("must be one of {names}"))
            }),
            (None, Some(phase)) if phase.is_string() => {
                Ok(named(phase, &PHASES).unwrap_or(ReleaseAct::Other))
            }
            (None, Some(_)) => Err(FieldError::new("/phase", "must be the name of a phase")),
            (None, None) => Err(FieldError::new(
                "/kind",
                "is missing, and so is the phase of a canary",
            )),
        };
        let what = what.map_err(|error| vec![error])?;
        Ok(Self { what, body })
    }
}

fn named(value: &Value, names: &[(&str, ReleaseAct)]) -> Option<ReleaseAct> {
    let known = names.iter().find(|(name, _)| value == *name);
    known.map(|(_, act)| *act)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<ReleaseAct, String> {
        let Value::Object(body) = body else {
            panic!("an object")
        };
        let read = ReleaseFacts::read(body);
        read.map(|facts| facts.what)
            .map_err(|errors| errors[0].pointer.clone())
    }

    #[test]
    fn plain_events_and_those_of_flagger_are_read() {
        assert_eq!(
            read(json!({ "kind": "rolled_back" })),
            Ok(ReleaseAct::RolledBack)
        );
        let flagger = |phase| {
            json!({
                "name": "shop", "namespace": "test", "phase": phase, "checksum": "85d557f47b",
                "metadata": { "eventMessage": "...", "eventType": "Normal", "timestamp": "1578607635167" },
            })
        };
        assert_eq!(read(flagger("Failed")), Ok(ReleaseAct::RolledBack));
        assert_eq!(read(flagger("Succeeded")), Ok(ReleaseAct::Promoted));
        assert_eq!(read(flagger("Progressing")), Ok(ReleaseAct::Other));
        assert_eq!(read(json!({ "kind": "exploded" })), Err("/kind".to_owned()));
        assert_eq!(read(json!({ "phase": 3 })), Err("/phase".to_owned()));
        assert_eq!(read(json!({})), Err("/kind".to_owned()));
    }
}

//! Who asked for a start, a stop or a halt.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Who asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The boot profile of the configuration, written as `boot`.
    Boot,
    /// A signal to the process, written as `signal`.
    Signal,
    /// A drill, written as `exam`.
    Exam,
    /// A client, written as its address.
    #[serde(untagged)]
    Client(SocketAddr),
}

impl fmt::Display for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("boot"),
            Self::Signal => f.write_str("signal"),
            Self::Exam => f.write_str("exam"),
            Self::Client(address) => address.fmt(f),
        }
    }
}

impl JsonSchema for Initiator {
    fn schema_name() -> Cow<'static, str> {
        "Initiator".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A client's address, `boot` for the boot profile of the configuration, `signal`, or `exam` for a drill.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initiator_is_an_address_or_a_part_of_the_daemon() {
        let client = Initiator::Client(([127, 0, 0, 1], 4711).into());
        for (initiator, text) in [
            (client, "127.0.0.1:4711"),
            (Initiator::Boot, "boot"),
            (Initiator::Signal, "signal"),
            (Initiator::Exam, "exam"),
        ] {
            assert_eq!(initiator.to_string(), text);
            assert_eq!(serde_json::json!(initiator), text);
            let read: Initiator = serde_json::from_value(text.into()).expect("an initiator");
            assert_eq!(read, initiator);
        }
        assert!(serde_json::from_str::<Initiator>("\"other\"").is_err());
    }
}

//! Who asked for a start, a stop or a halt.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Who asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// A client, written as its address.
    Client(SocketAddr),
    /// The boot profile of the configuration, written as `boot`.
    Boot,
    /// A signal to the process, written as `signal`.
    Signal,
}

const BOOT: &str = "boot";
const SIGNAL: &str = "signal";

impl fmt::Display for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(address) => address.fmt(f),
            Self::Boot => f.write_str(BOOT),
            Self::Signal => f.write_str(SIGNAL),
        }
    }
}

impl Serialize for Initiator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Initiator {
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

impl JsonSchema for Initiator {
    fn schema_name() -> Cow<'static, str> {
        "Initiator".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A client's address, `boot` for the boot profile of the configuration, or `signal`.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initiator_is_an_address_the_boot_profile_or_a_signal() {
        let client = Initiator::Client(([127, 0, 0, 1], 4711).into());
        for (initiator, text) in [
            (client, "\"127.0.0.1:4711\""),
            (Initiator::Boot, "\"boot\""),
            (Initiator::Signal, "\"signal\""),
        ] {
            assert_eq!(serde_json::to_string(&initiator).expect("a string"), text);
            assert_eq!(
                serde_json::from_str::<Initiator>(text).expect("known"),
                initiator
            );
        }
        assert!(serde_json::from_str::<Initiator>("\"somebody\"").is_err());
    }
}

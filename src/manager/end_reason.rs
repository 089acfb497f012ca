//! Why a run ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a run ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Somebody asked for it.
    Stopped,
    /// Its duration was over.
    Expired,
    /// A later start took its place.
    Replaced,
    /// It could not go on.
    Failed,
    /// Something that its start named in `abort_when` was measured.
    Aborted,
    /// Its client did not renew the lease.
    LeaseExpired,
    /// The daemon was told to end.
    Shutdown,
}

impl EndReason {
    /// Every reason there is.
    pub const ALL: [Self; 7] = [
        Self::Stopped,
        Self::Expired,
        Self::Replaced,
        Self::Failed,
        Self::Aborted,
        Self::LeaseExpired,
        Self::Shutdown,
    ];

    /// Its name, as it stands in JSON too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::LeaseExpired => "lease_expired",
            Self::Shutdown => "shutdown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_name() {
        for reason in EndReason::ALL {
            assert_eq!(serde_json::json!(reason), reason.name());
        }
    }
}

//! Why a run ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a run ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A client or the boot profile asked for it.
    Stopped,
    /// Its duration was over.
    Expired,
    /// A later start replaced it.
    Replaced,
    /// It could not start, or could not continue.
    Failed,
    /// A condition of `abort_when` was met.
    Aborted,
    /// Its client did not renew the lease in time.
    LeaseExpired,
    /// The daemon shut down.
    Shutdown,
    /// A scenario or the boot profile ended the process on purpose.
    Exit,
    /// The process vanished.
    Unclean,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Stopped,
        Self::Expired,
        Self::Replaced,
        Self::Failed,
        Self::Aborted,
        Self::LeaseExpired,
        Self::Shutdown,
        Self::Exit,
        Self::Unclean,
    ];

    /// The reasons that the process survives, and so can count.
    pub fn observable() -> impl Iterator<Item = Self> {
        let all = Self::ALL.into_iter();
        all.filter(|reason| !matches!(reason, Self::Exit | Self::Unclean))
    }

    /// Its name in JSON, in metrics and in the log.
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
            Self::Exit => "exit",
            Self::Unclean => "unclean",
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

//! `log_silence`: the service logs nothing any more.
//!
//! Its last words before an end stay, and so do the lines that the daemon has for its operator.

use super::metrics;
use crate::input::Fields;
use crate::plugin::{
    Active, Conflicts, Group, Reading, RunContext, Scenario, Shortfall, StartError,
};

/// Holds the lines of the service back.
#[derive(Debug)]
pub(super) struct LogSilence;

impl Scenario for LogSilence {
    const NAME: &'static str = "log_silence";
    const GROUP: Group = Group::Signals;
    const SUMMARY: &'static str =
        "Stops the service's own log lines, but not the last ones before an end";
    const EXAMPLE: &'static str = "{}";
    const CONFLICTS: Conflicts = &[("log_flood", "one fills the log that the other keeps empty")];

    fn read(_: &mut Fields) -> Self {
        Self
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let log = cx.hooks().log.clone();
        let before = log.held_back();
        let guards = (log.silence(), cx.live_guard());
        let probe = move || reading(log.held_back() - before);
        Ok(Active::hold(probe, guards, cx.stop))
    }
}

fn reading(held_back: u64) -> Reading {
    Reading {
        asked: held_back.max(1) as f64,
        achieved: Some(held_back as f64),
        unit: "lines",
        // A service without requests may have nothing to log.
        shortfall: (held_back == 0).then_some(Shortfall::NoTraffic),
        metrics: metrics([("held_back_lines", held_back.into())]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<LogSilence>(json!({}));
    }

    #[tokio::test]
    async fn it_starts_and_stops() {
        starts_and_stops::<LogSilence>(json!({})).await;
    }
}

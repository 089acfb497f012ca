//! `health_check`: the probe routes fail.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::fault::{Action, Matcher, Reply, Surface, Surfaces, TrafficProbe};
use crate::input::{Fields, Resource};
use crate::plugin::{Active, Group, RunContext, Scenario, StartError};

/// Makes the probe routes fail.
#[derive(Debug)]
pub(super) struct HealthCheck {
    mode: FailureMode,
    status: StatusCode,
    fail_rate: f64,
    delay: Duration,
    probes: Vec<Surface>,
    seed: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureMode {
    /// Every probe gets the failure status.
    Always,
    /// A share of the probes gets it.
    Intermittent,
    /// Every probe is answered as usual, but too late.
    Delayed,
}

impl Scenario for HealthCheck {
    const NAME: &'static str = "health_check";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str = "Makes the health check endpoints fail";
    const EXAMPLE: &'static str = r#"{"failure_mode": "intermittent", "fail_rate": 0.3}"#;

    fn read(fields: &mut Fields) -> Self {
        let mode = fields
            .field(
                "failure_mode",
                "Fail every probe, a share of them, or answer them too late.",
            )
            .choice(&[
                ("always", FailureMode::Always),
                ("intermittent", FailureMode::Intermittent),
                ("delayed", FailureMode::Delayed),
            ]);
        let status = fields
            .field(
                "status_code",
                "HTTP status of a failed probe (always, intermittent).",
            )
            .integer(400..=599_u16, 503);
        let fail_rate = fields
            .field("fail_rate", "Share of the probes that fail (intermittent).")
            .number(0.0..=1.0, 0.5);
        let delay = fields
            .field(
                "delay_ms",
                "How long a probe waits for its answer (delayed).",
            )
            .asks_for(Resource::LatencyMs)
            .milliseconds(0.0..=600_000.0, 10_000.0);
        let probes = fields.field("probes", "Which probes fail.").any_of(
            &[
                ("health", Surface::Health),
                ("ready", Surface::Ready),
                ("startup", Surface::Startup),
            ],
            &["health", "ready"],
        );
        let seed = fields
            .field(
                "seed",
                "Makes the sequence of failures repeatable (intermittent).",
            )
            .optional()
            .integer(0..=u32::MAX);
        Self {
            mode,
            // The range above contains only valid status codes.
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            fail_rate,
            delay,
            probes,
            seed,
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let action = self.action();
        let tally = cx.arm(self.matcher(), move |_, _| action.clone());
        let probe = TrafficProbe::share(tally, "share of probes").metrics(&[
            ("probes", |tally| tally.matched().into()),
            ("failed_probes", |tally| tally.touched().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

impl HealthCheck {
    fn matcher(&self) -> Matcher {
        let share = match self.mode {
            FailureMode::Intermittent => self.fail_rate,
            FailureMode::Always | FailureMode::Delayed => 1.0,
        };
        let probes = Surfaces::of(&self.probes);
        Matcher::on(probes).share(share).seeded(self.seed)
    }

    fn action(&self) -> Action {
        match self.mode {
            FailureMode::Delayed => Action::Delay(self.delay),
            FailureMode::Always | FailureMode::Intermittent => {
                Action::Reply(Reply::json(self.status, json!({ "status": "unhealthy" })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read};

    #[test]
    fn defaults() {
        assert_defaults::<HealthCheck>(json!({
            "failure_mode": "always",
            "status_code": 503,
            "fail_rate": 0.5,
            "delay_ms": 10000,
            "probes": ["health", "ready"],
        }));
    }

    fn fault(given: Value) -> (Matcher, Action) {
        let (fault, _) = read::<HealthCheck>(given).expect("valid parameters");
        (fault.matcher(), fault.action())
    }

    fn unhealthy(status: StatusCode) -> Action {
        Action::Reply(Reply::json(status, json!({ "status": "unhealthy" })))
    }

    #[test]
    fn always_answers_every_probe_with_the_status() {
        let failed = unhealthy(StatusCode::INTERNAL_SERVER_ERROR);
        let probes = Matcher::on(Surfaces::of(&[Surface::Startup]));
        let given = json!({ "status_code": 500, "fail_rate": 0, "probes": ["startup"] });
        assert_eq!(fault(given), (probes, failed));
    }

    #[test]
    fn intermittent_fails_its_share_with_the_status() {
        let failed = unhealthy(StatusCode::TOO_MANY_REQUESTS);
        let probes = Matcher::on(Surfaces::of(&[Surface::Health, Surface::Ready]));
        let mode = "intermittent";
        let given =
            json!({ "failure_mode": mode, "fail_rate": 0.3, "status_code": 429, "seed": 7 });
        assert_eq!(fault(given), (probes.share(0.3).seeded(Some(7)), failed));
    }

    #[test]
    fn delayed_waits_and_then_answers_as_usual() {
        let (matcher, action) = fault(json!({ "failure_mode": "delayed", "fail_rate": 0 }));
        assert_eq!(action, Action::Delay(Duration::from_secs(10)));
        assert_eq!(matcher, matcher.clone().share(1.0));
    }
}

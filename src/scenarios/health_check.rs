//! `health_check`: the probe routes fail.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::fault::{
    Action, Draw, Exchange, Matcher, Reply, RequestFault, Surface, Surfaces, TrafficProbe,
};
use crate::input::{Fields, Resource};
use crate::plugin::{Active, Params, RunContext, Scenario, StartError};

/// Makes the probe routes fail.
#[derive(Debug)]
pub(super) struct HealthCheck;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Every probe gets the failure status.
    Always,
    /// A share of the probes gets it.
    Intermittent,
    /// Every probe is answered as usual, but too late.
    Delayed,
}

#[derive(Debug, Clone)]
pub(super) struct HealthCheckParams {
    mode: Mode,
    status: StatusCode,
    fail_rate: f64,
    delay: Duration,
    probes: Vec<Surface>,
    seed: Option<u32>,
}

impl Params for HealthCheckParams {
    fn read(fields: &mut Fields) -> Self {
        let mode = fields
            .field(
                "failure_mode",
                "Fail every probe, a share of them, or answer them too late.",
            )
            .choice(&[
                ("always", Mode::Always),
                ("intermittent", Mode::Intermittent),
                ("delayed", Mode::Delayed),
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
        let delay_ms = fields
            .field(
                "delay_ms",
                "How long a probe waits for its answer (delayed).",
            )
            .unit("ms")
            .asks_for(Resource::LatencyMs)
            .integer(0..=600_000_u32, 10_000);
        let probes = fields
            .field("probes", "Which probes are concerned.")
            .any_of(
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
            // The range above holds valid status codes only.
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            fail_rate,
            delay: Duration::from_millis(delay_ms.into()),
            probes,
            seed,
        }
    }
}

impl Scenario for HealthCheck {
    const NAME: &'static str = "health_check";
    const SUMMARY: &'static str = "Makes the health check endpoints fail";
    type Params = HealthCheckParams;

    async fn start(params: HealthCheckParams, cx: RunContext) -> Result<Active, StartError> {
        let asked = params.asked_share();
        let probes = Surfaces::of(&params.probes);
        let tally = cx.arm(Matcher::on(probes).seeded(params.seed), params);
        let probe = TrafficProbe::share(tally, "share of probes", move |_| asked).metrics(&[
            ("probes", |tally| tally.matched().into()),
            ("failed_probes", |tally| tally.touched().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

impl HealthCheckParams {
    /// The share of probes that is to be touched.
    fn asked_share(&self) -> f64 {
        match self.mode {
            Mode::Intermittent => self.fail_rate,
            Mode::Always | Mode::Delayed => 1.0,
        }
    }
}

impl RequestFault for HealthCheckParams {
    fn act(&self, _: &Exchange<'_>, draw: &mut Draw) -> Action {
        if self.mode == Mode::Intermittent && draw.uniform() >= self.fail_rate {
            return Action::Pass;
        }
        if self.mode == Mode::Delayed {
            return Action::Delay(self.delay);
        }
        Action::Reply(Reply::json(self.status, json!({ "status": "unhealthy" })))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn actions(given: serde_json::Value) -> Vec<Action> {
        let mut fields = Fields::new("", super::super::object(given));
        let fault = HealthCheckParams::read(&mut fields);
        let request = Request::new(());
        let exchange = Exchange::new(Surface::Ready, &request);
        let act = |n| fault.act(&exchange, &mut Draw::seeded(n));
        (0..1000).map(act).collect()
    }

    fn unhealthy(status: StatusCode) -> Action {
        Action::Reply(Reply::json(status, json!({ "status": "unhealthy" })))
    }

    #[test]
    fn always_answers_every_probe_with_the_status() {
        let always = actions(json!({ "status_code": 500 }));
        let expected = unhealthy(StatusCode::INTERNAL_SERVER_ERROR);
        assert!(always.iter().all(|action| *action == expected));
    }

    #[test]
    fn intermittent_fails_its_share_with_the_status() {
        let at = |rate: f64| {
            let mode = "intermittent";
            let given = json!({ "failure_mode": mode, "fail_rate": rate, "status_code": 429 });
            let failed = unhealthy(StatusCode::TOO_MANY_REQUESTS);
            let actions = actions(given).into_iter();
            actions.filter(|action| *action == failed).count()
        };
        assert_eq!((at(0.0), at(1.0)), (0, 1000));
        // The 99.9 % interval of a binomial count with p = 0.3 and n = 1,000.
        assert!((252..=348).contains(&at(0.3)), "{}", at(0.3));
    }

    #[test]
    fn delayed_waits_and_then_answers_as_usual() {
        let delayed = actions(json!({ "failure_mode": "delayed" }));
        assert_eq!(delayed[0], Action::Delay(Duration::from_secs(10)));
    }
}

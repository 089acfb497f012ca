//! `health_check`: the probe routes fail.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::ceilings::Resource;
use crate::fault::{Reply, RequestFault, Surface, Tally, Verdict};
use crate::fields::Fields;
use crate::plugin::{Active, Params, Probe, Reading, RunContext, Scenario, Shortfall, StartError};

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
            .optional_integer(0..=u32::MAX);
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
        let tally = Arc::new(Tally::default());
        cx.faults.arm(params.clone(), Arc::clone(&tally));
        Ok(Active::armed(
            Arc::new(HealthProbe { params, tally }),
            cx.stop,
        ))
    }
}

impl HealthCheckParams {
    /// The share of probes that shall be touched.
    fn asked_share(&self) -> f64 {
        if self.mode == Mode::Intermittent {
            self.fail_rate
        } else {
            1.0
        }
    }
}

impl RequestFault for HealthCheckParams {
    fn concerns(&self, surface: Surface) -> bool {
        self.probes.contains(&surface)
    }

    fn judge(&self, roll: f64) -> Verdict {
        if roll >= self.asked_share() {
            return Verdict::default();
        }
        if self.mode == Mode::Delayed {
            return Verdict {
                delay: self.delay,
                reply: None,
            };
        }
        let reply = Reply {
            status: self.status,
            body: json!({ "status": "unhealthy" }),
        };
        Verdict {
            delay: Duration::ZERO,
            reply: Some(reply),
        }
    }

    fn seed(&self) -> Option<u32> {
        self.seed
    }
}

struct HealthProbe {
    params: HealthCheckParams,
    tally: Arc<Tally>,
}

impl Probe for HealthProbe {
    fn read(&self) -> Reading {
        let metrics = json!({
            "probes": self.tally.concerned(),
            "failed_probes": self.tally.touched(),
        });
        Reading {
            asked: self.params.asked_share(),
            achieved: self.tally.touched_share(),
            unit: "share of probes",
            shortfall: (self.tally.concerned() == 0).then_some(Shortfall::NoTraffic),
            metrics: super::object(metrics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(given: serde_json::Value) -> HealthCheckParams {
        let mut fields = Fields::new("", super::super::object(given));
        HealthCheckParams::read(&mut fields)
    }

    #[test]
    fn always_answers_every_concerned_probe_with_the_status() {
        let fault = params(json!({ "status_code": 500, "probes": ["ready"] }));
        assert!(fault.concerns(Surface::Ready));
        assert!(!fault.concerns(Surface::Health) && !fault.concerns(Surface::Other));
        for roll in [0.0, 0.5, 0.999_999] {
            let reply = fault.judge(roll).reply.expect("a reply");
            assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(reply.body, json!({ "status": "unhealthy" }));
        }
    }

    #[test]
    fn intermittent_fails_below_its_rate_and_uses_the_status() {
        let at = |rate: f64, roll: f64| {
            let fault = params(
                json!({ "failure_mode": "intermittent", "fail_rate": rate, "status_code": 429 }),
            );
            fault.judge(roll).reply.map(|reply| reply.status.as_u16())
        };
        assert_eq!(at(0.3, 0.299), Some(429));
        assert_eq!(at(0.3, 0.3), None);
        assert_eq!(at(0.0, 0.0), None);
        assert_eq!(at(1.0, 0.999_999), Some(429));
    }

    #[test]
    fn delayed_waits_and_then_answers_as_usual() {
        let verdict = params(json!({ "failure_mode": "delayed" })).judge(0.9);
        assert_eq!(
            verdict,
            Verdict {
                delay: Duration::from_secs(10),
                reply: None
            }
        );
    }
}

//! `error_rate`: a share of all requests fails.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, json};

use mockserver::fault::{Reply, RequestFault, Surface, Tally, Verdict};
use mockserver::fields::Fields;
use mockserver::plugin::{Active, Params, Probe, Reading, RunContext, Scenario, StartError};

/// Fails a share of all requests.
#[derive(Debug)]
pub(super) struct ErrorRate;

#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorRateParams {
    share: f64,
}

impl Params for ErrorRateParams {
    /// The only definition: it validates, fills in defaults and makes the schema.
    fn read(fields: &mut Fields) -> Self {
        let share = fields.field("share", "Share of the requests that fail.");
        Self {
            share: share.number(0.0..=1.0, 0.1),
        }
    }
}

impl Scenario for ErrorRate {
    const NAME: &'static str = "error_rate";
    const SUMMARY: &'static str = "Fails a share of all requests";
    type Params = ErrorRateParams;

    async fn start(params: ErrorRateParams, cx: RunContext) -> Result<Active, StartError> {
        let tally = Arc::new(Tally::default());
        cx.faults.arm(params, Arc::clone(&tally));
        let probe = Arc::new(ErrorRateProbe { params, tally });
        Ok(Active::armed(probe, cx.stop))
    }
}

impl RequestFault for ErrorRateParams {
    /// Never the way out.
    fn concerns(&self, surface: Surface) -> bool {
        surface != Surface::Control
    }

    /// Pure: the roll, uniform in [0, 1), is drawn for it, and what it does is counted for it.
    fn judge(&self, roll: f64) -> Verdict {
        let failed = Reply {
            status: StatusCode::BAD_GATEWAY,
            body: json!({ "status": "error" }),
        };
        Verdict {
            reply: (roll < self.share).then_some(failed),
            ..Verdict::default()
        }
    }
}

struct ErrorRateProbe {
    params: ErrorRateParams,
    tally: Arc<Tally>,
}

impl Probe for ErrorRateProbe {
    fn read(&self) -> Reading {
        Reading {
            asked: self.params.share,
            achieved: self.tally.touched_share(),
            unit: "share of requests",
            shortfall: None,
            metrics: Map::from_iter([("failed_requests".to_owned(), self.tally.touched().into())]),
        }
    }
}

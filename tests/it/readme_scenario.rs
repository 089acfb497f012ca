//! `error_rate`: requests to chosen routes fail.

use http::StatusCode;
use serde_json::json;

use mockserver::fault::{Action, Draw, Exchange, Matcher, Reply, RequestFault, TrafficProbe};
use mockserver::input::Fields;
use mockserver::plugin::{Active, Params, RunContext, Scenario, StartError};

/// Fails the requests that its matcher selects: by route, method, header and share.
#[derive(Debug)]
pub(super) struct ErrorRate;

#[derive(Debug)]
pub(super) struct ErrorRateParams {
    matcher: Matcher,
    status: u16,
}

impl Params for ErrorRateParams {
    /// The only definition: it validates, fills in defaults and makes the schema.
    fn read(fields: &mut Fields) -> Self {
        Self {
            matcher: Matcher::read(fields),
            status: fields
                .field("status_code", "HTTP status of a failed request.")
                .integer(400..=599, 502),
        }
    }
}

impl Scenario for ErrorRate {
    const NAME: &'static str = "error_rate";
    const SUMMARY: &'static str = "Fails requests by route and method";
    type Params = ErrorRateParams;

    async fn start(params: ErrorRateParams, cx: RunContext) -> Result<Active, StartError> {
        let matcher = params.matcher.clone();
        let tally = cx.arm(params.matcher, Fail(params.status));
        let asked = move |tally: &_| matcher.expected_share(tally);
        let probe = TrafficProbe::share(tally, "share of requests", asked);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

#[derive(Debug)]
struct Fail(u16);

impl RequestFault for Fail {
    /// Called for the selected requests only. It may look at the exchange, and draw random numbers.
    fn act(&self, _: &Exchange<'_>, _: &mut Draw) -> Action {
        let status = StatusCode::from_u16(self.0).unwrap_or(StatusCode::BAD_GATEWAY);
        Action::Reply(Reply::json(status, json!({ "status": "error" })))
    }
}

//! `error_rate`: requests to chosen routes fail.

use http::StatusCode;
use serde_json::json;

use mockserver::fault::{Action, Matcher, Reply, TrafficProbe};
use mockserver::input::Fields;
use mockserver::plugin::{Active, Group, RunContext, Scenario, StartError};

/// Fails the requests that its matcher selects: by route, method, header and share.
#[derive(Debug)]
pub(super) struct ErrorRate {
    matcher: Matcher,
    status: u16,
}

impl Scenario for ErrorRate {
    const NAME: &'static str = "error_rate";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str = "Fails requests by route and method";
    const EXAMPLE: &'static str = r#"{"match": {"share": 0.1}, "status_code": 503}"#;

    /// The only definition of the parameters: it validates, fills in defaults and makes the schema.
    fn read(fields: &mut Fields) -> Self {
        Self {
            matcher: Matcher::read(fields),
            status: fields
                .field("status_code", "HTTP status of a failed request.")
                .integer(400..=599, 502),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let reply = Reply::json(status, json!({ "status": "error" }));
        // Called for the selected requests only. It may look at the exchange and draw random numbers.
        let tally = cx.arm(self.matcher, move |_exchange, _draw| {
            Action::Reply(reply.clone())
        });
        let probe = TrafficProbe::share(tally, "share of requests");
        Ok(Active::hold(probe, (), cx.stop))
    }
}

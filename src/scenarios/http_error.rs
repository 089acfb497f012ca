//! `http_error`: chosen requests fail with chosen statuses.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Value, json};

use crate::fault::{Action, Draw, Matcher, Reply, TrafficProbe};
use crate::input::{Fields, SMALLEST};
use crate::plugin::{Active, Group, RunContext, Scenario, StartError};

/// The most that one status can weigh beside another.
const LARGEST_WEIGHT: f64 = 1_000_000.0;

/// Answers matching requests with error statuses, instead of their route.
#[derive(Debug)]
pub(super) struct HttpError {
    matcher: Matcher,
    statuses: Weighted,
    /// None where it says nothing but the status.
    body: Option<Value>,
    retry_after: Option<Duration>,
}

impl Scenario for HttpError {
    const NAME: &'static str = "http_error";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str =
        "Answers requests with error statuses, by route, method, header and share";
    const EXAMPLE: &'static str = r#"{"statuses": {"503": 3, "429": 1}, "match": {"share": 0.1}}"#;

    fn read(fields: &mut Fields) -> Self {
        let schema = json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": "^[45][0-9][0-9]$" },
            "additionalProperties": {
                "type": "number", "exclusiveMinimum": 0, "minimum": SMALLEST, "maximum": LARGEST_WEIGHT,
            },
        });
        let rule = "must be an object of statuses from 400 to 599 with a weight above 0 each";
        let default = Weighted(vec![(StatusCode::SERVICE_UNAVAILABLE, 1.0)]);
        let statuses = fields
            .field("statuses", "HTTP statuses, each with its weight.")
            .value(
                schema,
                rule,
                (default, json!({ "503": 1 })),
                Weighted::parse,
            );
        let about = "JSON body of the answers; without it, an object with the status in words as its error.";
        let body = fields.field("body", about).optional().value(
            json!({ "type": "object" }),
            "must be an object",
            |body| body.is_object().then(|| body.clone()),
        );
        let about = "Seconds in the header Retry-After; without it, there is no such header.";
        let retry_after_s = fields.field("retry_after_s", about).optional();
        Self {
            statuses,
            body,
            retry_after: retry_after_s.whole_seconds(0.0..=86_400.0),
            matcher: Matcher::read(fields),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let Self {
            matcher,
            statuses,
            body,
            retry_after,
        } = self;
        let tally = cx.arm(matcher, move |_, draw| {
            let status = statuses.draw(draw);
            let reply = match &body {
                Some(body) => Reply::json(status, body.clone()),
                None => Reply::error(status),
            };
            let reply = match retry_after {
                Some(after) => reply.header(RETRY_AFTER, after.as_secs()),
                None => reply,
            };
            Action::Reply(match cause_of(status) {
                Some(cause) => reply.because(cause),
                None => reply,
            })
        });
        let probe = TrafficProbe::share(tally, "share of requests").metrics(&[
            ("matched_requests", |tally| tally.matched().into()),
            ("failed_requests", |tally| tally.touched().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

/// What a handler logs that fails with `status`; none where the client is to blame, which no service logs as its error.
///
/// Each is an error of the handler's own: none blames an upstream, a pool or the load, whose series do not move.
fn cause_of(status: StatusCode) -> Option<&'static str> {
    let cause = match status.as_u16() {
        400..=499 => return None,
        501 => "handler is not implemented for this kind of item",
        502 => "response could not be parsed: expected value at line 1 column 1",
        503 => "handler is not ready: its settings are not loaded yet",
        504 => "deadline of the request has passed before it was handled",
        _ => "response could not be built: missing value for column \"price_cents\" in row 0",
    };
    Some(cause)
}

/// Statuses with their weights.
#[derive(Debug)]
struct Weighted(Vec<(StatusCode, f64)>);

impl Weighted {
    fn parse(given: &Value) -> Option<Self> {
        let one = |(status, weight): (&String, &Value)| {
            let is_error = status.len() == 3 && status.starts_with(['4', '5']);
            let weight = weight.as_f64()?;
            let in_range = (SMALLEST..=LARGEST_WEIGHT).contains(&weight);
            let status = status.parse().ok().filter(|_| is_error && in_range)?;
            Some((status, weight))
        };
        let statuses: Vec<_> = given.as_object()?.iter().map(one).collect::<Option<_>>()?;
        (!statuses.is_empty()).then_some(Self(statuses))
    }

    /// One of the statuses, each with the chance of its weight.
    fn draw(&self, draw: &mut Draw) -> StatusCode {
        let total: f64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut left = if self.0.len() > 1 {
            draw.uniform() * total
        } else {
            0.0
        };
        for (status, weight) in &self.0 {
            left -= weight;
            if left < 0.0 {
                return *status;
            }
        }
        // Rounding may leave nothing after the last one.
        self.0
            .last()
            .map_or(StatusCode::SERVICE_UNAVAILABLE, |(status, _)| *status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::tests::{assert_defaults, read};

    #[test]
    fn defaults() {
        assert_defaults::<HttpError>(json!({
            "statuses": { "503": 1 },
            "match": {
                "routes": [], "headers": {}, "probes": true, "share": 1, "every": 1,
            },
        }));
    }

    #[test]
    fn statuses_are_drawn_by_their_weights() {
        let (fault, _) =
            read::<HttpError>(json!({ "statuses": { "503": 3, "429": 1 } })).expect("valid");
        let drawn = (0..10_000).map(|n| fault.statuses.draw(&mut Draw::seeded(n)));
        let busy = drawn
            .filter(|status| *status == StatusCode::TOO_MANY_REQUESTS)
            .count();
        // The 99.9 % interval of a binomial count with p = 0.25 and n = 10,000.
        assert!((2358..=2642).contains(&busy), "{busy} of 10,000");
    }

    #[test]
    fn errors_of_the_server_have_a_cause_and_those_of_the_client_none() {
        let status = |status| StatusCode::from_u16(status).expect("a status");
        assert!((400..500).all(|of_client| cause_of(status(of_client)).is_none()));
        assert!((500..600).all(|of_server| cause_of(status(of_server)).is_some()));
        assert_ne!(
            cause_of(StatusCode::SERVICE_UNAVAILABLE),
            cause_of(StatusCode::INTERNAL_SERVER_ERROR)
        );
    }

    #[test]
    fn statuses_that_are_no_errors_and_weights_of_nothing_are_refused() {
        for statuses in [
            json!({}),
            json!({ "200": 1 }),
            json!({ "600": 1 }),
            json!({ "0503": 1 }),
            json!({ "503": 0 }),
            json!({ "503": "1" }),
            json!([503]),
        ] {
            let errors = read::<HttpError>(json!({ "statuses": statuses })).expect_err("invalid");
            assert_eq!(errors[0].pointer, "/statuses", "{statuses}");
        }
    }
}

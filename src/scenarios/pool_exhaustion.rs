//! `pool_exhaustion`: requests wait for places of a pool that is too small, such as connections to a database.
//!
//! A touched request takes a place, holds it for `hold_ms`, as long as a query would take, and then goes on to its
//! route; it gives the place back when it is answered.

use std::sync::Arc;

use crate::fault::{Action, Matcher, Pool, PoolSpec, Tally};
use crate::input::{FieldError, Fields, Resource};
use crate::plugin::{
    Active, Group, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
    Touched,
};
use crate::scenarios::metrics;

/// The name of the pool in the metrics, without another one.
const NAME: &str = "main-db";
const LONGEST_MS: f64 = 600_000.0;

/// Puts a bounded pool before matching requests.
#[derive(Debug)]
pub(super) struct PoolExhaustion {
    matcher: Matcher,
    pool: PoolSpec,
}

impl Scenario for PoolExhaustion {
    const NAME: &'static str = "pool_exhaustion";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str =
        "Makes requests wait for places of a pool, and fail where none comes";
    const EXAMPLE: &'static str = r#"{"size": 5, "hold_ms": 200, "acquire_timeout_ms": 500}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "The most requests that hold a place at once.";
        let size = fields.field("size", about).integer(1..=100_000_u32, 10);
        let mut time = |name, about, default| {
            let field = fields.field(name, about).asks_for(Resource::LatencyMs);
            field.milliseconds(0.0..=LONGEST_MS, default)
        };
        let hold = time(
            "hold_ms",
            "How long a request holds its place before its route is called; it gives it back when it is answered.",
            100.0,
        );
        let timeout = time(
            "acquire_timeout_ms",
            "How long a request waits for a place before it is answered with 503.",
            1000.0,
        );
        let about =
            "The most requests that wait for a place; a further one is answered with 503 at once.";
        let queue = fields.field("queue", about).integer(0..=100_000_u32, 100);
        let about = "The name of the pool in the metrics; main-db by default.";
        let name = fields.field("pool", about).optional().host_name();
        Self {
            pool: PoolSpec {
                name: name.unwrap_or_else(|| NAME.to_owned()),
                size,
                queue,
                hold,
                timeout,
            },
            matcher: Matcher::read(fields),
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let known = context.upstreams.unwrap_or_default();
        if known.contains(&self.pool.name) {
            let detail = "is the name of an upstream, which may have a pool of its own";
            return Err(FieldError::new("/pool", detail));
        }
        Ok(None)
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let pool = Pool::new(self.pool);
        let shown = cx.show_pool(&pool);
        let of_requests = Arc::clone(&pool);
        let tally = cx.arm(self.matcher, move |_, _| {
            Action::Occupy(Arc::clone(&of_requests))
        });
        Ok(Active::hold(PoolProbe { pool, tally }, shown, cx.stop))
    }
}

/// Reads the pool.
struct PoolProbe {
    pool: Arc<Pool>,
    tally: Arc<Tally>,
}

impl Probe for PoolProbe {
    fn read(&self) -> Reading {
        let Self { pool, tally } = self;
        let (size, used) = (pool.spec().size, pool.used());
        Reading {
            asked: size.into(),
            achieved: (tally.matched() > 0).then_some(used.into()),
            unit: "places in use",
            shortfall: (tally.matched() == 0).then_some(Shortfall::NoTraffic),
            metrics: metrics([
                ("matched_requests", tally.matched().into()),
                ("pooled_requests", tally.touched().into()),
                ("refused_requests", pool.timeouts().into()),
                ("used_places", used.into()),
                ("waiting_requests", pool.pending().into()),
                ("utilisation", (f64::from(used) / f64::from(size)).into()),
                ("mean_wait_ms", tally.mean_wait_ms().into()),
            ]),
        }
    }

    fn touched(&self) -> Option<Touched> {
        Some(self.tally.first_and_all())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<PoolExhaustion>(json!({
            "size": 10,
            "hold_ms": 100,
            "acquire_timeout_ms": 1000,
            "queue": 100,
            "match": {
                "routes": [], "headers": {}, "probes": true, "share": 1, "every": 1,
            },
        }));
    }

    #[test]
    fn times_are_read() {
        let given = json!({ "hold_ms": 7, "acquire_timeout_ms": "2s", "queue": 0 });
        let (fault, _) = read::<PoolExhaustion>(given).expect("valid");
        let times = (fault.pool.hold, fault.pool.timeout);
        let expected = (Duration::from_millis(7), Duration::from_secs(2));
        assert_eq!((times, fault.pool.queue), (expected, 0));
    }

    #[tokio::test]
    async fn it_starts_and_stops() {
        starts_and_stops::<PoolExhaustion>(json!({})).await;
    }
}

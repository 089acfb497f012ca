//! Which requests are due: those of the configuration, or others while something changes the traffic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::Change;
use super::rate::Rate;
use super::schedule::{DueRequest, Schedule};
use super::spec::TrafficSpec;

/// The requests that are due. Those of the configuration go by unsent while there is a change, so that they are the same
/// after it as without it.
#[derive(Debug)]
pub(super) struct Planner<'s> {
    spec: &'s TrafficSpec,
    seed: u32,
    start: Instant,
    configured: Schedule,
    /// While there is a change: that, and the requests in the place of the others.
    other: Option<(Arc<Change>, Option<Schedule>)>,
}

impl<'s> Planner<'s> {
    /// For traffic that begins at `start`.
    pub(super) fn new(spec: &'s TrafficSpec, seed: u32, start: Instant) -> Self {
        let configured = Schedule::new(spec.rate.clone(), spec.routes.clone(), seed);
        Self {
            spec,
            seed,
            start,
            configured,
            other: None,
        }
    }

    /// Goes by `change` from the age `from` of the traffic on. Returns the rate where it is another one from now on.
    pub(super) fn follow(&mut self, change: Option<Arc<Change>>, from: Duration) -> Option<Rate> {
        let before = self.other.as_ref().map(|(change, _)| change);
        let is_same = match (before, &change) {
            (Some(before), Some(change)) => Arc::ptr_eq(before, change),
            (before, change) => before.is_none() && change.is_none(),
        };
        if is_same {
            return None;
        }
        let rate = match &change {
            Some(change) => change.rate(&self.spec.rate, self.start),
            None => self.spec.rate.clone().into(),
        };
        self.other = change.map(|change| {
            let routes = self.spec.routes.clone();
            // Without a route there is nothing to ask for.
            let schedule = (!routes.is_empty())
                .then(|| Schedule::beginning_at(from, rate.clone(), routes, self.seed));
            (change, schedule)
        });
        Some(rate)
    }

    /// The next request, if one is due before `end`.
    pub(super) fn next_before(&mut self, end: Duration) -> Option<DueRequest> {
        let Some((_, other)) = &mut self.other else {
            return self.configured.next_before(end);
        };
        while self.configured.next_before(end).is_some() {}
        other.as_mut()?.next_before(end)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::input::{Fields, Shape};
    use crate::traffic::TrafficSpec;

    const SECOND: Duration = Duration::from_secs(1);

    fn spec(traffic: serde_json::Value) -> TrafficSpec {
        let given = [("Traffic".to_owned(), traffic)].into_iter().collect();
        let mut fields = Fields::new("", given);
        TrafficSpec::read(&mut fields, None).expect("traffic")
    }

    fn change(rps: Option<f64>, factor: Option<(Instant, Shape)>) -> Option<Arc<Change>> {
        Some(Arc::new(Change {
            rps,
            factor,
            probe_every: SECOND,
            on_flip: Arc::new(|_, _| {}),
        }))
    }

    fn until(planner: &mut Planner<'_>, end: Duration) -> Vec<DueRequest> {
        std::iter::from_fn(|| planner.next_before(end)).collect()
    }

    #[test]
    fn what_follows_a_change_is_what_would_have_come_without_it() {
        let spec = spec(json!({ "Rps": 50, "Routes": [{ "Path": "/a/{id}" }] }));
        let start = Instant::now();
        let mut without = Planner::new(&spec, 7, start);
        let all = until(&mut without, SECOND * 30);
        let mut with = Planner::new(&spec, 7, start);
        assert_eq!(with.follow(None, Duration::ZERO), None);
        let first = until(&mut with, SECOND * 10);
        assert!(all.starts_with(&first));

        let (factor, since) = (Shape::constant(4.0), start + SECOND * 15);
        let changed = change(Some(100.0), Some((since, factor)));
        let rate = with.follow(changed.clone(), SECOND * 10).expect("another");
        assert_eq!(rate.value_at(SECOND * 14), 100.0);
        assert_eq!(rate.value_at(SECOND * 15), 400.0);
        assert_eq!(with.follow(changed, SECOND * 11), None);
        let others = until(&mut with, SECOND * 20);
        assert!(others.iter().all(|request| request.due >= SECOND * 10));
        // Four standard deviations around 5 x 100 + 5 x 400.
        assert!((2300..2700).contains(&others.len()), "{}", others.len());

        assert!(with.follow(None, SECOND * 20).is_some());
        assert!(all.ends_with(&until(&mut with, SECOND * 30)));
    }

    #[test]
    fn without_a_route_no_request_is_due() {
        let spec = spec(json!({ "Rps": 0, "Probes": true }));
        let mut planner = Planner::new(&spec, 7, Instant::now());
        planner.follow(change(Some(100.0), None), Duration::ZERO);
        assert_eq!(until(&mut planner, SECOND * 10), []);
    }
}

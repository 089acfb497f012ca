//! When which request is due: a Poisson process whose rate follows a shape.
//!
//! A pure function of the plan and the seed. It knows no clock and no answer: that is what makes the traffic open loop.

use std::time::Duration;

use super::clients::{CLIENTS, ClientKind};
use super::rate::Rate;
use super::spec::RequestSpec;
use crate::fault::Draw;

/// Names in paths are numbers from 1 to this.
const MOST_ID: f64 = 10_000.0;

/// The requests in the order in which they are due.
#[derive(Debug)]
pub(super) struct Schedule {
    rate: Rate,
    /// The largest rate.
    most: f64,
    routes: Vec<RequestSpec>,
    draw: Draw,
    /// The next moment of a process with the largest rate; at a lower rate, some are left out.
    next: Duration,
}

/// A request that a client sends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DueRequest {
    /// Since the start of the traffic.
    pub(super) due: Duration,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) client: &'static ClientKind,
}

impl Schedule {
    pub(super) fn new(rate: impl Into<Rate>, routes: Vec<RequestSpec>, seed: u32) -> Self {
        Self::beginning_at(Duration::ZERO, rate.into(), routes, seed)
    }

    /// The same without what is due before `start`.
    pub(super) fn beginning_at(
        start: Duration,
        rate: Rate,
        routes: Vec<RequestSpec>,
        seed: u32,
    ) -> Self {
        let mut schedule = Self {
            most: rate.largest(),
            rate,
            routes,
            draw: Draw::seeded(u64::from(seed)),
            next: start,
        };
        schedule.advance();
        schedule
    }

    /// The next request, if one is due before `end`.
    pub(super) fn next_before(&mut self, end: Duration) -> Option<DueRequest> {
        while self.next < end {
            let due = self.next;
            let is_taken = self.draw.uniform() * self.most < self.rate.value_at(due);
            let request = is_taken.then(|| self.request(due));
            self.advance();
            if request.is_some() {
                return request;
            }
        }
        None
    }

    /// To the next moment: the gaps of a Poisson process are exponential.
    fn advance(&mut self) {
        let gap = -(1.0 - self.draw.uniform()).ln() / self.most;
        // Beyond all time where the rate is 0.
        let gap = Duration::try_from_secs_f64(gap).unwrap_or(Duration::MAX);
        self.next = self.next.saturating_add(gap);
    }

    fn request(&mut self, due: Duration) -> DueRequest {
        let draw = &mut self.draw;
        let route = chosen(&self.routes, draw.uniform());
        let path = route
            .path
            .filled(|_| (1 + (draw.uniform() * MOST_ID) as u32).to_string());
        // The list is never empty, and the draw is below 1.
        let client = &CLIENTS[(draw.uniform() * CLIENTS.len() as f64) as usize];
        DueRequest {
            due,
            method: route.method,
            path,
            client,
        }
    }
}

/// The route at the share `at` of all weights, from 0 to below 1. There is at least one route.
fn chosen(routes: &[RequestSpec], at: f64) -> &RequestSpec {
    let total: f64 = routes.iter().map(|route| route.weight).sum();
    let mut left = at * total;
    let weighted = routes.iter().filter(|route| route.weight > 0.0);
    let mut last = &routes[0];
    for route in weighted {
        last = route;
        if left < route.weight {
            break;
        }
        left -= route.weight;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Shape;
    use crate::workload::PathTemplate;

    const MINUTE: Duration = Duration::from_secs(60);

    fn route(path: &str, weight: f64) -> RequestSpec {
        RequestSpec {
            method: "GET",
            path: PathTemplate::parse(path).expect("a path"),
            weight,
        }
    }

    fn requests(rate: Shape, seed: u32, end: Duration) -> Vec<DueRequest> {
        let routes = vec![
            route("/a/{x}/{y}", 3.0),
            route("/never", 0.0),
            route("/b", 1.0),
        ];
        let mut schedule = Schedule::new(rate, routes, seed);
        std::iter::from_fn(|| schedule.next_before(end)).collect()
    }

    /// Whether `count` is within four standard deviations of a Poisson distribution.
    fn is_poisson(count: usize, mean: f64) -> bool {
        (count as f64 - mean).abs() < 4.0 * mean.sqrt()
    }

    #[test]
    fn the_same_seed_gives_the_same_requests_however_often_it_is_asked() {
        let all = requests(Shape::constant(100.0), 7, MINUTE);
        assert_eq!(all, requests(Shape::constant(100.0), 7, MINUTE));
        assert_ne!(all, requests(Shape::constant(100.0), 8, MINUTE));
        let routes = vec![
            route("/a/{x}/{y}", 3.0),
            route("/never", 0.0),
            route("/b", 1.0),
        ];
        let mut schedule = Schedule::new(Shape::constant(100.0), routes, 7);
        let mut in_parts = Vec::new();
        for part in 1..=6000_u32 {
            let end = Duration::from_millis(10) * part;
            in_parts.extend(std::iter::from_fn(|| schedule.next_before(end)));
        }
        assert_eq!(all, in_parts);
    }

    #[test]
    fn the_gaps_are_those_of_a_poisson_process() {
        let all = requests(Shape::constant(200.0), 1, MINUTE);
        assert!(is_poisson(all.len(), 12_000.0), "{}", all.len());
        let gaps: Vec<f64> = all
            .windows(2)
            .map(|pair| (pair[1].due - pair[0].due).as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
        let deviation = (variance / gaps.len() as f64).sqrt();
        // 1 for an exponential distribution, 0 for a metronome.
        assert!(
            (deviation / mean - 1.0).abs() < 0.05,
            "{}",
            deviation / mean
        );
    }

    #[test]
    fn the_rate_follows_its_shape_and_a_rate_of_nothing_gives_nothing() {
        let mut fields = serde_json::Map::new();
        let square = serde_json::json!({ "square": { "low": 10, "high": 100, "period_s": 20 } });
        fields.insert("r".to_owned(), square);
        let mut fields = crate::input::Fields::new("", fields);
        let rate = fields.field("r", "").shape(0.0..=100.0, 0.0);
        let all = requests(rate, 3, Duration::from_secs(600));
        let is_high = |request: &&DueRequest| request.due.as_secs() % 20 < 10;
        let high = all.iter().filter(is_high).count();
        assert!(is_poisson(high, 30_000.0), "{high}");
        assert!(is_poisson(all.len() - high, 3000.0), "{}", all.len() - high);
        assert_eq!(requests(Shape::constant(0.0), 1, Duration::MAX), []);
    }

    #[test]
    fn a_schedule_that_begins_later_has_nothing_before() {
        let begin = Duration::from_secs(600);
        let rate = Rate::from(Shape::constant(200.0));
        let mut later = Schedule::beginning_at(begin, rate, vec![route("/a", 1.0)], 3);
        let all: Vec<_> = std::iter::from_fn(|| later.next_before(begin + MINUTE)).collect();
        assert!(is_poisson(all.len(), 12_000.0), "{}", all.len());
        assert!(all.iter().all(|request| request.due >= begin));
    }

    #[test]
    fn routes_come_by_their_weights_with_drawn_names_and_all_kinds_of_clients() {
        let all = requests(Shape::constant(200.0), 5, MINUTE);
        let to_b = all.iter().filter(|request| request.path == "/b").count();
        let share = to_b as f64 / all.len() as f64;
        assert!((share - 0.25).abs() < 0.016, "{share}");
        let mut ids = Vec::new();
        for request in all.iter().filter(|request| request.path != "/b") {
            let names = request.path.strip_prefix("/a/").expect("the other route");
            let (x, y) = names.split_once('/').expect("two names");
            ids.extend([x, y].map(|id| id.parse::<u32>().expect("a number")));
        }
        assert!(ids.iter().all(|id| (1..=10_000).contains(id)));
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() > 5000, "{}", ids.len());
        for client in CLIENTS {
            assert!(all.iter().any(|request| request.client == client));
        }
    }
}

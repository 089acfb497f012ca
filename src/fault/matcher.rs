//! Which requests a fault touches: one value type and one implementation for all request faults.

use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::{Draw, Exchange, Surface, Surfaces, Tally};
use crate::input::Fields;

/// Selects requests: conditions first (surface, routes, methods, headers), then chance and counts (`share`, `every`,
/// `first`).
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    surfaces: Surfaces,
    routes: Vec<Glob>,
    methods: Vec<&'static str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    share: f64,
    every: u64,
    first: Option<u64>,
    seed: Option<u32>,
}

/// The methods that a matcher can name.
const METHODS: [(&str, &str); 9] = [
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("DELETE", "DELETE"),
    ("CONNECT", "CONNECT"),
    ("OPTIONS", "OPTIONS"),
    ("TRACE", "TRACE"),
    ("PATCH", "PATCH"),
];

impl Matcher {
    /// Every request on `surfaces`.
    #[must_use]
    pub fn on(surfaces: Surfaces) -> Self {
        Self {
            surfaces,
            routes: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
            share: 1.0,
            every: 1,
            first: None,
            seed: None,
        }
    }

    /// Makes the fault's random numbers repeatable; without a seed, each run draws another sequence.
    #[must_use]
    pub fn seeded(self, seed: Option<u32>) -> Self {
        Self { seed, ..self }
    }

    /// Reads the members `match` and `seed`. By default the matcher selects every request of the service listener,
    /// probes included, but not the control API, the API description and the metrics.
    pub fn read(fields: &mut Fields) -> Self {
        let about = "Which requests are touched: all given conditions must hold.";
        let matcher = fields.object("match", about, Self::read_conditions);
        let about = "Makes the sequence of random choices repeatable.";
        let seed = fields.field("seed", about).optional().integer(0..=u32::MAX);
        matcher.seeded(seed)
    }

    fn read_conditions(fields: &mut Fields) -> Self {
        let about = "Paths; a * matches any characters. Empty: all.";
        let path = json!({ "type": "string", "pattern": "^/" });
        let rule = "paths that begin with /, such as \"/api/*\"";
        let routes = fields
            .field("routes", about)
            .list_of(path, rule, Glob::parse);
        let methods = fields.field("methods", "HTTP methods. Absent: all.");
        let methods = methods.optional().any_of(&METHODS).unwrap_or_default();
        let about = "Headers with the value that each must have.";
        let headers = fields.field("headers", about).headers();
        let about = "Whether the probe routes are touched too.";
        let probes = fields.field("probes", about).flag(true);
        let about = "Share of the matching requests that is touched, drawn for each request.";
        let share = fields.field("share", about).number(0.0..=1.0, 1.0);
        let about = "Touches each n-th of them.";
        let every = fields.field("every", about).integer(1..=u32::MAX, 1);
        let about = "Touches only the first n of them.";
        let first = fields.field("first", about).optional();
        let first = first.integer(1..=u32::MAX).map(u64::from);
        let surfaces = match probes {
            true => Surfaces::SERVICE,
            false => Surfaces::of(&[Surface::Traffic]),
        };
        Self {
            routes,
            methods,
            headers,
            share,
            every: every.into(),
            first,
            ..Self::on(surfaces)
        }
    }

    pub(super) fn seed(&self) -> Option<u32> {
        self.seed
    }

    /// Whether the conditions hold for `exchange`.
    pub(super) fn matches(&self, exchange: &Exchange<'_>) -> bool {
        let has = |(name, value): &(HeaderName, HeaderValue)| {
            let given = exchange.headers.get_all(name);
            given.iter().any(|given| given == value)
        };
        let is_path = |glob: &Glob| glob.matches(exchange.path);
        self.surfaces.contains(exchange.surface)
            && (self.routes.is_empty() || self.routes.iter().any(is_path))
            && (self.methods.is_empty() || self.methods.contains(&exchange.method.as_str()))
            && self.headers.iter().all(has)
    }

    /// Whether a request that matches is to be touched; counts it in `tally` where that is needed to know.
    pub(super) fn selects(&self, draw: &mut Draw, tally: &Tally) -> bool {
        (self.share >= 1.0 || draw.uniform() < self.share)
            && (self.every == 1 || tally.note_drawn().is_multiple_of(self.every))
            && self
                .first
                .is_none_or(|first| tally.note_selected() <= first)
    }

    /// The share of matching requests that is to be touched, as far as `tally` has come.
    #[must_use]
    pub fn expected_share(&self, tally: &Tally) -> f64 {
        let share = self.share / self.every as f64;
        match (self.first, tally.matched()) {
            (Some(first), matched) if matched > 0 => share.min(first as f64 / matched as f64),
            _ => share,
        }
    }
}

/// A path in which `*` matches any characters, `/` included.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob {
    /// What must be there, in order; any characters may lie between two parts.
    parts: Vec<String>,
}

impl Glob {
    fn parse(text: &str) -> Option<Self> {
        let parts = text.split('*').map(str::to_owned).collect();
        text.starts_with('/').then_some(Self { parts })
    }

    fn matches(&self, path: &str) -> bool {
        let [first, middle @ ..] = self.parts.as_slice() else {
            return false;
        };
        let Some(rest) = path.strip_prefix(first.as_str()) else {
            return false;
        };
        let [middle @ .., last] = middle else {
            return rest.is_empty();
        };
        let Some(mut rest) = rest.strip_suffix(last.as_str()) else {
            return false;
        };
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde_json::Value;

    use super::*;

    fn matcher(conditions: Value) -> Matcher {
        let given = serde_json::Map::from_iter([("match".to_owned(), conditions)]);
        let mut fields = Fields::new("", given);
        let matcher = Matcher::read(&mut fields);
        fields.finish().expect("good conditions");
        matcher
    }

    fn hits(matcher: &Matcher, surface: Surface, method: &str, path: &str) -> bool {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-tenant", "blue")
            .body(())
            .expect("a request");
        matcher.matches(&Exchange::new(surface, &request))
    }

    #[test]
    fn a_star_matches_any_characters_and_nothing_else_is_special() {
        for (glob, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/a", false),
            ("/a*", "/a", true),
            ("/*/b", "/a/b", true),
            ("/*/b", "/a/b/c", false),
            ("/a*b*c", "/abc", true),
            ("/a*b*c", "/acb", false),
            ("/ab*ba", "/aba", false),
            ("/a.c", "/abc", false),
        ] {
            let glob = Glob::parse(glob).expect("it begins with /");
            assert_eq!(glob.matches(path), expected, "{glob:?} {path}");
        }
        assert_eq!(Glob::parse("a"), None);
    }

    #[test]
    fn every_condition_must_hold() {
        let traffic = Surface::Traffic;
        let all = matcher(json!({}));
        assert!(hits(&all, traffic, "GET", "/x") && hits(&all, Surface::Ready, "GET", "/ready"));
        assert!(!hits(&all, Surface::ControlRead, "GET", "/metrics"));
        assert!(!hits(&all, Surface::DependencyCall, "GET", "/x"));
        let no_probes = matcher(json!({ "probes": false }));
        assert!(hits(&no_probes, traffic, "GET", "/x"));
        assert!(!hits(&no_probes, Surface::Health, "GET", "/health"));
        let orders = json!({ "routes": ["/orders/*", "/o"], "methods": ["GET", "PUT"] });
        let orders = matcher(orders);
        assert!(hits(&orders, traffic, "PUT", "/orders/7") && hits(&orders, traffic, "GET", "/o"));
        assert!(!hits(&orders, traffic, "POST", "/o") && !hits(&orders, traffic, "GET", "/x"));
        let header = |value| matcher(json!({ "headers": { "X-Tenant": value } }));
        assert!(hits(&header("blue"), traffic, "GET", "/x"));
        assert!(!hits(&header("red"), traffic, "GET", "/x"));
    }

    fn selected(conditions: Value, requests: u64) -> Vec<u64> {
        let (matcher, tally) = (matcher(conditions), Tally::default());
        let picks = |n: &u64| {
            tally.note_matched();
            matcher.selects(&mut Draw::seeded(*n), &tally)
        };
        (1..=requests).filter(picks).collect()
    }

    #[test]
    fn chance_and_counts_select_after_the_conditions() {
        assert_eq!(selected(json!({ "every": 3 }), 10), [3, 6, 9]);
        assert_eq!(selected(json!({ "first": 2 }), 10), [1, 2]);
        assert_eq!(selected(json!({ "every": 2, "first": 2 }), 10), [2, 4]);
        assert_eq!(selected(json!({ "share": 0 }), 10), [0_u64; 0]);
        let half = selected(json!({ "share": 0.5 }), 10_000);
        // Each n-th of what the share let pass.
        let thinned = selected(json!({ "share": 0.5, "every": 4 }), 10_000);
        assert!(half.iter().skip(3).step_by(4).eq(&thinned));
        // The 99.9 % interval of a binomial count with p = 0.5 and n = 10,000.
        assert!(
            (half.len() as f64 - 5000.0).abs() < 3.29 * 50.0,
            "{}",
            half.len()
        );
    }

    #[test]
    fn the_expected_share_follows_share_every_and_first() {
        let tally = Tally::default();
        assert_eq!(
            matcher(json!({ "share": 0.5, "every": 5 })).expected_share(&tally),
            0.1
        );
        for _ in 0..100 {
            tally.note_matched();
        }
        assert_eq!(matcher(json!({ "first": 3 })).expected_share(&tally), 0.03);
    }
}

//! Which requests a fault touches: one type for all request faults.

use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::tally::Sampling;
use super::{Exchange, Surface, Surfaces};
use crate::input::{Fields, Shape};

/// Selects requests: conditions first (surfaces, routes, methods, headers), then `share`, `every` and `first`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matcher {
    surfaces: Surfaces,
    routes: Vec<Glob>,
    methods: Vec<&'static str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    upstream: Option<String>,
    sampling: Sampling,
    seed: Option<u32>,
}

const ABOUT: &str = "Which requests are touched; all given conditions must hold.";

fn read_seed(fields: &mut Fields) -> Option<u32> {
    let about = "Makes the sequence of random choices repeatable.";
    fields.field("seed", about).optional().integer(0..=u32::MAX)
}

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
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
            upstream: None,
            sampling: Sampling::default(),
            seed: None,
        }
    }

    /// Selects this share of the matching requests, from 0 to 1, drawn for each request.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        self.sampling.share = Shape::constant(share);
        self
    }

    /// Selects calls to this upstream only; none selects all.
    #[must_use]
    pub fn calling(self, upstream: Option<String>) -> Self {
        Self { upstream, ..self }
    }

    /// Makes the fault's random numbers repeatable; without a seed they differ from run to run.
    #[must_use]
    pub fn seeded(self, seed: Option<u32>) -> Self {
        Self { seed, ..self }
    }

    /// Reads the members `match` and `seed`. Without them the matcher selects all business and probe requests, but not
    /// the control API, the API description and the metrics.
    pub fn read(fields: &mut Fields) -> Self {
        let matcher = fields.object("match", ABOUT, Self::read_conditions);
        matcher.seeded(read_seed(fields))
    }

    /// The same where an absent `match` means every request on `surfaces`.
    pub fn read_or(fields: &mut Fields, surfaces: Surfaces) -> Self {
        let matcher = fields.optional_object("match", ABOUT, Self::read_conditions);
        let matcher = matcher.unwrap_or_else(|| Self::on(surfaces));
        matcher.seeded(read_seed(fields))
    }

    /// The same of the calls that the service makes; `match` is about the request that a call is made for.
    pub(crate) fn read_of_calls(fields: &mut Fields) -> Self {
        let surfaces = Surfaces::DEPENDENCY_CALLS;
        Self {
            surfaces,
            ..Self::read_or(fields, surfaces)
        }
    }

    fn read_conditions(fields: &mut Fields) -> Self {
        let about = "Paths; a * matches any characters. Empty: all.";
        let path = json!({ "type": "string", "pattern": "^/" });
        let rule = "paths that begin with /, such as \"/api/*\"";
        let routes = fields
            .field("routes", about)
            .list_of(path, rule, Glob::parse);
        let methods = fields.field("methods", "HTTP methods. Absent: all.");
        let choices = METHODS.map(|method| (method, method));
        let methods = methods.optional().any_of(&choices).unwrap_or_default();
        let about = "Headers by name, each with the value that it must have.";
        let headers = fields.field("headers", about).headers();
        let about = "Whether the probe routes are touched too.";
        let probes = fields.field("probes", about).flag(true);
        let about = "Share of the matching requests that is touched, drawn for each request.";
        let share = fields.field("share", about).shape(0.0..=1.0, 1.0);
        let about = "Touches each n-th of the requests that match and are drawn.";
        let every = fields.field("every", about).integer(1..=u32::MAX, 1);
        let about = "Touches only the first n requests.";
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
            sampling: Sampling {
                share,
                every: every.into(),
                first,
            },
            ..Self::on(surfaces)
        }
    }

    pub(super) fn seed(&self) -> Option<u32> {
        self.seed
    }

    pub(super) fn sampling(&self) -> Sampling {
        self.sampling.clone()
    }

    /// Whether the conditions hold for `exchange`.
    pub(super) fn matches(&self, exchange: &Exchange<'_>) -> bool {
        let has_path = |glob: &Glob| glob.matches(exchange.path);
        let has_header = |(name, value): &(HeaderName, HeaderValue)| {
            let values = exchange.headers.get_all(name);
            values.iter().any(|other| other == value)
        };
        let upstream = self.upstream.as_deref();
        self.surfaces.contains(exchange.surface)
            && (upstream.is_none() || upstream == exchange.upstream)
            && (self.routes.is_empty() || self.routes.iter().any(has_path))
            && (self.methods.is_empty() || self.methods.contains(&exchange.method.as_str()))
            && self.headers.iter().all(has_header)
    }
}

/// A path in which `*` matches any characters, including `/`. A glob crate would match file names: it gives a meaning
/// to brackets and braces, which are plain characters in many URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob {
    /// The texts between the stars.
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

    fn matches(matcher: &Matcher, surface: Surface, method: &str, path: &str) -> bool {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-tenant", "blue")
            .body(())
            .expect("a request");
        matcher.matches(&Exchange::new(surface, &request))
    }

    #[test]
    fn only_a_star_is_special_in_a_route() {
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
            let glob = Glob::parse(glob).expect("a good path");
            assert_eq!(glob.matches(path), expected, "{glob:?} {path}");
        }
        assert_eq!(Glob::parse("a"), None);
    }

    #[test]
    fn every_condition_must_hold() {
        let traffic = Surface::Traffic;
        let all = matcher(json!({}));
        assert!(
            matches(&all, traffic, "GET", "/x") && matches(&all, Surface::Ready, "GET", "/ready")
        );
        assert!(!matches(&all, Surface::ControlRead, "GET", "/metrics"));
        assert!(!matches(&all, Surface::DependencyCall, "GET", "/x"));
        let no_probes = matcher(json!({ "probes": false }));
        assert!(matches(&no_probes, traffic, "GET", "/x"));
        assert!(!matches(&no_probes, Surface::Health, "GET", "/health"));
        let orders = json!({ "routes": ["/orders/*", "/o"], "methods": ["GET", "PUT"] });
        let orders = matcher(orders);
        assert!(
            matches(&orders, traffic, "PUT", "/orders/7") && matches(&orders, traffic, "GET", "/o")
        );
        assert!(
            !matches(&orders, traffic, "POST", "/o") && !matches(&orders, traffic, "GET", "/x")
        );
        let header = |value| matcher(json!({ "headers": { "X-Tenant": value } }));
        assert!(matches(&header("blue"), traffic, "GET", "/x"));
        assert!(!matches(&header("red"), traffic, "GET", "/x"));
    }

    #[test]
    fn share_every_first_and_seed_are_read() {
        let all = matcher(json!({}));
        assert_eq!((all.sampling, all.seed), (Sampling::default(), None));
        let some = matcher(json!({ "share": 0.5, "every": 50, "first": 10 }));
        let expected = Sampling {
            share: Shape::constant(0.5),
            every: 50,
            first: Some(10),
        };
        assert_eq!(some.sampling, expected);
        let given = serde_json::Map::from_iter([("seed".to_owned(), json!(7))]);
        assert_eq!(Matcher::read(&mut Fields::new("", given)).seed(), Some(7));
    }
}

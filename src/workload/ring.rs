//! Routes that call the service itself, in a ring: one request would make another without end.

use http::Method;

use super::{PathTemplate, RouteSpec};
use crate::upstream::spec::{CallSpec, Peer, Target};

/// A call that leads back to its own route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    /// The route that makes the call.
    pub(crate) route: usize,
    /// The call among those of the route.
    pub(crate) call: usize,
    /// The route that is called.
    pub(crate) first: usize,
}

/// Every call of `routes` that leads back to its route, where `is_own` says whether a target is this very listener.
///
/// A placeholder in a URL counts as a value that is no other route's text: what only some values lead to is not found.
pub(crate) fn rings(routes: &[RouteSpec], is_own: impl Fn(&Target) -> bool) -> Vec<Ring> {
    let called = |call: &CallSpec| match &call.peer {
        Peer::Real(target) if is_own(target) => served_by(routes, &call.method, target),
        _ => None,
    };
    let next: Vec<Vec<usize>> = routes
        .iter()
        .map(|route| route.calls.iter().filter_map(called).collect())
        .collect();
    let mut rings = Vec::new();
    for (i, route) in routes.iter().enumerate() {
        for (n, call) in route.calls.iter().enumerate() {
            let first = called(call).filter(|first| leads_to(&next, *first, i));
            rings.extend(first.map(|first| Ring {
                route: i,
                call: n,
                first,
            }));
        }
    }
    rings
}

/// The route that takes a call of `target`.
fn served_by(routes: &[RouteSpec], method: &Method, target: &Target) -> Option<usize> {
    // GET takes HEAD too.
    let method = match method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    let path = target.plain_path();
    let takes = |route: &RouteSpec| route.method == method && route.path.fits(&path);
    let takers = (0..routes.len()).filter(|i| takes(&routes[*i]));
    takers.min_by(|a, b| PathTemplate::precedence(&routes[*a].path, &routes[*b].path))
}

/// Whether the calls of `from`, or those of the routes that they call, reach `to`.
fn leads_to(next: &[Vec<usize>], from: usize, to: usize) -> bool {
    let (mut seen, mut open) = (vec![false; next.len()], vec![from]);
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            open.extend(&next[at]);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::input::Fields;
    use crate::workload::WorkloadSpec;

    /// The rings of these routes, each a method, a path and the URLs that it calls, on a service at `me:80`.
    fn of(routes: &[(&str, &str, &[&str])]) -> Vec<(usize, usize, usize)> {
        let routes = routes.iter().map(|(method, path, urls)| {
            let call = |(n, url): (usize, &&str)| json!({ "Name": format!("u{n}"), "Url": url });
            let calls: Vec<Value> = urls.iter().enumerate().map(call).collect();
            json!({ "Method": method, "Path": path, "Calls": calls })
        });
        let given = json!({ "Workload": { "Routes": routes.collect::<Vec<_>>() } });
        let mut fields = Fields::new("", given.as_object().expect("an object").clone());
        let spec = WorkloadSpec::read(&mut fields).expect("a workload");
        let rings = rings(&spec.routes, |target| target.authority() == "me");
        let rings = rings.iter();
        rings
            .map(|ring| (ring.route, ring.call, ring.first))
            .collect()
    }

    #[test]
    fn a_call_that_leads_back_to_its_route_is_found() {
        assert_eq!(of(&[("GET", "/a", &["http://me/a"])]), [(0, 0, 0)]);
        assert_eq!(
            of(&[("GET", "/a/{id}", &["http://me/a/{id}?x=1"])]),
            [(0, 0, 0)]
        );
        assert_eq!(of(&[("GET", "/{x}/b", &["http://me/c/b"])]), [(0, 0, 0)]);
        let by_another = of(&[
            ("GET", "/a", &["http://other/b", "http://me/b"]),
            ("GET", "/b", &["http://me/c"]),
            ("GET", "/c", &["http://me/b"]),
        ]);
        // What only leads into a ring is no part of it, and is called for ever all the same by those that are.
        assert_eq!(by_another, [(1, 0, 2), (2, 0, 1)]);
    }

    #[test]
    fn a_call_that_leads_elsewhere_is_left_alone() {
        assert_eq!(of(&[("GET", "/a", &["http://other/a"])]), []);
        assert_eq!(of(&[("POST", "/a", &["http://me/a"])]), []);
        assert_eq!(of(&[("GET", "/a", &["http://me/a/b", "http://me/"])]), []);
        let more_exact = [
            ("GET", "/a/{id}", &["http://me/a/b"][..]),
            ("GET", "/a/b", &[]),
        ];
        assert_eq!(of(&more_exact), []);
    }
}

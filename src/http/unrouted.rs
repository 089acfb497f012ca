//! The answers where no handler is: on a path without a route, and to a method that a route does not take. What they
//! let a stranger know of the API is said here and nowhere else.

use std::future::{Ready, ready};
use std::sync::LazyLock;

use axum::extract::Request;
use http::{HeaderMap, Method, Uri, header};

use super::problem::{Problem, ProblemKind};
use super::routes;
use crate::input::suggest::closest;
use crate::scenarios;

/// The paths of all routes, which are much work to make.
static PATHS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let routes = routes().into_iter();
    routes.map(|(_, path, _)| path).collect()
});

/// The answer on a path that is no route.
pub(super) async fn not_found(uri: Uri) -> Problem {
    let path = uri.path();
    let hint = match nearest(path) {
        Some(route) => format!(" Did you mean {route}?"),
        None => String::new(),
    };
    let detail = format!("Nothing is served at {path}.{hint} GET /docs shows every route.");
    Problem::new(ProblemKind::UnknownRoute, detail)
}

/// The route that `path` is most likely meant for, with the names that `path` has.
fn nearest(path: &str) -> Option<String> {
    let given: Vec<&str> = path.split('/').collect();
    let filled: Vec<String> = PATHS.iter().map(|path| filled(path, &given)).collect();
    closest(path, filled.iter().map(String::as_str)).map(str::to_owned)
}

/// A route with what `given` has in place of its names, counted from the end: what is forgotten is the beginning.
fn filled(route: &str, given: &[&str]) -> String {
    let mut segments: Vec<&str> = route.split('/').collect();
    for (segment, given) in segments.iter_mut().rev().zip(given.iter().rev()) {
        match *segment {
            "{name}" => {
                let known = scenarios::ALL.iter().map(|plugin| plugin.name());
                *segment = closest(given, known).unwrap_or(segment);
            }
            "{id}" if given.starts_with("session-") => *segment = given,
            _ => {}
        }
    }
    segments.join("/")
}

/// Makes the answer to a method that a path does not take, which takes `first` and `others`. The router adds the Allow
/// header.
pub(super) fn wrong_method(
    first: Method,
    others: &[Method],
) -> impl Fn(Request) -> Ready<Problem> + Clone + Send + Sync + 'static + use<> {
    let others = others.iter().map(|other| format!(" or {other}"));
    let right = format!("{first}{}", others.collect::<String>());
    move |request| {
        let (wrong, path) = (request.method(), request.uri().path());
        let command = command(&first, path, request.headers());
        let detail = format!("{path} takes {right}, not {wrong}. Use {first}: {command}");
        ready(Problem::new(ProblemKind::MethodNotAllowed, detail))
    }
}

/// The line for a shell.
fn command(method: &Method, path: &str, headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let url = format!("http://{}{path}", host.unwrap_or("localhost:8888"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":/._-".contains(c);
    let url = match url.chars().all(is_plain) {
        true => url,
        false => format!("'{}'", url.replace('\'', "%27")),
    };
    match *method {
        Method::GET => format!("curl {url}"),
        _ => format!("curl -X {method} {url}"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_nearest_route_keeps_the_names_that_were_given() {
        for (path, meant) in [
            ("/api/v1/scenario", "/api/v1/scenarios"),
            ("/scenarios", "/api/v1/scenarios"),
            (
                "/api/v1/scenarios/crash/strat",
                "/api/v1/scenarios/crash/start",
            ),
            ("/scenarios/crash/start", "/api/v1/scenarios/crash/start"),
            ("/API/V1/Composite/Start", "/api/v1/composite/start"),
            (
                "/api/v1/scenarios/cpu-burner/strat",
                "/api/v1/scenarios/cpu_burner/start",
            ),
            ("/api/v1/session/session-1", "/api/v1/sessions/session-1"),
            ("/helth", "/health"),
            ("//health", "/health"),
            ("/health/../health", "/health"),
            ("/metric", "/metrics"),
            ("/openapi", "/openapi.json"),
        ] {
            assert_eq!(nearest(path).as_deref(), Some(meant), "{path}");
        }
        for path in ["/", "/x", "/index.php"] {
            assert_eq!(nearest(path), None, "{path}");
        }
    }

    #[test]
    fn the_command_is_one_that_a_shell_takes() {
        let mut headers = HeaderMap::new();
        assert_eq!(
            command(&Method::GET, "/health", &headers),
            "curl http://localhost:8888/health"
        );
        headers.insert(header::HOST, HeaderValue::from_static("[::1]:80"));
        let posted = command(&Method::POST, "/a/x'$(y)", &headers);
        assert_eq!(posted, "curl -X POST 'http://[::1]:80/a/x%27$(y)'");
    }
}

//! The console: one page, its style and its modules, all inside the program. It asks nothing of any other place.

use axum::Router;
use axum::extract::Path;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, Method, Uri, header};
use tower_http::compression::CompressionLayer;

use super::page::HTML;
use super::{Served, problem, unrouted};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PAGE: &str = include_str!("../console/index.html");

/// A file by its name, with its type and its text.
type File = (&'static str, &'static str, &'static str);

macro_rules! files {
    ($($kind:ident $name:literal),* $(,)?) => {
        [$(($name, $kind, include_str!(concat!("../console/", $name)))),*]
    };
}

const FILES: [File; 11] = files![
    STYLE "style.css",
    SCRIPT "main.js",
    SCRIPT "api.js",
    SCRIPT "dom.js",
    SCRIPT "words.js",
    SCRIPT "form.js",
    SCRIPT "scenarios.js",
    SCRIPT "shapes.js",
    SCRIPT "plot.js",
    SCRIPT "plots.js",
    SCRIPT "timeline.js",
];

/// The page and its files. They hold nothing of this process.
pub(super) fn routes() -> Router<Served> {
    let wrong_method = unrouted::wrong_method(Method::GET, &[]);
    Router::new()
        .route("/", get(async || answer(HTML, PAGE)))
        .route("/console/{file}", get(file))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(CompressionLayer::new())
        .route_layer(map_response(async |answer: Response| {
            problem::instead_of_406(answer)
        }))
}

async fn file(Path(name): Path<String>, uri: Uri) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => answer(kind, text),
        None => unrouted::not_found(uri).await.into_response(),
    }
}

fn answer(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::UNSAFE_IN_SCRIPTS;

    #[test]
    fn the_console_is_small_and_asks_nothing_of_other_places() {
        let texts = FILES.iter().map(|(_, _, text)| *text);
        let all: Vec<&str> = texts.chain([PAGE]).collect();
        let size: usize = all.iter().map(|text| text.len()).sum();
        assert!(size <= 200 * 1024, "{size}");
        for forbidden in UNSAFE_IN_SCRIPTS {
            assert!(
                !all.iter().any(|text| text.contains(forbidden)),
                "{forbidden}"
            );
        }
    }

    #[test]
    fn no_file_names_a_scenario() {
        for plugin in crate::scenarios::ALL {
            for (file, _, text) in FILES {
                assert!(!text.contains(plugin.name()), "{file}: {}", plugin.name());
            }
        }
    }
}

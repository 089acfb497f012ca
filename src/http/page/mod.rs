//! Pages for people: what all of them share. A page is one answer that asks nothing of any other place.

pub(super) mod markdown;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub(super) const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = include_str!("style.css");
const ICON: &str = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>\
                    <circle cx='8' cy='8' r='7' fill='%23337a66'/>\
                    <path d='M2 8h3l2-4 2 8 2-4h3' fill='none' stroke='white' stroke-width='1.5'/></svg>";

/// What no script of a page may contain: ways to set HTML from texts, and to keep a token.
#[cfg(test)]
pub(super) const UNSAFE_IN_SCRIPTS: [&str; 7] = [
    "https://",
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "Storage",
];

/// A page, and the policy that lets its own script and style run and nothing else.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Page {
    html: String,
    policy: String,
}

impl Page {
    pub(super) fn new(title: &str, script: &str, body: &Markup) -> Self {
        let html = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    link rel="icon" href=(ICON);
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (body)
                    script { (PreEscaped(script)) }
                }
            }
        };
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            source_of(script),
            source_of(STYLE)
        );
        Self {
            html: html.into_string(),
            policy,
        }
    }

    /// The page with `text` in each place of `mark`; both are plain text without a meaning in HTML.
    pub(super) fn with(&self, mark: &str, text: &str) -> Self {
        Self {
            html: self.html.replace(mark, text),
            policy: self.policy.clone(),
        }
    }
}

/// How a policy names an inline text: by its hash.
fn source_of(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers: [(HeaderName, &str); 4] = [
            (header::CONTENT_TYPE, HTML),
            (header::CONTENT_SECURITY_POLICY, &self.policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        (headers, self.html).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_the_hash_that_browsers_compute() {
        // The example of the specification of the policy.
        let source = source_of("alert('Hello, world.');");
        assert_eq!(
            source,
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
        );
    }
}

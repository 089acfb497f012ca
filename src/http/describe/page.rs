//! The description of the API for people: one page that reads the description for programs.
//!
//! It needs nothing from elsewhere. What it shows it sets as text, never as HTML, and its policy lets no
//! script run but its own.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};

use super::{Answer, Describe, Operation};

const HTML: &str = "text/html; charset=utf-8";
pub(in crate::http) const PAGE: &str = include_str!("page.html");
/// The placeholder for the nonce of each answer.
const NONCE: &str = "{nonce}";

/// The page with its nonce.
#[derive(Debug)]
pub(in crate::http) struct Page(String);

/// `GET /docs`
pub(in crate::http) async fn page() -> Page {
    Page(format!("{:032x}", rand::random::<u128>()))
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self(nonce) = self;
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let headers: [(HeaderName, &str); 3] = [
            (header::CONTENT_TYPE, HTML),
            (header::CONTENT_SECURITY_POLICY, &policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, PAGE.replace(NONCE, &nonce)).into_response()
    }
}

impl Describe for Page {
    fn describe(operation: &mut Operation) {
        operation.answers.push(Answer::text(HTML, "The page."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_sets_no_html() {
        for forbidden in [
            "http://",
            "https://",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "style=",
            "onclick=",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        assert_eq!(PAGE.matches(NONCE).count(), 2);
    }
}

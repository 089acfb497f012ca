//! Errors in the plain form that many services have: a JSON object with the reason of the status. Nothing in it names
//! this program, which is what a blind listener needs.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::problem::Problem;
use crate::fault::plain_error;

const JSON: HeaderValue = HeaderValue::from_static(Plain::MEDIA_TYPE);

/// Which errors of a listener have the plain form; the others are problem documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlainErrors {
    None,
    /// Those that are answered before any route is looked for, and so before a token is.
    BeforeRoutes,
    All,
}

/// An error in the plain form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain(pub(crate) StatusCode);

impl Plain {
    pub(crate) const MEDIA_TYPE: &'static str = "application/json";

    /// The body.
    pub(crate) fn to_json(self) -> Vec<u8> {
        plain_error(self.0).to_string().into_bytes()
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, JSON)];
        (self.0, headers, self.to_json()).into_response()
    }
}

/// The same answer, or the plain form of a problem document.
pub(super) fn instead_of_documents(answer: impl IntoResponse) -> Response {
    let mut answer = answer.into_response();
    replace_document(&mut answer);
    answer
}

/// Puts the plain form in the place of a problem document; its other headers stay.
pub(super) fn replace_document(response: &mut Response) {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != Problem::MEDIA_TYPE) {
        return;
    }
    let body = Plain(response.status()).to_json();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    // The router sets it, to HEAD too.
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    *response.body_mut() = Body::from(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::ProblemKind;

    #[test]
    fn a_document_becomes_plain_and_keeps_its_other_headers() {
        let allow = (header::ALLOW, HeaderValue::from_static("GET"));
        let problem = Problem::new(ProblemKind::MethodNotAllowed, "a detail");
        let mut response = problem.with_header(allow.0, allow.1).into_response();
        replace_document(&mut response);
        let headers = response.headers();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(headers[header::ALLOW], "GET");
        assert_eq!(headers[header::CONTENT_TYPE], JSON);
        assert_eq!(headers[header::CONTENT_LENGTH], "30");
    }

    #[test]
    fn other_answers_stay() {
        let mut response = (StatusCode::OK, "a text").into_response();
        let before = response.headers().clone();
        replace_document(&mut response);
        assert_eq!(response.headers(), &before);
    }
}

//! The bearer tokens. Where one is configured, changes must carry it, and with `Auth.ProtectReads` reads of what names
//! faults too.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use subtle::{Choice, ConstantTimeEq};

use super::roles::Permitted;
use crate::http::Api;
use crate::http::plain::Plain;
use crate::http::problem::{Problem, ProblemKind};

/// The bearer token, where one is required. Cheap to clone; all clones have the same.
#[derive(Clone, Default)]
pub(crate) struct Token(Arc<ArcSwapOption<String>>);

impl Token {
    pub(crate) fn new(token: Option<String>) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(token)))
    }

    /// Requires `token` from now on; true where it is another one than before.
    pub(crate) fn replace(&self, token: &str) -> bool {
        let before = self.0.load();
        let is_new = before
            .as_ref()
            .is_none_or(|before| before.as_str() != token);
        if is_new {
            self.0.store(Some(Arc::new(token.to_owned())));
        }
        is_new
    }

    /// Makes it `token`, or none; true where that is a change.
    pub(crate) fn set(&self, token: Option<String>) -> bool {
        let token = token.map(Arc::new);
        let is_new = *self.0.load() != token;
        if is_new {
            self.0.store(token);
        }
        is_new
    }

    pub(crate) fn is_required(&self) -> bool {
        self.0.load().is_some()
    }

    /// Whether it is `given`, which takes as long whatever the answer is.
    fn is(&self, given: &[u8]) -> Choice {
        match self.0.load_full() {
            Some(token) => given.ct_eq(token.as_bytes()),
            None => Choice::from(0),
        }
    }
}

/// The tokens of all roles. Cheap to clone; all clones have the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    /// May do everything.
    pub(crate) admin: Token,
    /// May report what a release system did.
    pub(crate) release: Token,
    /// May see the open drill and answer it.
    pub(crate) candidate: Token,
}

impl Tokens {
    /// Of the admin, a release system and a candidate, in this order.
    pub(crate) fn new(tokens: [Option<String>; 3]) -> Self {
        let [admin, release, candidate] = tokens.map(Token::new);
        Self {
            admin,
            release,
            candidate,
        }
    }

    /// Whose token `headers` carry. It is compared to all of them before any is looked at.
    pub(super) fn role_of(&self, headers: &HeaderMap) -> Option<Role> {
        let given = given(headers)?;
        let is = [&self.admin, &self.release, &self.candidate].map(|token| token.is(given));
        let roles = [Role::Admin, Role::Release, Role::Candidate];
        let found = is.into_iter().zip(roles).find(|(is, _)| bool::from(*is));
        found.map(|(_, role)| role)
    }
}

/// Who sends a request to the admin listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Role {
    Admin,
    Release,
    Candidate,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Lets a request pass that carries the token, or any where none is configured.
pub(in crate::http) async fn require_token(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    if !api.tokens.admin.is_required() || request.extensions().get::<Permitted>().is_some() {
        return next.run(request).await;
    }
    if api.tokens.role_of(request.headers()) == Some(Role::Admin) {
        return next.run(request).await;
    }
    let scheme = HeaderValue::from_static("Bearer");
    if api.blind {
        return (
            [(header::WWW_AUTHENTICATE, scheme)],
            Plain(StatusCode::UNAUTHORIZED),
        )
            .into_response();
    }
    let detail = "Send the token as \"Authorization: Bearer <token>\".";
    Problem::new(ProblemKind::NoToken, detail)
        .with_header(header::WWW_AUTHENTICATE, scheme)
        .into_response()
}

/// The token that a request carries; none where it carries two: a proxy may have checked the other one.
fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let one = all.next().filter(|_| all.next().is_none());
    one.and_then(bearer)
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_header_is_read_and_a_token_comes_out_as_it_went_in(
            bytes in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            bearer(&value);
            let value = HeaderValue::from_bytes(&[b"bEARER ", &bytes[..]].concat());
            let value = value.expect("good bytes");
            prop_assert_eq!(bearer(&value), Some(&bytes[..]));
        }
    }

    #[test]
    fn a_request_with_two_tokens_has_none() {
        let mut headers = HeaderMap::new();
        let token = HeaderValue::from_static("Bearer abc");
        headers.append(header::AUTHORIZATION, token.clone());
        assert_eq!(given(&headers), Some(&b"abc"[..]));
        headers.append(header::AUTHORIZATION, token);
        assert_eq!(given(&headers), None);
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        let bearer_of = |text| bearer(&HeaderValue::from_static(text)).map(<[u8]>::to_vec);
        assert_eq!(bearer_of("bearer abc"), Some(b"abc".to_vec()));
        assert_eq!(bearer_of("Basic abc="), None);
        assert_eq!(bearer_of("Bear"), None);
    }
}

//! The roles of the admin listener beside the admin: a release system, which reports what it did, and a candidate, who
//! sees the open drill and answers it. Everything else is one constant answer to them, whatever they ask for.

use std::sync::LazyLock;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};

use super::auth::Role;
use crate::exam::record::Reveal;
use crate::http::Api;
use crate::http::plain::Plain;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::route::Access;
use crate::http::routes;

const CURRENT: &str = "/api/v1/drills/current";
const ANSWERS: &str = "/api/v1/drills/{id}/answers";
const EVENTS: &str = "/api/v1/drills/{id}/events";
const REPORT: &str = "/api/v1/drills/{id}/report";

/// The routes that say what is wrong with the service, or change it.
static TRUTHS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let routes = routes::sections().into_iter().flat_map(|s| s.routes);
    let guarded = routes.filter(|route| route.access != Access::Open);
    let paths = guarded.map(|route| route.path);
    paths
        .filter(|path| ![CURRENT, ANSWERS, EVENTS].contains(path))
        .collect()
});

/// Marks a request that its role may send: it needs no token of the admin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permitted;

/// Lets a request pass that the role of its token may send; one of the admin, or without a token, is left to the others.
pub(in crate::http) async fn confine(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    let role = api.tokens.role_of(request.headers());
    let Some(role) = role.filter(|role| *role != Role::Admin) else {
        return next.run(request).await;
    };
    let path = request.uri().path();
    if may(role, request.method(), path) || is_revealed(&api, request.method(), path) {
        request.extensions_mut().insert(Permitted);
        return next.run(request).await;
    }
    if TRUTHS.iter().any(|template| matches(template, path)) {
        api.exam.taint(path);
    }
    match api.blind {
        // A document would name this program.
        true => Plain(StatusCode::FORBIDDEN).into_response(),
        false => Problem::new(ProblemKind::Masked, "The token is not for this.").into_response(),
    }
}

fn may(role: Role, method: &Method, path: &str) -> bool {
    match role {
        Role::Admin => true,
        Role::Release => *method == Method::POST && matches(EVENTS, path),
        Role::Candidate => {
            *method == Method::GET && path == CURRENT
                || *method == Method::POST && matches(ANSWERS, path)
        }
    }
}

/// Whether `path` is the report of a drill that is closed and may be read by all then.
fn is_revealed(api: &Api, method: &Method, path: &str) -> bool {
    if *method != Method::GET || !matches(REPORT, path) {
        return false;
    }
    let id = path.split('/').nth_back(1).unwrap_or_default();
    matches!(api.exam.report(id), Ok((_, Reveal::After)))
}

/// Whether `path` is of the route with the path `template`.
fn matches(template: &str, path: &str) -> bool {
    let (mut known, mut asked) = (template.split('/'), path.split('/'));
    loop {
        match (known.next(), asked.next()) {
            (None, None) => return true,
            (Some(known), Some(asked)) if known == asked => {}
            (Some(known), Some(asked)) if known.starts_with('{') && !asked.is_empty() => {}
            _ => return false,
        }
    }
}

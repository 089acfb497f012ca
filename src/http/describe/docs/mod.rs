//! The description of the API for people: a page made of the description for programs.
//!
//! The page is complete without scripts. Its script makes each call runnable.

mod members;
mod operation;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use maud::{Markup, html};
use serde_json::{Map, Value};

use self::members::Schemas;
use self::operation::Operations;
use super::openapi;
use super::{Answer, Describe, Operation};
use crate::http::Api;
use crate::http::page::markdown::markdown;
use crate::http::page::{HTML, Page};

const SCRIPT: &str = include_str!("docs.js");
/// Where the page shows the address that it was asked at.
const ORIGIN: &str = "{origin}";

/// The page for one request.
#[derive(Debug)]
pub(in crate::http) struct Docs(Page);

/// `GET /docs`
pub(in crate::http) async fn docs(State(api): State<Api>, headers: HeaderMap) -> Docs {
    let origin = format!("http://{}", host_of(&headers));
    Docs(api.description().page.with(ORIGIN, &origin))
}

/// The page of the API that `document` describes, for all requests.
pub(in crate::http) fn page_of(document: &Value, needs_token: bool) -> Page {
    Page::new("mockserver API", SCRIPT, &body(document, needs_token))
}

/// The daemon's address as the browser knows it; only what has no meaning in HTML or in a shell.
fn host_of(headers: &HeaderMap) -> &str {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:-[]".contains(c);
    host.filter(|host| !host.is_empty() && host.chars().all(is_plain))
        .unwrap_or("localhost:8888")
}

impl IntoResponse for Docs {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl Describe for Docs {
    fn describe(operation: &mut Operation) {
        operation.answers.push(Answer::text(HTML, "The page."));
    }
}

/// A group of operations with their paths and methods.
struct Section<'d> {
    name: &'d str,
    about: &'d str,
    operations: Vec<(&'d str, &'d str, &'d Value)>,
}

fn sections(document: &Value) -> Vec<Section<'_>> {
    let paths = members_of(&document["paths"]);
    let all: Vec<_> = paths
        .flat_map(|(path, item)| members_of(item).map(move |(method, of)| (path, method, of)))
        .collect();
    let tags = document["tags"].as_array().into_iter().flatten();
    tags.map(|tag| {
        let is_own = |(_, _, of): &&(_, _, &Value)| of["tags"][0] == tag["name"];
        Section {
            name: text(&tag["name"]),
            about: text(&tag["description"]),
            operations: all.iter().filter(is_own).copied().collect(),
        }
    })
    .collect()
}

/// All that the page shows.
fn body(document: &Value, needs_token: bool) -> Markup {
    let sections = sections(document);
    let operations = Operations {
        schemas: Schemas(document),
        needs_token,
    };
    let info = &document["info"];
    html! {
        a.skip href="#routes" { "Skip to the routes" }
        header.top {
            a.name href="#top" { (text(&info["title"])) }
            span.soft { "version " (text(&info["version"])) }
            span.links { a href="/openapi.json" { "OpenAPI 3.1" } a href="/metrics" { "Metrics" } }
        }
        div.columns #top {
            (navigation(&sections))
            main #routes {
                h1 { "API" }
                div.intro { (markdown(text(&info["description"]))) }
                @if needs_token {
                    p.token hidden {
                        label for="token" { "Token" }
                        input #token type="password" autocomplete="off" aria-describedby="token-use";
                        span.soft #token-use { "Sent with the calls you run here; kept until you leave the page." }
                    }
                }
                @for section in &sections {
                    section aria-labelledby=(anchor(section.name)) {
                        h2 id=(anchor(section.name)) { (section.name) }
                        p.soft { (section.about) }
                        @for (path, method, of) in &section.operations {
                            (operations.operation(path, method, of))
                        }
                    }
                }
                (problems(document))
                noscript { p.soft { "Calls can be run here when scripts are allowed." } }
            }
        }
        dialog #ask aria-labelledby="ask-text" {
            p #ask-text {}
            p.actions {
                button type="button" value="no" { "Cancel" }
                button.danger type="button" value="yes" { "Run it" }
            }
        }
    }
}

fn navigation(sections: &[Section<'_>]) -> Markup {
    html! {
        nav aria-label="Routes" {
            input #filter type="search" placeholder="Filter" aria-label="Filter the routes" hidden;
            ul {
                @for section in sections {
                    li {
                        a href={ "#" (anchor(section.name)) } { (section.name) }
                        ul {
                            @for (path, method, of) in &section.operations {
                                li {
                                    a href={ "#" (text(&of["operationId"])) } { (label(path, method, of)) }
                                }
                            }
                        }
                    }
                }
                li { a href="#problems" { "Problems" } }
            }
        }
    }
}

/// A scenario's name, or the path.
fn label(path: &str, method: &str, of: &Value) -> Markup {
    let short = path.strip_prefix("/api/v1/").unwrap_or(path);
    let name = of[openapi::SCENARIO].as_str().unwrap_or(short);
    html! { span class={ "method " (method) } { (method) } " " (name) }
}

fn anchor(name: &str) -> String {
    format!("section-{}", name.to_lowercase().replace(' ', "-"))
}

/// Each kind of problem once, with its status and its title.
fn problems(document: &Value) -> Markup {
    let kinds = crate::http::problem::kinds();
    let about = &document["components"]["schemas"]["Problem"];
    html! {
        section aria-labelledby="problems" {
            h2 #problems { "Problems" }
            p.soft { "What an answer with the type " code { "application/problem+json" } " says." }
            dl.members {
                @for (status, name, title) in kinds {
                    div.member {
                        dt { code.status { (status) } " " code { (name) } }
                        dd { (title) }
                    }
                }
            }
            h3 { "Members" }
            (Schemas(document).members(about))
        }
    }
}

fn members_of(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = value.as_object().into_iter().flat_map(Map::iter);
    members.map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::UNSAFE_IN_SCRIPTS;

    #[test]
    fn the_script_sets_no_html_and_asks_nothing_of_other_places() {
        for forbidden in UNSAFE_IN_SCRIPTS.into_iter().chain(["http://"]) {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn an_address_is_shown_only_if_it_means_nothing_in_html_and_shells() {
        let shown = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().expect("a header"))]);
            host_of(&headers).to_owned()
        };
        for host in ["127.0.0.1:1234", "[::1]:80", "mock-server.test"] {
            assert_eq!(shown(host), host);
        }
        for host in ["", "a<b>", "a\"b", "a;b", "a b", "$(a)", "a'b"] {
            assert_eq!(shown(host), "localhost:8888");
        }
        assert_eq!(host_of(&HeaderMap::new()), "localhost:8888");
    }
}

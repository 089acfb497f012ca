//! Refuses requests from pages of other sites. Bodies need no Content-Type, so any page open in a browser on this
//! machine could otherwise post a crash to localhost. And the owner of a name can point it at this machine (DNS
//! rebinding): then its pages are of the same site, and could read everything.
//!
//! Only browsers send what is looked at here; a client that sends none of it passes.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::Api;
use crate::http::problem::{Problem, ProblemKind};

/// By whom a page made a browser send a request: <https://www.w3.org/TR/fetch-metadata/>.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What the request is for; `fetch` of Node.js sends it too.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Lets a request pass that no page of another site can have sent.
pub(in crate::http) async fn refuse_foreign_pages(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    match foreign(request.headers(), &api.allowed_hosts) {
        Some(why) => Problem::new(ProblemKind::RefusedOrigin, why).into_response(),
        None => next.run(request).await,
    }
}

/// Why a request may come from a page of another site.
fn foreign(headers: &HeaderMap, allowed_hosts: &[String]) -> Option<&'static str> {
    let sites = headers.get_all(SEC_FETCH_SITE);
    if !sites.iter().all(is_own) {
        return Some("The page that sent this is of another site.");
    }
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| authority(host.to_str().ok()?));
    let is_known = host
        .as_ref()
        .is_some_and(|host| is_known(host.host(), allowed_hosts));
    if !is_known && may_be_of_a_page(headers) {
        return Some(
            "A browser asks for a host that is not one of Auth.AllowedHosts: open the daemon by its address, \
             or list the name.",
        );
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next()?;
    let page = Some(origin).filter(|_| origins.next().is_none());
    let Some((page, default_port)) = page.and_then(origin_of) else {
        return Some("The page that sent this has no origin that can be trusted.");
    };
    let port = |at: &Authority| at.port_u16().or(default_port);
    if !host.is_some_and(|host| {
        host.host().eq_ignore_ascii_case(page.host()) && port(&host) == port(&page)
    }) {
        return Some("The page that sent this is of another host.");
    }
    (!is_known).then_some("The host of the page that sent this is not one of Auth.AllowedHosts.")
}

/// Whether a page can have sent it, and no person typed the address. Browsers leave `Sec-Fetch-Site` out where the
/// connection is not encrypted and the host is not this machine by name; then they are known by what else they send.
fn may_be_of_a_page(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    // A page can give itself another User-Agent, but can neither leave out Accept-Language nor change Accept-Encoding,
    // which has `deflate` in every browser (<https://fetch.spec.whatwg.org/#forbidden-request-header>).
    let codings = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    codings.is_some_and(|codings| codings.contains("deflate"))
        && headers.contains_key(header::ACCEPT_LANGUAGE)
        && !headers.contains_key(SEC_FETCH_MODE)
}

/// Whether one of our own pages sent it, or a person typed the address.
fn is_own(site: &HeaderValue) -> bool {
    site == "same-origin" || site == "none"
}

/// The host and port of an origin, and the port of its scheme; none of what is no plain origin.
fn origin_of(value: &HeaderValue) -> Option<(Authority, Option<u16>)> {
    let (scheme, rest) = value.to_str().ok()?.split_once("://")?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((authority(rest)?, Some(default_port)))
}

fn authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Whether no stranger can own the name: an address, localhost, or one that is listed.
fn is_known(host: &str, allowed_hosts: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || allowed_hosts
            .iter()
            .any(|allowed| host.eq_ignore_ascii_case(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect();
        foreign(&headers, &["mock.example".to_owned()]).is_none()
    }

    #[test]
    fn a_client_that_is_no_browser_passes_by_any_name() {
        assert!(passes(&[]));
        assert!(passes(&[("host", "mockserver.default.svc:8888")]));
    }

    #[test]
    fn only_own_pages_and_people_pass_by_sec_fetch_site() {
        assert!(passes(&[
            ("sec-fetch-site", "same-origin"),
            ("host", "localhost:8888")
        ]));
        assert!(passes(&[("sec-fetch-site", "none")]));
        for foreign in ["cross-site", "same-site", "Same-Origin", "", "else"] {
            assert!(!passes(&[("sec-fetch-site", foreign)]), "{foreign}");
        }
    }

    #[test]
    fn a_page_of_a_name_that_a_stranger_can_own_is_refused_and_a_person_is_not() {
        const BROWSER: [(&str, &str); 2] = [
            ("accept-encoding", "gzip, deflate"),
            ("accept-language", "en"),
        ];
        for (host, is_known) in [
            ("localhost:8888", true),
            ("127.0.0.1", true),
            ("[::1]:8888", true),
            ("Mock.example:8888", true),
            ("evil.example:8888", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(
                passes(&[("host", host), ("sec-fetch-site", "same-origin")]),
                is_known,
                "{host}"
            );
            assert_eq!(
                passes(&[&[("host", host)], &BROWSER[..]].concat()),
                is_known,
                "{host}"
            );
            let typed = [&[("host", host), ("sec-fetch-site", "none")], &BROWSER[..]].concat();
            assert!(passes(&typed), "{host}");
        }
        // PowerShell calls itself so, and is none.
        assert!(passes(&[
            ("host", "mock.svc"),
            ("user-agent", "Mozilla/5.0 (Windows NT) PowerShell/7.4"),
            ("accept-encoding", "gzip, deflate, br")
        ]));
        assert!(passes(&[
            ("host", "mock.svc"),
            ("user-agent", "node"),
            ("accept-encoding", "gzip, deflate"),
            ("accept-language", "*"),
            ("sec-fetch-mode", "cors")
        ]));
    }

    #[test]
    fn the_origin_is_the_host_and_a_name_that_no_one_else_can_own() {
        let together = |origin, host| passes(&[("origin", origin), ("host", host)]);
        for (origin, host) in [
            ("http://localhost:8888", "localhost:8888"),
            ("http://127.0.0.1:8888", "127.0.0.1:8888"),
            ("http://[::1]:8888", "[::1]:8888"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            // Behind a proxy that ends TLS.
            ("https://Mock.example", "mock.example"),
            ("https://mock.example", "mock.example:443"),
        ] {
            assert!(together(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:3000", "localhost:8888"),
            ("http://localhost:8888", "127.0.0.1:8888"),
            ("http://evil.example:8888", "localhost:8888"),
            // A name that was made to point here.
            ("http://evil.example:8888", "evil.example:8888"),
            ("http://localhost.evil.example", "localhost.evil.example"),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example"),
            ("http://evil@localhost:8888", "localhost:8888"),
            ("http://localhost:8888/", "localhost:8888"),
            ("ftp://localhost:8888", "localhost:8888"),
            ("null", "localhost:8888"),
            ("", "localhost:8888"),
            ("http://mock.example", "mock.example:443"),
        ] {
            assert!(!together(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn an_origin_without_a_host_or_beside_another_is_refused() {
        assert!(!passes(&[("origin", "http://localhost")]));
        let mut headers = HeaderMap::new();
        for origin in ["http://localhost", "http://localhost"] {
            headers.append(header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        assert!(foreign(&headers, &[]).is_some());
    }
}

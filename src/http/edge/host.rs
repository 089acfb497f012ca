//! The Host header, as RFC 9112, section 3.2, demands it: one, and valid. A request to two hosts, or to none, means
//! something else to a proxy than to the service behind it.

use std::net::Ipv6Addr;

use http::{HeaderMap, HeaderValue, Method, Request, Version, header};

use crate::http::problem::{Problem, ProblemKind};

/// Refuses a request that does not name its host, and lets a target with a host replace the header, as section 3.2.2
/// demands.
pub(super) fn check<B>(request: &mut Request<B>) -> Result<(), Problem> {
    check_header(request.headers(), request.version())
        .map_err(|why| Problem::new(ProblemKind::MalformedRequest, why))?;
    if request.method() == Method::CONNECT {
        return Ok(());
    }
    let Some(authority) = request.uri().authority() else {
        return Ok(());
    };
    let host = authority.as_str();
    match HeaderValue::try_from(host) {
        Ok(value) if is_valid(host.as_bytes()) => {
            request.headers_mut().insert(header::HOST, value);
            Ok(())
        }
        _ => {
            let why = format!("The target names no host: {host:?}.");
            Err(Problem::new(ProblemKind::MalformedRequest, why))
        }
    }
}

fn check_header(headers: &HeaderMap, version: Version) -> Result<(), String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return match version {
            Version::HTTP_11 => Err("HTTP/1.1 needs a Host header.".to_owned()),
            _ => Ok(()),
        };
    };
    if hosts.next().is_some() {
        return Err("There is more than one Host header.".to_owned());
    }
    if !is_valid(host.as_bytes()) {
        return Err(format!("The Host header is not a host: {host:?}."));
    }
    Ok(())
}

/// Whether it is a host, with a port or without one. It may be empty: a client leaves it so where the target has no
/// host.
fn is_valid(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => match address.parse::<Ipv6Addr>() {
            Ok(_) => ("", port),
            Err(_) => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| {
        port.is_empty() || port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    };
    let port_is_valid = match port.strip_prefix(':') {
        Some(port) => is_port(port),
        None => port.is_empty(),
    };
    port_is_valid && is_name(name.as_bytes())
}

/// The characters of a registered name: RFC 3986, section 3.2.2.
fn is_name(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        name = match (first, rest) {
            (b'%', [high, low, rest @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                rest
            }
            (c, rest) if c.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(c) => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_ports_are_valid_and_nothing_else() {
        for host in [
            "",
            "localhost",
            "localhost:8888",
            "localhost:",
            ":80",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8888",
            "mock_server.default.svc.cluster.local.",
            "xn--bcher-kva.example",
            "%C3%BC.example",
        ] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "a\\b",
            "user@host",
            "host:port",
            "host:65536",
            "host:+1",
            "host:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[host]",
            "[::1%25eth0]",
            "a%zz",
            "a\tb",
            "http://host",
            "\u{fc}.example",
            "a?b",
            "a#b",
            "<a>",
            "a\"b",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
        assert!(!is_valid(b"\xff"));
    }
}

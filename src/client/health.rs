//! One check of a health URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::Request;
use http_body_util::Empty;
use hyper::body::Bytes;

/// How long the answer may take, below Docker's limit for a check.
const TIMEOUT: Duration = Duration::from_secs(5);

/// `path` on the listener at `address`.
pub(crate) fn url_of(address: SocketAddr, path: &str) -> String {
    format!("http://{}{path}", near(address))
}

/// Where this machine reaches the listener at `address`: over loopback where it listens on all addresses.
pub(crate) fn near(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

/// Succeeds if `url` answers with a success status in time.
///
/// # Errors
/// The reason, as a sentence.
pub(crate) async fn check(url: &str) -> Result<(), String> {
    let request = Request::get(url)
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{url} is not a URL: {error}"))?;
    let status = super::send(request, |response| async move { Ok(response.status()) });
    let status = tokio::time::timeout(TIMEOUT, status).await;
    let late = format!("{url} did not answer within {} s", TIMEOUT.as_secs());
    let status = status.map_err(|_| late)??;
    if status.is_success() {
        return Ok(());
    }
    Err(format!("{url} answered {status}"))
}

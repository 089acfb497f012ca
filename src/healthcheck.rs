//! `mockserver healthcheck`: asks a health URL once, for a container that has no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::Request;
use http_body_util::Empty;
use hyper::body::Bytes;

use crate::client;
use crate::config::Config;

/// How long the answer may take; Docker's own limit for a check is longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks `url`, or else `/health` of the service listener that `config` describes.
///
/// # Errors
/// Why it is not healthy, as a sentence.
pub fn run(url: Option<String>, config: &Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(check(&url.unwrap_or_else(|| own_url(config))))
}

fn own_url(config: &Config) -> String {
    url_of(SocketAddr::new(config.host, config.port), "/health")
}

/// `path` on the service listener at `address`; one on all addresses is asked on the loopback one.
pub(crate) fn url_of(address: SocketAddr, path: &str) -> String {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    format!("http://{}{path}", SocketAddr::new(host, address.port()))
}

/// Whether `url` answers with a success status in time; otherwise why not.
///
/// # Errors
/// The reason, as a sentence.
pub(crate) async fn check(url: &str) -> Result<(), String> {
    let request = Request::get(url)
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{url} is not a URL: {error}"))?;
    let status = client::ask(request, |response| async move { Ok(response.status()) });
    let status = tokio::time::timeout(PATIENCE, status).await;
    let late = format!("{url} did not answer within {} s", PATIENCE.as_secs());
    let status = status.map_err(|_| late)??;
    if status.is_success() {
        return Ok(());
    }
    Err(format!("{url} answered {status}"))
}

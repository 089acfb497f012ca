//! `mockserver healthcheck`: asks a health URL once, for a container that has no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::{Request, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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

/// A listener on all addresses is asked on the loopback one.
fn own_url(config: &Config) -> String {
    let host = match config.host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    format!("http://{}/health", SocketAddr::new(host, config.port))
}

/// Whether `url` answers with a success status in time; otherwise why not.
///
/// # Errors
/// The reason, as a sentence.
async fn check(url: &str) -> Result<(), String> {
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("{url} is not a URL: {error}"))?;
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(format!(
            "{url} is not a URL of the form http://host:port/path"
        ));
    };
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let ask = async {
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|e| format!("{address}: {e}"))?;
        let told = |error: hyper::Error| format!("{url}: {error}");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(told)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header("host", &address)
            .body(Empty::<Bytes>::new())
            .map_err(|error| format!("{url}: {error}"))?;
        let response = tokio::select! {
            response = sender.send_request(request) => response.map_err(told)?,
            ended = connection => return Err(format!("{url}: connection ended: {ended:?}")),
        };
        if response.status().is_success() {
            return Ok(());
        }
        Err(format!("{url} answered {}", response.status()))
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "{url} did not answer within {} s",
                PATIENCE.as_secs()
            ))
        })
}

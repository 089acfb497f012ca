//! One HTTP request on its own connection: for health checks and for the export of traces.
//!
//! By hand: the client of `hyper-util` pools connections and spawns tasks for them, which would outlive a cancelled
//! request and count in the metrics of the runtime.

pub(crate) mod health;

use futures_util::future::{Either, select};
use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The `host:port` of a URI of the form `http://host[:port][/path]`.
pub(crate) fn address_of(uri: &Uri) -> Option<String> {
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return None;
    };
    // A port that is out of range counts as none.
    let port = uri.authority()?.as_str().rsplit_once(host)?.1;
    if port.len() > 1 && uri.port_u16().is_none() {
        return None;
    }
    Some(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

/// Sends `request` to its URI and passes the answer to `read`, which may still read its body. The caller sets the
/// timeout: dropping the future closes the connection.
///
/// # Errors
/// Why there is no answer, as a sentence.
pub(crate) async fn send<B, T, F>(
    mut request: Request<B>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, String>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    F: Future<Output = Result<T, hyper::Error>>,
{
    let uri = request.uri().clone();
    let address = address_of(&uri)
        .ok_or_else(|| format!("{uri} is not a URL of the form http://host:port/path"))?;
    let with_uri = |error: hyper::Error| format!("{uri}: {error}");
    let stream = TcpStream::connect(&address)
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(with_uri)?;
    let host = http::HeaderValue::try_from(&address).map_err(|error| format!("{uri}: {error}"))?;
    request.headers_mut().insert(http::header::HOST, host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error| format!("{uri}: {error}"))?;
    let exchange = std::pin::pin!(async {
        let response = sender.send_request(request).await?;
        read(response).await
    });
    let result = match select(exchange, std::pin::pin!(connection)).await {
        Either::Left((result, _)) => result,
        // The peer closed the connection: the answer may be here already, or the exchange has the error.
        Either::Right((_, exchange)) => exchange.await,
    };
    result.map_err(with_uri)
}

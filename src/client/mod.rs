//! One HTTP request on a connection of its own, for what this program asks of others: the check of its
//! own health, and the traces that it sends.

pub(crate) mod health;

use futures_util::future::{Either, select};
use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The host and the port that `uri` names, if it is of the form `http://host[:port][/path]`.
pub(crate) fn address_of(uri: &Uri) -> Option<String> {
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return None;
    };
    Some(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

/// Sends `request` to where its URI says and hands the answer to `read`, which may still read its body.
/// Waits without limit: whoever calls sets one. Dropping the future closes the connection.
///
/// # Errors
/// Why there is no answer, as a sentence.
pub(crate) async fn ask<B, T, F>(
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
    let told = |error: hyper::Error| format!("{uri}: {error}");
    let stream = TcpStream::connect(&address)
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(told)?;
    let host = http::HeaderValue::try_from(&address).map_err(|error| format!("{uri}: {error}"))?;
    request.headers_mut().insert(http::header::HOST, host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error| format!("{uri}: {error}"))?;
    let exchange = std::pin::pin!(async {
        let response = sender.send_request(request).await?;
        read(response).await
    });
    match select(exchange, std::pin::pin!(connection)).await {
        Either::Left((read, _)) => read.map_err(told),
        // The other end has closed: the answer may be here already, and else the exchange tells why not.
        Either::Right((_, exchange)) => exchange.await.map_err(told),
    }
}

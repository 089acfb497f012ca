//! Sends a batch of spans, on the thread of the batches and nowhere else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use tracing::{info, warn};

use crate::client;

/// How long a batch may take, all its tries together.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The most of an answer that is read, in bytes: it says which spans were refused, if any.
const LARGEST_ANSWER: usize = 64 * 1024;

/// The client of the collector: HTTP without TLS, one connection a batch.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Whether the last batch was lost, so that only a change is logged.
    fails: AtomicBool,
}

// The trait's methods are asynchronous, but the thread that calls them has no runtime and nothing else to
// do: each batch brings a runtime and waits.
impl HttpClient for Client {
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        let endpoint = request.uri().to_string();
        let answer = send(request.map(Full::new));
        let failed = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("{endpoint} answered {}", answer.status())),
            Err(error) => Some(error.clone()),
        };
        let failed_before = self.fails.swap(failed.is_some(), Ordering::Relaxed);
        match failed {
            Some(error) if !failed_before => {
                warn!(endpoint, error, "Spans cannot be sent; some will be lost.");
            }
            None if failed_before => info!(endpoint, "Spans are sent again."),
            _ => {}
        }
        Box::pin(std::future::ready(answer.map_err(HttpError::from)))
    }
}

/// Sends one request within [`PATIENCE`].
fn send(request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let exchange = client::send(request, |response| async move {
        let (head, body) = response.into_parts();
        // One that is too long or breaks off says no less than none at all.
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        Ok(Response::from_parts(head, body))
    });
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await });
    // Looking a name up may take long and cannot be called off; it must not be waited for.
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

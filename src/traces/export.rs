//! Sends batches of spans over HTTP, on the batch processor's thread.
//!
//! opentelemetry-otlp's own clients are reqwest and tonic: either would add dozens of crates for one POST.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use tracing::{info, warn};

use crate::client;
use crate::lifecycle::SERVICE;

/// How long a batch may take, retries included.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of a response that are read: the collector lists refused spans in it.
const LARGEST_ANSWER: usize = 64 * 1024;

/// HTTP without TLS, one connection for each batch.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Whether the last batch was lost: only changes are logged.
    fails: AtomicBool,
}

// The trait is asynchronous, but the calling thread has no runtime and nothing else to do, so each batch builds a
// runtime and blocks on it.
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
                warn!(
                    target: SERVICE,
                    endpoint,
                    error, "Trace export failed; spans will be lost until it recovers."
                );
            }
            None if failed_before => info!(target: SERVICE, endpoint, "Trace export recovered."),
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
        // Only the status counts: a body that is too long or incomplete is taken as empty.
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        Ok(Response::from_parts(head, body))
    });
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange).await });
    // A name lookup cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

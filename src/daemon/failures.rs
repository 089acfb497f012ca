//! One line a minute for the requests that the service answered with a 5xx status.
//!
//! It names routes and no fault: the readers of a service's log are to find the cause by themselves.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::lifecycle::SERVICE;
use crate::metrics::requests::Requests;

const INTERVAL: Duration = Duration::from_secs(60);

/// Reports until the daemon ends, with what is left to report then.
pub(super) async fn report(requests: &Requests, root: &CancellationToken) {
    let mut before = requests.failed();
    loop {
        let is_over = tokio::select! {
            () = sleep(INTERVAL) => false,
            () = root.cancelled() => true,
        };
        let now = requests.failed();
        let pairs = now.iter().zip(&before);
        let routes: Map<String, Value> = pairs
            .filter(|((_, now), (_, before))| now > before)
            .map(|((route, now), (_, before))| ((*route).to_owned(), (now - before).into()))
            .collect();
        let failed: u64 = routes.values().filter_map(Value::as_u64).sum();
        if failed > 0 {
            let routes = Value::Object(routes);
            warn!(target: SERVICE, failed, %routes, "Requests were answered with a 5xx status in the last minute.");
        }
        if is_over {
            return;
        }
        before = now;
    }
}

//! Watches the service's own health probe for `abort_when.probe_failing_for_s`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::plugin::Services;

/// How often the health probe is asked.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long an answer may take; the default of Kubernetes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks the service's own health probe until it is dropped. It holds since when the probe has failed.
#[derive(Debug)]
pub(super) struct ProbeWatch(watch::Receiver<Option<Instant>>);

impl ProbeWatch {
    pub(super) fn begin(services: Arc<Services>) -> Self {
        let (failing_since, watched) = watch::channel(None);
        tokio::spawn(async move {
            tokio::select! {
                () = failing_since.closed() => {}
                () = ask(&services, &failing_since) => {}
            }
        });
        Self(watched)
    }

    /// How long the probe has failed; none while it succeeds.
    pub(super) fn failing_for(&self) -> Option<Duration> {
        self.0.borrow().map(|since| since.elapsed())
    }
}

async fn ask(services: &Services, failing_since: &watch::Sender<Option<Instant>>) {
    let mut tick = tokio::time::interval(PROBE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let asked = Instant::now();
        let answer = tokio::time::timeout(PROBE_TIMEOUT, (services.probe_health)()).await;
        failing_since.send_modify(|since| match answer {
            Ok(true) => *since = None,
            Ok(false) | Err(_) => *since = since.or(Some(asked)),
        });
    }
}

//! When a run of the boot profile starts.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::fault::arrivals::Arrivals;
use crate::input::Fields;
use crate::lifecycle::readiness::Readiness;

/// What a run waits for before it starts: all of it. The default is nothing: it starts at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Onset {
    /// So long after the process started, or after the service turned ready where the run waits for that too.
    pub after: Duration,
    /// This many requests have come to the service listener.
    pub after_requests: u32,
    /// The service has turned ready.
    pub when_ready: bool,
}

impl Onset {
    pub(super) const KEYS: [&'static str; 3] = ["after", "after_requests", "when_ready"];

    pub(crate) fn read(fields: &mut Fields) -> Self {
        let about = "Starts this long after the process started, or after the service turned ready \
                     with when_ready.";
        let after = fields.field("after", about);
        let after = super::profile::seconds(after, 0.0);
        let about = "Starts at this request on the service listener.";
        let after_requests = fields.field("after_requests", about);
        let after_requests = after_requests.integer(0..=u32::MAX, 0);
        let about = "Starts when the service has turned ready.";
        Self {
            after,
            after_requests,
            when_ready: fields.field("when_ready", about).flag(false),
        }
    }

    pub(crate) fn is_at_once(&self) -> bool {
        *self == Self::default()
    }

    /// Waits for all of it; times count from `began`.
    pub(super) async fn due(self, began: Instant, readiness: &Readiness, arrivals: &Arrivals) {
        let timed = async {
            let mut from = began;
            if self.when_ready {
                readiness.ready().await;
                from = Instant::now();
            }
            sleep_until(from + self.after).await;
        };
        tokio::join!(timed, arrivals.reach(self.after_requests.into()));
    }
}

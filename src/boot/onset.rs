//! When a scenario of the boot profile starts.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::fault::arrivals::Arrivals;
use crate::input::Fields;
use crate::lifecycle::readiness::Readiness;
use crate::manager::session::{PlannedRun, SessionManager, Start};
use crate::manager::terms::Terms;
use crate::run::Initiator;

/// What must have happened before a scenario starts; nothing means at once. All of it must have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Onset {
    /// So long after the process's begin, or after it turned ready if that is waited for too.
    pub after: Duration,
    /// So many requests have come to the service listener.
    pub after_requests: u32,
    /// The service has turned ready.
    pub when_ready: bool,
}

impl Onset {
    /// The keys that say it.
    pub(super) const KEYS: [&'static str; 3] = ["after", "after_requests", "when_ready"];

    pub(crate) fn read(fields: &mut Fields) -> Self {
        let about = "Starts so long after the process's begin, or after it turned ready if that is \
                     waited for too.";
        let after = fields.field("after", about).unit("s");
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

    /// Whether nothing is to be waited for.
    pub(crate) fn is_at_once(&self) -> bool {
        *self == Self::default()
    }

    /// Waits until the time has come.
    pub(super) async fn due(self, began: Instant, readiness: &Readiness, arrivals: &Arrivals) {
        let in_time = async {
            let mut from = began;
            if self.when_ready {
                readiness.ready().await;
                from = Instant::now();
            }
            sleep_until(from + self.after).await;
        };
        tokio::join!(in_time, arrivals.reach(self.after_requests.into()));
    }
}

/// Starts `run` beside what runs when it is `due`, unless that is called off.
pub(super) async fn start_when(
    due: impl Future<Output = ()>,
    name: &'static str,
    planned: Option<PlannedRun>,
    called_off: &CancellationToken,
    sessions: &SessionManager,
) {
    tokio::select! {
        biased;
        () = called_off.cancelled() => {
            info!(scenario = name, "Boot profile: a scenario that was to start is called off.");
            return;
        }
        () = due => {}
    }
    let Some(planned) = planned else {
        return;
    };
    // What could not start is told in the log and in the session.
    drop(
        sessions
            .start(
                Start::single(planned, Terms::default()),
                Some(Initiator::Boot),
            )
            .await,
    );
}

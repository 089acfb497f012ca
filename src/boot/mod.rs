//! The boot profile: how a version that is bad from birth behaves, from the configuration alone.
//!
//! [`profile`] is what can be asked for; the daemon carries it out through [`Booting`].
//! Whatever it starts goes through the same session as a client's starts, so that all that shows or ends
//! a run works on it too.

mod crash_loop;
mod onset;
pub(crate) mod profile;

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::fault::arrivals::Arrivals;
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, NewEvent};
use crate::lifecycle::readiness::Readiness;
use crate::manager::session::{Onsets, SessionManager, Start};
use crate::manager::terms::Terms;
use crate::plugin::Plugin;
use crate::run::Initiator;
use profile::{Boot, FATAL};

/// A profile that is being carried out. All its times count from the process's begin.
#[derive(Debug)]
pub(crate) struct Booting {
    profile: Boot,
    began: Instant,
    /// Which boot of a crash loop this is; none where it does not crash, or no longer.
    crashing_boot: Option<u32>,
}

/// How the profile ends the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    at: Instant,
    exit_code: u8,
    message: String,
}

impl Booting {
    /// Begins with `profile`, and counts this boot under `data_dir` if it is one of a crash loop.
    ///
    /// # Errors
    /// The boot cannot be counted: the loop would never heal.
    pub(crate) fn begin(profile: Boot, data_dir: &Path) -> io::Result<Self> {
        let began = Instant::now();
        let mut crashing_boot = None;
        if let Some(crash) = &profile.crash_loop {
            let done = crash_loop::count(data_dir, crash.boots)?;
            if done < crash.boots {
                crashing_boot = Some(done + 1);
                warn!(
                    boot = done + 1,
                    of = crash.boots,
                    after_s = crash.after.as_secs_f64(),
                    "Boot profile: this boot will crash."
                );
            } else {
                info!(crashed = done, "Boot profile: the crash loop has healed.");
            }
        }
        Ok(Self {
            profile,
            began,
            crashing_boot,
        })
    }

    /// Which boot of a crash loop this is, from 1; none where it is to live.
    pub(crate) fn crashing_boot(&self) -> Option<u32> {
        self.crashing_boot
    }

    /// Waits until the daemon may listen; or until it is to end, and tells how.
    pub(crate) async fn before_listening(&self) -> Option<Ending> {
        let fails_first = self.fails_while(false);
        let ending = self.crashes().into_iter().chain(fails_first.clone());
        let ending = ending.min_by_key(|ending| ending.at);
        let listens_at = self.began + self.profile.start_delay;
        match ending {
            Some(ending) if fails_first.is_some() || ending.at < listens_at => {
                sleep_until(ending.at).await;
                Some(ending)
            }
            _ => {
                sleep_until(listens_at).await;
                None
            }
        }
    }

    /// Waits until the daemon, which listens, is to end; forever where it is not.
    pub(crate) async fn while_listening(&self) -> Ending {
        let endings = self.crashes().into_iter().chain(self.fails_while(true));
        match endings.min_by_key(|ending| ending.at) {
            Some(ending) => {
                sleep_until(ending.at).await;
                ending
            }
            None => std::future::pending().await,
        }
    }

    /// Starts what is there from the first request on.
    pub(crate) async fn start_first(
        &self,
        sessions: &SessionManager,
        registry: &[&'static dyn Plugin],
    ) {
        let first = self.profile.scenarios.iter();
        let first = first.filter(|run| run.onset.is_at_once());
        let runs: Vec<_> = first.filter_map(|run| run.plan(registry)).collect();
        if !runs.is_empty() {
            // What could not start is told in the log and in the session.
            drop(
                sessions
                    .start(Start::set(runs, Terms::default()), Some(Initiator::Boot))
                    .await,
            );
        }
    }

    /// What starts later, to be called off by whoever ends or replaces it before.
    pub(crate) fn onsets(&self, root: &CancellationToken) -> Onsets {
        let late = self.profile.scenarios.iter();
        let late = late.filter(|run| !run.onset.is_at_once());
        late.map(|run| (run.name, root.child_token())).collect()
    }

    /// Starts the rest, each when its time has come. Ends when nothing is left to start.
    pub(crate) async fn start_late(
        &self,
        sessions: &SessionManager,
        registry: &[&'static dyn Plugin],
        onsets: &Onsets,
        readiness: &Readiness,
        arrivals: &Arrivals,
    ) {
        let late = self.profile.scenarios.iter().filter_map(|run| {
            let called_off = onsets.get(run.name)?;
            let due = run.onset.due(self.began, readiness, arrivals);
            Some(onset::start_when(
                due,
                run.name,
                run.plan(registry),
                called_off,
                sessions,
            ))
        });
        futures_util::future::join_all(late).await;
    }

    /// Whether the service is ready as soon as it listens.
    pub(crate) fn is_ready_at_once(&self) -> bool {
        !self.profile.never_ready && self.profile.ready_after.is_zero()
    }

    /// Waits until the service is to turn ready; forever where it never is.
    pub(crate) async fn until_ready(&self) {
        if self.profile.never_ready {
            return std::future::pending().await;
        }
        sleep_until(self.began + self.profile.ready_after).await;
    }

    fn crashes(&self) -> Option<Ending> {
        self.crashing_boot?;
        let crash = self.profile.crash_loop.as_ref()?;
        Some(self.ending(crash.after, crash.exit_code, FATAL))
    }

    fn fails_while(&self, listening: bool) -> Option<Ending> {
        let fail = self.profile.fail.as_ref();
        let fail = fail.filter(|fail| fail.listening == listening)?;
        Some(self.ending(fail.after, fail.exit_code, &fail.message))
    }

    fn ending(&self, after: Duration, exit_code: u8, message: &str) -> Ending {
        Ending {
            at: self.began + after,
            exit_code,
            message: message.to_owned(),
        }
    }
}

impl Ending {
    /// Logs the error and notes the end; returns the exit code when that is on disk.
    pub(crate) async fn record(self, ledger: &Ledger) -> i32 {
        let Self {
            exit_code, message, ..
        } = self;
        error!("{message}");
        let mut intent = NewEvent::new(EventKind::ExitIntent).by(Some(Initiator::Boot));
        intent.event.exit_code = Some(exit_code.into());
        intent.event.error = Some(message);
        ledger.note(intent);
        ledger.synced().await;
        exit_code.into()
    }
}

/// Does nothing, forever. No signal handler is installed yet: a signal does what it does to any process
/// that has none, and to process 1 of a container that is nothing at all.
pub(crate) fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests;

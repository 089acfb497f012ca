//! The boot profile: how a version behaves that is bad by its configuration.
//!
//! [`profile`] is what a profile can ask for; the daemon carries it out through [`BootSequence`]. Runs start through
//! the same session as those of clients, so that everything that shows or ends a run works on them too.

mod crash_loop;
mod onset;
pub(crate) mod profile;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::fault::arrivals::Arrivals;
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, NewEvent};
use crate::lifecycle::LAST_WORDS;
use crate::lifecycle::readiness::Readiness;
use crate::manager::session::{Onsets, SessionManager, Start};
use crate::manager::terms::Terms;
use crate::plugin::Plugin;
use crate::run::Initiator;
use profile::{BootProfile, BootRun, FATAL};

/// A profile that is being carried out. All its times count from the start of the process.
#[derive(Debug)]
pub(crate) struct BootSequence {
    profile: BootProfile,
    began: Instant,
    /// Which boot of a crash loop this is, from 1; none where this boot will not crash.
    crashing_boot: Option<u32>,
    /// Where the crashes of the loop are counted.
    count_file: PathBuf,
}

/// How the profile ends the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessEnd {
    at: Instant,
    exit_code: u8,
    message: String,
    /// Where it counts as a crash of the loop.
    counts_in: Option<PathBuf>,
}

impl BootSequence {
    /// Begins with `profile`, whose crash loop counts in `count_file`.
    ///
    /// # Errors
    /// A crash could not be counted: the loop would never heal.
    pub(crate) fn begin(profile: BootProfile, count_file: PathBuf) -> io::Result<Self> {
        let began = Instant::now();
        let mut crashing_boot = None;
        if let Some(crash) = &profile.crash_loop {
            let done = crash_loop::crashed(&count_file)?;
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
            count_file,
        })
    }

    pub(crate) fn crashing_boot(&self) -> Option<u32> {
        self.crashing_boot
    }

    /// Waits until the daemon may listen, or until the profile ends the process before that.
    pub(crate) async fn before_listening(&self) -> Option<ProcessEnd> {
        let never_listens = self.failure(false).is_some();
        let listens_at = self.began + self.profile.start_delay;
        let end = self.first_end(false);
        let end = end.filter(|end| never_listens || end.at < listens_at);
        sleep_until(end.as_ref().map_or(listens_at, |end| end.at)).await;
        end
    }

    /// Waits until the profile ends the process, which listens; forever where it does not.
    pub(crate) async fn while_listening(&self) -> ProcessEnd {
        let Some(end) = self.first_end(true) else {
            return std::future::pending().await;
        };
        sleep_until(end.at).await;
        end
    }

    /// Starts the runs that are in effect from the first request on.
    pub(crate) async fn start_first(
        &self,
        sessions: &SessionManager,
        registry: &[&'static dyn Plugin],
    ) {
        let runs: Vec<_> = self
            .runs(true)
            .filter_map(|run| run.plan(registry))
            .collect();
        if !runs.is_empty() {
            let start = Start::set(runs, Terms::default());
            // The log and the session show what could not start.
            drop(sessions.start(start, Some(Initiator::Boot)).await);
        }
    }

    /// The runs that start later. The session cancels the token of one that is stopped or replaced before its start.
    pub(crate) fn onsets(&self, root: &CancellationToken) -> Onsets {
        self.runs(false)
            .map(|run| (run.name, root.child_token()))
            .collect()
    }

    /// Starts each later run at its onset. Ends when none is left to start.
    pub(crate) async fn start_late(
        &self,
        sessions: &SessionManager,
        registry: &[&'static dyn Plugin],
        onsets: &Onsets,
        readiness: &Readiness,
        arrivals: &Arrivals,
    ) {
        let starts = self.runs(false).filter_map(|run| {
            let cancelled = onsets.get(run.name)?;
            Some(async move {
                tokio::select! {
                    biased;
                    () = cancelled.cancelled() => {
                        info!(scenario = run.name, "Boot profile: a later start is cancelled.");
                        return;
                    }
                    () = run.onset.due(self.began, readiness, arrivals) => {}
                }
                if let Some(planned) = run.plan(registry) {
                    let by = Some(Initiator::Boot);
                    // The log and the session show what could not start.
                    drop(
                        sessions
                            .start(Start::single(planned, Terms::default()), by)
                            .await,
                    );
                }
            })
        });
        futures_util::future::join_all(starts).await;
    }

    /// Whether the service is ready as soon as it listens.
    pub(crate) fn is_ready_at_once(&self) -> bool {
        !self.profile.never_ready && self.profile.ready_after.is_zero()
    }

    /// Waits until the service turns ready; forever where it never does.
    pub(crate) async fn until_ready(&self) {
        if self.profile.never_ready {
            return std::future::pending().await;
        }
        sleep_until(self.began + self.profile.ready_after).await;
    }

    fn runs(&self, at_once: bool) -> impl Iterator<Item = &BootRun> {
        let runs = self.profile.scenarios.iter();
        runs.filter(move |run| run.onset.is_at_once() == at_once)
    }

    /// What comes first of the crash and of the failure before or while listening.
    fn first_end(&self, listening: bool) -> Option<ProcessEnd> {
        let crash = self.profile.crash_loop.as_ref();
        let crash = crash.filter(|_| self.crashing_boot.is_some());
        let crash = crash.map(|crash| ProcessEnd {
            counts_in: Some(self.count_file.clone()),
            ..self.end(crash.after, crash.exit_code, FATAL)
        });
        let ends = crash.into_iter().chain(self.failure(listening));
        ends.min_by_key(|end| end.at)
    }

    fn failure(&self, listening: bool) -> Option<ProcessEnd> {
        let fail = self.profile.fail.as_ref();
        let fail = fail.filter(|fail| fail.listening == listening)?;
        Some(self.end(fail.after, fail.exit_code, &fail.message))
    }

    fn end(&self, after: Duration, exit_code: u8, message: &str) -> ProcessEnd {
        ProcessEnd {
            at: self.began + after,
            exit_code,
            message: message.to_owned(),
            counts_in: None,
        }
    }
}

impl ProcessEnd {
    /// Logs the error, counts a crash of the loop and notes the exit; returns the exit code when that is on disk.
    pub(crate) async fn record(self, ledger: &Ledger) -> i32 {
        error!(target: LAST_WORDS, "{}", self.message);
        let counted = self.counts_in.as_deref().map(crash_loop::count);
        if let Some(Err(error)) = counted {
            warn!(%error, "Boot profile: this crash is not counted.");
        }
        let exit_code = self.exit_code.into();
        let intent = NewEvent::new(EventKind::ExitIntent)
            .by(Some(Initiator::Boot))
            .exit_code(exit_code)
            .error(Some(self.message));
        ledger.note(intent);
        ledger.synced().await;
        exit_code
    }
}

/// Does nothing, forever. SIGTERM is not handled yet: it has its default effect, which for process 1 of a container is
/// none.
pub(crate) fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests;

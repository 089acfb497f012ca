//! What each command does, in which order commands take their turns, and how they are answered.

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Actor;
use super::ending::Cause;
use crate::ledger::event::{EventKind, NewEvent};
use crate::manager::session::{Command, CommandKind, Halted, SessionError, Start};
use crate::run::{EndReason, Initiator};

impl Actor {
    /// Handles a command, or defers it while a start waits for the runs that it replaces. All that could concern that
    /// start, or an earlier command, keeps its turn.
    pub(super) fn take_in(&mut self, command: Command) {
        let may_overtake = match (&self.pending, &command.kind) {
            (None, _) => true,
            (Some(pending), CommandKind::StopOne(name, _)) => {
                !pending.starts(name) && !self.is_called_off(name)
            }
            _ => false,
        };
        if may_overtake {
            self.handle(command);
        } else {
            self.backlog.push_back(command);
        }
    }

    pub(super) fn handle(&mut self, command: Command) {
        if command.is_void(&self.onsets) {
            // The client sees the dropped reply.
            return;
        }
        let admitted = match &command.kind {
            CommandKind::Start(start, _) => self.check_start(start),
            _ => Ok(()),
        };
        if admitted.is_ok() {
            self.call_off_onsets(&command);
        }
        let by = command.by;
        match command.kind {
            CommandKind::Start(start, reply) => match admitted {
                Ok(()) => self.accept_start(start, by, reply),
                Err(refusal) => self.answer(reply, Err(refusal)),
            },
            CommandKind::StopOne(name, reply) => self.stop_one(name, by, reply),
            // Running => Stopping
            CommandKind::StopAll(reply) => {
                let stopped = Cause::of(EndReason::Stopped, by);
                let (names, releases) = self.end_all(&stopped);
                self.settle();
                self.answer_after(releases, reply, names);
            }
            CommandKind::Halt(reply) => self.halt(by, reply),
            CommandKind::Rearm(reply) => self.rearm(by, reply),
            CommandKind::Settle(reply) => drop(reply.send(())),
        }
    }

    /// Running => (Running | Stopping)
    fn stop_one(&mut self, name: &'static str, by: Option<Initiator>, reply: oneshot::Sender<()>) {
        let stopped = Cause::of(EndReason::Stopped, by);
        self.call_off_waiting(|waiting| waiting == name, &stopped);
        let (_, releases) = self.begin_end(|run| run.name() == name, &stopped);
        if releases.is_empty()
            && let Some(session) = &mut self.session
        {
            // It may have failed: a stop clears its failure from the report.
            session.details.retain(|known| known.name != name);
            self.settle();
        }
        self.answer_after(releases, reply, ());
    }

    /// Running => Stopping; every start is refused from now on.
    fn halt(&mut self, by: Option<Initiator>, reply: oneshot::Sender<Halted>) {
        let since = self.view.halted_since.unwrap_or_else(|| {
            warn!(
                by = by.map(tracing::field::display),
                "Halted: starts are refused."
            );
            let ledger = &self.services.ledger;
            ledger.note(NewEvent::new(EventKind::Halted).by(by)).time
        });
        self.view.halted_since = Some(since);
        let cause = Cause::of(EndReason::Stopped, by);
        let (stopped, releases) = self.end_all(&cause);
        self.settle();
        self.answer_after(releases, reply, Halted { since, stopped });
    }

    fn rearm(&mut self, by: Option<Initiator>, reply: oneshot::Sender<()>) {
        if self.view.halted_since.take().is_some() {
            info!(
                by = by.map(tracing::field::display),
                "Rearmed: starts are accepted."
            );
            let ledger = &self.services.ledger;
            ledger.note(NewEvent::new(EventKind::Rearmed).by(by));
            self.publish();
        }
        self.answer(reply, ());
    }

    fn check_start(&self, start: &Start) -> Result<(), SessionError> {
        if let Some(since) = self.view.halted_since {
            return Err(SessionError::Halted(since));
        }
        let held_back_by = self.services.shutdown.held_back_by();
        if let Some(name) = held_back_by.filter(|name| !start.joins && !start.starts(name)) {
            return Err(SessionError::SignalHeldBack(name));
        }
        start.check_beside(self.present())
    }

    /// Calls off the onsets that `command` makes pointless, unless the boot profile itself sent it.
    fn call_off_onsets(&self, command: &Command) {
        let is_foreign = command.by != Some(Initiator::Boot);
        let is_pointless = |name: &str| is_foreign && command.calls_off(name);
        let pointless = self.onsets.iter().filter(|(name, _)| is_pointless(name));
        pointless.for_each(|(_, onset)| onset.cancel());
    }

    /// Whether a deferred command makes a start of `name` pointless.
    pub(super) fn is_called_off(&self, name: &str) -> bool {
        let mut deferred = self.backlog.iter();
        deferred.any(|command| command.calls_off(name) && !command.is_void(&self.onsets))
    }

    pub(super) fn answer<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.answer_after(Vec::new(), reply, answer);
    }

    /// Answers as soon as the `releases` have happened and the ledger has everything on disk.
    fn answer_after<T: Send + 'static>(
        &mut self,
        releases: Vec<CancellationToken>,
        reply: oneshot::Sender<T>,
        answer: T,
    ) {
        let ledger = self.services.ledger.clone();
        self.answers.spawn(async move {
            for released in releases {
                released.cancelled().await;
            }
            ledger.synced().await;
            // A client may have hung up; its command is carried out all the same.
            reply.send(answer).ok();
        });
    }
}

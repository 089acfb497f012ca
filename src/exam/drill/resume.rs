//! The drill that the process before left open: this boot closes it, or goes on with it.
//!
//! The file says all: it has the plan and what happened. The events that a crash kept from it are still in the ledger.

use std::io;
use std::sync::Arc;

use tracing::{error, info};

use super::facts::map_of;
use super::keeper::{End, Faults, Keeper};
use super::store::Store;
use super::{Drill, Exam};
use crate::exam::preset::Persist;
use crate::exam::record::{CloseReason, ClosedFacts};
use crate::ledger::Ledger;
use crate::ledger::event::{Event, EventKind, NewEvent};

/// What this boot does with the drill.
#[derive(Debug, PartialEq)]
enum Fate {
    Close(CloseReason, Option<String>),
    GoOn(Faults),
}

/// What this boot is.
#[derive(Debug, Clone, Copy)]
struct Boot<'b> {
    version: &'b str,
    is_blind: bool,
    is_safe: bool,
}

impl Exam {
    /// Closes the drill that the process before left open, or goes on with it. `is_safe_boot`: no fault is wanted.
    pub(crate) async fn resume(&self, is_safe_boot: bool) {
        let ids = match self.0.drills.ids() {
            Ok(ids) => ids,
            Err(error) => {
                error!(%error, "The folder of drills cannot be read.");
                return;
            }
        };
        // One drill is open at a time, and another begins when that is closed and on disk.
        let Some(id) = ids.first() else {
            return;
        };
        if let Err(error) = self.resume_one(id, is_safe_boot).await {
            self.give_up(id, &error).await;
        }
    }

    /// Closes a drill that cannot be read or written: it has no report. Its file is set aside.
    async fn give_up(&self, id: &str, error: &io::Error) {
        error!(drill = id, %error, "A drill cannot be resumed: it is over, without a report.");
        let facts = ClosedFacts {
            reason: CloseReason::Aborted,
            because: Some(format!("its file cannot be used: {error}")),
        };
        let closed = NewEvent::of_drill(EventKind::DrillClosed, id, map_of(&facts));
        self.0.parts.ledger.note(closed);
        self.0.parts.ledger.synced().await;
        if let Err(error) = self.0.drills.set_aside(id) {
            error!(drill = id, %error, "The file of a drill cannot be set aside.");
        }
    }

    async fn resume_one(&self, id: &str, is_safe_boot: bool) -> io::Result<()> {
        let parts = &self.0.parts;
        // With this boot.
        parts.ledger.synced().await;
        let events = self.0.drills.read(id)?.unwrap_or_default();
        if events
            .iter()
            .any(|event| event.kind == EventKind::DrillClosed)
        {
            return Ok(());
        }
        let mut events: Vec<_> = events.into_iter().map(Arc::new).collect();
        let missing = missing(&parts.ledger, id, events.last().map(|last| &**last));
        events.extend_from_slice(&missing);
        let now = parts.ledger.now().time;
        if events.is_empty() {
            // The process ended before the opening was on disk, and before its client heard of it.
            return self.0.drills.remove(id);
        }
        let opened = Drill::of(&events, now);
        let (drill, orders) = opened.ok_or_else(|| io::Error::other("it has no opening"))?;
        let mut store = Store::File(self.0.drills.reopen(id)?);
        store.append(&missing);
        let is_closed = missing
            .last()
            .is_some_and(|last| last.kind == EventKind::DrillClosed);
        if is_closed {
            return store
                .written()
                .await
                .map_err(|error| io::Error::other(error.to_string()));
        }
        let elapsed_s = now.seconds_since(drill.opened_at).max(0.0);
        let boot = Boot {
            version: &parts.service.1,
            is_blind: parts.blind,
            is_safe: is_safe_boot,
        };
        let fate = fate(&drill, boot, elapsed_s, boots(&events));
        let since = events.last().map_or(0, |last| last.seq);
        let mut keeper = Keeper::new(self, &Arc::new(drill), store, since);
        match fate {
            Fate::Close(reason, because) => {
                let end = End::of(reason);
                keeper.close(End { because, ..end }).await;
            }
            Fate::GoOn(faults) => {
                info!(drill = id, elapsed_s, ?faults, "An open drill goes on.");
                if let Err(error) = self.go_on(keeper, (faults, elapsed_s), orders).await {
                    error!(drill = id, %error, "The drill could not go on.");
                }
            }
        }
        Ok(())
    }
}

/// How often a process booted since the opening.
fn boots(events: &[Arc<Event>]) -> u32 {
    let boots = events.iter().filter(|event| event.kind == EventKind::Boot);
    u32::try_from(boots.count()).unwrap_or(u32::MAX)
}

/// What the ledger has of the drill `id` after the `last` event of its file, up to its close.
fn missing(ledger: &Ledger, id: &str, last: Option<&Event>) -> Vec<Arc<Event>> {
    let all = ledger.events_after(0, usize::MAX, |_| true).events;
    let is_it = |event: &Event, kind| event.kind == kind && event.drill_id.as_deref() == Some(id);
    let first = match last {
        None => all
            .iter()
            .position(|event| is_it(event, EventKind::DrillOpened)),
        Some(last) => {
            let same = |event: &Event| (event.seq, &event.boot_id) == (last.seq, &last.boot_id);
            match all.iter().position(|event| same(event)) {
                Some(at) => Some(at + 1),
                // The ledger began anew, or forgot: what it has since then is all there is.
                None => all.iter().position(|event| event.time > last.time),
            }
        }
    };
    let missing = &all[first.unwrap_or(all.len())..];
    let closed = missing
        .iter()
        .position(|event| is_it(event, EventKind::DrillClosed));
    missing[..closed.map_or(missing.len(), |at| at + 1)].to_vec()
}

/// What becomes of `drill` in this boot, the one of number `boots` since it was opened.
fn fate(drill: &Drill, boot: Boot<'_>, elapsed_s: f64, boots: u32) -> Fate {
    let plan = &drill.facts.plan;
    let close = |reason, because: &str| Fate::Close(reason, Some(because.to_owned()));
    if elapsed_s >= plan.deadline_s {
        // Whatever came later was too late.
        return close(CloseReason::Expired, "its deadline passed before this boot");
    }
    if boot.version != drill.facts.service_version {
        let because = format!("version {} booted", boot.version);
        return Fate::Close(CloseReason::RolledBack, Some(because));
    }
    if boot.is_safe {
        return close(CloseReason::Aborted, "a safe boot");
    }
    if !boot.is_blind {
        return close(CloseReason::Aborted, "the service is not blind any more");
    }
    let is_back = plan.persist == Persist::Release && boots <= plan.max_restarts;
    Fate::GoOn(match is_back {
        true => Faults::From(elapsed_s),
        false => Faults::None,
    })
}

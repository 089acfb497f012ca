//! Infers how the process before this one ended, from its last events.

use std::collections::BTreeMap;

use super::event::{BootFacts, Event, EventKind, LastEnd, Previous};
use super::journal::LastReadings;
use crate::run::{Initiator, MEMORY_UNIT, SYSTEM_ENDS_PROCESS, Timestamp};

const MIB: f64 = 1024.0 * 1024.0;
/// A leak whose target is at least this share of the memory limit may well have reached the limit.
const NEAR_THE_LIMIT: f64 = 0.8;

/// None where there are no events of an earlier process. `oom_kills` is what the control group counts now;
/// `last_readings` are the last that any process has kept.
pub(super) fn infer<'e>(
    events: impl DoubleEndedIterator<Item = &'e Event>,
    oom_kills: Option<u64>,
    mut last_readings: LastReadings,
    now: Timestamp,
) -> Option<Previous> {
    let mut newest_first = events.rev().peekable();
    let last = *newest_first.peek()?;
    let of_last_boot = |event: &&Event| event.boot_id == last.boot_id;
    let life: Vec<&Event> = newest_first.take_while(of_last_boot).collect();
    let is_graceful = life.iter().any(|e| e.kind == EventKind::Shutdown);
    let (end, because) = if is_graceful {
        (LastEnd::Graceful, None)
    } else if let Some(intent) = intended(&life).filter(|intent| is_past(intent, now)) {
        let other = match intent.by {
            Some(Initiator::Signal) => "a second signal",
            _ => "the boot profile",
        };
        let name = intent.scenario.as_deref().unwrap_or(other);
        let code = intent.exit_code.unwrap_or_default();
        let because = format!("{name} was to exit with {code}");
        (LastEnd::Planned, Some(because))
    } else if let Some(because) = suspicion(&life, oom_kills) {
        (LastEnd::SuspectedOutOfMemory, Some(because))
    } else {
        (LastEnd::Unclean, None)
    };
    let is_over = |run_id| {
        let mut ends = life.iter().filter(|event| event.kind == EventKind::Cleared);
        ends.any(|event| event.run_id == Some(run_id))
    };
    last_readings.runs.retain(|run| !is_over(run.run_id));
    let are_of_this_life = last_readings.boot_id == last.boot_id;
    Some(Previous {
        runs: if are_of_this_life {
            last_readings.runs
        } else {
            Vec::new()
        },
        boot_id: last.boot_id.clone().into_owned(),
        end,
        because,
        last_seq: last.seq,
    })
}

/// The intended exit, unless its run was stopped before.
fn intended<'e>(life: &[&'e Event]) -> Option<&'e Event> {
    let at = life.iter().position(|e| e.kind == EventKind::ExitIntent)?;
    let (later, intent) = (&life[..at], life[at]);
    let over = |event: &&Event| event.kind == EventKind::Cleared && event.run_id == intent.run_id;
    (intent.run_id.is_none() || !later.iter().any(over)).then_some(intent)
}

/// Whether the exit would have come by now: a process that vanished before did not exit as intended.
fn is_past(intent: &Event, now: Timestamp) -> bool {
    let window_s = intent.duration_s.unwrap_or_default();
    intent.time.plus_seconds(window_s) <= now
}

/// Why a process that vanished may have run out of memory; its events come newest first.
fn suspicion(life: &[&Event], oom_kills: Option<u64>) -> Option<String> {
    let facts = life.iter().find_map(|event| event.boot.as_deref());
    let before = facts.and_then(|facts| facts.oom_kills);
    if let Some((before, now)) = before.zip(oom_kills).filter(|(before, now)| now > before) {
        return Some(format!(
            "the control group's count of out-of-memory kills went from {before} to {now}"
        ));
    }
    let limit_bytes = facts.map_or(0, |facts: &BootFacts| facts.memory_limit_bytes);
    let limit_mb = limit_bytes as f64 / MIB;
    let mut live: BTreeMap<u64, &Event> = BTreeMap::new();
    for event in life.iter().rev() {
        let Some(run) = event.run_id else { continue };
        match event.kind {
            EventKind::Started if event.unit.as_deref() == Some(MEMORY_UNIT) => {
                live.insert(run, event);
            }
            EventKind::Cleared | EventKind::Failed => {
                live.remove(&run);
            }
            _ => {}
        }
    }
    live.into_values().find_map(|started| {
        let target = started.target.or(started.asked)?;
        let near = limit_mb > 0.0 && target >= limit_mb * NEAR_THE_LIMIT;
        let name = started.scenario.as_deref().unwrap_or("a run");
        match &started.warning {
            Some(warning) => warning
                .contains(SYSTEM_ENDS_PROCESS)
                .then(|| format!("{name} was running with the warning: {warning}")),
            None => near.then(|| {
                format!("{name} was on its way to {target:.0} MiB of a limit of {limit_mb:.0} MiB")
            }),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::event::NewEvent;
    use super::*;

    fn boot(limit_mb: u64, oom_kills: u64) -> Event {
        let facts = BootFacts {
            memory_limit_bytes: limit_mb << 20,
            oom_kills: Some(oom_kills),
            ..BootFacts::default()
        };
        NewEvent::boot(facts).0
    }

    fn leak(kind: EventKind, target_mb: f64) -> Event {
        let mut event = NewEvent::new(kind).0;
        event.run_id = Some(7);
        event.unit = Some(MEMORY_UNIT.into());
        event.target = Some(target_mb);
        event
    }

    fn end(events: Vec<Event>, oom_kills: u64) -> LastEnd {
        infer(
            events.iter(),
            Some(oom_kills),
            LastReadings::default(),
            Timestamp::now(),
        )
        .expect("there was a process")
        .end
    }

    #[test]
    fn the_end_is_inferred_from_the_last_process_alone() {
        let of = |kind| NewEvent::new(kind).0;
        assert_eq!(
            infer(
                [].iter(),
                Some(1),
                LastReadings::default(),
                Timestamp::now()
            ),
            None
        );
        assert_eq!(
            end(vec![boot(100, 0), of(EventKind::Shutdown)], 0),
            LastEnd::Graceful
        );
        let events = vec![
            boot(100, 0),
            of(EventKind::ExitIntent),
            of(EventKind::Effective),
        ];
        assert_eq!(end(events, 0), LastEnd::Planned);
        let run = |kind| {
            let mut event = of(kind);
            event.run_id = Some(7);
            event
        };
        let stopped_first = vec![
            boot(100, 0),
            run(EventKind::ExitIntent),
            run(EventKind::Cleared),
        ];
        assert_eq!(end(stopped_first, 0), LastEnd::Unclean);
        let mut later = boot(100, 0);
        later.boot_id = "another".into();
        assert_eq!(
            end(vec![of(EventKind::Shutdown), later], 0),
            LastEnd::Unclean
        );
    }

    #[test]
    fn a_suspicion_needs_evidence() {
        let suspected = LastEnd::SuspectedOutOfMemory;
        assert_eq!(end(vec![boot(100, 3)], 4), suspected);
        assert_eq!(end(vec![boot(100, 3)], 3), LastEnd::Unclean);
        assert_eq!(
            end(vec![boot(100, 0), leak(EventKind::Started, 90.0)], 0),
            suspected
        );
        assert_eq!(
            end(vec![boot(100, 0), leak(EventKind::Started, 50.0)], 0),
            LastEnd::Unclean
        );
        let mut warned = leak(EventKind::Started, 50.0);
        warned.warning = Some(format!("only 9 MiB are left: {SYSTEM_ENDS_PROCESS} before"));
        assert_eq!(end(vec![boot(100, 0), warned.clone()], 0), suspected);
        warned.warning = Some("the kernel slows it down".to_owned());
        assert_eq!(end(vec![boot(100, 0), warned], 0), LastEnd::Unclean);
        let over = vec![
            boot(100, 0),
            leak(EventKind::Started, 90.0),
            leak(EventKind::Cleared, 90.0),
        ];
        assert_eq!(end(over, 0), LastEnd::Unclean);
    }
}

//! How far a fault may grow before `memory.high` slows the whole process down.
//!
//! Above `memory.high` the kernel puts every thread of the group that takes memory to sleep, for up to two seconds each
//! time: also the one that answers status and stop. A fault that grows therefore ends below that line, and gives way
//! when others take of the room or the line moves.

use std::time::{Duration, Instant};

use crate::host::cgroup::{Cgroup, HighRoom};

/// How often the line is looked up. What others can take meanwhile must fit into the margin.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is left free below the line for the rest of the process and its neighbours: a share of the line within bounds.
const MARGIN_SHARE: u64 = 32;
const LEAST_MARGIN: u64 = 4 * 1024 * 1024;
const LARGEST_MARGIN: u64 = 64 * 1024 * 1024;

/// Watches `memory.high` for one fault.
#[derive(Debug)]
pub(crate) struct HighLine {
    cgroup: Cgroup,
    look_at: Instant,
    most: u64,
}

impl HighLine {
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        Self {
            cgroup: cgroup.clone(),
            look_at: Instant::now(),
            most: u64::MAX,
        }
    }

    /// The most bytes that a fault which holds `held` may hold now, of what it knows to be held in memory.
    ///
    /// Less than `held` means that it must give some back: others have used up half of the margin.
    pub(crate) fn most(&mut self, held: u64) -> u64 {
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            let room = self.cgroup.memory_high_room();
            self.most = room.map_or(u64::MAX, |room| most_beside(held, room));
        }
        self.most
    }
}

/// The bytes that can be taken before the line is too near.
pub(crate) fn room_below(room: HighRoom) -> u64 {
    most_beside(0, room)
}

fn most_beside(held: u64, room: HighRoom) -> u64 {
    let margin = (room.high / MARGIN_SHARE).clamp(LEAST_MARGIN, LARGEST_MARGIN);
    // At most 64 MiB.
    let margin = margin as i64;
    let most = held.saturating_add_signed(room.bytes.saturating_sub(margin));
    let is_near = room.bytes < margin / 2;
    if most < held && !is_near { held } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn most(held_mib: u64, high_mib: u64, room_mib: i64) -> u64 {
        let room = HighRoom {
            high: high_mib * MIB,
            bytes: room_mib * MIB as i64,
        };
        most_beside(held_mib * MIB, room) / MIB
    }

    #[test]
    fn a_fault_ends_a_margin_below_the_line() {
        assert_eq!(most(0, 80, 72), 68);
        assert_eq!(most(50, 80, 22), 68);
        // The margin of larger groups is larger, within bounds.
        assert_eq!(most(0, 1024, 1000), 968);
        assert_eq!(most(0, 65_536, 65_000), 64_936);
    }

    #[test]
    fn it_holds_while_the_margin_wavers_and_gives_way_when_half_of_it_is_gone() {
        assert_eq!(most(68, 80, 4), 68);
        assert_eq!(most(68, 80, 2), 68);
        assert_eq!(most(68, 80, 1), 65);
        assert_eq!(most(68, 80, -10), 54);
        assert_eq!(most(68, 80, -1000), 0);
    }

    #[test]
    fn without_a_line_there_is_no_most() {
        let nowhere = Cgroup::at("/nowhere", "/nowhere");
        assert_eq!(HighLine::new(&nowhere).most(7), u64::MAX);
    }
}

//! File descriptors that are held for nothing but to be given up when the system has no other for a
//! connection: the process may have lost them all to its own faults, or to a limit that was lowered.

use std::fs::File;

/// How many a listener holds.
const HELD: usize = 4;

/// The spare descriptors of a listener.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<File>);

impl Spare {
    /// Takes as many as are missing and can be had.
    pub(super) fn refill(&mut self) {
        while self.is_short() {
            let Ok(file) = File::open("/dev/null") else {
                return;
            };
            self.0.push(file);
        }
    }

    /// Whether some were given up.
    pub(super) fn is_short(&self) -> bool {
        self.0.len() < HELD
    }

    /// Gives one up; false when there is none.
    pub(super) fn give_up(&mut self) -> bool {
        self.0.pop().is_some()
    }
}

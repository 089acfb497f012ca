//! The printed table: one row a bar, printed as soon as it is known.

use std::process::ExitCode;
use std::time::Instant;

pub(crate) struct Table {
    start: Instant,
    rows: usize,
    missed: usize,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn begin() -> Self {
        println!("| while | what | achieved | bar | held |");
        println!("|---|---|--:|---|---|");
        Self {
            start: Instant::now(),
            rows: 0,
            missed: 0,
            notes: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, during: &str, what: &str, achieved: &str, bar: &str, held: bool) {
        let mark = if held { "yes" } else { "**no**" };
        println!("| {during} | {what} | {achieved} | {bar} | {mark} |");
        self.rows += 1;
        self.missed += usize::from(!held);
    }

    /// Something that was not measured, and why.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn finish(self) -> ExitCode {
        println!();
        for note in &self.notes {
            println!("Not measured: {note}");
        }
        let (rows, missed, took) = (self.rows, self.missed, self.start.elapsed().as_secs());
        println!("{rows} bars, {missed} missed, {took} s.");
        ExitCode::from(u8::from(missed > 0))
    }
}

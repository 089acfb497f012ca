//! The printed table: one row a figure, printed as soon as it is known.

use std::process::ExitCode;
use std::time::Instant;

pub(crate) struct Table {
    start: Instant,
    rows: usize,
    missed: usize,
    notes: Vec<String>,
}

/// One figure: what was asked, what was measured, and the bar for it.
pub(crate) struct Row<'a> {
    pub(crate) what: &'a str,
    pub(crate) asked: String,
    pub(crate) achieved: String,
    pub(crate) error: String,
    pub(crate) bar: &'a str,
    pub(crate) held: bool,
}

impl Table {
    pub(crate) fn begin() -> Self {
        println!("| what | asked | achieved | error | bar | held |");
        println!("|---|--:|--:|--:|---|---|");
        Self {
            start: Instant::now(),
            rows: 0,
            missed: 0,
            notes: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, row: Row<'_>) {
        let Row {
            what,
            asked,
            achieved,
            error,
            bar,
            held,
        } = row;
        let mark = if held { "yes" } else { "**no**" };
        println!("| {what} | {asked} | {achieved} | {error} | {bar} | {mark} |");
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
        println!("{rows} figures, {missed} missed their bar, {took} s.");
        ExitCode::from(u8::from(missed > 0))
    }
}

//! The printed table: one row a figure, printed as soon as it is known.

use std::process::ExitCode;
use std::time::Instant;

pub(crate) struct Table {
    start: Instant,
    rows: usize,
    missed: usize,
    notes: Vec<String>,
}

/// The name of a column; figures are right-aligned.
pub(crate) enum Column {
    Words(&'static str),
    Figures(&'static str),
}

impl Table {
    /// Prints the head; the last column shows whether each bar held.
    pub(crate) fn begin(columns: &[Column]) -> Self {
        let (names, rules): (Vec<_>, Vec<_>) = columns
            .iter()
            .map(|column| match column {
                Column::Words(name) => (*name, "---"),
                Column::Figures(name) => (*name, "--:"),
            })
            .unzip();
        println!("| {} | held |", names.join(" | "));
        println!("|{}|---|", rules.join("|"));
        Self {
            start: Instant::now(),
            rows: 0,
            missed: 0,
            notes: Vec::new(),
        }
    }

    /// Prints one row: a cell for each column, and whether its bar held.
    pub(crate) fn line(&mut self, cells: &[&str], held: bool) {
        let mark = if held { "yes" } else { "**no**" };
        println!("| {} | {mark} |", cells.join(" | "));
        self.rows += 1;
        self.missed += usize::from(!held);
    }

    /// Records what was not measured, and why.
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

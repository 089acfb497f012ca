//! The groups of a benchmark: those whose name contains a word of the command line, or all of them.

use std::process::ExitCode;

use crate::table::{Column, Table};

pub(crate) type Group = (&'static str, fn(&mut Table));

/// Measures the selected groups into one table; the exit code is 1 if a bar was missed.
pub(crate) fn run(columns: &[Column], groups: &[Group]) -> ExitCode {
    // Cargo adds --bench.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let names = |word: &String| groups.iter().any(|(name, _)| name.contains(word.as_str()));
    if let Some(word) = words.iter().find(|word| !names(word)) {
        let known: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
        eprintln!("No group has {word} in its name: {}.", known.join(", "));
        return ExitCode::from(64);
    }
    let mut table = Table::begin(columns);
    for (_, measure) in groups.iter().filter(|(name, _)| wanted(name)) {
        measure(&mut table);
    }
    table.finish()
}

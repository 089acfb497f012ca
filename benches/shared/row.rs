//! A row of asked and achieved, and its columns.

use crate::table::{Column, Table};

pub(crate) const COLUMNS: &[Column] = &[
    Column::Words("what"),
    Column::Figures("asked"),
    Column::Figures("achieved"),
    Column::Figures("error"),
    Column::Words("bar"),
];

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
    pub(crate) fn row(&mut self, row: Row<'_>) {
        let Row {
            what,
            asked,
            achieved,
            error,
            bar,
            held,
        } = row;
        self.line(&[what, &asked, &achieved, &error, bar], held);
    }
}

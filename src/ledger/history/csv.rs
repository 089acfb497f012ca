//! Past sessions as a table: one row for each measured interval.
//!
//! By hand: the `csv` crate would save the quoting, five lines, and the list of columns would be as long.

use super::{Interval, PastRun, PastSession};
use crate::run::EndReason;

pub(super) const HEAD: &str = "session_id,boot_id,run_id,scenario,params,by,planned_from,planned_to,started_at,\
    measured_from,measured_to,target_reached_at,ended_at,ended_before,end,because,error,asked,achieved,target,\
    unit,last_measured_at\n";

/// The sessions in the form of RFC 4180, with lines that end in LF: a row for each measured interval, and one for each
/// run that has none.
pub(crate) fn csv(sessions: &[PastSession]) -> String {
    let mut table = HEAD.to_owned();
    for session in sessions {
        for run in &session.runs {
            let none_measured = run.measured.is_empty().then(Interval::default);
            for interval in run.measured.iter().chain(&none_measured) {
                row(&mut table, session, run, *interval);
            }
        }
    }
    table
}

fn row(table: &mut String, session: &PastSession, run: &PastRun, measured: Interval) {
    let cells = [
        cell(Some(&session.session_id)),
        cell(Some(&session.boot_id)),
        cell(Some(&run.run_id)),
        cell(Some(&run.scenario)),
        cell(serde_json::to_string(&run.params).ok()),
        cell(run.by),
        cell(run.planned.from),
        cell(run.planned.to),
        cell(run.started_at),
        cell(measured.from),
        cell(measured.to),
        cell(run.target_reached_at),
        cell(run.ended_at),
        cell(run.ended_before),
        cell(run.end.map(EndReason::name)),
        cell(run.because.as_ref()),
        cell(run.error.as_ref()),
        cell(run.asked),
        cell(run.achieved),
        cell(run.target),
        cell(run.unit.as_ref()),
        cell(run.last_measured_at),
    ];
    table.push_str(&cells.join(","));
    table.push('\n');
}

/// One value, quoted where it must be; empty for none.
fn cell(value: Option<impl ToString>) -> String {
    let text = value.map(|value| value.to_string()).unwrap_or_default();
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

//! What may look otherwise under a fault than without one.

use std::collections::BTreeSet;

use super::patient::Of::{self, Answers, Files, Lines, Series};

/// What each scenario changes by its nature; of all others only figures may change.
const CHANGES: &[(&str, &[Of])] = &[
    // Probes fail, with their lines; their series are there from the start.
    ("health_check", &[Answers, Lines]),
    // So does any request.
    ("http_error", &[Answers, Lines]),
    // It may be refused, have no answer or a wrong one.
    ("rate_limit", &[Answers, Series]),
    ("bad_payload", &[Answers]),
    // Clients give up what hangs; the rest goes on all at once, and its calls wait for each other.
    ("connection_abort", &[Answers, Lines, Series]),
    // The pool is among the metrics, as any pool of a service.
    ("pool_exhaustion", &[Series]),
    // A call fails, and so does the route that makes it.
    ("dependency", &[Answers, Lines]),
    // Its file has no name, and is open.
    ("disk_io", &[Files]),
    ("disk_fill", &[Files]),
    // The last words.
    ("crash", &[Lines]),
    // More of them, and none.
    ("log_flood", &[Lines]),
    ("log_silence", &[Lines]),
    // The page is another, or none.
    ("metrics_fault", &[Answers, Series, Lines]),
    // SIGTERM shows nothing, and the process is killed.
    ("shutdown_hang", &[Lines]),
];

type Shapes = BTreeSet<(Of, String)>;

/// What differs from `quiet` under `scenario` and should not.
pub(super) fn differences(scenario: &str, shapes: &Shapes, quiet: &Shapes) -> Vec<String> {
    let changes = CHANGES.iter().find(|(name, _)| *name == scenario);
    let changes = changes.map_or(&[][..], |(_, changes)| changes);
    let all = shapes.symmetric_difference(quiet);
    let wrong = all.filter(|(of, _)| !changes.contains(of));
    wrong
        .map(|(of, shape)| format!("{of:?}: {shape}"))
        .collect()
}

/// What is declared and never differs from `quiet`; `all` are the shapes that were found, each with its scenario.
pub(super) fn declared_in_vain(all: &[(&str, &Shapes)], quiet: &Shapes) -> Vec<String> {
    let mut in_vain = Vec::new();
    for &(name, changes) in CHANGES {
        let mut seen = BTreeSet::new();
        for (_, shapes) in all.iter().filter(|(scenario, _)| *scenario == name) {
            seen.extend(shapes.symmetric_difference(quiet).map(|(of, _)| *of));
        }
        let unseen = changes.iter().filter(|of| !seen.contains(of));
        in_vain.extend(unseen.map(|of| format!("{name}: {of:?}")));
    }
    in_vain
}

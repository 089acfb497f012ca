//! Drills, from outside.

mod document;
mod leaks;
mod life;
mod roles;
mod routes;

use serde_json::{Value, json};

/// A drill in which nothing is wrong.
fn control() -> Value {
    quick("control_quiet")
}

/// A drill whose fault is on at once and for a minute.
fn quick(preset: &str) -> Value {
    json!({
        "preset": preset, "seed": "7", "onset_s": [0, 0], "duration_s": 60, "time_scale": 0.05,
        "traffic_rps": 0,
    })
}

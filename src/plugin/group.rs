//! What scenarios go wrong with.

use schemars::JsonSchema;
use serde::Serialize;

/// What a scenario goes wrong with, by which people look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// What the service answers, and when.
    Requests,
    /// CPU, memory, disk, and what the system counts.
    Resources,
    /// Whether the process lives, and lets others live.
    Process,
    /// What is read besides answers: logs, metrics, times.
    Signals,
}

//! The set `shop`.

use serde_json::{Map, Value};

/// The members of `Workload` that the name stands for.
pub(super) fn shop() -> Map<String, Value> {
    // A test reads it.
    serde_yaml::from_str(include_str!("shop.yaml")).unwrap_or_default()
}

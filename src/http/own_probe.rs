//! The route on which the daemon checks its own health for `abort_when`.
//!
//! A request takes the same way as one to `/health`: through the listener, its runtime and the faults of that probe. It
//! is no traffic, so no counter counts it and no fault draws for it. The path is a secret of this process, so that no
//! client can use it to avoid being counted.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::handlers::probes;
use super::{Parts, Served};
use crate::fault::Surface;
use crate::fault::layer::FaultLayer;
use crate::fault::table::FaultTable;

/// The secret path.
#[derive(Clone)]
pub(crate) struct OwnProbe(Arc<str>);

impl OwnProbe {
    /// A path that cannot be guessed.
    pub(crate) fn new() -> Self {
        Self(format!("/health-{:032x}", rand::random::<u128>()).into())
    }

    /// The path.
    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Default for OwnProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OwnProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnProbe(…)")
    }
}

/// The route, behind the faults of `table` that `/health` meets.
pub(super) fn route(api: &Parts, table: &FaultTable) -> Router<Served> {
    let faults = FaultLayer::new(table.clone(), api.timer.clone(), Surface::Health);
    Router::new()
        .route(api.own_probe.path(), get(probes::healthy))
        .layer(faults.uncounted())
}

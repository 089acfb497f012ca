//! One request as a request fault sees it.

use std::time::Duration;

use http::{HeaderMap, Method, Request};

/// The group of routes that a request belongs to, set per route in the router.
///
/// The control API's POSTs have no surface: no fault ever stands between an operator and a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// The liveness probe.
    Health,
    /// The readiness probe.
    Ready,
    /// The start-up probe.
    Startup,
    /// The service's own work, and paths without a route.
    Traffic,
    /// Reads of the control API, the API description and the metrics.
    ControlRead,
    /// The call that a route makes to a dependency: a fault here is the dependency's, not this service's.
    DependencyCall,
}

/// A set of surfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surfaces(u8);

impl Surfaces {
    /// The three probes.
    pub const PROBES: Self = Self::of(&[Surface::Health, Surface::Ready, Surface::Startup]);
    /// The service's own work and the probes: what callers and orchestrators see.
    pub const SERVICE: Self = Self::PROBES.and(Surface::Traffic);
    /// Every request that comes in.
    pub const INCOMING: Self = Self::SERVICE.and(Surface::ControlRead);
    /// Calls to a dependency.
    pub const DEPENDENCY_CALLS: Self = Self::of(&[Surface::DependencyCall]);

    /// The set of `surfaces`.
    #[must_use]
    pub const fn of(surfaces: &[Surface]) -> Self {
        let mut set = Self(0);
        let mut i = 0;
        while i < surfaces.len() {
            set = set.and(surfaces[i]);
            i += 1;
        }
        set
    }

    /// Whether `surface` is one of them.
    #[must_use]
    pub const fn contains(self, surface: Surface) -> bool {
        self.0 & Self::bit(surface) != 0
    }

    const fn and(self, surface: Surface) -> Self {
        Self(self.0 | Self::bit(surface))
    }

    const fn bit(surface: Surface) -> u8 {
        1 << surface as u8
    }
}

/// One request as a request fault sees it, before its route does.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'r> {
    /// Its surface.
    pub surface: Surface,
    /// Its method.
    pub method: &'r Method,
    /// Its path, without the query.
    pub path: &'r str,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// How long the fault's run has been going on.
    pub age: Duration,
}

impl<'r> Exchange<'r> {
    /// `request` on `surface`, for a run that has just begun.
    pub(crate) fn new<B>(surface: Surface, request: &'r Request<B>) -> Self {
        Self {
            surface,
            method: request.method(),
            path: request.uri().path(),
            headers: request.headers(),
            age: Duration::ZERO,
        }
    }
}

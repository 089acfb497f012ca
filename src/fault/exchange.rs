//! One request as a request fault sees it.

use std::time::Duration;

use http::{HeaderMap, Method, Request};

/// The group of routes that a request belongs to; the router sets it per route.
///
/// The control API's POSTs have no surface, so that no fault can keep an operator from a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// The liveness probe.
    Health,
    /// The readiness probe.
    Ready,
    /// The start-up probe.
    Startup,
    /// The service's business routes, and paths without a route.
    Traffic,
    /// Reads of the control API, the API description and the metrics.
    ControlRead,
    /// The call that a route makes to a dependency; method, path and headers are those of the incoming request.
    DependencyCall,
}

impl Surface {
    /// Whether it is one of the probes.
    pub(crate) fn is_probe(self) -> bool {
        Surfaces::PROBES.contains(self)
    }
}

/// A set of surfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surfaces(u8);

impl Surfaces {
    const PROBES: Self = Self::of(&[Surface::Health, Surface::Ready, Surface::Startup]);
    /// The business routes and the probes: what callers and orchestrators see.
    pub const SERVICE: Self = Self::PROBES.and(Surface::Traffic);
    /// Every incoming request that a fault can touch.
    pub const INCOMING: Self = Self::SERVICE.and(Surface::ControlRead);
    /// Calls to a dependency.
    pub const DEPENDENCY_CALLS: Self = Self::of(&[Surface::DependencyCall]);

    /// The set of these surfaces.
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

    pub(super) const fn contains(self, surface: Surface) -> bool {
        self.0 & Self::bit(surface) != 0
    }

    const fn and(self, surface: Surface) -> Self {
        Self(self.0 | Self::bit(surface))
    }

    const fn bit(surface: Surface) -> u8 {
        1 << surface as u8
    }
}

/// One request as a request fault sees it, before the route does.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'r> {
    /// The group of routes that it belongs to.
    pub surface: Surface,
    /// The method.
    pub method: &'r Method,
    /// The path without the query, percent-encoded as it came.
    pub path: &'r str,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The upstream that is called; none for an incoming request.
    pub upstream: Option<&'r str>,
    /// The time since the fault took effect.
    pub age: Duration,
    /// False for the daemon's own requests: they must leave what a fault remembers as it is.
    pub counted: bool,
}

impl<'r> Exchange<'r> {
    /// For a fault that takes effect now.
    pub(crate) fn new<B>(surface: Surface, request: &'r Request<B>) -> Self {
        Self {
            surface,
            method: request.method(),
            path: request.uri().path(),
            headers: request.headers(),
            upstream: None,
            age: Duration::ZERO,
            counted: true,
        }
    }

    /// The same as a call to `upstream`.
    pub(super) fn calling(self, upstream: Option<&'r str>) -> Self {
        Self { upstream, ..self }
    }
}

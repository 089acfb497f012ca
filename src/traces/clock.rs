//! The times of spans, as the service's clock shows them.

use std::time::{Duration, SystemTime};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use crate::run::ServiceClock;

/// Moves the times of each span by as much as the clock is wrong when the span ends, so that its duration stays.
#[derive(Debug)]
pub(super) struct ByServiceClock<P> {
    pub(super) inner: P,
    pub(super) clock: ServiceClock,
}

impl<P: SpanProcessor> SpanProcessor for ByServiceClock<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.inner.on_start(span, cx);
    }

    fn on_end(&self, mut span: SpanData) {
        if let Some(offset_s) = self.clock.offset_s() {
            span.start_time = moved(span.start_time, offset_s);
            span.end_time = moved(span.end_time, offset_s);
            for event in &mut span.events.events {
                event.timestamp = moved(event.timestamp, offset_s);
            }
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// `time` where it can be moved so far, and as it was else.
fn moved(time: SystemTime, by_s: f64) -> SystemTime {
    let by = Duration::try_from_secs_f64(by_s.abs()).unwrap_or_default();
    let moved = if by_s < 0.0 {
        time.checked_sub(by)
    } else {
        time.checked_add(by)
    };
    moved.unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_moved_either_way() {
        let now = SystemTime::now();
        let minute = Duration::from_secs(60);
        assert_eq!(moved(now, 60.0), now + minute);
        assert_eq!(moved(now, -60.0), now - minute);
        assert_eq!(moved(now, 0.0), now);
    }
}

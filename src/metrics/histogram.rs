//! A histogram of durations that threads record into without a lock.
//!
//! `prometheus-client`'s own takes a lock for each record. TiKV's `prometheus` has an atomic one, but writes no
//! OpenMetrics.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, MetricEncoder, NoLabelSet};

/// The upper bounds of the buckets, in seconds.
///
/// Source: up to 10, the advice for `http.server.request.duration` in OpenTelemetry's semantic conventions. The last
/// three are ours: without them, a dependency that times out after 30 s would read as 10 s.
const BOUNDS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 30.0,
    60.0,
];

/// Which bounds a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// All.
    Fine,
    /// Half of them: the admin page also has the series of faults, and a scrape of it should stay as cheap.
    Coarse,
}

impl Resolution {
    fn shows(self, bound: f64) -> bool {
        /// Steps of two to five times, from a quick answer to a timeout.
        const COARSE: [f64; 9] = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];
        self == Self::Fine || COARSE.contains(&bound) || bound.is_infinite()
    }
}

#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// Not cumulative; the last one has no upper bound.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::with_bounds(&BOUNDS)
    }
}

impl Histogram {
    /// With buckets that end at `bounds`, in seconds.
    pub(crate) fn with_bounds(bounds: &'static [f64]) -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default);
        Self {
            bounds,
            buckets: buckets.take(bounds.len() + 1).collect(),
            nanos: AtomicU64::default(),
        }
    }

    pub(crate) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        // From the lowest: nearly all requests end in the first bucket.
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(self.bounds.len())].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Writes the histogram as one member of `family`.
    pub(crate) fn encode(
        &self,
        family: &mut MetricEncoder<'_>,
        labels: &impl EncodeLabelSet,
        resolution: Resolution,
    ) -> fmt::Result {
        self.encode_alone(&mut family.encode_family(labels)?, resolution)
    }

    /// Writes the histogram as the only one of its family.
    pub(crate) fn encode_alone(
        &self,
        family: &mut MetricEncoder<'_>,
        resolution: Resolution,
    ) -> fmt::Result {
        let buckets = self.buckets(resolution);
        // The count is the sum of these very buckets, so that the two agree in every scrape.
        let count = buckets.iter().map(|(_, n)| n).sum();
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// The shown bounds, each with the count of durations above the shown bound before it.
    pub(super) fn buckets(&self, resolution: Resolution) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|n| n.load(Ordering::Relaxed));
        let mut hidden = 0;
        let shown = bounds.zip(counts).filter_map(|(bound, count)| {
            hidden += count;
            let is_shown = resolution.shows(bound);
            is_shown.then(|| (bound, std::mem::take(&mut hidden)))
        });
        shown.collect()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_counts_below_it_and_none_is_lost() {
        let times = Histogram::default();
        for ms in [0, 5, 6, 60_000, 60_001] {
            times.record(Duration::from_millis(ms));
        }
        let counts: Vec<u64> = times
            .buckets
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .collect();
        assert_eq!((counts[0], counts[1]), (2, 1));
        assert_eq!((counts[16], counts[17]), (1, 1));
        assert_eq!(times.count(), 5);
        assert_eq!(times.nanos.load(Ordering::Relaxed), 120_012_000_000);
    }

    #[test]
    fn a_coarse_histogram_has_fewer_bounds_and_loses_no_duration() {
        let times = Histogram::default();
        for ms in [5, 9, 11, 60, 120, 2_000, 3_000, 15_000, 70_000] {
            times.record(Duration::from_millis(ms));
        }
        let coarse = times.buckets(Resolution::Coarse);
        let (bounds, counts): (Vec<f64>, Vec<u64>) = coarse.into_iter().unzip();
        let shown = [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];
        assert_eq!(bounds[..9], shown);
        assert!(shown.iter().all(|bound| BOUNDS.contains(bound)));
        assert_eq!((bounds.len(), bounds[9]), (10, f64::INFINITY));
        assert_eq!(counts, [1, 2, 1, 1, 0, 2, 0, 1, 0, 1]);
        assert_eq!(times.buckets(Resolution::Fine).len(), BOUNDS.len() + 1);
    }
}

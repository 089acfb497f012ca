//! All requests of the service listener together, for a viewer that compares one moment with the next.

use std::time::Duration;

/// What has been counted since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    /// Answers with a 5xx status.
    pub(crate) failed: u64,
    /// Upper bounds in seconds, each with the count of durations above the bound before it. The last is infinite.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Totals {
    /// What was counted after `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier = |at: usize| before.buckets.get(at).map_or(0, |(_, count)| *count);
        let buckets = self.buckets.iter().enumerate();
        Self {
            failed: self.failed.saturating_sub(before.failed),
            buckets: buckets
                .map(|(at, (bound, count))| (*bound, count.saturating_sub(earlier(at))))
                .collect(),
        }
    }

    /// How many requests.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The duration that `share` of the requests did not exceed, interpolated inside its bucket: exact to the width of
    /// the bucket only. None without requests.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = share * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, count) in &self.buckets {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                let upper = if bound.is_finite() { *bound } else { lower };
                let seconds = lower + (upper - lower) * (rank - below) / count;
                return Some(Duration::from_secs_f64(seconds));
            }
            below += count;
            lower = *bound;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let before = Totals {
            failed: 1,
            buckets: vec![(0.1, 5), (0.2, 0), (f64::INFINITY, 0)],
        };
        let now = Totals {
            failed: 3,
            buckets: vec![(0.1, 10), (0.2, 5), (f64::INFINITY, 0)],
        };
        let between = now.since(&before);
        assert_eq!((between.failed, between.count()), (2, 10));
        let ms = |share| between.quantile(share).map(|q| q.as_millis());
        assert_eq!(
            (ms(0.25), ms(0.5), ms(1.0)),
            (Some(50), Some(100), Some(200))
        );
        assert_eq!(now.since(&now).quantile(0.5), None);
        let slow = Totals {
            failed: 0,
            buckets: vec![(0.1, 0), (f64::INFINITY, 1)],
        };
        assert_eq!(slow.quantile(0.5), Some(Duration::from_millis(100)));
    }
}

//! What a request fault has done so far, and which request is its next.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Draw;
use crate::input::Shape;
use crate::run::{Timestamp, Touched};
use crate::sync::Lock;

/// Which of the requests that match a fault touches.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampling {
    /// Drawn for each request, from 0 to 1.
    pub(super) share: Shape,
    /// Each n-th of the drawn ones.
    pub(super) every: u64,
    /// At most so many.
    pub(super) first: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            share: Shape::constant(1.0),
            every: 1,
            first: None,
        }
    }
}

/// Counts what a fault did to requests.
#[derive(Debug, Default)]
pub struct Tally {
    sampling: Sampling,
    began: OnceLock<Instant>,
    matched: AtomicU64,
    drawn: AtomicU64,
    touched: AtomicU64,
    first_touched: OnceLock<Timestamp>,
    waited: AtomicU64,
    waited_us: AtomicU64,
    seconds: Seconds,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    matched: u64,
    touched: u64,
    waited: u64,
    waited_us: u64,
}

/// The counters as they were at the beginnings of the last two seconds with requests, so that what changes over time
/// can be compared with what it is now.
#[derive(Debug, Default)]
struct Seconds {
    last: AtomicU64,
    marks: Lock<[(Duration, Counts); 2]>,
}

impl Seconds {
    /// Begins a new second where `age` is in one.
    fn reach(&self, age: Duration, counts: impl FnOnce() -> Counts) {
        if self.last.load(Relaxed) >= age.as_secs() {
            return;
        }
        let mut marks = self.marks.lock();
        if self.last.load(Relaxed) < age.as_secs() {
            self.last.store(age.as_secs(), Relaxed);
            *marks = [marks[1], (age, counts())];
        }
    }
}

impl Tally {
    pub(super) fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            ..Self::default()
        }
    }

    /// Notes that the fault takes effect.
    pub(super) fn begin(&self, now: Instant) {
        // The first beginning is the one that counts.
        self.began.set(now).ok();
    }

    /// The time since the fault took effect.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.began.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Whether the fault acts on a request that matches at `age`. One that is not `counted` gets the answer that the
    /// next counted one would get, and leaves no trace.
    pub(super) fn selects(&self, draw: &mut Draw, age: Duration, counted: bool) -> bool {
        let number = |counter: &AtomicU64| match counted {
            true => counter.fetch_add(1, Relaxed) + 1,
            false => counter.load(Relaxed) + 1,
        };
        if counted {
            self.seconds.reach(age, || self.counts());
        }
        number(&self.matched);
        let Sampling {
            share,
            every,
            first,
        } = &self.sampling;
        let share = share.value_at(age);
        (share >= 1.0 || draw.uniform() < share)
            && number(&self.drawn).is_multiple_of(*every)
            && first.is_none_or(|first| self.touched() < first)
    }

    /// Counts a request that the fault delays, answers or changes. False where another request was the last of the
    /// first n since [`Tally::selects`]: the fault must leave this one alone.
    pub(super) fn touch(&self) -> bool {
        let most = self.sampling.first.unwrap_or(u64::MAX);
        let next = |touched| (touched < most).then_some(touched + 1);
        let before = self.touched.fetch_update(Relaxed, Relaxed, next);
        if before == Ok(0) {
            self.first_touched.set(Timestamp::now()).ok();
        }
        before.is_ok()
    }

    /// Counts a delay that a request waited out.
    pub(super) fn note_waited(&self, waited: Duration) {
        self.waited.fetch_add(1, Relaxed);
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(us, Relaxed);
    }

    /// Requests for which the matcher's conditions held, before its share and counts.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.matched.load(Relaxed)
    }

    /// Requests that the fault delayed, answered or changed.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.touched.load(Relaxed)
    }

    /// The same with when the first came.
    #[must_use]
    pub fn first_and_all(&self) -> Touched {
        Touched {
            requests: self.touched(),
            first_at: self.first_touched.get().copied(),
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            matched: self.matched(),
            touched: self.touched(),
            waited: self.waited.load(Relaxed),
            waited_us: self.waited_us.load(Relaxed),
        }
    }

    /// What was counted in the last one or two seconds with requests, and how long ago that began.
    fn recent(&self) -> (Counts, Duration) {
        let age = self.age();
        let [older, newer] = *self.seconds.marks.lock();
        // A second without a request begins none.
        let is_over = age.saturating_sub(newer.0) >= Duration::from_secs(1);
        let (since, then) = if is_over { newer } else { older };
        let now = self.counts();
        let counts = Counts {
            matched: now.matched - then.matched,
            touched: now.touched - then.touched,
            waited: now.waited - then.waited,
            waited_us: now.waited_us - then.waited_us,
        };
        (counts, age.saturating_sub(since))
    }

    /// The requests a second that matched lately, and those of them that the fault left alone; none before the first.
    pub(crate) fn rates(&self) -> Option<(f64, f64)> {
        let (counts, time) = self.recent();
        let per_second = |count: u64| count as f64 / time.as_secs_f64().max(0.001);
        let passed = counts.matched.saturating_sub(counts.touched);
        (self.matched() > 0).then(|| (per_second(counts.matched), per_second(passed)))
    }

    /// The share of matching requests that the fault should touch now; with a `first`, of those that have come.
    pub(super) fn expected_share(&self) -> f64 {
        let share = self.sampling.share.value_at(self.age()) / self.sampling.every as f64;
        match (self.sampling.first, self.matched()) {
            (Some(first), matched) if matched > 0 => share.min(first as f64 / matched as f64),
            _ => share,
        }
    }

    /// The share of matching requests that the fault touched, lately where it changes; none before the first.
    pub(super) fn touched_share(&self) -> Option<f64> {
        let all = self.counts();
        let counts = match self.recent().0 {
            recent if !self.sampling.share.is_constant() && recent.matched > 0 => recent,
            _ => all,
        };
        (counts.matched > 0).then(|| counts.touched as f64 / counts.matched as f64)
    }

    /// The mean delay in ms of the requests that waited to the end; none before the first.
    #[must_use]
    pub fn mean_wait_ms(&self) -> Option<f64> {
        self.counts().mean_wait_ms()
    }

    /// The same of those that did so lately.
    pub(super) fn recent_wait_ms(&self) -> Option<f64> {
        let recent = self.recent().0.mean_wait_ms();
        recent.or_else(|| self.mean_wait_ms())
    }
}

impl Counts {
    fn mean_wait_ms(self) -> Option<f64> {
        (self.waited > 0).then(|| self.waited_us as f64 / self.waited as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests, from 1, that a fault touches which acts on every selected one.
    fn touched(sampling: Sampling, requests: u64) -> Vec<u64> {
        let tally = Tally::new(sampling);
        let is_touched = |n: &u64| {
            let would = tally.selects(&mut Draw::seeded(*n), Duration::ZERO, false);
            let selected = tally.selects(&mut Draw::seeded(*n), Duration::ZERO, true);
            assert_eq!(
                would, selected,
                "an uncounted request instead of number {n}"
            );
            selected && tally.touch()
        };
        (1..=requests).filter(is_touched).collect()
    }

    fn sampling(share: f64, every: u64, first: Option<u64>) -> Sampling {
        Sampling {
            share: Shape::constant(share),
            every,
            first,
        }
    }

    #[test]
    fn share_then_every_then_first_select() {
        assert_eq!(touched(Sampling::default(), 3), [1, 2, 3]);
        assert_eq!(touched(sampling(1.0, 3, None), 10), [3, 6, 9]);
        assert_eq!(touched(sampling(1.0, 1, Some(2)), 10), [1, 2]);
        assert_eq!(touched(sampling(1.0, 2, Some(2)), 10), [2, 4]);
        assert_eq!(touched(sampling(0.0, 1, None), 10), [0_u64; 0]);
        let half = touched(sampling(0.5, 1, None), 10_000);
        // Each n-th of the requests that the share let pass.
        let thinned = touched(sampling(0.5, 4, None), 10_000);
        assert!(half.iter().skip(3).step_by(4).eq(&thinned));
        // The 99.9 % interval of a binomial count with p = 0.5 and n = 10,000.
        let off = half.len() as f64 - 5000.0;
        assert!(off.abs() < 3.29 * 50.0, "{} of 10,000", half.len());
    }

    #[test]
    fn first_counts_touched_requests_and_not_those_that_the_fault_let_pass() {
        let tally = Tally::new(sampling(1.0, 1, Some(1)));
        let mut draw = Draw::seeded(0);
        assert!(
            tally.selects(&mut draw, Duration::ZERO, true),
            "the fault lets this one pass"
        );
        assert!(
            tally.selects(&mut draw, Duration::ZERO, true)
                && tally.selects(&mut draw, Duration::ZERO, true)
        );
        assert!(tally.touch() && !tally.touch(), "two requests at once");
        assert!(!tally.selects(&mut draw, Duration::ZERO, true));
        assert_eq!((tally.matched(), tally.touched()), (4, 1));
    }

    #[test]
    fn the_first_touch_has_its_time_for_good() {
        let tally = Tally::default();
        assert_eq!(tally.first_and_all(), Touched::default());
        let before = Timestamp::now();
        assert!(tally.touch());
        let after = Timestamp::now();
        let first_at = tally.first_and_all().first_at.expect("a touch");
        assert!((before..=after).contains(&first_at), "{first_at}");
        assert!(tally.touch());
        let both = Touched {
            requests: 2,
            first_at: Some(first_at),
        };
        assert_eq!(tally.first_and_all(), both);
    }

    #[test]
    fn the_expected_share_follows_share_every_and_first() {
        let tally = Tally::new(sampling(0.5, 5, None));
        assert_eq!(tally.expected_share(), 0.1);
        let tally = Tally::new(sampling(1.0, 1, Some(3)));
        assert_eq!(tally.expected_share(), 1.0);
        for _ in 0..100 {
            tally.selects(&mut Draw::seeded(0), Duration::ZERO, true);
        }
        assert_eq!(tally.expected_share(), 0.03);
    }

    #[test]
    fn what_changes_is_compared_with_the_last_seconds() {
        let tally = Tally::default();
        let now = Instant::now();
        let began = now.checked_sub(Duration::from_millis(10_200));
        tally.begin(began.expect("a machine that is up for ten seconds"));
        // A wait of as many ms as seconds have gone.
        for second in 0..=10 {
            for _ in 0..second {
                let age = Duration::from_secs(second);
                tally.selects(&mut Draw::seeded(0), age, true);
                tally.note_waited(Duration::from_millis(second));
            }
        }
        // 9 of 9 ms and 10 of 10 ms.
        let recent = tally.recent_wait_ms().expect("waits");
        assert!((recent - 181.0 / 19.0).abs() < 0.01, "{recent}");
        let (matched, passed) = tally.rates().expect("requests");
        assert_eq!(matched, passed);
        assert!((matched - 19.0 / 1.2).abs() < 2.0, "{matched}");
        assert!(tally.mean_wait_ms() < Some(9.0));
    }
}

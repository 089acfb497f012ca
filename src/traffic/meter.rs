//! What the traffic sent and what came back, for the admin listener's metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::rate::Rate;
use crate::host::process;
use crate::input::Shape;
use crate::metrics::calls::Ending;
use crate::metrics::histogram::{Histogram, Resolution};
use crate::metrics::measure::OTHER;
use crate::metrics::page::{counter, counters, gauge};
use crate::sync::Lock;

/// The upper bounds of the lag's buckets, in seconds.
const LAG_BOUNDS: [f64; 9] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0,
];
/// The statuses of HTTP are below this.
const STATUSES: usize = 1000;

/// Why a request has no answer: it was never sent, since too many were in flight or it was late by more than its
/// time-out; or as the calls of the service have it. What is not listed counts as the last.
const FAILURES: [&str; 6] = [
    DROPPED,
    "timeout",
    "connection_refused",
    "connection_reset",
    "name_not_resolved",
    OTHER,
];
const DROPPED: &str = "dropped";

/// The probes, by their paths.
pub(super) const PROBES: [&str; 2] = ["/health", "/ready"];

/// The counters of the traffic; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TrafficMeter(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    rate: Lock<Rate>,
    /// When the traffic began.
    start: Lock<Option<Instant>>,
    due: AtomicU64,
    sent: AtomicU64,
    in_flight: AtomicI64,
    answered: Box<[AtomicU64]>,
    failed: [AtomicU64; FAILURES.len()],
    /// From when they were due, and from when they were sent, to the end of the answer.
    since_due: Times,
    since_sent: Times,
    /// From when they were due to when they were sent.
    lag: Histogram,
    /// Successes and failures, as [`PROBES`].
    probes: [[AtomicU64; 2]; PROBES.len()],
    cpu_nanos: AtomicU64,
}

#[derive(Debug, Default)]
struct Times {
    answered: Histogram,
    failed: Histogram,
}

impl TrafficMeter {
    /// Of traffic at `rate`.
    pub(crate) fn new(rate: Shape) -> Self {
        let zeros = std::iter::repeat_with(AtomicU64::default);
        Self(Arc::new(Counters {
            rate: Lock::new(rate.into()),
            start: Lock::default(),
            due: AtomicU64::default(),
            sent: AtomicU64::default(),
            in_flight: AtomicI64::default(),
            answered: zeros.take(STATUSES).collect(),
            failed: Default::default(),
            since_due: Times::default(),
            since_sent: Times::default(),
            lag: Histogram::with_bounds(&LAG_BOUNDS),
            probes: Default::default(),
            cpu_nanos: AtomicU64::default(),
        }))
    }

    pub(super) fn begins(&self, at: Instant) {
        *self.0.start.lock() = Some(at);
    }

    /// From now on the rate is this one.
    pub(super) fn goes_at(&self, rate: Rate) {
        *self.0.rate.lock() = rate;
    }

    /// A request is due. Called by the clients' thread.
    pub(super) fn is_due(&self) {
        // A thread that has too much to do never parks.
        self.note_cpu();
        self.0.due.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that is never sent.
    pub(super) fn dropped(&self) {
        self.failed(DROPPED);
    }

    fn failed(&self, why: &str) {
        let known = FAILURES.iter().position(|known| *known == why);
        let count = &self.0.failed[known.unwrap_or(FAILURES.len() - 1)];
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.0.in_flight.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// A request that was due at `due` and is sent now; it is in flight until the returned value is dropped.
    pub(super) fn sent(&self, due: Instant) -> InFlight {
        let now = Instant::now();
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        self.0.lag.record(now - due);
        InFlight {
            meter: self.clone(),
            due,
            sent: now,
        }
    }

    pub(super) fn probed(&self, path: &str, is_success: bool) {
        let mut probes = PROBES.iter().zip(&self.0.probes);
        if let Some((_, counts)) = probes.find(|(known, _)| **known == path) {
            counts[usize::from(!is_success)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes down what the calling thread has used.
    pub(super) fn note_cpu(&self) {
        let nanos = u64::try_from(process::thread_cpu().as_nanos()).unwrap_or(u64::MAX);
        self.0.cpu_nanos.store(nanos, Ordering::Relaxed);
    }
}

/// A request that has been sent.
#[derive(Debug)]
pub(super) struct InFlight {
    meter: TrafficMeter,
    due: Instant,
    sent: Instant,
}

impl InFlight {
    /// It has come to its end.
    pub(super) fn ended(self, end: Ending) {
        let counters = &self.meter.0;
        let (of_due, of_sent) = (&counters.since_due, &counters.since_sent);
        let (since_due, since_sent) = match end {
            Ending::Status(status) => {
                if let Some(count) = counters.answered.get(usize::from(status)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                (&of_due.answered, &of_sent.answered)
            }
            Ending::Error(why) => {
                self.meter.failed(why);
                (&of_due.failed, &of_sent.failed)
            }
        };
        since_due.record(self.due.elapsed());
        since_sent.record(self.sent.elapsed());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.meter.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Collector for TrafficMeter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (e, all) = (&mut encoder, &*self.0);
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let start = *all.start.lock();
        let rate_at = |start: Instant| all.rate.lock().value_at(start.elapsed());
        let rate = start.map_or(0.0, rate_at);
        let help = "Requests a second that the traffic should send now";
        gauge(e, "mockserver_traffic_rate", help, rate)?;
        let help = "Requests of the traffic that were due";
        counter(e, "mockserver_traffic_due", help, of(&all.due))?;
        let help = "Requests of the traffic that were sent";
        counter(e, "mockserver_traffic_sent", help, of(&all.sent))?;
        self.encode_ends(e)?;
        let help = "Requests of the traffic that wait for an answer";
        let in_flight = self.in_flight().into();
        gauge(e, "mockserver_traffic_in_flight", help, in_flight)?;
        self.encode_times(e)?;
        let help = "CPU time of the traffic's clients, a part of the process's";
        let cpu = Duration::from_nanos(all.cpu_nanos.load(Ordering::Relaxed));
        let name = "mockserver_traffic_cpu_seconds";
        counter(e, name, help, cpu.as_secs_f64())?;
        let help = "Probes by their path and whether they succeeded";
        let probes = PROBES.into_iter().zip(&all.probes);
        let probes = probes.flat_map(|(path, counts)| {
            let results = ["success", "failure"].into_iter().zip(counts);
            results.map(move |(result, n)| ([("path", path), ("result", result)], of(n)))
        });
        counters(e, "mockserver_traffic_probes", help, probes)
    }
}

impl TrafficMeter {
    /// Statuses appear as they come, but for 200; failures are there from the start.
    fn encode_ends(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let answered = self.0.answered.iter().map(of).enumerate();
        let answered = answered.filter(|(status, n)| *status == 200 || *n > 0);
        let answered = answered.map(|(status, n)| (status.to_string(), n));
        let failed = FAILURES.iter().zip(&self.0.failed);
        let failed = failed.map(|(why, n)| ((*why).to_owned(), of(n)));
        let ends = answered.chain(failed);
        let ends = ends.map(|(status, n)| ([("status", status)], n as f64));
        let help = "Requests of the traffic that came to their end, by the status of the answer or why there is none";
        counters(e, "mockserver_traffic_requests", help, ends)
    }

    fn encode_times(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = e.encode_descriptor(
            "mockserver_traffic_duration_seconds",
            "Time from when a request was due, or sent, to the end of its answer or to its failure",
            None,
            MetricType::Histogram,
        )?;
        for (since, times) in [("due", &self.0.since_due), ("sent", &self.0.since_sent)] {
            for (end, times) in [("answered", &times.answered), ("failed", &times.failed)] {
                let labels = [("since", since), ("end", end)];
                times.encode(&mut family, &labels, Resolution::Coarse)?;
            }
        }
        let mut family = e.encode_descriptor(
            "mockserver_traffic_lag_seconds",
            "Time from when a request was due to when it was sent",
            None,
            MetricType::Histogram,
        )?;
        self.0.lag.encode_alone(&mut family, Resolution::Fine)
    }
}

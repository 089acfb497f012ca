//! What happens now, four times a second: one sampler for all viewers, and none where nothing looks.

mod sample;

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use self::sample::Sampler;
use super::Api;
use super::describe::{Answer, Describe, Operation};
use crate::sync::Lock;

/// Four samples a second.
const PERIOD: Duration = Duration::from_millis(250);

/// The latest sample, and whether a task makes new ones.
#[derive(Debug)]
pub(crate) struct Live {
    latest: watch::Sender<String>,
    is_sampling: Lock<bool>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            latest: watch::Sender::default(),
            is_sampling: Lock::new(false),
        }
    }
}

impl Live {
    fn watch(api: &Api) -> watch::Receiver<String> {
        let receiver = api.live.latest.subscribe();
        let mut is_sampling = api.live.is_sampling.lock();
        if !*is_sampling {
            *is_sampling = true;
            tokio::spawn(sample(Api::clone(api)));
        }
        receiver
    }

    /// Whether the sampler shall end. A viewer that comes meanwhile is counted before it asks for the lock.
    fn ends(&self) -> bool {
        let mut is_sampling = self.is_sampling.lock();
        *is_sampling = self.latest.receiver_count() > 0;
        !*is_sampling
    }
}

/// Samples until the last viewer is gone.
async fn sample(api: Api) {
    let mut sampler = Sampler::new(&api);
    // A rate over no time would be noise.
    let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !api.live.ends() {
        tokio::select! {
            biased;
            () = api.end.cancelled() => break,
            _ = ticks.tick() => {}
        }
        // Once for all viewers, the text too.
        let text = serde_json::to_string(&sampler.sample(&api)).unwrap_or_default();
        api.live.latest.send_replace(text);
    }
}

/// A stream of samples.
#[derive(Debug)]
pub(super) struct Samples {
    latest: watch::Receiver<String>,
    end: CancellationToken,
}

impl Samples {
    /// One sample after the other; a viewer that is slow misses some and is never behind.
    fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        let Self { latest, end } = self;
        let samples = stream::unfold(latest, async |mut latest| {
            latest.changed().await.ok()?;
            let sample = sse::Event::default().data(latest.borrow_and_update().as_str());
            Some((Ok(sample), latest))
        });
        samples.take_until(end.cancelled_owned())
    }
}

/// `GET /api/v1/live`
pub(super) async fn live(State(api): State<Api>) -> Samples {
    Samples {
        latest: Live::watch(&api),
        end: api.end.clone(),
    }
}

impl IntoResponse for Samples {
    fn into_response(self) -> Response {
        Sse::new(self.stream()).into_response()
    }
}

impl Describe for Samples {
    fn describe(operation: &mut Operation) {
        let about = "Server-sent events without an end, four a second, each a JSON object: `time_ms` since 1970; \
                     `service`, `version`, `state`, the address of the `admin` listener, `halted_since` and `session`; `scenarios` with what runs or is \
                     planned, asked and achieved; `requests` to the service since the sample before (`per_s`, \
                     `error_share`, `p50_ms` and `p99_ms`, which are interpolated inside the buckets of the histograms \
                     and null without requests); `process` with CPU time in cores, memory in bytes, both with their \
                     limits, threads, tasks and open descriptors.";
        let answer = Answer::text("text/event-stream", about);
        operation.answers.push(answer);
    }
}

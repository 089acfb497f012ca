//! The tower layer that puts the live faults before a group of routes.
//!
//! With no fault in effect it adds one wait-free load to a request and nothing else: no box, no timer,
//! no lock. Only a request that a fault touches pays for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::Request;
use tower::{Layer, Service, ServiceExt};

use super::table::{Armed, FaultTable};
use super::timer::FineTimer;
use super::{Reply, Surface};

/// Puts the faults of a table before the routes of one surface.
#[derive(Debug, Clone)]
pub struct FaultLayer {
    table: FaultTable,
    timer: FineTimer,
    surface: Surface,
    in_dependency: bool,
    is_counted: bool,
}

impl FaultLayer {
    /// Faults from `table`, as they concern `surface`; none of those that lie in a dependency.
    #[must_use]
    pub fn new(table: FaultTable, timer: FineTimer, surface: Surface) -> Self {
        Self {
            table,
            timer,
            surface,
            in_dependency: false,
            is_counted: true,
        }
    }

    /// Only the faults that lie in a dependency. It stands before the call, within the other faults.
    #[must_use]
    pub fn in_dependency(self) -> Self {
        Self {
            in_dependency: true,
            ..self
        }
    }

    /// For requests that are no traffic: the faults count none of them, and their seeded sequences stay as
    /// they are.
    #[must_use]
    pub fn uncounted(self) -> Self {
        Self {
            is_counted: false,
            ..self
        }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FaultService {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service made by [`FaultLayer`].
#[derive(Debug, Clone)]
pub struct FaultService<S> {
    layer: FaultLayer,
    inner: S,
}

impl<S, B> Service<Request<B>> for FaultService<S>
where
    S: Service<Request<B>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Faulted<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(sentence) = self.layer.sentence() else {
            return Either::Left(self.inner.call(request));
        };
        // The clone takes a readiness of its own; the one polled above stays with `self`.
        let inner = self.inner.clone();
        let timer = self.layer.timer.clone();
        Either::Right(Box::pin(async move {
            match sentence.serve(&timer).await {
                Some(reply) => Ok((reply.status, Json(reply.body)).into_response()),
                None => inner.oneshot(request).await,
            }
        }))
    }
}

type Faulted<E> = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

/// What all live faults together do to one request.
struct Sentence {
    arrived: Instant,
    is_counted: bool,
    delays: Vec<(Arc<Armed>, Duration)>,
    reply: Option<(Arc<Armed>, Reply)>,
}

impl FaultLayer {
    /// Asks every live fault once; none when the request is left alone.
    fn sentence(&self) -> Option<Sentence> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        let mut sentence = Sentence {
            arrived: Instant::now(),
            is_counted: self.is_counted,
            delays: Vec::new(),
            reply: None,
        };
        for armed in table
            .iter()
            .filter(|armed| armed.fault.is_in_dependency() == self.in_dependency)
            .filter(|armed| armed.fault.concerns(self.surface))
        {
            let roll = if self.is_counted {
                armed.tally.note_concerned();
                armed.roll()
            } else {
                rand::random()
            };
            let verdict = armed.fault.judge(roll);
            if verdict.is_clean() {
                continue;
            }
            if self.is_counted {
                armed.tally.note_touched();
            }
            if !verdict.delay.is_zero() {
                sentence.delays.push((Arc::clone(armed), verdict.delay));
            }
            if let (None, Some(reply)) = (&sentence.reply, verdict.reply) {
                sentence.reply = Some((Arc::clone(armed), reply));
            }
        }
        (!sentence.delays.is_empty() || sentence.reply.is_some()).then_some(sentence)
    }
}

impl Sentence {
    /// Waits out the delays, one after the other, then gives the reply if there is one.
    ///
    /// A fault that is stopped meanwhile lets the request go on at once, as if it had never been.
    async fn serve(self, timer: &FineTimer) -> Option<Reply> {
        let mut since = self.arrived;
        for (armed, delay) in &self.delays {
            let until = since + *delay;
            tokio::select! {
                () = timer.sleep_until(until) => {
                    if self.is_counted {
                        armed.tally.note_waited(since.elapsed());
                    }
                    // Not the time now: that this wait came late must not make the next one later.
                    since = until;
                }
                () = armed.stop.cancelled() => since = Instant::now(),
            }
        }
        self.reply
            .filter(|(armed, _)| !armed.stop.is_cancelled())
            .map(|(_, reply)| reply)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use http::StatusCode;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;
    use tower::service_fn;

    use super::*;
    use crate::fault::fake::seeded;
    use crate::fault::{RequestFault, Tally, Verdict};

    /// A fault with one verdict, at the dependency's surface only.
    #[derive(Debug)]
    struct Always(Verdict);

    impl RequestFault for Always {
        fn concerns(&self, surface: Surface) -> bool {
            surface == Surface::Dependency
        }
        fn judge(&self, _: f64) -> Verdict {
            self.0.clone()
        }
    }

    fn delay(ms: u64) -> Verdict {
        Verdict {
            delay: Duration::from_millis(ms),
            reply: None,
        }
    }

    fn reply(status: StatusCode) -> Verdict {
        Verdict {
            delay: Duration::ZERO,
            reply: Some(Reply {
                status,
                body: json!({}),
            }),
        }
    }

    struct Bench {
        table: FaultTable,
        served: Arc<AtomicUsize>,
        timer: FineTimer,
    }

    impl Bench {
        fn with(verdicts: Vec<Verdict>) -> (Self, Vec<Arc<Armed>>) {
            let arm = |verdict| {
                let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
                Arc::new(Armed::new(Arc::new(Always(verdict)), tally, stop))
            };
            let armed: Vec<_> = verdicts.into_iter().map(arm).collect();
            let table = FaultTable::default();
            table.store(armed.clone());
            let timer = FineTimer::start().expect("a thread");
            (
                Self {
                    table,
                    served: Arc::default(),
                    timer,
                },
                armed,
            )
        }

        /// Sends one request through the layer, which has an inner service that answers 200.
        fn send(
            &self,
            surface: Surface,
        ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
            let served = Arc::clone(&self.served);
            let inner = service_fn(move |_: Request<Body>| {
                served.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, Infallible>(StatusCode::OK.into_response()) }
            });
            let layer = FaultLayer::new(self.table.clone(), self.timer.clone(), surface);
            layer.layer(inner).oneshot(Request::new(Body::empty()))
        }

        async fn status(&self, surface: Surface) -> u16 {
            let Ok(response) = self.send(surface).await;
            response.status().as_u16()
        }

        fn served(&self) -> usize {
            self.served.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn an_idle_layer_passes_the_inner_future_on_unboxed() {
        let (bench, _) = Bench::with(Vec::new());
        let inner = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(StatusCode::OK.into_response())
        });
        let layer = FaultLayer::new(bench.table, bench.timer, Surface::Other);
        let future = layer.layer(inner).call(Request::new(Body::empty()));
        assert!(matches!(future, Either::Left(_)));
    }

    #[tokio::test]
    async fn a_surface_that_no_fault_concerns_is_left_alone() {
        let (bench, armed) = Bench::with(vec![reply(StatusCode::IM_A_TEAPOT)]);
        assert_eq!(bench.status(Surface::Other).await, 200);
        assert_eq!(armed[0].tally.concerned(), 0);
    }

    #[tokio::test]
    async fn an_uncounted_request_meets_the_fault_and_leaves_no_trace() {
        let (bench, armed) = Bench::with(vec![delay(1), reply(StatusCode::IM_A_TEAPOT)]);
        let (asked, alone) = (Arc::new(seeded(7)), seeded(7));
        bench
            .table
            .store([&armed[..], &[Arc::clone(&asked)]].concat());
        let layer = FaultLayer::new(bench.table, bench.timer, Surface::Dependency).uncounted();
        let inner = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(StatusCode::OK.into_response())
        });
        let Ok(response) = layer
            .layer(inner)
            .oneshot(Request::new(Body::empty()))
            .await;
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
        for armed in armed.iter().chain([&asked]) {
            let tally = &armed.tally;
            assert_eq!((tally.concerned(), tally.touched()), (0, 0));
            assert_eq!(tally.mean_wait(), None);
        }
        assert_eq!(asked.roll(), alone.roll(), "the same first draw");
    }

    /// A teapot that lies in the dependency.
    #[derive(Debug)]
    struct Beyond;

    impl RequestFault for Beyond {
        fn concerns(&self, _: Surface) -> bool {
            true
        }
        fn judge(&self, _: f64) -> Verdict {
            reply(StatusCode::IM_A_TEAPOT)
        }
        fn is_in_dependency(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_fault_in_the_dependency_is_met_before_the_call_and_nowhere_else() {
        let (bench, _) = Bench::with(Vec::new());
        let (tally, stop) = (Arc::default(), CancellationToken::new());
        let beyond = Arc::new(Armed::new(Arc::new(Beyond), tally, stop));
        bench.table.store(vec![beyond]);
        assert_eq!(bench.status(Surface::Dependency).await, 200);
        let layer = FaultLayer::new(bench.table, bench.timer, Surface::Dependency);
        let inner = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(StatusCode::OK.into_response())
        });
        let call = layer.in_dependency().layer(inner);
        let Ok(response) = call.oneshot(Request::new(Body::empty())).await;
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    }

    #[tokio::test]
    async fn delays_add_up_and_are_never_shorter_than_asked() {
        let (bench, armed) = Bench::with(vec![delay(20), delay(30)]);
        let start = Instant::now();
        assert_eq!(bench.status(Surface::Dependency).await, 200);
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert_eq!((bench.served(), armed[1].tally.touched()), (1, 1));
        assert!(armed[0].tally.mean_wait() >= Some(Duration::from_millis(20)));
    }

    #[tokio::test]
    async fn the_first_reply_wins_and_the_route_is_not_called() {
        let (bench, _) = Bench::with(vec![
            reply(StatusCode::BAD_GATEWAY),
            reply(StatusCode::IM_A_TEAPOT),
        ]);
        assert_eq!(bench.status(Surface::Dependency).await, 502);
        assert_eq!(bench.served(), 0);
    }

    #[tokio::test]
    async fn a_stopped_fault_lets_its_waiting_request_go_on_at_once() {
        let (bench, armed) = Bench::with(vec![delay(3_600_000)]);
        let request = tokio::spawn(bench.send(Surface::Dependency));
        while armed[0].tally.touched() == 0 {
            tokio::task::yield_now().await;
        }
        armed[0].stop.cancel();
        let Ok(response) = request.await.expect("no panic");
        assert_eq!((response.status(), bench.served()), (StatusCode::OK, 1));
        assert_eq!(
            armed[0].tally.mean_wait(),
            None,
            "a wait that was cut short is no measure"
        );
    }

    #[tokio::test]
    async fn a_reply_whose_fault_was_stopped_meanwhile_is_not_given() {
        let (bench, armed) = Bench::with(vec![delay(3_600_000), reply(StatusCode::BAD_GATEWAY)]);
        let request = tokio::spawn(bench.send(Surface::Dependency));
        while armed[1].tally.touched() == 0 {
            tokio::task::yield_now().await;
        }
        armed[1].stop.cancel();
        armed[0].stop.cancel();
        let Ok(response) = request.await.expect("no panic");
        assert_eq!(response.status(), StatusCode::OK);
    }
}

//! The layer before a service that answers 200.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::*;
use crate::fault::table::StagedFault;
use crate::fault::{Draw, Matcher, Surfaces};

fn delay(ms: u64) -> Action {
    Action::Delay(Duration::from_millis(ms))
}

fn reply(status: StatusCode) -> Action {
    Action::Reply(Reply::json(status, json!({})))
}

fn armed(
    matcher: Matcher,
    act: impl Fn(&Exchange<'_>, &mut Draw) -> Action + Send + Sync + 'static,
) -> Arc<ArmedFault> {
    let staged = StagedFault::new(matcher, act);
    Arc::new(ArmedFault::new(staged, CancellationToken::new()))
}

/// Always does the same to the requests on `surfaces`.
fn always(surfaces: Surfaces, action: Action) -> Arc<ArmedFault> {
    armed(Matcher::on(surfaces), move |_, _| action.clone())
}

/// Delays half of the requests, repeatably.
fn half() -> Arc<ArmedFault> {
    let matcher = Matcher::on(Surfaces::SERVICE).seeded(Some(7));
    armed(matcher, |_, draw| match draw.uniform() < 0.5 {
        true => delay(1),
        false => Action::Pass,
    })
}

struct Bench {
    table: FaultTable,
    served: Arc<AtomicUsize>,
    timer: FineTimer,
}

impl Bench {
    fn with(actions: Vec<Action>) -> (Self, Vec<Arc<ArmedFault>>) {
        let arm = |action| always(Surfaces::of(&[Surface::Traffic]), action);
        let armed: Vec<_> = actions.into_iter().map(arm).collect();
        let table = FaultTable::default();
        table.store(armed.clone());
        let timer = FineTimer::start().expect("a timer thread");
        let served = Arc::default();
        let bench = Self {
            table,
            served,
            timer,
        };
        (bench, armed)
    }

    fn layer(&self, surface: Surface) -> FaultLayer {
        FaultLayer::new(self.table.clone(), self.timer.clone(), surface)
    }

    /// Sends one request through `layer`.
    fn through(
        &self,
        layer: &FaultLayer,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let served = Arc::clone(&self.served);
        let inner = service_fn(move |_: Request<Body>| {
            served.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Infallible>(StatusCode::OK.into_response()) }
        });
        layer.layer(inner).oneshot(Request::new(Body::empty()))
    }

    async fn status(&self, surface: Surface) -> u16 {
        let Ok(response) = self.through(&self.layer(surface)).await;
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
    let mut service = bench.layer(Surface::Traffic).layer(inner);
    let future = service.call(Request::new(Body::empty()));
    assert!(matches!(future, Either::Left(_)));
}

#[tokio::test]
async fn a_request_that_no_matcher_selects_is_left_alone() {
    let (bench, armed) = Bench::with(vec![reply(StatusCode::IM_A_TEAPOT)]);
    assert_eq!(bench.status(Surface::ControlRead).await, 200);
    assert_eq!(armed[0].tally().matched(), 0);
}

#[tokio::test]
async fn an_uncounted_request_meets_the_faults_and_leaves_no_trace() {
    let (bench, mut armed) = Bench::with(vec![delay(1), reply(StatusCode::IM_A_TEAPOT)]);
    armed.push(half());
    bench.table.store(armed.clone());
    let uncounted = bench.layer(Surface::Traffic).uncounted();
    let Ok(response) = bench.through(&uncounted).await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    for armed in &armed {
        let tally = armed.tally();
        assert_eq!((tally.matched(), tally.touched()), (0, 0));
        assert_eq!(tally.mean_wait_ms(), None);
    }
    // It decides like a fault that has met no request yet.
    let fresh = half();
    let request = Request::new(());
    let exchange = Exchange::new(Surface::Traffic, &request);
    for _ in 0..50 {
        let now = Instant::now();
        let expected = fresh.decide(&exchange, now, true);
        assert_eq!(armed[2].decide(&exchange, now, true), expected);
    }
}

#[tokio::test]
async fn a_dependency_fault_acts_on_calls_and_on_nothing_else() {
    let (bench, _) = Bench::with(Vec::new());
    let fault = always(Surfaces::DEPENDENCY_CALLS, reply(StatusCode::IM_A_TEAPOT));
    bench.table.store(vec![fault]);
    assert_eq!(bench.status(Surface::Traffic).await, 200);
    assert_eq!(bench.status(Surface::DependencyCall).await, 418);
}

#[tokio::test]
async fn delays_add_up_and_are_never_shorter_than_asked() {
    let (bench, armed) = Bench::with(vec![delay(20), delay(30)]);
    let start = Instant::now();
    assert_eq!(bench.status(Surface::Traffic).await, 200);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!((bench.served(), armed[1].tally().touched()), (1, 1));
    assert!(armed[0].tally().mean_wait_ms() >= Some(20.0));
}

#[tokio::test]
async fn a_delay_of_nothing_touches_no_request() {
    let (bench, armed) = Bench::with(vec![delay(0)]);
    assert_eq!(bench.status(Surface::Traffic).await, 200);
    let tally = armed[0].tally();
    assert_eq!((tally.matched(), tally.touched()), (1, 0));
}

#[tokio::test]
async fn the_first_reply_wins_and_the_route_is_not_called() {
    let (bench, _) = Bench::with(vec![
        reply(StatusCode::BAD_GATEWAY),
        reply(StatusCode::IM_A_TEAPOT),
    ]);
    assert_eq!(bench.status(Surface::Traffic).await, 502);
    assert_eq!(bench.served(), 0);
}

#[tokio::test]
async fn a_reply_carries_its_headers() {
    let busy = Reply::json(StatusCode::SERVICE_UNAVAILABLE, json!({}));
    let busy = busy.header(RETRY_AFTER, HeaderValue::from(30));
    let (bench, _) = Bench::with(vec![Action::Reply(busy)]);
    let Ok(response) = bench.through(&bench.layer(Surface::Traffic)).await;
    assert_eq!(response.headers()[RETRY_AFTER], "30");
}

#[tokio::test]
async fn a_stopped_fault_lets_its_waiting_request_go_on_at_once() {
    let (bench, armed) = Bench::with(vec![delay(3_600_000)]);
    let request = tokio::spawn(bench.through(&bench.layer(Surface::Traffic)));
    while armed[0].tally().touched() == 0 {
        tokio::task::yield_now().await;
    }
    armed[0].stop.cancel();
    let Ok(response) = request.await.expect("no panic");
    assert_eq!((response.status(), bench.served()), (StatusCode::OK, 1));
    let mean = armed[0].tally().mean_wait_ms();
    assert_eq!(mean, None, "a wait that is cut short is no measurement");
}

#[tokio::test]
async fn a_reply_whose_fault_was_stopped_meanwhile_is_not_given() {
    let (bench, armed) = Bench::with(vec![delay(3_600_000), reply(StatusCode::BAD_GATEWAY)]);
    let request = tokio::spawn(bench.through(&bench.layer(Surface::Traffic)));
    while armed[1].tally().touched() == 0 {
        tokio::task::yield_now().await;
    }
    armed[1].stop.cancel();
    armed[0].stop.cancel();
    let Ok(response) = request.await.expect("no panic");
    assert_eq!(response.status(), StatusCode::OK);
}

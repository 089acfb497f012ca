//! Traffic: clients that ask a service, this one or another, over real connections.
//!
//! It is open loop: what is due when depends on the plan alone, so a slow service does not slow its clients, and an
//! answer's time counts from when its request was due. All of it runs on one thread of its own, so that neither the
//! service's workers nor the control thread work for the clients; its CPU time is the process's own work.

mod alarm;
mod clients;
mod control;
mod meter;
mod planner;
mod rate;
mod schedule;
mod spec;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use tokio::runtime::Runtime;
use tokio::task::coop::consume_budget;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::client::{self, health};
use crate::host::threads;
use crate::host::turns::take_short_turns;
use crate::lifecycle::readiness::Readiness;
use crate::metrics::calls::Ending;
use crate::upstream::connections::{Bare, Connections};
use alarm::Alarm;
use clients::{ClientKind, KUBELET};
use meter::PROBES;
use planner::Planner;
use schedule::DueRequest;
use spec::Target;

pub(crate) use control::{Change, ChangeGuard, TrafficControl};
pub(crate) use meter::TrafficMeter;
pub(crate) use spec::TrafficSpec;

/// How far ahead the plan is made at a time.
const AHEAD: Duration = Duration::from_secs(1);
/// How often a kubelet probes, and how long it waits, by default.
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The running traffic. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Traffic {
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            // The hook has logged a panic.
            thread.join().ok();
        }
    }
}

/// Where the traffic goes and what bounds it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The address of the service's own listener.
    pub(crate) service: SocketAddr,
    /// Whether that is ready.
    pub(crate) readiness: Readiness,
    /// The most requests in flight.
    pub(crate) most: u32,
    /// What may change it.
    pub(crate) control: TrafficControl,
    /// Cancelled when the daemon ends.
    pub(crate) end: CancellationToken,
}

/// Starts the traffic that `spec` describes.
///
/// # Errors
/// The system refuses a descriptor or a thread.
pub(crate) fn start(
    spec: TrafficSpec,
    meter: TrafficMeter,
    surroundings: Surroundings,
) -> io::Result<Traffic> {
    let of_thread = meter.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Looks names up, where the target has one.
        .max_blocking_threads(2)
        .thread_name(threads::name("clients"))
        .on_thread_park(move || of_thread.note_cpu())
        .build()?;
    let alarm = {
        let _entered = runtime.enter();
        Alarm::new()?
    };
    let end = surroundings.end.child_token();
    let clients = Clients::new(spec, meter, surroundings);
    let until = end.clone();
    let thread = std::thread::Builder::new().name(threads::name("clients"));
    let thread = thread.spawn(move || live(runtime, clients, &alarm, &until))?;
    Ok(Traffic {
        end,
        thread: Some(thread),
    })
}

/// The life of the thread.
fn live(runtime: Runtime, clients: Clients, alarm: &Alarm, end: &CancellationToken) {
    // Beside a burn the clients must be on time. Where the kernel refuses, they compete as any other thread.
    let _taken: bool = take_short_turns();
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            failed = clients.live(alarm) => {
                if let Err(error) = failed {
                    error!(%error, "The clients' timer failed.");
                }
            }
        }
    });
    // A name may still be looked up, which nothing can end.
    runtime.shutdown_background();
}

/// All clients of the service.
struct Clients {
    spec: TrafficSpec,
    meter: TrafficMeter,
    /// `host:port` of the service.
    address: Arc<str>,
    connections: Arc<Connections>,
    readiness: Readiness,
    control: TrafficControl,
    most: u32,
}

impl Clients {
    fn new(spec: TrafficSpec, meter: TrafficMeter, surroundings: Surroundings) -> Self {
        let address = match &spec.target {
            Target::Own => health::near(surroundings.service).to_string(),
            Target::At(address) => address.clone(),
        };
        Self {
            spec,
            meter,
            address: address.into(),
            connections: Arc::new(Connections::new(None)),
            readiness: surroundings.readiness,
            control: surroundings.control,
            most: surroundings.most,
        }
    }

    async fn live(&self, alarm: &Alarm) -> io::Result<()> {
        let (sent, ()) = tokio::join!(self.send_all(alarm), self.probe());
        sent
    }

    /// Sends every request when it is due; ends on a failure only.
    async fn send_all(&self, alarm: &Alarm) -> io::Result<()> {
        if self.spec.target == Target::Own {
            self.readiness.ready().await;
        }
        let seed = self.spec.seed.unwrap_or_default();
        let start = Instant::now();
        let mut plan = Planner::new(&self.spec, seed, start);
        let control = self.control.watch();
        self.meter.begins(start);
        info!(to = &*self.address, seed, "Traffic begins.");
        let mut planned = Duration::ZERO;
        loop {
            let change = control.borrow().clone();
            if let Some(rate) = plan.follow(change, planned) {
                self.meter.goes_at(rate);
            }
            planned += AHEAD;
            while let Some(request) = plan.next_before(planned) {
                let due = start + request.due;
                alarm.sleep_until(due).await?;
                self.begin(request, due);
                // Where it is late it does not sleep, and the answers must be read too.
                consume_budget().await;
            }
            alarm.sleep_until(start + planned).await?;
        }
    }

    /// Sends `request` without waiting for its answer.
    fn begin(&self, request: DueRequest, due: Instant) {
        self.meter.is_due();
        // Its client would have gone: this process was frozen, or had no CPU.
        let is_too_late = due.elapsed() > self.spec.timeout;
        if is_too_late || self.meter.in_flight() >= self.most {
            self.meter.dropped();
            return;
        }
        let in_flight = self.meter.sent(due);
        let (address, connections) = (Arc::clone(&self.address), Arc::clone(&self.connections));
        let within = self.spec.timeout;
        tokio::spawn(async move {
            let answer = connections.send(&address, || request_of(&request, &address));
            in_flight.ended(match timeout(within, answer).await {
                Ok(Ok(status)) => Ending::Status(status.as_u16()),
                Ok(Err(failure)) => failure.ending(),
                Err(_) => Ending::TIMEOUT,
            });
        });
    }

    /// Calls the probes as an orchestrator does, each over a connection of its own.
    async fn probe(&self) {
        let mut control = self.control.watch();
        loop {
            let change = control.borrow_and_update().clone();
            let every = change.as_ref().map(|change| change.probe_every);
            let every = every.or(self.spec.probes.then_some(PROBE_EVERY));
            let calls = async {
                match every {
                    Some(every) => self.probe_each(every, change.as_deref()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = calls => {}
                Ok(()) = control.changed() => {}
            }
        }
    }

    /// Calls all of them again and again.
    async fn probe_each(&self, every: Duration, change: Option<&Change>) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut succeeded = PROBES.map(|_| true);
        loop {
            tick.tick().await;
            let probes = PROBES.into_iter().zip(&mut succeeded);
            let probes = probes.map(|(path, before)| async {
                let is_success = self.probe_one(path).await;
                let was_success = std::mem::replace(before, is_success);
                if let Some(change) = change.filter(|_| was_success != is_success) {
                    (change.on_flip)(path, is_success);
                }
            });
            futures_util::future::join_all(probes).await;
        }
    }

    async fn probe_one(&self, path: &str) -> bool {
        let url = format!("http://{}{path}", self.address);
        let request = Request::get(url)
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, KUBELET.user_agent)
            .header(header::ACCEPT, KUBELET.accept)
            .body(Empty::<Bytes>::new());
        let Ok(request) = request else { return false };
        let status = client::send(request, |response| async move { Ok(response.status()) });
        let is_success = match timeout(PROBE_TIMEOUT, status).await {
            Ok(Ok(status)) => status.is_success() || status.is_redirection(),
            Ok(Err(_)) | Err(_) => false,
        };
        self.meter.probed(path, is_success);
        is_success
    }
}

/// The request as its client writes it.
fn request_of(due: &DueRequest, host: &str) -> Bare {
    let ClientKind { user_agent, accept } = *due.client;
    let mut request = Request::new(Empty::new());
    // The configuration has checked both.
    *request.method_mut() = due.method.parse().unwrap_or_default();
    *request.uri_mut() = due.path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::try_from(host) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(user_agent));
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    request
}

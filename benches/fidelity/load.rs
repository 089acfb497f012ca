//! A load generator: many keep-alive connections, each with an even rate of requests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::row::Row;
use crate::table::Table;

/// What to request, how often, and over how many connections.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) connections: u32,
    /// Over all connections; one that waits for an answer falls behind.
    pub(crate) per_second: u32,
}

/// The response times, sorted.
pub(crate) struct LoadResult {
    took: Vec<Duration>,
    /// Of them, how many had the status 200.
    served: usize,
    within: Duration,
}

impl LoadResult {
    pub(crate) fn count(&self) -> usize {
        self.took.len()
    }

    pub(crate) fn served(&self) -> usize {
        self.served
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.within.as_secs_f64()
    }

    /// Milliseconds that a share of the answers did not exceed; 0 gives the fastest.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let index = (self.took.len() as f64 * share) as usize;
        self.took.get(index).map_or(f64::NAN, Duration::as_secs_f64) * 1000.0
    }
}

/// The bar of the admin listener's p99 in ms while something else goes wrong.
pub(crate) fn admin_row(table: &mut Table, what: &str, p99: f64) {
    table.row(Row {
        what: &format!("{what}: admin listener at p99 meanwhile"),
        asked: String::new(),
        achieved: format!("{p99:.2} ms"),
        error: String::new(),
        bar: "at most 10 ms",
        held: p99 <= 10.0,
    });
}

impl Load {
    pub(crate) fn run(&self, within: Duration) -> LoadResult {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let answers = runtime.unwrap().block_on(self.all(within));
        let served = answers.iter().filter(|(_, status)| *status == 200).count();
        let mut took: Vec<_> = answers.into_iter().map(|(took, _)| took).collect();
        took.sort_unstable();
        LoadResult {
            took,
            served,
            within,
        }
    }

    async fn all(&self, within: Duration) -> Vec<(Duration, u16)> {
        let mut open = Vec::new();
        for _ in 0..self.connections {
            open.push(Connection::open(self.address).await);
        }
        let every = Duration::from_secs(1) * self.connections / self.per_second;
        let start = Instant::now() + Duration::from_millis(10);
        let mut asking = tokio::task::JoinSet::new();
        for (connection, index) in open.into_iter().zip(0..) {
            let first = start + every * index / self.connections;
            asking.spawn(connection.ask(self.path, first, every, start + within));
        }
        asking.join_all().await.into_iter().flatten().collect()
    }
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (sender, driver) = handshake.await.unwrap();
        Self {
            sender,
            driver: tokio::spawn(driver),
        }
    }

    async fn ask(
        mut self,
        path: &'static str,
        first: Instant,
        every: Duration,
        end: Instant,
    ) -> Vec<(Duration, u16)> {
        let mut took = Vec::new();
        let mut next = first;
        while next < end {
            tokio::time::sleep_until(next.into()).await;
            let request = http::Request::get(path)
                .header("host", "test")
                .body(Empty::new());
            let asked = Instant::now();
            let answer = self.sender.send_request(request.unwrap()).await;
            let answer = answer.unwrap();
            let status = answer.status().as_u16();
            answer.into_body().collect().await.unwrap();
            took.push((asked.elapsed(), status));
            next = (next + every).max(Instant::now());
        }
        self.driver.abort();
        took
    }
}

//! Requests over new connections, as a helper sends them; and many requests that wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A later answer counts as none.
const PATIENCE: Duration = Duration::from_secs(10);
/// The interval of status requests.
const EVERY: Duration = Duration::from_millis(10);

/// Sends one request over a new connection; returns the status and the JSON of the answer.
pub(crate) fn ask(
    to: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let bad = || io::Error::other(format!("no answer: {text:?}"));
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let (_, json) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let json = serde_json::from_str(json).unwrap_or_else(|_| Value::from(json));
    Ok((status.ok_or_else(bad)?, json))
}

/// Stops everything; returns how long the answer took, or why there was none.
pub(crate) fn stop_all(on: SocketAddr) -> Result<Duration, String> {
    let start = Instant::now();
    match ask(on, "POST", "/api/v1/composite/stop", "") {
        Ok((200, _)) => Ok(start.elapsed()),
        Ok((status, body)) => Err(format!("answered {status} {body}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Response times of many requests.
pub(crate) struct ResponseTimes {
    /// Sorted, in ms; infinite without an answer.
    took: Vec<f64>,
}

impl ResponseTimes {
    /// Requests the status at even intervals. A request that is late because of a late answer counts from when it was
    /// due.
    pub(crate) fn of_status(to: SocketAddr, within: Duration) -> Self {
        let start = Instant::now();
        let (mut due, mut took) = (start, Vec::new());
        while due - start < within {
            let now = Instant::now();
            let from = if now < due {
                std::thread::sleep(due - now);
                Instant::now()
            } else {
                due
            };
            let answer = ask(to, "GET", "/api/v1/composite/status", "");
            took.push(match answer {
                Ok((200, _)) => from.elapsed().as_secs_f64() * 1000.0,
                _ => f64::INFINITY,
            });
            due += EVERY;
        }
        took.sort_by(f64::total_cmp);
        Self { took }
    }

    /// Milliseconds that a share of the answers did not exceed.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let index = (self.took.len() as f64 * share) as usize;
        self.took.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn missing(&self) -> usize {
        self.took.iter().filter(|ms| ms.is_infinite()).count()
    }
}

/// Requests that wait for an answer.
pub(crate) struct Waiting(Vec<TcpStream>);

impl Waiting {
    /// Sends `many` probes, each over a new connection.
    pub(crate) fn begin(to: SocketAddr, many: usize) -> Self {
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let connect = |_| {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request).unwrap();
            stream
        };
        Self((0..many).map(connect).collect())
    }

    /// How many remain unanswered after the fault has ended.
    pub(crate) fn unanswered(self) -> usize {
        let answered = |mut stream: TcpStream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 200 ")
        };
        self.0
            .into_iter()
            .map(answered)
            .filter(|good| !good)
            .count()
    }
}

//! Somebody who comes to help: each request over a new connection; and the many who wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Beyond this there is no answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the status is asked.
const EVERY: Duration = Duration::from_millis(10);

/// Sends one request over a connection of its own; gives the status and the JSON of the answer.
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

/// Stops everything; gives how long the answer took, or why there was none.
pub(crate) fn stop_all(on: SocketAddr) -> Result<Duration, String> {
    let start = Instant::now();
    match ask(on, "POST", "/api/v1/composite/stop", "") {
        Ok((200, _)) => Ok(start.elapsed()),
        Ok((status, body)) => Err(format!("answered {status} {body}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The times of many answers.
pub(crate) struct Answers {
    /// Sorted, in ms; infinite where none came.
    took: Vec<f64>,
}

impl Answers {
    /// Asks for the status over and over. What is late because the answer before was late counts from
    /// when it was due.
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
    /// Sends `many` probes, each over a connection of its own.
    pub(crate) fn begin(to: SocketAddr, many: usize) -> Self {
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let connect = |_| {
            let mut stream = TcpStream::connect(to).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
            stream.write_all(request).expect("room for a request");
            stream
        };
        Self((0..many).map(connect).collect())
    }

    /// How many are not answered though nothing holds them up any more.
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

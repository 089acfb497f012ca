//! Clients of a daemon: whole requests, and bytes as they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// An answer: its status, its content type and its body, parsed where it is JSON.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn read(mut response: http::Response<ureq::Body>) -> Self {
        let content_type = header_of(&response, "content-type");
        let text = response.body_mut().read_to_string();
        let text = text.expect("the body arrives whole and is UTF-8");
        Self {
            status: response.status().as_u16(),
            content_type,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }
}

/// A client with its own connections, which may move to another thread.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Client {
    pub(super) fn new(service: SocketAddr, admin: SocketAddr) -> Self {
        Self {
            agent: agent(),
            service,
            admin,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        Answer::read(send(&self.agent, "GET", self.service, path, b"", &[]))
    }

    pub(crate) fn admin_get(&self, path: &str) -> Answer {
        Answer::read(send(&self.agent, "GET", self.admin, path, b"", &[]))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        let body = body.as_bytes();
        Answer::read(send(&self.agent, "POST", self.service, path, body, &[]))
    }
}

/// An agent that returns every answer as it is, errors and redirects included.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .max_redirects(0)
        .build()
        .into()
}

/// Sends one request and returns the answer with its headers.
pub(crate) fn send(
    agent: &ureq::Agent,
    method: &str,
    to: SocketAddr,
    path: &str,
    body: &[u8],
    headers: &[(&str, &str)],
) -> http::Response<ureq::Body> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("http://{to}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.to_vec()).unwrap();
    let response = agent.run(request);
    response.unwrap_or_else(|error| panic!("{method} http://{to}{path} got no answer: {error}"))
}

/// Sends one request over a new connection.
pub(crate) fn request(
    method: &str,
    to: SocketAddr,
    path: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Answer {
    Answer::read(send(&agent(), method, to, path, body.as_bytes(), headers))
}

/// The route that starts one scenario.
pub(crate) fn start_path(name: &str) -> String {
    format!("/api/v1/scenarios/{name}/start")
}

/// Opens a connection, writes `bytes` as they are and leaves it open.
pub(crate) fn connect_and_write(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap_or_else(|error| panic!("{to}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).expect("the request can be written");
    stream
}

/// Sends bytes as they are and returns all that comes back until the daemon closes the connection.
pub(crate) fn send_raw(to: SocketAddr, bytes: &[u8]) -> String {
    let mut text = String::new();
    let read = connect_and_write(to, bytes).read_to_string(&mut text);
    read.unwrap_or_else(|error| panic!("{to} did not close the connection: {error}"));
    text
}

/// The value of `header` in a response, empty where it has none.
pub(crate) fn header_of(response: &http::Response<ureq::Body>, header: &str) -> String {
    let value = response.headers().get(header);
    value
        .map_or("", |value| value.to_str().expect("a printable header"))
        .to_owned()
}

//! Asks all daemons at once.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use serde_json::Value;

use super::Failure;
use super::targets::Target;
use crate::client;

/// The variable with the token, where no flag names a file.
const VARIABLE: &str = "MOCKSERVER_TOKEN";

/// What one daemon answered, or why it did not.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) url: String,
    pub(super) answer: Result<(StatusCode, Value), String>,
}

impl Reply {
    pub(super) fn is_good(&self) -> bool {
        matches!(&self.answer, Ok((status, _)) if status.is_success())
    }

    /// The body of a good answer.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) fn good(self) -> Result<Value, String> {
        match self.answer {
            Ok((status, body)) if status.is_success() => Ok(body),
            Ok((status, body)) => Err(refusal(status, &body)),
            Err(reason) => Err(reason),
        }
    }
}

/// The daemons with the token for them.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) targets: Vec<Target>,
    token: Option<String>,
    timeout: Duration,
}

impl Client {
    /// # Errors
    /// The file of the token cannot be read.
    pub(super) fn new(
        targets: Vec<Target>,
        token_file: Option<PathBuf>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let token = match token_file {
            None => std::env::var(VARIABLE).ok(),
            Some(file) => {
                let token = std::fs::read_to_string(&file).map_err(|error| {
                    Failure::Other(format!("{} cannot be read: {error}", file.display()))
                })?;
                Some(token.trim().to_owned())
            }
        };
        Ok(Self {
            targets,
            token: token.filter(|token| !token.is_empty()),
            timeout,
        })
    }

    /// Asks every daemon; the replies are in the order of the targets.
    pub(super) async fn ask_all(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Vec<Reply> {
        let ask = |target| self.ask(target, method.clone(), path, body);
        join_all(self.targets.iter().map(ask)).await
    }

    /// Asks one daemon.
    pub(super) async fn ask(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Reply {
        let asked = async {
            let request = self.request(target, method, path, body, "application/json")?;
            let whole = |response: http::Response<Incoming>| async move {
                let status = response.status();
                let body = response.into_body().collect().await?.to_bytes();
                Ok((status, body))
            };
            let (status, body) = client::send(request, whole).await?;
            let text = || String::from_utf8_lossy(&body).into_owned().into();
            let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
            Ok((status, body))
        };
        let late = || {
            let seconds = self.timeout.as_secs();
            format!("{} did not answer within {seconds} s", target.url)
        };
        let answer = tokio::time::timeout(self.timeout, asked).await;
        Reply {
            url: target.url.clone(),
            answer: answer.unwrap_or_else(|_| Err(late())),
        }
    }

    pub(super) fn request(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accept: &str,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", target.url))
            .header(ACCEPT, accept);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(body));
        request.map_err(|error| error.to_string())
    }
}

/// A refused request in words, from a problem of RFC 9457 or whatever there is.
fn refusal(status: StatusCode, body: &Value) -> String {
    let detail = body["detail"].as_str().or(body["title"].as_str());
    let mut text = detail.map_or_else(|| format!("HTTP {status}"), str::to_owned);
    for error in body["errors"].as_array().into_iter().flatten() {
        let [pointer, detail] =
            ["pointer", "detail"].map(|of| error[of].as_str().unwrap_or_default());
        text += &format!("\n  {pointer}: {detail}");
    }
    // A start of which nothing came up.
    for detail in body["details"].as_array().into_iter().flatten() {
        if let (Some(name), Some(error)) = (detail["name"].as_str(), detail["error"].as_str()) {
            text += &format!("\n  {name}: {error}");
        }
    }
    text
}

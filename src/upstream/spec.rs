//! What the configuration says of a call to another service.

use std::time::Duration;

use http::{HeaderValue, Method, Uri};

use crate::client;
use crate::fault::Law;
use crate::input::Fields;

const LONGEST_MS: f64 = 600_000.0;
const METHODS: [(&str, Method); 6] = [
    ("GET", Method::GET),
    ("HEAD", Method::HEAD),
    ("POST", Method::POST),
    ("PUT", Method::PUT),
    ("PATCH", Method::PATCH),
    ("DELETE", Method::DELETE),
];

/// One call that a route makes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallSpec {
    /// The upstream that is called, in metrics, logs and traces.
    pub(crate) name: String,
    pub(crate) method: Method,
    /// How long one attempt may take.
    pub(crate) timeout: Duration,
    /// How many further attempts a failed one gets.
    pub(crate) retries: u32,
    /// The most connections at once, if they are bounded.
    pub(crate) pool: Option<u32>,
    pub(crate) peer: Peer,
}

/// What answers a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Peer {
    /// A server.
    Real(Target),
    /// Nothing: the answer comes after a time of the law, and fails in this share of the calls.
    Pretended { latency: Law, error_share: f64 },
}

/// Where a real call goes: a URL with placeholders for the parameters of the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The host and port to connect to.
    pub(crate) address: String,
    pub(crate) port: u16,
    /// The header `Host`: host and port as the URL has them.
    pub(crate) host: HeaderValue,
    path: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The value of the parameter of this name.
    Param(String),
}

impl CallSpec {
    /// Reads one item of the `Calls` of a route whose path has these parameters.
    pub(crate) fn read(fields: &mut Fields, params: &[&str]) -> Self {
        let about = "The upstream that is called, in metrics, logs and traces.";
        fields.require("Name");
        let name = fields.field("Name", about).optional().host_name();
        let about = "Where the call goes: http://host[:port]/path, in which {id} stands for the parameter id of the \
                     route's path. Without it the call is pretended: there is no server behind it.";
        let rule = "must be a URL of the form http://host[:port]/path, with placeholders such as {id} in its path only";
        let has_url = fields.has("Url");
        let target = fields.field("Url", about).optional();
        let target = target.text(rule, Target::parse);
        let about = "The HTTP method.";
        let names = METHODS.map(|(name, _)| (name, name));
        let method = fields.field("Method", about).choice(&names);
        let about = "How long one attempt may take, the wait for a connection included.";
        let timeout = fields.field("TimeoutMs", about);
        let timeout = timeout.milliseconds(1.0..=LONGEST_MS, 1000.0);
        let about = "How many further attempts a call gets that has timed out, found no server or failed with a 5xx.";
        let retries = fields.field("Retries", about).integer(0..=10_u32, 0);
        let about = "How long a pretended call takes.";
        let has_latency = fields.has("Latency");
        let latency = Law::read(fields, "Latency", about);
        let about = "The most connections at once; further calls wait. Absent: no bound.";
        let pool = fields.field("Pool", about).optional();
        let pool = pool.integer(1..=10_000_u32);
        let about = "The share of pretended calls that fail with a 500.";
        let has_error_share = fields.has("ErrorShare");
        let error_share = fields.field("ErrorShare", about).number(0.0..=1.0, 0.0);
        if has_url {
            for (name, given) in [("Latency", has_latency), ("ErrorShare", has_error_share)] {
                fields.withdraw(name);
                if given {
                    fields.reject(name, "is for calls without Url: a server has its own");
                }
            }
        }
        if let Some(target) = &target {
            target.refuse_unknown(fields, params);
        }
        let method = METHODS.into_iter().find(|(known, _)| *known == method);
        Self {
            name: name.unwrap_or_default(),
            method: method.map_or(Method::GET, |(_, method)| method),
            timeout,
            retries,
            pool,
            peer: match target {
                Some(target) => Peer::Real(target),
                None => Peer::Pretended {
                    latency: latency.unwrap_or(Law::of(Duration::ZERO, Duration::ZERO)),
                    error_share,
                },
            },
        }
    }
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = parts_of(path)?;
        // With a plain text for each placeholder it must be a URL.
        let plain: String = path.iter().map(Part::plain).collect();
        let uri: Uri = format!("http://{host}{plain}").parse().ok()?;
        let authority = uri.authority()?;
        let is_bare = !authority.as_str().contains('@') && !url.contains('#');
        Some(Self {
            address: client::address_of(&uri).filter(|_| is_bare)?,
            port: authority.port_u16().unwrap_or(80),
            host: HeaderValue::try_from(authority.as_str()).ok()?,
            path,
        })
    }

    /// The host and port as the URL has them.
    pub(crate) fn authority(&self) -> &str {
        // It is made of a URL, which is ASCII.
        self.host.to_str().unwrap_or_default()
    }

    /// The path and query of a call with these parameters, percent-encoded as they came.
    pub(super) fn path(&self, params: &[(&str, &str)]) -> String {
        let mut path = String::new();
        for part in &self.path {
            match part {
                Part::Text(text) => path += text,
                Part::Param(name) => {
                    let value = params.iter().find(|(known, _)| known == name);
                    encode(value.map_or("", |(_, value)| value), &mut path);
                }
            }
        }
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        path
    }

    /// The path of a call, without the query, with a value for each placeholder that no route has as a text.
    pub(crate) fn plain_path(&self) -> String {
        // A call encodes it, and so does no path of a route.
        let value = |name: &Part| match name {
            Part::Text(text) => text.clone(),
            Part::Param(_) => "%00".to_owned(),
        };
        let path: String = self.path.iter().map(value).collect();
        path.split('?').next().unwrap_or_default().to_owned()
    }

    fn refuse_unknown(&self, fields: &mut Fields, params: &[&str]) {
        for part in &self.path {
            match part {
                Part::Param(name) if !params.contains(&name.as_str()) => {
                    let known = match params {
                        [] => "has none".to_owned(),
                        params => format!("has: {}", params.join(", ")),
                    };
                    let detail = format!("has {{{name}}}, but the path of the route {known}");
                    fields.reject("Url", detail);
                }
                _ => {}
            }
        }
    }
}

impl Part {
    fn plain(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Param(_) => "x",
        }
    }
}

/// The parts of a path; none where its braces do not match.
fn parts_of(path: &str) -> Option<Vec<Part>> {
    let (mut parts, mut rest) = (Vec::new(), path);
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.contains('}') || name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        parts.extend([Part::Text(text.to_owned()), Part::Param(name.to_owned())]);
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    (!rest.contains('}')).then_some(parts)
}

/// Adds `value`, which is percent-encoded as a path needs it, so that it fits into a query too.
///
/// Source: the unreserved characters of RFC 3986, section 2.3.
fn encode(value: &str, path: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' => {
                path.push(char::from(byte));
            }
            _ => *path += &format!("%{byte:02X}"),
        }
    }
}

/// What two calls to the same upstream disagree in, as a sentence; none where they agree.
///
/// Calls of the same name are calls to one service, with one pool of connections.
pub(crate) fn clash(first: &CallSpec, second: &CallSpec) -> Option<String> {
    let name = &first.name;
    // A call without a name is refused for that.
    if first.name != second.name || name.is_empty() {
        return None;
    }
    match (&first.peer, &second.peer) {
        (Peer::Real(one), Peer::Real(other)) if one.address != other.address => {
            let (one, other) = (&one.address, &other.address);
            return Some(format!(
                "{name} is {one} in one call and {other} in another"
            ));
        }
        (Peer::Real(_), Peer::Real(_)) | (Peer::Pretended { .. }, Peer::Pretended { .. }) => {}
        _ => {
            return Some(format!("{name} has a Url in one call and none in another"));
        }
    }
    (first.pool != second.pool)
        .then(|| format!("the Pool of {name} must be the same in each of its calls"))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The call that `given` describes, on a route with the parameter `id`.
    pub(crate) fn read(given: &Value) -> Result<CallSpec, String> {
        let given = given.as_object().cloned().unwrap_or_default();
        let mut fields = Fields::new("", given);
        let spec = CallSpec::read(&mut fields, &["id"]);
        match fields.finish() {
            Ok(_) => Ok(spec),
            Err(errors) => Err(format!("{errors:?}")),
        }
    }

    fn real(url: &str) -> Result<Target, String> {
        match read(&json!({ "Name": "inventory", "Url": url }))?.peer {
            Peer::Real(target) => Ok(target),
            pretended => panic!("{pretended:?}"),
        }
    }

    #[test]
    fn a_call_without_more_is_pretended_and_takes_no_time() {
        let call = read(&json!({ "Name": "postgres" })).expect("a good call");
        assert_eq!((call.method, call.retries), (Method::GET, 0));
        assert_eq!((call.timeout, call.pool), (Duration::from_secs(1), None));
        let nothing = Law::of(Duration::ZERO, Duration::ZERO);
        let pretended = Peer::Pretended {
            latency: nothing,
            error_share: 0.0,
        };
        assert_eq!(call.peer, pretended);
    }

    #[test]
    fn placeholders_take_the_parameters_of_the_route() {
        let target = real("http://inventory:8888/api/{id}/stock?of={id}").expect("a good URL");
        assert_eq!(target.address, "inventory:8888");
        assert_eq!(target.path(&[("id", "7")]), "/api/7/stock?of=7");
        let odd = target.path(&[("id", "a%2Fb&c=ä")]);
        assert_eq!(odd, "/api/a%2Fb%26c%3D%C3%A4/stock?of=a%2Fb%26c%3D%C3%A4");
        let bare = real("http://[::1]").expect("a good URL");
        assert_eq!((bare.address.as_str(), bare.port), ("[::1]:80", 80));
        assert_eq!(bare.path(&[]), "/");
    }

    #[test]
    fn bad_calls_are_refused_with_a_reason() {
        let with = |name: &str, value: Value| {
            let mut call = json!({ "Name": "inventory" });
            call[name] = value;
            read(&call).expect_err("a bad call")
        };
        for name in ["", "a b", "a/b", "ä"] {
            assert!(with("Name", json!(name)).contains("letters, digits"));
        }
        for url in [
            "https://a/",
            "a:80/x",
            "http://",
            "http://u:p@a/",
            "http://{id}/",
            "http://a/{id",
            "http://a/id}",
            "http://a/{}",
            "http://a/x#y",
            "http://a/x y",
        ] {
            let error = with("Url", json!(url));
            assert!(error.contains("http://host[:port]/path"), "{url}: {error}");
        }
        let unknown = with("Url", json!("http://a/{name}"));
        assert!(unknown.contains("has {name}, but the path of the route has: id"));
        for (name, value) in [
            ("TimeoutMs", json!(0)),
            ("Retries", json!(11)),
            ("Pool", json!(0)),
            ("ErrorShare", json!(1.5)),
            ("Method", json!("BREW")),
            ("Timeout", json!(1)),
        ] {
            with(name, value);
        }
        assert!(
            read(&json!({}))
                .expect_err("no name")
                .contains("is missing")
        );
        let both = json!({ "Name": "a", "Url": "http://a/", "Latency": { "p50_ms": 1 } });
        assert!(read(&both).expect_err("both").contains("calls without Url"));
    }

    #[test]
    fn calls_of_one_name_are_calls_to_one_service() {
        let call = |more: Value| {
            let mut call = json!({ "Name": "inventory" });
            call.as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("an object").clone());
            read(&call).expect("a good call")
        };
        let one = call(json!({ "Url": "http://a:1/x" }));
        for (other, reason) in [
            (json!({}), Some("has a Url in one call")),
            (
                json!({ "Url": "http://a:2/x" }),
                Some("is a:1 in one call and a:2"),
            ),
            (
                json!({ "Url": "http://a:1/y", "Pool": 1 }),
                Some("the Pool of inventory"),
            ),
            (json!({ "Url": "http://a:1/y", "TimeoutMs": 5 }), None),
            (json!({ "Name": "orders" }), None),
        ] {
            let found = clash(&one, &call(other));
            assert_eq!(found.is_some(), reason.is_some(), "{found:?}");
            assert!(
                found
                    .unwrap_or_default()
                    .contains(reason.unwrap_or_default())
            );
        }
    }
}

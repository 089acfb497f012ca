//! The events of the ledger, once or as they happen.

use std::io::Write;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::Failure;
use super::client::Client;
use super::show::{Instances, text_in};

/// How often a daemon is asked for new events. Asked and not streamed: so it goes on when a daemon has crashed and is
/// back.
const EVERY: Duration = Duration::from_millis(300);
/// The most events of one answer.
const PAGE: u64 = 1000;

/// How far the events of one daemon have been read.
#[derive(Debug, Default)]
struct Reader {
    since: u64,
    /// Why the last try failed, so that it is said once.
    lost: Option<String>,
}

/// Prints the events after `since`: those that there are, and with `follow` those to come, without `since` only those.
/// Returns whether every daemon answered.
pub(super) async fn events(
    client: &Client,
    follow: bool,
    since: Option<u64>,
    json: bool,
    (out, complaints): (&mut dyn Write, &mut dyn Write),
) -> Result<bool, Failure> {
    let instances = Instances::of(client);
    let mut readers: Vec<Reader> = Vec::new();
    for target in &client.targets {
        let newest = match (since, follow) {
            (Some(since), _) => since,
            (None, false) => 0,
            (None, true) => newest(client, target).await,
        };
        readers.push(Reader {
            since: newest,
            lost: None,
        });
    }
    loop {
        let mut more = false;
        for (target, reader) in client.targets.iter().zip(&mut readers) {
            let path = format!("/api/v1/events?since={}&limit={PAGE}", reader.since);
            let reply = client.ask(target, Method::GET, &path, None).await;
            let page = match reply.good() {
                Ok(page) => page,
                Err(reason) => {
                    if reader.lost.as_ref() != Some(&reason) {
                        writeln!(complaints, "{}{reason}", instances.prefix(target))?;
                        reader.lost = Some(reason);
                    }
                    continue;
                }
            };
            reader.lost = None;
            let next = page["next"].as_u64().unwrap_or(reader.since);
            // A daemon that has lost its ledger counts from the start.
            more |= next > reader.since;
            reader.since = next;
            for event in page["events"].as_array().into_iter().flatten() {
                let line = match json {
                    true => event.to_string(),
                    false => line_of(event),
                };
                writeln!(out, "{}{line}", instances.prefix(target))?;
            }
        }
        out.flush()?;
        match (more, follow) {
            (true, _) => {}
            (false, true) => tokio::time::sleep(EVERY).await,
            (false, false) => return Ok(readers.iter().all(|reader| reader.lost.is_none())),
        }
    }
}

/// The number of the daemon's newest event.
async fn newest(client: &Client, target: &super::targets::Target) -> u64 {
    let mut since = 0;
    loop {
        let path = format!("/api/v1/events?since={since}&limit=10000");
        let reply = client.ask(target, Method::GET, &path, None).await;
        let next = reply.good().ok().and_then(|page| page["next"].as_u64());
        match next {
            Some(next) if next > since => since = next,
            _ => return since,
        }
    }
}

/// An event for a person: when, what, of which scenario, and every other member.
fn line_of(event: &Value) -> String {
    /// What has a place of its own, or says nothing to a person.
    const APART: [&str; 8] = [
        "seq",
        "time",
        "monotonic_ns",
        "boot_id",
        "kind",
        "session_id",
        "run_id",
        "scenario",
    ];
    let members = event.as_object().into_iter().flatten();
    let others =
        members.filter(|(name, value)| !APART.contains(&name.as_str()) && !value.is_null());
    let others = others.map(|(name, value)| format!("{name}={}", text_in(value)));
    let words = ["time", "kind", "scenario"].map(|name| text_in(&event[name]));
    let words = words.into_iter().filter(|word| !word.is_empty());
    words.chain(others).collect::<Vec<_>>().join(" ")
}

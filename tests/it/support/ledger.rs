//! The ledger of a daemon under test: through its API, and in its files.

use std::path::Path;

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::eventually;

impl Daemon {
    /// One page of events.
    pub(crate) fn events_page(&self, query: &str) -> Value {
        let answer = self.admin_get(&format!("/api/v1/events?{query}"));
        assert_eq!(answer.status, 200, "events?{query}: {answer:?}");
        answer.body
    }

    /// All events that are kept, page by page.
    pub(crate) fn events(&self) -> Vec<Value> {
        let (mut all, mut since) = (Vec::new(), json!(0));
        loop {
            let mut page = self.events_page(&format!("since={since}&limit=10000"));
            let events = page["events"].as_array_mut().expect("a list of events");
            if events.is_empty() {
                return all;
            }
            all.append(events);
            since = page["next"].take();
        }
    }

    /// All events of one kind, oldest first.
    pub(crate) fn events_of(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["kind"] == kind);
        events
    }

    /// Waits until the ledger has an event of this kind, and returns the newest.
    pub(crate) fn wait_for_event(&self, kind: &str) -> Value {
        let what = format!("the ledger has an event {kind}");
        eventually(&what, || self.events_of(kind).pop())
    }

    /// The same for the events of one scenario.
    pub(crate) fn wait_for_event_of(&self, scenario: &str, kind: &str) -> Value {
        let what = format!("the ledger has an event {kind} of {scenario}");
        eventually(&what, || {
            let mut events = self.events_of(kind);
            events.retain(|event| event["scenario"] == scenario);
            events.pop()
        })
    }

    /// How the process before this one ended, as the latest boot recorded it: its `end` and its `because`.
    pub(crate) fn previous_end(&self) -> Value {
        let boot = self.events_of("boot").pop();
        boot.expect("a boot event")["boot"]["previous"].take()
    }
}

/// The first event of this kind.
pub(crate) fn find_event<'e>(events: &'e [Value], kind: &str) -> &'e Value {
    let found = events.iter().find(|event| event["kind"] == kind);
    found.unwrap_or_else(|| panic!("no event {kind} in {events:?}"))
}

/// Each event as `kind scenario`.
pub(crate) fn event_labels(events: &[Value]) -> Vec<String> {
    let label = |event: &Value| {
        let kind = event["kind"].as_str().expect("every event has a kind");
        match event["scenario"].as_str() {
            Some(scenario) => format!("{kind} {scenario}"),
            None => kind.to_owned(),
        }
    };
    events.iter().map(label).collect()
}

/// The events in the ledger files under the working folder of a daemon that has ended.
pub(crate) fn events_on_disk(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("data/ledger"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .collect();
    files.sort();
    let text: String = files
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("every line is whole"))
        .collect()
}

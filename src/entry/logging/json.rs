//! One JSON object a line, with parameters as objects and not as text with JSON in it.
//!
//! Not the JSON format of `tracing-subscriber`: it can nest no value.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::run::{ServiceClock, Timestamp};

/// The fields whose text is JSON.
const NESTED: [&str; 3] = ["params", "profile", "routes"];

/// The format of the log's lines, with the times of a clock.
pub(super) struct JsonFormat(pub(super) ServiceClock);

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = JsonLine::at(self.0.now(), *event.metadata().level());
        event.record(&mut line);
        writeln!(writer, "{line}")
    }
}

/// One line, without its end.
#[derive(Debug)]
pub(super) struct JsonLine(Map<String, Value>);

impl JsonLine {
    /// A line of `time`, without a message yet.
    pub(super) fn at(time: Timestamp, level: Level) -> Self {
        Self(Map::new())
            .with("timestamp", time.to_string())
            .with("level", level.to_string())
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value.into());
        self
    }

    /// The first of a name stays: a library may have a field `level`.
    fn set(&mut self, name: &str, value: Value) {
        self.0.entry(name).or_insert(value);
    }
}

impl fmt::Display for JsonLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&line)
    }
}

impl Visit for JsonLine {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.into());
    }

    /// Also a value by its `Display`.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let is_nested = NESTED.contains(&field.name());
        let nested = is_nested.then(|| serde_json::from_str(&text).ok());
        self.set(field.name(), nested.flatten().unwrap_or(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing::{error, info};

    use super::*;
    use crate::lifecycle::panics::tests::Lines;

    fn logged(events: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .event_format(JsonFormat(ServiceClock::default()))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, events);
        let text = lines.text();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    #[test]
    fn parameters_are_objects_and_all_else_keeps_its_type() {
        let lines = logged(|| {
            let params = json!({ "rate": 0.5, "names": ["a\nb"] });
            info!(%params, number = 7_u64, share = 0.25, on = true, name = "x", "Started.");
            error!(params = "no JSON", none = f64::NAN, level = "mine", text = %params);
        });
        let mut first = lines[0].clone();
        first["timestamp"].take();
        assert_eq!(
            first,
            json!({ "timestamp": null, "level": "INFO", "message": "Started.",
                    "params": { "rate": 0.5, "names": ["a\nb"] },
                    "number": 7, "share": 0.25, "on": true, "name": "x" })
        );
        assert_eq!(lines[1]["params"], "no JSON");
        assert_eq!(lines[1]["level"], "ERROR");
        assert_eq!(lines[1]["none"], Value::Null);
        assert!(lines[1]["text"].is_string());
    }
}

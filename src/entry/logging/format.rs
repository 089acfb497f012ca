//! Lines that no event of `tracing` stands for, in the formats of the log.

use std::fmt::Write;

use serde_json::Value;

use super::json::JsonLine;
use crate::config::LogFormat;
use crate::lifecycle::service_log::LogLine;

/// `line` as the log writes a line of its level, message and fields, with the line break at its end.
pub(super) fn line(line: &LogLine, format: LogFormat) -> String {
    match format {
        LogFormat::Text => as_text(line),
        LogFormat::Json => as_json(line),
    }
}

/// As the text format of `tracing-subscriber` without colours and targets.
fn as_text(line: &LogLine) -> String {
    let LogLine {
        time,
        level,
        message,
        fields,
        trace,
    } = line;
    let mut text = format!("{time} {level:>5} {message}");
    for (name, value) in fields {
        // Writing to a text cannot fail.
        match value {
            Value::String(value) => write!(text, " {name}={value:?}").ok(),
            value => write!(text, " {name}={value}").ok(),
        };
    }
    if let Some(trace) = trace {
        text.push('\n');
        text += trace;
    }
    text.push('\n');
    text
}

fn as_json(line: &LogLine) -> String {
    let mut json = JsonLine::at(line.time, line.level).with("message", line.message.as_str());
    for (name, value) in &line.fields {
        json = json.with(name, value.clone());
    }
    if let Some(trace) = &line.trace {
        json = json.with("stack", trace.as_str());
    }
    format!("{json}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing::{Level, warn};

    use super::*;
    use crate::lifecycle::panics::tests::Lines;
    use crate::run::Timestamp;

    fn a_line(trace: Option<&str>) -> LogLine {
        LogLine {
            time: Timestamp::now(),
            level: Level::WARN,
            message: "Cache refresh failed.".to_owned(),
            fields: vec![("key", json!("price:\"7\"")), ("attempt", json!(3))],
            trace: trace.map(str::to_owned),
        }
    }

    /// Without the time, whose length is the same.
    fn logged() -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            warn!(key = "price:\"7\"", attempt = 3, "Cache refresh failed.");
        });
        lines.text()
    }

    #[test]
    fn a_text_is_what_an_event_would_be() {
        let (own, logged) = (line(&a_line(None), LogFormat::Text), logged());
        let (time, rest) = own.split_at(27);
        assert_eq!(rest, &logged[27..]);
        assert!(time.ends_with('Z') && logged[..27].ends_with('Z'), "{own}");
    }

    #[test]
    fn a_trace_is_lines_of_text_and_one_member_of_json() {
        let with_trace = a_line(Some("  0: main\n  1: start"));
        let text = line(&with_trace, LogFormat::Text);
        assert!(
            text.ends_with("attempt=3\n  0: main\n  1: start\n"),
            "{text}"
        );
        let json: Value =
            serde_json::from_str(&line(&with_trace, LogFormat::Json)).expect("one line of JSON");
        assert_eq!(json["stack"], "  0: main\n  1: start");
        assert_eq!(
            (&json["level"], &json["attempt"]),
            (&json!("WARN"), &json!(3))
        );
    }
}

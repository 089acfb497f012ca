//! Answers as a person reads them.

use std::io::Write;

use http::Method;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Client, Reply};
use super::targets::Target;

/// Says which daemon a line is of, where there are several.
#[derive(Debug)]
pub(super) struct Instances {
    many: bool,
}

impl Instances {
    pub(super) fn of(client: &Client) -> Self {
        Self {
            many: client.targets.len() > 1,
        }
    }

    /// What begins a line.
    pub(super) fn prefix(&self, target: &Target) -> String {
        self.before(&target.url)
    }

    fn before(&self, url: &str) -> String {
        match self.many {
            true => format!("{}: ", url.trim_start_matches("http://")),
            false => String::new(),
        }
    }
}

/// Prints the answers as they came: one as itself, several as a list with their URLs.
pub(super) fn as_json(replies: &[Reply], out: &mut dyn Write) -> Result<bool, Failure> {
    let all_good = replies.iter().all(Reply::is_good);
    let body = |reply: &Reply| match &reply.answer {
        Ok((_, body)) => body.clone(),
        Err(reason) => json!({ "error": reason }),
    };
    let shown = match replies {
        [one] => body(one),
        many => many
            .iter()
            .map(|reply| {
                let status = reply.answer.as_ref().map(|(status, _)| status.as_u16());
                json!({ "url": reply.url, "status": status.ok(), "body": body(reply) })
            })
            .collect(),
    };
    writeln!(out, "{shown}")?;
    Ok(all_good)
}

/// Prints each good answer as `text_of` says, and complains of the others.
pub(super) fn replies(
    replies: Vec<Reply>,
    (out, complaints): (&mut dyn Write, &mut dyn Write),
    text_of: impl Fn(&Value) -> String,
) -> Result<bool, Failure> {
    let instances = Instances {
        many: replies.len() > 1,
    };
    let mut all_good = true;
    for reply in replies {
        let prefix = instances.before(&reply.url);
        match reply.good() {
            Ok(body) => {
                for line in text_of(&body).lines() {
                    writeln!(out, "{prefix}{line}")?;
                }
            }
            Err(reason) => {
                all_good = false;
                writeln!(complaints, "{prefix}{reason}")?;
            }
        }
    }
    Ok(all_good)
}

/// A value without quotes; numbers with three places at most.
pub(super) fn text_in(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), figure),
        other => other.to_string(),
    }
}

/// A number with three places at most.
pub(super) fn figure(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Rows with their columns aligned; the last column is as long as it likes.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// The list of scenarios.
pub(super) fn list(body: &Value) -> String {
    let mut rows = vec![row(["SCENARIO", "RUNNING", "WHAT IT DOES"])];
    for scenario in body["scenarios"].as_array().into_iter().flatten() {
        let running = match scenario["running"] == true {
            true => "yes",
            false => "no",
        };
        let [name, about] = ["name", "description"].map(|of| text_in(&scenario[of]));
        rows.push(row([&name, running, &about]));
    }
    table(&rows)
}

/// One scenario with its parameters.
pub(super) fn scenario(body: &Value) -> String {
    let [name, about] = ["name", "description"].map(|of| text_in(&body[of]));
    let mut text = format!("{name}: {about}\n\n");
    let mut rows = vec![row(["PARAMETER", "DEFAULT", "VALUES", "MEANING"])];
    let parameters = body["params_schema"]["properties"].as_object();
    for (name, schema) in parameters.into_iter().flatten() {
        let [default, about] = ["default", "description"].map(|of| text_in(&schema[of]));
        rows.push(row([name, &default, &values_of(schema), &about]));
    }
    text += &table(&rows);
    for conflict in body["conflicts"].as_array().into_iter().flatten() {
        let [name, reason] = ["name", "reason"].map(|of| text_in(&conflict[of]));
        text += &format!("\nCannot run beside {name}: {reason}.\n");
    }
    text
}

/// Which values a parameter takes, from its schema.
fn values_of(schema: &Value) -> String {
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<_> = choices.iter().map(text_in).collect();
        return choices.join(", ");
    }
    let end = |inclusive: &str, exclusive: &str, sign: &str| {
        let bound = |of: &str| schema[of].as_f64().map(figure);
        let exclusive = bound(exclusive).map(|bound| format!("{sign}{bound}"));
        exclusive.or_else(|| bound(inclusive))
    };
    let low = end("minimum", "exclusiveMinimum", "above ");
    let high = end("maximum", "exclusiveMaximum", "below ");
    let range = match (low, high) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("from {low}"),
        (None, Some(high)) => format!("up to {high}"),
        (None, None) => match &schema["type"] {
            Value::Array(kinds) => kinds.iter().map(text_in).collect::<Vec<_>>().join(" or "),
            kind => text_in(kind),
        },
    };
    match schema["unit"].as_str() {
        Some(unit) => format!("{range} {unit}"),
        None => range,
    }
}

/// What a start did, or would do.
pub(super) fn started(body: &Value) -> String {
    if let Some(plan) = body["plan"].as_array() {
        let would_run = |run: &Value| {
            let [name, params] = ["name", "params"].map(|of| text_in(&run[of]));
            format!("{name} would start: {params}{}\n", warning_of(run))
        };
        return plan.iter().map(would_run).collect();
    }
    let details = body["details"].as_array().into_iter().flatten();
    let one = |detail: &Value| {
        let name = text_in(&detail["name"]);
        if let Some(error) = detail["error"].as_str() {
            return format!("{name} did not start: {error}\n");
        }
        let until = match detail["expires_at"].as_str() {
            Some(end) => format!("until {end}"),
            None => "until it is stopped".to_owned(),
        };
        let params = text_in(&detail["params"]);
        match detail["starts_at"].as_str() {
            Some(start) => format!(
                "{name} starts at {start}, {until}: {params}{}\n",
                warning_of(detail)
            ),
            None => format!("{name} runs {until}: {params}{}\n", warning_of(detail)),
        }
    };
    details.map(one).collect()
}

fn warning_of(of: &Value) -> String {
    let warning = of["warning"].as_str();
    warning.map_or_else(String::new, |warning| format!("\n  {warning}"))
}

/// What a stop of all, a halt or a rearm did.
pub(super) fn stopped(body: &Value) -> String {
    let stopped = body["stopped"].as_array().into_iter().flatten();
    let stopped: Vec<_> = stopped.map(text_in).collect();
    let status = text_in(&body["status"]);
    match stopped.is_empty() {
        true => format!("{status}\n"),
        false => format!("{status}: {}\n", stopped.join(", ")),
    }
}

/// What a daemon runs: the answer of its status, and the status of each of its scenarios.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) state: Value,
    pub(super) scenarios: Vec<Map<String, Value>>,
}

/// Asks one daemon what it runs.
///
/// # Errors
/// Why it does not say so.
pub(super) async fn running(client: &Client, target: &Target) -> Result<Running, String> {
    let get = |path: String| async move {
        let reply = client.ask(target, Method::GET, &path, None).await;
        reply.good()
    };
    let state = get("/api/v1/composite/status".to_owned()).await?;
    let mut scenarios = Vec::new();
    for name in state["scenarios"].as_array().into_iter().flatten() {
        let path = format!("/api/v1/scenarios/{}/status", text_in(name));
        if let Value::Object(status) = get(path).await? {
            scenarios.push(status);
        }
    }
    Ok(Running { state, scenarios })
}

impl Running {
    /// In one line: what the session is.
    pub(super) fn headline(&self) -> String {
        if let Some(since) = self.state["halted_since"].as_str() {
            return format!("halted since {since}");
        }
        let runs = match self.state["session_id"].as_str() {
            Some(session) if !self.scenarios.is_empty() => session.to_owned(),
            _ => "nothing runs".to_owned(),
        };
        self.planned().fold(runs, |line, (name, start)| {
            format!("{line}; {name} starts at {start}")
        })
    }

    /// What has not started yet, and when it will.
    fn planned(&self) -> impl Iterator<Item = (&str, &str)> {
        let details = self.state["details"].as_array().into_iter().flatten();
        let named = details.filter_map(|detail| {
            let name = detail["name"].as_str()?;
            Some((name, detail["starts_at"].as_str()?))
        });
        named.filter(|(name, _)| {
            let mut running = self.scenarios.iter();
            running.all(|status| status.get("name").and_then(Value::as_str) != Some(name))
        })
    }
}

/// Prints what each daemon runs.
pub(super) async fn status(
    client: &Client,
    (out, complaints): (&mut dyn Write, &mut dyn Write),
) -> Result<bool, Failure> {
    let instances = Instances::of(client);
    let mut all_good = true;
    for target in &client.targets {
        let prefix = instances.prefix(target);
        match running(client, target).await {
            Ok(running) => {
                writeln!(out, "{prefix}{}", running.headline())?;
                let mut rows = vec![row([
                    "SCENARIO",
                    "ASKED",
                    "ACHIEVED",
                    "UNIT",
                    "ENDS",
                    "SHORTFALL",
                ])];
                rows.extend(running.scenarios.iter().map(status_row));
                if rows.len() > 1 {
                    write!(out, "{}", table(&rows))?;
                }
            }
            Err(reason) => {
                all_good = false;
                writeln!(complaints, "{prefix}{reason}")?;
            }
        }
    }
    Ok(all_good)
}

fn status_row(status: &Map<String, Value>) -> Vec<String> {
    let of = |name: &str| status.get(name).map(text_in).unwrap_or_default();
    let measured = status.get("effect").unwrap_or(&Value::Null);
    let effect = |name: &str| text_in(&measured[name]);
    let ends = match of("expires_at") {
        end if end.is_empty() => "when stopped".to_owned(),
        end => end,
    };
    vec![
        of("name"),
        effect("asked"),
        effect("achieved"),
        effect("unit"),
        ends,
        effect("shortfall"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(["A", "B"]), row(["long", "x"]), row(["ü", "yy"])];
        assert_eq!(table(&rows), "A     B\nlong  x\nü     yy\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_figure_has_three_places_at_most() {
        for (number, text) in [
            (80.0, "80"),
            (0.1234, "0.123"),
            (1e-9, "0"),
            (100.0, "100"),
            (1.5, "1.5"),
        ] {
            assert_eq!(figure(number), text);
        }
    }

    #[test]
    fn the_values_of_a_parameter_are_said_in_words() {
        for (schema, text) in [
            (json!({ "enum": ["a", "b"] }), "a, b"),
            (
                json!({ "type": "number", "minimum": 0, "maximum": 100, "unit": "ms" }),
                "0 to 100 ms",
            ),
            (
                json!({ "type": "number", "exclusiveMinimum": 0 }),
                "from above 0",
            ),
            (json!({ "type": ["number", "object"] }), "number or object"),
        ] {
            assert_eq!(values_of(&schema), text);
        }
    }
}

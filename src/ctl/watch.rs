//! What runs, looked at again and again.

use std::collections::{HashMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until};

use super::Failure;
use super::client::Client;
use super::show::{Instances, Running, figure, running, table, text_in};

/// How many looks a curve shows.
const CURVE: usize = 30;
/// From nothing to the most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Moves a terminal to its first place, and clears what follows.
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";

/// A time between two looks, in seconds.
pub(super) fn parse_every(text: &str) -> Result<f64, String> {
    let every = text.parse().ok();
    every
        .filter(|every| (0.1..=3600.0).contains(every))
        .ok_or_else(|| "must be from 0.1 to 3600".to_owned())
}

/// What was achieved of late, by instance and scenario.
type Curves = HashMap<(String, String), VecDeque<f64>>;

/// Prints what each daemon runs, `every` so often, `count` times or until the reader leaves. Returns whether all answered
/// the last time.
pub(super) async fn watch(
    client: &Client,
    every: Duration,
    count: Option<u64>,
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let instances = Instances::of(client);
    let clear = std::io::stdout().is_terminal();
    let mut curves = Curves::new();
    let (mut looks, mut next) = (0, Instant::now());
    loop {
        let mut text = String::new();
        let mut all_good = true;
        for target in &client.targets {
            text += &instances.prefix(target);
            match running(client, target).await {
                Ok(running) => text += &block_of(&target.url, &running, &mut curves),
                // A crash is a scenario: it may come back.
                Err(reason) => {
                    all_good = false;
                    text += &format!("{reason}\n");
                }
            }
        }
        if clear {
            out.write_all(HOME_AND_CLEAR.as_bytes())?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        looks += 1;
        if count.is_some_and(|count| looks >= count) {
            return Ok(all_good);
        }
        next = (next + every).max(Instant::now());
        sleep_until(next).await;
    }
}

/// One daemon: its headline, and a row for each scenario.
fn block_of(url: &str, running: &Running, curves: &mut Curves) -> String {
    let head = ["SCENARIO", "ASKED", "ACHIEVED", "UNIT", "CURVE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for status in &running.scenarios {
        rows.push(row_of(url, status, curves));
    }
    let mut text = format!("{}\n", running.headline());
    if rows.len() > 1 {
        text += &table(&rows);
    }
    text
}

fn row_of(url: &str, status: &Map<String, Value>, curves: &mut Curves) -> Vec<String> {
    let effect = status.get("effect").cloned().unwrap_or_default();
    let name = status.get("name").map(text_in).unwrap_or_default();
    let curve = curves.entry((url.to_owned(), name.clone())).or_default();
    let (asked, achieved) = (effect["asked"].as_f64(), effect["achieved"].as_f64());
    if curve.len() == CURVE {
        curve.pop_front();
    }
    curve.push_back(achieved.unwrap_or_default());
    vec![
        name,
        asked.map(figure).unwrap_or_default(),
        achieved.map(figure).unwrap_or_default(),
        text_in(&effect["unit"]),
        spark_line(curve, asked.unwrap_or_default()),
    ]
}

/// `values` as a curve; `asked` is at the top unless they exceed it.
fn spark_line(values: &VecDeque<f64>, asked: f64) -> String {
    let top = values.iter().copied().fold(asked, f64::max);
    let level = |value: &f64| match top > 0.0 {
        // Clamped by the cast.
        true => LEVELS[((value / top * 8.0) as usize).min(7)],
        false => LEVELS[0],
    };
    values.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_reaches_the_top_at_what_is_asked() {
        let curve = |values: &[f64], asked| spark_line(&values.iter().copied().collect(), asked);
        assert_eq!(curve(&[0.0, 40.0, 80.0], 80.0), "▁▅█");
        assert_eq!(curve(&[10.0, 20.0], 0.0), "▅█");
        assert_eq!(curve(&[0.0], 0.0), "▁");
        assert_eq!(curve(&[], 5.0), "");
    }

    #[test]
    fn a_time_between_looks_is_bounded() {
        assert_eq!(parse_every("0.5"), Ok(0.5));
        for bad in ["0", "-1", "x", "NaN", "1e9"] {
            assert!(parse_every(bad).is_err(), "{bad}");
        }
    }
}

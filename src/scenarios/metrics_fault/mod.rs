//! `metrics_fault`: the page that the service shows to scrapers is wrong, late or not there.

mod page;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::page::Baseline;
use self::users::Users;
use super::metrics;
use crate::input::{Fields, Resource, above};
use crate::plugin::{
    Active, Exit, Group, PageFormat, Probe, Reading, RunContext, Scenario, ScrapeAnswer,
    ScrapeFault, Shortfall, StartError,
};
use crate::run::Timestamp;

/// The most series that can be added: a page of some megabytes.
const MOST_SERIES: u32 = 100_000;

/// Changes what a scrape of the service gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct MetricsFault {
    mode: Mode,
    series_per_minute: f64,
    max_series: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A scrape hangs.
    Gap,
    Error,
    /// Counters begin anew, as in a process that was started again.
    CounterReset,
    /// There are ever more series.
    Cardinality,
    /// The page stays as it was.
    Stale,
}

impl Scenario for MetricsFault {
    const NAME: &'static str = "metrics_fault";
    const GROUP: Group = Group::Signals;
    const SUMMARY: &'static str =
        "Makes the service's own metrics hang, fail, stand still, begin anew or grow without end";
    const EXAMPLE: &'static str = r#"{"mode": "cardinality", "series_per_minute": 1200}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "What becomes of a scrape: no answer (gap), status 500 (error), counters from zero as after a restart \
                     (counter_reset), ever more series (cardinality), or the page as it was at the start (stale).";
        let mode = fields.field("mode", about).choice(&[
            ("gap", Mode::Gap),
            ("error", Mode::Error),
            ("counter_reset", Mode::CounterReset),
            ("cardinality", Mode::Cardinality),
            ("stale", Mode::Stale),
        ]);
        let about = "How many new series come in each minute (cardinality).";
        let field = fields.field("series_per_minute", about).unit("series/min");
        let series_per_minute = field.number(above(0.0, 1_000_000.0), 600.0);
        let about = "How many there are in the end (cardinality).";
        let field = fields.field("max_series", about).unit("series");
        let max_series = field
            .asks_for(Resource::Series)
            .integer(1..=MOST_SERIES, 10_000);
        Self {
            mode,
            series_per_minute,
            max_series,
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let scrapes = &cx.hooks().scrapes;
        let page = |format| {
            let page = scrapes.page(format);
            page.ok_or_else(|| StartError::new("the metrics could not be written"))
        };
        let effect = match self.mode {
            Mode::Gap => Effect::Gap,
            Mode::Error => Effect::Error,
            Mode::Stale => Effect::Stale {
                prometheus: page(PageFormat::Prometheus)?,
                open_metrics: page(PageFormat::OpenMetrics)?,
            },
            Mode::CounterReset => {
                let page = page(PageFormat::OpenMetrics)?;
                Effect::CounterReset(Baseline::of(&page, Timestamp::now()))
            }
            Mode::Cardinality => Effect::Cardinality(Growth {
                since: Instant::now(),
                per_second: self.series_per_minute / 60.0,
                most: f64::from(self.max_series),
                users: Users::new(),
                shown: AtomicU64::new(0),
            }),
        };
        let fault = Arc::new(Fault {
            effect,
            scrapes: AtomicU64::new(0),
        });
        let probe = Arc::clone(&fault);
        let guards = (scrapes.set(fault), cx.live_guard());
        Ok(Active::new(probe, async move {
            cx.stop.cancelled().await;
            drop(guards);
            Exit::Stopped
        }))
    }
}

#[derive(Debug)]
struct Fault {
    effect: Effect,
    /// How many there were.
    scrapes: AtomicU64,
}

#[derive(Debug)]
enum Effect {
    Gap,
    Error,
    Stale {
        prometheus: String,
        open_metrics: String,
    },
    CounterReset(Baseline),
    Cardinality(Growth),
}

#[derive(Debug)]
struct Growth {
    since: Instant,
    per_second: f64,
    most: f64,
    users: Users,
    /// On the last page.
    shown: AtomicU64,
}

impl Growth {
    fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// How many series there are at this age.
    fn due_at(&self, age: Duration) -> f64 {
        (self.per_second * age.as_secs_f64()).floor().min(self.most)
    }
}

impl ScrapeFault for Fault {
    fn answer(&self, page: String, format: PageFormat) -> ScrapeAnswer {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        match &self.effect {
            Effect::Gap => ScrapeAnswer::Hang,
            Effect::Error => ScrapeAnswer::Error,
            Effect::Stale {
                prometheus,
                open_metrics,
            } => {
                let stale = match format {
                    PageFormat::Prometheus => prometheus,
                    PageFormat::OpenMetrics => open_metrics,
                };
                ScrapeAnswer::Page(stale.clone())
            }
            Effect::CounterReset(baseline) => ScrapeAnswer::Page(baseline.since(&page)),
            Effect::Cardinality(growth) => {
                let age = growth.age();
                let count = growth.due_at(age);
                growth.shown.store(count as u64, Ordering::Relaxed);
                let born = |n: u64| Duration::from_secs_f64(n as f64 / growth.per_second);
                let page = growth
                    .users
                    .added_to(page, format, count as u64, |n| age.saturating_sub(born(n)));
                ScrapeAnswer::Page(page)
            }
        }
    }
}

impl Probe for Fault {
    fn read(&self) -> Reading {
        let scrapes = self.scrapes.load(Ordering::Relaxed);
        let shortfall = (scrapes == 0).then_some(Shortfall::NoTraffic);
        let count = ("touched_scrapes", scrapes.into());
        match &self.effect {
            Effect::Cardinality(growth) => {
                let shown = growth.shown.load(Ordering::Relaxed);
                Reading {
                    asked: growth.due_at(growth.age()),
                    achieved: (scrapes > 0).then_some(shown as f64),
                    unit: "series",
                    shortfall,
                    metrics: metrics([count, ("current_series", shown.into())]),
                }
            }
            _ => Reading {
                asked: 1.0,
                achieved: (scrapes > 0).then_some(1.0),
                unit: "share of scrapes",
                shortfall,
                metrics: metrics([count]),
            },
        }
    }

    fn target(&self) -> Option<f64> {
        match &self.effect {
            Effect::Cardinality(growth) => Some(growth.most),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<MetricsFault>(json!({
            "mode": "gap", "series_per_minute": 600, "max_series": 10_000,
        }));
    }

    #[tokio::test]
    async fn the_lowest_rate_starts_and_stops() {
        let lowest = json!({ "mode": "cardinality", "series_per_minute": 1e-9 });
        starts_and_stops::<MetricsFault>(lowest).await;
    }

    #[test]
    fn series_come_at_their_rate_up_to_the_most() {
        let growth = Growth {
            since: Instant::now(),
            per_second: 10.0,
            most: 25.0,
            users: Users::new(),
            shown: AtomicU64::new(0),
        };
        let due = |ms| growth.due_at(Duration::from_millis(ms));
        assert_eq!(
            (due(0), due(1000), due(1999), due(60_000)),
            (0.0, 10.0, 19.0, 25.0)
        );
    }
}

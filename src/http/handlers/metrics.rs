//! `GET /metrics`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use crate::http::Api;
use crate::http::describe::{Answer, Describe, Operation};
use crate::http::problem::{Problem, ProblemKind};
use crate::metrics::MetricsPage;
use crate::metrics::page::{Format, content_type};
use crate::plugin::ScrapeAnswer;

/// A page in one of the two formats.
#[derive(Debug)]
pub(in crate::http) struct Written {
    text: String,
    format: Format,
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        let content_type = (header::CONTENT_TYPE, content_type(self.format));
        ([content_type], self.text).into_response()
    }
}

impl Describe for Written {
    fn describe(operation: &mut Operation) {
        let about =
            "Everything that is measured; a fault's own figures on the admin listener only.";
        let formats = [Format::Prometheus, Format::OpenMetrics].into_iter();
        operation
            .answers
            .extend(formats.map(|format| Answer::text(content_type(format), about)));
    }
}

/// The service listener's page, as a fault lets a scraper see it.
pub(in crate::http) async fn service(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Written, Problem> {
    loop {
        let written = page(&api, MetricsPage::Service, &headers)?;
        let Some(active) = api.scrapes.current() else {
            return Ok(written);
        };
        let format = written.format;
        match active.fault.answer(written.text, format) {
            ScrapeAnswer::Page(text) => return Ok(Written { text, format }),
            ScrapeAnswer::Error => return Err(unwritten()),
            // Then it is answered as any other.
            ScrapeAnswer::Hang => active.over.cancelled().await,
        }
    }
}

/// The admin listener's page.
pub(in crate::http) async fn admin(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Written, Problem> {
    page(&api, MetricsPage::Admin, &headers)
}

fn page(api: &Api, page: MetricsPage, headers: &HeaderMap) -> Result<Written, Problem> {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let format = asked_format(accepted.filter_map(|value| value.to_str().ok()));
    match api.metrics.write(page, format) {
        Ok(text) => Ok(Written { text, format }),
        Err(error) => {
            tracing::error!(%error, "The metrics could not be written.");
            Err(unwritten())
        }
    }
}

fn unwritten() -> Problem {
    Problem::new(ProblemKind::Internal, "See the daemon's log.")
}

/// OpenMetrics where it is accepted and plain text is not preferred; else Prometheus text.
fn asked_format<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
    let (mut open_metrics, mut plain) = (0.0, 0.0);
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let wanted = match parts
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "application/openmetrics-text" => &mut open_metrics,
            "text/plain" => &mut plain,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let quality = quality.map_or(Some(1.0), |q| q.parse::<f64>().ok());
        *wanted = quality.unwrap_or(0.0).max(*wanted);
    }
    if open_metrics > 0.0 && open_metrics >= plain {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_accept_header_is_read(
            accept in "((text/plain|application/openmetrics-text|;|,|q=|[0-9.a-z ]){0,3}){0,4}",
        ) {
            let asked = asked_format([accept.as_str()].into_iter());
            if !accept.contains("openmetrics") {
                prop_assert_eq!(asked, Format::Prometheus);
            }
        }
    }

    #[test]
    fn openmetrics_is_for_who_asks_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                          version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
            "text/plain;q=0.4, application/openmetrics-text;q=0.6",
            prometheus,
        ] {
            let asked = asked_format([accept].into_iter());
            assert_eq!(asked, Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html",
            "application/*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=none",
            "application/openmetrics-text;q=0.4, text/plain",
            "application/json",
        ] {
            let asked = asked_format([accept].into_iter());
            assert_eq!(asked, Format::Prometheus, "{accept}");
        }
        assert_eq!(asked_format(std::iter::empty()), Format::Prometheus);
    }
}

//! Writes metrics as text: OpenMetrics, and Prometheus text 0.0.4 for older scrapers.
//!
//! `prometheus-client` writes OpenMetrics only and `prometheus` the older text only, so this converts the first into
//! the second, line by line.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

pub(crate) use crate::plugin::PageFormat as Format;

pub(crate) fn content_type(format: Format) -> &'static str {
    match format {
        Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
}

/// Reads and writes everything in `registry`; fails only if a collector is defective.
pub(super) fn write(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(32 * 1024);
    encode(&mut text, registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Prometheus => as_prometheus(&text),
    })
}

/// Converts OpenMetrics text. The samples stay the same. In the lines about a family, counters get their suffix and
/// infos become gauges with one; units and the end mark are left out.
fn as_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            // Written with the next line, whose type decides the name.
            help = about;
        } else if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').unwrap_or((about, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            let meaning = help.split_once(' ').map_or("", |(_, meaning)| meaning);
            text += &format!("# HELP {name}{suffix} {meaning}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

pub(crate) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> fmt::Result {
    let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(family)
}

/// `name` comes without the suffix `_total`.
pub(crate) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> fmt::Result {
    let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(family)
}

pub(super) fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    members: impl IntoIterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in members {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

/// `name` comes without the suffix `_total`.
pub(crate) fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    members: impl IntoIterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in members {
        let mut member = family.encode_family(&labels)?;
        member.encode_counter::<NoLabelSet, f64, f64>(&value, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::metrics::info::Info;

    use super::*;

    #[derive(Debug)]
    struct Two;

    impl Collector for Two {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            counter(&mut encoder, "steps", "Steps taken", 3.0)?;
            gauges(&mut encoder, "level", "Level", [([("of", "a \"b\"")], 0.5)])
        }
    }

    #[test]
    fn both_formats_have_the_same_samples_and_their_own_family_names() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Two));
        registry.register("target", "Target", Info::new([("name", "x")]));
        let open = write(&registry, Format::OpenMetrics).expect("the collectors write");
        assert_eq!(
            open,
            "# HELP target Target.\n# TYPE target info\ntarget_info{name=\"x\"} 1\n\
             # HELP steps Steps taken\n# TYPE steps counter\nsteps_total 3.0\n\
             # HELP level Level\n# TYPE level gauge\nlevel{of=\"a \\\"b\\\"\"} 0.5\n# EOF\n"
        );
        let older = write(&registry, Format::Prometheus).expect("the collectors write");
        assert_eq!(
            older,
            "# HELP target_info Target.\n# TYPE target_info gauge\ntarget_info{name=\"x\"} 1\n\
             # HELP steps_total Steps taken\n# TYPE steps_total counter\nsteps_total 3.0\n\
             # HELP level Level\n# TYPE level gauge\nlevel{of=\"a \\\"b\\\"\"} 0.5\n"
        );
    }
}

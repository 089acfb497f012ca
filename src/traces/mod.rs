//! Traces: a span for each request that the service serves, sent to an OpenTelemetry collector.
//!
//! Without a configured collector, requests pass no layer of this. The system under test may read the traces, so spans
//! hold what any service would report, and the control API, whose paths name faults, has none. A request never waits
//! for the collector: a thread sends spans from a bounded queue, and spans that do not fit are dropped.

pub(crate) mod call;
mod clock;
pub(crate) mod context;
mod export;
pub(crate) mod layer;

use std::io;
use std::time::Duration;

use http::Uri;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::lifecycle::SERVICE;
use crate::run::ServiceClock;
use clock::ByServiceClock;
use export::{Client, PATIENCE};

/// The target that only exported spans have.
const TARGET: &str = "trace";
/// How long the last spans may take. Together with the drain before it, the shutdown takes less than two seconds.
const FLUSH: Duration = Duration::from_millis(400);

/// The export of spans to a collector, if one is configured.
#[derive(Debug, Default)]
pub(crate) struct Traces(Option<Export>);

#[derive(Debug)]
struct Export {
    provider: SdkTracerProvider,
    /// The service, which is named as the maker of the spans too: the name of this program is no part of it.
    service: String,
}

impl Traces {
    /// Starts the thread that sends spans of the service `name` in `version` to the collector at `endpoint`, if any. Their
    /// times are those of `clock`.
    /// The collector need not be reachable yet.
    ///
    /// OpenTelemetry's variables apply to the sampler (`OTEL_TRACES_SAMPLER`), the queue (`OTEL_BSP_*`), headers
    /// (`OTEL_EXPORTER_OTLP_HEADERS`) and resource attributes (`OTEL_RESOURCE_ATTRIBUTES`).
    ///
    /// # Errors
    /// One of these variables is invalid.
    pub(crate) fn start(
        endpoint: Option<&Uri>,
        (name, version): (&str, &str),
        clock: &ServiceClock,
    ) -> io::Result<Self> {
        let Some(endpoint) = endpoint else {
            return Ok(Self(None));
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::default())
            .with_endpoint(traces_at(endpoint))
            .with_timeout(PATIENCE)
            .build();
        let exporter = exporter
            .map_err(|error| io::Error::other(format!("cannot set up trace export: {error}")))?;
        let resource = Resource::builder()
            .with_service_name(name.to_owned())
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                version.to_owned(),
            ));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_span_processor(ByServiceClock {
                inner: BatchSpanProcessor::builder(exporter).build(),
                clock: clock.clone(),
            });
        Ok(Self(Some(Export {
            provider: provider.build(),
            service: name.to_owned(),
        })))
    }

    /// The layer for the process's subscriber.
    pub(crate) fn layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>>
    where
        Registry: for<'span> LookupSpan<'span>,
    {
        let Export { provider, service } = self.0.as_ref()?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service.clone()))
            // Source locations and threads reveal what this program is, and cost.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        let ours = filter_fn(|what| what.is_span() && what.target() == TARGET);
        let ours = ours.with_max_level_hint(LevelFilter::INFO);
        Some(spans.with_filter(ours).boxed())
    }

    /// Sends queued spans for at most [`FLUSH`].
    pub(crate) fn finish(self) {
        let ended = self
            .0
            .map(|export| export.provider.shutdown_with_timeout(FLUSH));
        if let Some(Err(error)) = ended {
            tracing::warn!(target: SERVICE, %error, "Could not export the last spans; they are lost.");
        }
    }
}

/// The path of traces below an OTLP endpoint of all signals, as OTLP specifies it.
fn traces_at(endpoint: &Uri) -> String {
    format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/'))
}

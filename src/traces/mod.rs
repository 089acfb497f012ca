//! Traces: a span for each request that the service serves, sent to an OpenTelemetry collector.
//!
//! Off unless a collector is configured, and then nothing of this is before a request. A span tells what
//! any service would tell. Only the routes of the service's own work have one, not the control API's,
//! whose paths name faults: whoever is tested may read the traces. A request never waits for the
//! collector: spans wait in a bounded queue for a thread that sends them, and are dropped where it is full.

mod export;
pub(crate) mod layer;

use std::io;
use std::time::Duration;

use http::Uri;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use export::{Client, PATIENCE};

/// What marks the spans that are sent; nothing else has it.
const TARGET: &str = "trace";
/// How long the last spans may take at the end. With the drain before it, the whole shut-down stays below
/// two seconds.
const FLUSH: Duration = Duration::from_millis(400);

/// The way of spans to the collector, if there is one.
#[derive(Debug)]
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Starts the thread that sends spans of the service `name` in `version` to the collector at `endpoint`, if there
    /// is one. It need not be reachable yet.
    ///
    /// OpenTelemetry's common variables apply to the rest: the sampler
    /// (`OTEL_TRACES_SAMPLER`), the queue (`OTEL_BSP_*`), headers (`OTEL_EXPORTER_OTLP_HEADERS`) and more
    /// of the resource (`OTEL_RESOURCE_ATTRIBUTES`).
    ///
    /// # Errors
    /// One of these variables is not good.
    pub(crate) fn start(endpoint: Option<&Uri>, name: &str, version: &str) -> io::Result<Self> {
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
            .map_err(|error| io::Error::other(format!("no traces can be sent: {error}")))?;
        let resource = Resource::builder()
            .with_service_name(name.to_owned())
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                version.to_owned(),
            ));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter);
        Ok(Self(Some(provider.build())))
    }

    /// What takes the spans, for the process's subscriber.
    pub(crate) fn layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>>
    where
        Registry: for<'span> LookupSpan<'span>,
    {
        let provider = self.0.as_ref()?;
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
            // What this program is made of is nobody's business there, and costs.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        let ours = filter_fn(|what| what.is_span() && what.target() == TARGET);
        let ours = ours.with_max_level_hint(LevelFilter::INFO);
        Some(spans.with_filter(ours).boxed())
    }

    /// Sends what waits, for a bounded time: a collector that does not answer keeps nobody.
    pub(crate) fn finish(self) {
        let ended = self.0.map(|provider| provider.shutdown_with_timeout(FLUSH));
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "The last spans are lost.");
        }
    }
}

/// As the specification of OTLP has it for an endpoint of all signals.
fn traces_at(endpoint: &Uri) -> String {
    format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/'))
}

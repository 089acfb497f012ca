//! `mockserver healthcheck`: asks a health URL once, for a container that has no curl.

use std::net::SocketAddr;

use crate::client::health;
use crate::config::Config;

/// Checks `url`, or else `/health` of the service listener that `config` describes.
///
/// # Errors
/// Why it is not healthy, as a sentence.
pub(super) fn run(url: Option<String>, config: &Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let service = SocketAddr::new(config.host, config.port);
    let url = url.unwrap_or_else(|| health::url_of(service, "/health"));
    runtime.block_on(health::check(&url))
}

//! Faults of the page that the service shows to scrapers. The admin listener's page has none.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::host::allocator;
use crate::sync::Lock;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageFormat {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0, which has an end mark.
    OpenMetrics,
}

/// What a scrape is answered with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ScrapeAnswer {
    /// This page, in the format of the true one.
    Page(String),
    /// As if the page could not be made.
    Error,
    /// Nothing, until the fault is over.
    Hang,
}

/// A fault of the service's page.
pub(crate) trait ScrapeFault: fmt::Debug + Send + Sync {
    /// Decides the answer to one scrape; `page` is the true one. Runs on the request path, so it must neither block nor
    /// wait.
    fn answer(&self, page: String, format: PageFormat) -> ScrapeAnswer;
}

type WritePage = Box<dyn Fn(PageFormat) -> Option<String> + Send + Sync>;

/// A handle to the service's page; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrapes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    write_page: OnceLock<WritePage>,
    fault: Lock<Option<ActiveScrapeFault>>,
}

/// The fault that is in effect.
#[derive(Debug, Clone)]
pub(crate) struct ActiveScrapeFault {
    pub(crate) fault: Arc<dyn ScrapeFault>,
    /// Cancelled when its run has ended.
    pub(crate) over: CancellationToken,
}

impl Scrapes {
    /// From now on, `write_page` writes the true page. Only the first call has an effect.
    pub(crate) fn connect(
        &self,
        write_page: impl Fn(PageFormat) -> Option<String> + Send + Sync + 'static,
    ) {
        self.0.write_page.set(Box::new(write_page)).ok();
    }

    /// The true page as of now; none before there is one.
    pub(crate) fn page(&self, format: PageFormat) -> Option<String> {
        let write_page = self.0.write_page.get()?;
        write_page(format)
    }

    /// Puts `fault` into effect until the guard is dropped.
    pub(crate) fn set(&self, fault: Arc<dyn ScrapeFault>) -> ScrapeGuard {
        let over = CancellationToken::new();
        let active = ActiveScrapeFault {
            fault,
            over: over.clone(),
        };
        *self.0.fault.lock() = Some(active);
        ScrapeGuard {
            scrapes: self.clone(),
            over,
        }
    }

    /// The fault in effect, if there is one.
    pub(crate) fn current(&self) -> Option<ActiveScrapeFault> {
        self.0.fault.lock().clone()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrapes").finish_non_exhaustive()
    }
}

/// Keeps a fault in effect. Scrapes that hang are answered when it is dropped.
#[derive(Debug)]
pub(crate) struct ScrapeGuard {
    scrapes: Scrapes,
    over: CancellationToken,
}

impl Drop for ScrapeGuard {
    fn drop(&mut self) {
        *self.scrapes.0.fault.lock() = None;
        self.over.cancel();
        // The pages may have been large.
        allocator::schedule_trim();
    }
}

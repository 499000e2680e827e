//! What a running bridge measures. Adapters map it to Prometheus or OpenTelemetry.

use core::fmt;

/// Takes measures. All methods may do nothing.
pub trait Metrics: fmt::Debug + Send + Sync + 'static {
    /// Takes one measure.
    fn record(&self, measure: &Measure) {
        let _ = measure;
    }
}

impl Metrics for () {}

/// One measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// A batch became durable.
    Commit {
        /// Commands it answered.
        commands: usize,
        /// Lines it wrote.
        changes: usize,
    },
    /// A batch failed and the shard was loaded again.
    Reload,
    /// Something was removed whose time had passed.
    Retired {
        /// Changes it came to.
        changes: usize,
    },
    /// Messages went to the archive.
    Archived {
        /// How many.
        messages: usize,
    },
    /// The archive failed: what should go there stays.
    ArchiveFailed,
}

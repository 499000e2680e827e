//! What a running bridge has done so far, in the text format of Prometheus.

use std::{convert::Infallible, sync::Arc};

use anyhow::Result;
use bridge_core::{Measure, Metrics};
use bridge_protocol::{Code, Problem};
use bridge_store::SqliteStore;
use bridge_transport::{Body, Mounted};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full};
use prometheus::{
    Counter, IntCounter, Registry, TEXT_FORMAT, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use tower::util::BoxCloneSyncService;

/// Where they are read.
pub(crate) const PATH: &str = "/metrics";

/// Adds up what the runtime measures; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Counters(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    registry: Registry,
    commits: IntCounter,
    commands: IntCounter,
    reloads: IntCounter,
    retired: IntCounter,
    archived: IntCounter,
    archive_failures: IntCounter,
}

impl Counters {
    /// Counters of a bridge over `store`, which counts for itself.
    pub(crate) fn new(store: SqliteStore) -> Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let counts = Counts {
            commits: counter("bridge_shard_commits_total", "Batches of commands that became durable.")?,
            commands: counter("bridge_shard_commands_total", "Commands that were in those batches.")?,
            reloads: counter("bridge_shard_reloads_total", "Loads of the data after a fault.")?,
            retired: counter(
                "bridge_retention_changes_total",
                "Rows and events removed as their time was over.",
            )?,
            archived: counter("bridge_archive_messages_total", "Messages that went to the archive.")?,
            archive_failures: counter(
                "bridge_archive_failures_total",
                "Times that the archive took nothing.",
            )?,
            registry: registry.clone(),
        };
        registry.register(Box::new(Foreign::new(store)?))?;
        Ok(Self(Arc::new(counts)))
    }
}

impl Metrics for Counters {
    fn record(&self, measure: &Measure) {
        let add = |counter: &IntCounter, by: usize| counter.inc_by(by as u64);
        match measure {
            Measure::Commit { commands, .. } => {
                add(&self.0.commits, 1);
                add(&self.0.commands, *commands);
            }
            Measure::Reload => add(&self.0.reloads, 1),
            Measure::Retired { changes } => add(&self.0.retired, *changes),
            Measure::Archived { messages } => add(&self.0.archived, *messages),
            Measure::ArchiveFailed => add(&self.0.archive_failures, 1),
            _ => {}
        }
    }
}

/// What others count, as it is when it is asked.
struct Foreign {
    store: SqliteStore,
    descriptions: Vec<Desc>,
}

const FOREIGN: [(&str, &str); 4] = [
    ("bridge_store_commits_total", "Transactions that became durable."),
    ("bridge_store_requests_total", "Requests that those transactions answered."),
    ("bridge_store_changes_total", "Changes that those requests made."),
    ("process_cpu_seconds_total", "Time that processors worked for it."),
];

impl Foreign {
    fn new(store: SqliteStore) -> Result<Self> {
        let description =
            |(name, help): (&str, &str)| Desc::new(name.to_owned(), help.to_owned(), Vec::new(), [].into());
        let descriptions = FOREIGN.into_iter().map(description).collect::<Result<_, _>>()?;
        Ok(Self { store, descriptions })
    }
}

impl Collector for Foreign {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = self.store.stats();
        let count = |count: u64| Some(count as f64);
        let values = [count(stats.commits), count(stats.requests), count(stats.changes), processor_seconds()];
        let counted = FOREIGN.into_iter().zip(values).filter_map(|((name, help), value)| {
            let counter = Counter::new(name, help).ok()?;
            counter.inc_by(value?);
            Some(counter.collect())
        });
        counted.flatten().collect()
    }
}

/// What processors have worked for this process, in seconds: whole ones, as the library tells, say little of a minute.
#[cfg(unix)]
fn processor_seconds() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};

    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(not(unix))]
const fn processor_seconds() -> Option<f64> {
    None
}

/// Answers at [`PATH`].
pub(crate) fn service(counters: Counters) -> Mounted {
    BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
        let answer = answer(&request, &counters.0.registry);
        async move { Ok::<_, Infallible>(answer) }
    }))
}

fn answer(request: &Request<Body>, registry: &Registry) -> Response<Body> {
    if request.uri().path() != PATH {
        return refused(Code::NotFound);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = refused(Code::MethodNotAllowed);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => response(StatusCode::OK, TEXT_FORMAT, text),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            refused(Code::Internal)
        }
    }
}

fn refused(code: Code) -> Response<Body> {
    let problem = Problem::new(code);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&problem).expect("a problem has string keys and finite numbers");
    response(status, "application/problem+json", body)
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

//! Arithmetic on what was measured.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::Step;
use crate::client::Client;

/// What a client has done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Operations that were done within the window.
    pub(super) operations: u64,
    steps: Vec<(&'static str, Histogram<u64>)>,
}

impl Tally {
    /// Adds an operation that was due within the window.
    pub(super) fn record(&mut self, steps: &[Step]) {
        for (step, took) in steps {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.step(step).record(nanos).expect("it grows by itself");
        }
    }

    /// Adds what another client has done.
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        for (step, times) in &other.steps {
            self.step(step).add(times).expect("both grow by themselves");
        }
    }

    fn step(&mut self, name: &'static str) -> &mut Histogram<u64> {
        let at = self.steps.iter().position(|(step, _)| *step == name).unwrap_or_else(|| {
            self.steps.push((name, Histogram::new(3).expect("three digits are allowed")));
            self.steps.len() - 1
        });
        &mut self.steps[at].1
    }

    pub(super) fn times(&self) -> Vec<Times> {
        self.steps.iter().map(|(step, times)| Times::of(step, times)).collect()
    }
}

/// How long a step took, in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Times {
    step: &'static str,
    count: u64,
    mean_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl Times {
    fn of(step: &'static str, times: &Histogram<u64>) -> Self {
        let ms = |nanos: f64| nanos / 1e6;
        let at = |quantile| ms(times.value_at_quantile(quantile) as f64);
        Self {
            step,
            count: times.len(),
            mean_ms: ms(times.mean()),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(times.max() as f64),
        }
    }

    /// Its row in a table.
    pub(super) fn row(&self) -> [String; 7] {
        let Self { step, mean_ms, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = self;
        let [mean, p50, p90, p99, p999, max] =
            [mean_ms, p50_ms, p90_ms, p99_ms, p999_ms, max_ms].map(|ms| format!("{ms:.3}"));
        [(*step).to_owned(), mean, p50, p90, p99, p999, max]
    }
}

/// What a server has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counters {
    processor_seconds: Option<f64>,
    batches: Option<f64>,
    commands: Option<f64>,
    commits: Option<f64>,
    changes: Option<f64>,
}

impl Counters {
    /// Nothing, if it does not say.
    pub(super) async fn read(client: &Client) -> Self {
        client.text("/metrics").await.map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let value = |name: &str| {
            let mut samples = text.lines().filter_map(|line| line.split_once(' '));
            samples.find(|(named, _)| *named == name)?.1.trim().parse().ok()
        };
        Self {
            processor_seconds: value("process_cpu_seconds_total"),
            batches: value("bridge_shard_commits_total"),
            commands: value("bridge_shard_commands_total"),
            commits: value("bridge_store_commits_total"),
            changes: value("bridge_store_changes_total"),
        }
    }

    /// What came of so many operations since `before`; none if nothing is known.
    pub(super) fn since(self, before: Self, operations: u64) -> Option<Served> {
        let risen = |after: Option<f64>, before: Option<f64>| Some(after? - before?);
        let each = |what: Option<f64>, of: Option<f64>| Some(what? / of?).filter(|ratio| ratio.is_finite());
        let commits = risen(self.commits, before.commits);
        let cpu = risen(self.processor_seconds, before.processor_seconds);
        let served = Served {
            cpu_us_per_operation: each(cpu.map(|seconds| seconds * 1e6), Some(operations as f64)),
            commands_per_commit: each(
                risen(self.commands, before.commands),
                risen(self.batches, before.batches),
            ),
            changes_per_commit: each(risen(self.changes, before.changes), commits),
        };
        (served != Served::default()).then_some(served)
    }
}

/// What a server tells of the time in which it was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Served {
    /// Of all its threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_operation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commands_per_commit: Option<f64>,
    /// Rows, and events of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes_per_commit: Option<f64>,
}

impl Served {
    pub(super) fn told(&self) -> String {
        let Self { cpu_us_per_operation, commands_per_commit, changes_per_commit } = self;
        let cpu = cpu_us_per_operation.map(|us| format!("the server's CPU     {us:.1} us an operation"));
        let commands = commands_per_commit.map(|commands| format!("commands a commit    {commands:.1}"));
        let changes = changes_per_commit.map(|changes| format!("changes a commit     {changes:.1}"));
        cpu.into_iter().chain(commands).chain(changes).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn percentiles_are_the_times_that_so_many_are_not_above() {
        let (mut tally, mut other) = (Tally::default(), Tally::default());
        (1..=500).for_each(|ms| tally.record(&[("publish", Duration::from_millis(ms))]));
        (501..=1_000).for_each(|ms| other.record(&[("publish", Duration::from_millis(ms))]));
        tally.add(&other);
        let times = tally.times();
        assert_eq!((times.len(), times[0].step, times[0].count), (1, "publish", 1_000));
        let near = |figure: f64, expected: f64| assert!((figure / expected - 1.0).abs() < 0.002, "{figure}");
        near(times[0].p50_ms, 500.0);
        near(times[0].p99_ms, 990.0);
        near(times[0].p999_ms, 999.0);
        near(times[0].max_ms, 1_000.0);
    }

    #[test]
    fn counters_are_read_from_what_a_scraper_reads() {
        let at = |cpu: f64, commands: u64, commits: u64| {
            Counters::parse(&format!(
                "# HELP process_cpu_seconds_total Time.\n# TYPE process_cpu_seconds_total counter\n\
                 process_cpu_seconds_total {cpu}\nbridge_shard_commands_total {commands}\n\
                 bridge_shard_commits_total {commits}\n"
            ))
        };
        let served = at(3.5, 1_400, 60).since(at(3.0, 400, 10), 1_000).unwrap();
        assert_eq!(served.cpu_us_per_operation, Some(500.0));
        assert_eq!(served.commands_per_commit, Some(20.0));
        assert_eq!(served.changes_per_commit, None);
        assert_eq!(Counters::default().since(Counters::default(), 10), None);
        assert_eq!(at(1.0, 1, 1).since(at(1.0, 1, 1), 0), None);
    }
}

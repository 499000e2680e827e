//! Arithmetic on what was measured.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A distribution of times, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// Collects times in nanoseconds, with three digits.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Histogram<u64>);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(Histogram::new(3).expect("three digits are allowed"))
    }

    /// Adds one time.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.record(nanos).expect("it grows by itself");
    }

    /// Adds all times of another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both grow by themselves");
    }

    /// What it has collected; none if that is nothing.
    pub(crate) fn times(&self) -> Option<Times> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        (!self.0.is_empty()).then(|| Times {
            count: self.0.len(),
            mean_us: self.0.mean() / 1_000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1_000.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_times_that_so_many_are_not_above() {
        let mut recorder = Recorder::new();
        (1..=1_000).for_each(|micros| recorder.record(micros * 1_000));
        let times = recorder.times().unwrap();
        assert_eq!(times.count, 1_000);
        let near = |figure: f64, expected: f64| assert!((figure / expected - 1.0).abs() < 0.002, "{figure}");
        near(times.p50_us, 500.0);
        near(times.p90_us, 900.0);
        near(times.p99_us, 990.0);
        near(times.p999_us, 999.0);
        near(times.max_us, 1_000.0);
        near(times.mean_us, 500.5);
    }

    #[test]
    fn two_recorders_together_are_one() {
        let (mut one, mut other) = (Recorder::new(), Recorder::new());
        one.record(10_000);
        other.record(30_000);
        one.add(&other);
        let times = one.times().unwrap();
        assert_eq!(times.count, 2);
        assert!((times.max_us - 30.0).abs() < 0.1);
        assert_eq!(Recorder::new().times(), None);
    }
}

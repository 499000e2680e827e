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

/// The middle of several figures, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// None of no figures. Of an even number, the median is the mean of the middle two.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Self { median, least, most })
    }
}

/// What one has over the other, round by round: only rounds that have both count.
pub(crate) fn ratios(ours: &[(usize, f64)], theirs: &[(usize, f64)]) -> Vec<f64> {
    let of_round = |round| theirs.iter().find(|(other, _)| *other == round).map(|(_, figure)| *figure);
    ours.iter().filter_map(|(round, figure)| of_round(*round).map(|other| figure / other)).collect()
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

    #[test]
    fn a_median_stands_in_the_middle_of_its_spread() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { median: 3.0, least: 3.0, most: 3.0 }));
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 9.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([1.0, f64::NAN]), Spread::of([1.0]));
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let ours = [(0, 10.0), (1, 20.0), (2, 30.0)];
        let theirs = [(2, 10.0), (0, 5.0)];
        assert_eq!(ratios(&ours, &theirs), [2.0, 3.0]);
    }
}

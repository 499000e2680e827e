//! What a run leaves behind: one JSON file, with every figure of every round.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{
    figures::Times,
    machine::Machine,
    scenario::{Class, Scenario},
    target::Known,
};

/// One run of the tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// When it began, in UTC.
    pub(crate) began: String,
    /// What was measured, as Git names it; with `+` if the work tree had changes.
    pub(crate) commit: String,
    /// What makes the same run.
    pub(crate) command: String,
    pub(crate) quick: bool,
    pub(crate) machine: Machine,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) known: BTreeMap<Class, Vec<Known>>,
    pub(crate) windows: Vec<Window>,
    pub(crate) failures: Vec<Failure>,
}

/// What one target did in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Window {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) round: usize,
    /// `per_second`, `server_cpu_us` and `client_cpu_us` (of an operation), `resident_kib`, `peak_kib`, and others.
    pub(crate) figures: BTreeMap<String, f64>,
    /// How long `publish`, `receive`, `deliver`, `ack` or `read` took.
    pub(crate) times: BTreeMap<String, Times>,
}

/// What was measured of whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) scenario: String,
    pub(crate) class: Class,
    pub(crate) target: String,
    pub(crate) clients: usize,
    /// Messages that waited, if that was the question.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) queued: usize,
}

/// A measurement that did not come about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) round: usize,
    pub(crate) error: String,
    /// The last lines that the server printed.
    pub(crate) log: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Window {
    /// A figure, or a time as `publish.p50_us`.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let Some((what, which)) = name.split_once('.') else { return self.figures.get(name).copied() };
        let times = self.times.get(what)?;
        Some(match which {
            "mean_us" => times.mean_us,
            "p50_us" => times.p50_us,
            "p90_us" => times.p90_us,
            "p99_us" => times.p99_us,
            "p999_us" => times.p999_us,
            "max_us" => times.max_us,
            _ => return None,
        })
    }
}

impl Run {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("in {}", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.lines()?).with_context(|| format!("writing {}", path.display()))
    }

    /// As JSON with a line for each member, and for each element of a list, so that two runs can be compared.
    fn lines(&self) -> Result<String> {
        let serde_json::Value::Object(members) = serde_json::to_value(self)? else {
            unreachable!("a run is an object")
        };
        let line = |value: &serde_json::Value| match value {
            serde_json::Value::Array(elements) if !elements.is_empty() => {
                let elements: Vec<String> = elements.iter().map(|element| format!("    {element}")).collect();
                format!("[\n{}\n  ]", elements.join(",\n"))
            }
            value => value.to_string(),
        };
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("  \"{name}\": {}", line(value))).collect();
        Ok(format!("{{\n{}\n}}\n", members.join(",\n")))
    }

    /// A figure of each round, with the round.
    pub(crate) fn rounds(&self, place: &Place, name: &str) -> Vec<(usize, f64)> {
        let windows = self.windows.iter().filter(|window| window.place == *place);
        windows.filter_map(|window| Some((window.round, window.figure(name)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let mut run = crate::render::tests::run();
        run.windows.push(crate::render::tests::window("bridge", 2, 1_234.5));
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("run.json");
        run.write(&path).unwrap();
        let read = Run::read(&path).unwrap();
        assert_eq!(read.rounds(&run.windows[0].place, "per_second"), [(2, 1_234.5)]);
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&run).unwrap());
        assert!(std::fs::read_to_string(&path).unwrap().lines().count() < 30);
    }
}

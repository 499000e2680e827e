//! What is measured: one TOML file a scenario.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// What a confirmation outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Class {
    /// The end of the process, by kill -9 too.
    K,
    /// The end of the power.
    P,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Each client publishes, waits for the confirmation, and publishes again.
    Publish,
    /// Messages are published on a schedule, delivered and acknowledged.
    Deliver,
    /// Publishers and consumers do all they can.
    Saturate,
    /// Each client reads a page of messages again and again.
    Read,
    /// A long queue, and the same calls as on a short one.
    Backlog,
}

/// A scenario as it is run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The name of its file.
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// How many clients: one measurement each.
    pub(crate) clients: Vec<usize>,
    /// Over how many mailboxes they are spread.
    #[serde(default = "one")]
    pub(crate) mailboxes: usize,
    pub(crate) payload_bytes: usize,
    /// `read`: how long a page is that needs no store.
    #[serde(default)]
    pub(crate) page_bytes: usize,
    /// `deliver`: messages a second, of all clients together.
    #[serde(default)]
    pub(crate) per_second: u32,
    /// Messages in one receive or one page, at most.
    #[serde(default = "one")]
    pub(crate) batch: usize,
    /// `saturate`: messages that are published and not yet acknowledged, at most.
    #[serde(default)]
    pub(crate) outstanding: usize,
    /// `backlog`: how many messages wait.
    #[serde(default)]
    pub(crate) queued: Vec<usize>,
    /// Messages that are published before each window, so that no server has just begun.
    #[serde(default)]
    pub(crate) season: usize,
    /// With so many clients, flushes are counted in a round of its own.
    #[serde(default)]
    pub(crate) count_syncs_at: Option<usize>,
    pub(crate) rounds: usize,
    pub(crate) warm_up_ms: u64,
    pub(crate) window_ms: u64,
    /// Who is measured in which class.
    pub(crate) targets: BTreeMap<Class, Vec<String>>,
    #[serde(default, skip_serializing)]
    quick: Quick,
}

/// What a quick look does otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quick {
    clients: Option<Vec<usize>>,
    queued: Option<Vec<usize>>,
    rounds: Option<usize>,
    warm_up_ms: Option<u64>,
    window_ms: Option<u64>,
}

fn one() -> usize {
    1
}

impl Scenario {
    /// Reads all scenarios of a folder, in the order of their names.
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let wrong = || format!("in {}", path.display());
        let text = std::fs::read_to_string(path).with_context(wrong)?;
        let mut scenario: Self = toml::from_str(&text).with_context(wrong)?;
        scenario.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        scenario.check().with_context(wrong)?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.rounds > 0 && self.mailboxes > 0, "rounds and mailboxes are 1 at least");
        ensure!(self.clients.iter().all(|clients| *clients > 0), "there is a client at least");
        ensure!(self.payload_bytes >= crate::payload::LEAST, "a payload has room for its time");
        ensure!(self.kind != Kind::Deliver || self.per_second > 0, "deliver needs per_second");
        ensure!(self.kind != Kind::Saturate || self.outstanding > 0, "saturate needs outstanding");
        ensure!(self.kind != Kind::Backlog || self.queued.len() == 2, "backlog needs two lengths");
        Ok(())
    }

    /// The same for a quick look.
    pub(crate) fn quick(self) -> Self {
        let quick = self.quick.clone();
        Self {
            clients: quick.clients.unwrap_or(self.clients),
            queued: quick.queued.unwrap_or(self.queued),
            rounds: quick.rounds.unwrap_or(self.rounds),
            warm_up_ms: quick.warm_up_ms.unwrap_or(self.warm_up_ms),
            window_ms: quick.window_ms.unwrap_or(self.window_ms),
            ..self
        }
    }

    /// How long calls are made before they count.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms)
    }

    /// How long calls count.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_be_read_and_is_shorter_in_a_quick_look() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let scenarios = Scenario::all(&folder).unwrap();
        assert!(scenarios.len() >= 5);
        for scenario in scenarios {
            let quick = scenario.clone().quick();
            assert!(quick.window() * (quick.rounds as u32) < scenario.window() * (scenario.rounds as u32));
        }
    }
}

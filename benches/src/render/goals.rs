//! The table of goals: what was aimed at, what was measured, and whether it is enough.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::tables::{number, spread};
use crate::{
    figures::{Spread, ratios},
    result::{Place, Run},
    scenario::Class,
};

/// One goal with what must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Goal {
    id: String,
    says: String,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    says: String,
    scenario: String,
    class: Class,
    clients: usize,
    #[serde(default)]
    queued: Option<Length>,
    figure: String,
    #[serde(default = "bridge")]
    of: String,
    #[serde(default)]
    over: Option<String>,
    #[serde(default)]
    over_queued: Option<Length>,
    #[serde(default)]
    at_least: Option<f64>,
    #[serde(default)]
    at_most: Option<f64>,
}

/// One of the two lengths of a backlog.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Length {
    Short,
    Long,
}

fn bridge() -> String {
    "bridge".to_owned()
}

impl Goal {
    pub(super) fn read(path: &Path) -> Result<Vec<Self>> {
        #[derive(Deserialize)]
        struct Goals {
            goal: Vec<Goal>,
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let goals: Goals = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        Ok(goals.goal)
    }
}

/// The table of all goals.
pub(super) fn table(goals: &[Goal], run: &Run) -> String {
    let mut table = String::new();
    if run.quick {
        table.push_str("A quick look: one round on a machine that may be busy is a hint, not a verdict.\n\n");
    }
    table.push_str("| goal | | aimed at | measured | met | command |\n|---|---|---|---|---|---|\n");
    for goal in goals {
        table.push_str(&format!("| **{}** | **{}** | | | | |\n", goal.id, goal.says));
        for check in &goal.checks {
            let (measured, met) = match check.measured(run) {
                Ok(measured) => {
                    (spread(measured), if check.is_met(measured.median) { "yes" } else { "**no**" })
                }
                Err(why) => (why, "?"),
            };
            let Check { says, scenario, .. } = check;
            let aim = check.aim();
            table.push_str(&format!(
                "| | {says} | {aim} | {measured} | {met} | `scripts/bench {scenario}` |\n"
            ));
        }
    }
    table
}

impl Check {
    fn aim(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), _) => format!("≥ {}", number(least)),
            (None, Some(most)) => format!("≤ {}", number(most)),
            (None, None) => "to be told".to_owned(),
        }
    }

    fn is_met(&self, figure: f64) -> bool {
        self.at_least.is_none_or(|least| figure >= least) && self.at_most.is_none_or(|most| figure <= most)
    }

    /// The figure or ratio of each round, or why there is none.
    fn measured(&self, run: &Run) -> Result<Spread, String> {
        let ours = self.place(run, &self.of, self.queued);
        let figures = run.rounds(&ours, &self.figure);
        if self.over.is_none() && self.over_queued.is_none() {
            return Spread::of(figures.into_iter().map(|(_, figure)| figure)).ok_or_else(|| why(run, &ours));
        }
        let theirs =
            self.place(run, self.over.as_deref().unwrap_or(&self.of), self.over_queued.or(self.queued));
        let ratios = ratios(&figures, &run.rounds(&theirs, &self.figure));
        Spread::of(ratios).ok_or_else(|| why(run, if figures.is_empty() { &ours } else { &theirs }))
    }

    fn place(&self, run: &Run, target: &str, queued: Option<Length>) -> Place {
        let lengths = run.scenarios.iter().find(|scenario| scenario.name == self.scenario);
        let lengths = lengths.map(|scenario| scenario.queued.as_slice()).unwrap_or_default();
        let queued = queued.and_then(|length| match length {
            Length::Short => lengths.iter().min(),
            Length::Long => lengths.iter().max(),
        });
        Place {
            scenario: self.scenario.clone(),
            class: self.class,
            target: target.to_owned(),
            clients: self.clients,
            queued: queued.copied().unwrap_or(0),
        }
    }
}

/// Why there is no figure of a place.
fn why(run: &Run, place: &Place) -> String {
    let mut known = run.known.get(&place.class).into_iter().flatten();
    if let Some(missing) =
        known.find(|known| known.name == place.target).and_then(|known| known.missing.as_ref())
    {
        return format!("{} is missing: {missing}", place.target);
    }
    if run.failures.iter().any(|failure| failure.place == *place) {
        return format!("{} failed", place.target);
    }
    "not in this run".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{run, window};

    fn check(text: &str) -> Check {
        toml::from_str(text).unwrap()
    }

    const OVER: &str = r#"
        says = "x"
        scenario = "publish"
        class = "K"
        clients = 64
        figure = "per_second"
        over = "nats"
        at_least = 1.3
    "#;

    #[test]
    fn a_goal_is_judged_by_the_median_of_the_ratios_of_its_rounds() {
        let mut run = run();
        for (round, ours, theirs) in [(0, 130.0, 100.0), (1, 400.0, 100.0), (2, 150.0, 100.0)] {
            run.windows.push(window("bridge", round, ours));
            run.windows.push(window("nats", round, theirs));
        }
        let check = check(OVER);
        let measured = check.measured(&run).unwrap();
        assert_eq!(measured, Spread { median: 1.5, least: 1.3, most: 4.0 });
        assert!(check.is_met(measured.median) && check.is_met(1.3) && !check.is_met(1.29));
    }

    #[test]
    fn a_peer_that_is_missing_is_named_with_the_reason() {
        let mut run = run();
        run.windows.push(window("bridge", 0, 1.0));
        let missing = crate::target::Known {
            name: "nats".to_owned(),
            version: String::new(),
            missing: Some("it is not installed".to_owned()),
        };
        run.known.entry(Class::K).or_default().push(missing);
        assert_eq!(check(OVER).measured(&run).unwrap_err(), "nats is missing: it is not installed");
    }

    #[test]
    fn every_goal_is_about_something_that_is_measured() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let scenarios = crate::scenario::Scenario::all(&folder.join("scenarios")).unwrap();
        let goals = Goal::read(&folder.join("goals.toml")).unwrap();
        for check in goals.iter().flat_map(|goal| &goal.checks) {
            let scenario =
                scenarios.iter().find(|scenario| scenario.name == check.scenario).expect(&check.scenario);
            assert!(scenario.clients.contains(&check.clients), "{}", check.says);
            let targets = &scenario.targets[&check.class];
            assert!(check.over.iter().all(|over| targets.contains(over)), "{}", check.says);
            assert!(check.at_least.is_some() || check.at_most.is_some(), "{}", check.says);
        }
    }
}

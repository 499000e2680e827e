//! The page about performance, from the file of a run.

mod blocks;
mod goals;
mod plots;
mod tables;

use std::path::Path;

use anyhow::{Context, Result};

use crate::{result::Run, scenario::Kind};

/// Where plots lie, beside the page.
const PLOTS: &str = "performance";

/// What the page begins as; afterwards all but the figures is written by hand.
const TEMPLATE: &str = include_str!("render/template.md");

/// Puts the figures of a run into the page, and its plots beside it.
pub(crate) fn render(run: &Run, source: &str, goals: &Path, page: &Path) -> Result<()> {
    let mut text = match std::fs::read_to_string(page) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => TEMPLATE.to_owned(),
        text => text.with_context(|| format!("reading {}", page.display()))?,
    };
    let goals = goals::Goal::read(goals)?;
    let folder = page.parent().unwrap_or(Path::new(".")).join(PLOTS);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    text = blocks::put(&text, "run", &tables::origin(run, source))?;
    text = blocks::put(&text, "goals", &goals::table(&goals, run))?;
    for scenario in &run.scenarios {
        let mut block = String::new();
        let drawn = match scenario.kind {
            Kind::Publish => plots::against_clients(run, scenario, &folder)?,
            Kind::Backlog => plots::against_length(run, scenario, &folder)?,
            _ => Vec::new(),
        };
        for (name, says) in drawn {
            block.push_str(&format!("![{says}]({PLOTS}/{name})\n"));
        }
        if !block.is_empty() {
            block.push('\n');
        }
        block.push_str(&tables::of_scenario(run, scenario));
        text = blocks::put(&text, &scenario.name, &block)?;
    }
    std::fs::write(page, text).with_context(|| format!("writing {}", page.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        machine::Machine,
        result::{Place, Window},
        scenario::{Class, Scenario},
    };

    /// A run of one scenario, in which nothing was measured.
    pub(crate) fn run() -> Run {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut scenarios = Scenario::all(&folder).unwrap();
        scenarios.retain(|scenario| scenario.name == "publish");
        Run {
            began: "2026-01-02T03:04:05Z".to_owned(),
            commit: "0123456789ab".to_owned(),
            command: "scripts/bench".to_owned(),
            quick: false,
            machine: Machine::here(Path::new("/")),
            scenarios,
            known: BTreeMap::new(),
            windows: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// What 64 clients publish a second.
    pub(crate) fn window(target: &str, round: usize, per_second: f64) -> Window {
        let (scenario, target) = ("publish".to_owned(), target.to_owned());
        let place = Place { scenario, class: Class::K, target, clients: 64, queued: 0 };
        Window {
            place,
            round,
            figures: BTreeMap::from([("per_second".to_owned(), per_second)]),
            times: BTreeMap::new(),
        }
    }

    #[test]
    fn rendering_twice_gives_the_same_page_and_keeps_what_was_written_between() {
        let folder = tempfile::TempDir::new().unwrap();
        let page = folder.path().join("page.md");
        let goals = Path::new(env!("CARGO_MANIFEST_DIR")).join("goals.toml");
        let mut run = run();
        run.windows.push(window("bridge", 0, 1_000.0));
        render(&run, "file.json", &goals, &page).unwrap();
        let first =
            std::fs::read_to_string(&page).unwrap().replace("Nothing is written here yet.", "Into flushes.");
        std::fs::write(&page, &first).unwrap();
        render(&run, "file.json", &goals, &page).unwrap();
        assert_eq!(std::fs::read_to_string(&page).unwrap(), first);
        let plot =
            std::fs::read_to_string(folder.path().join("performance/publish-K-per-second.svg")).unwrap();
        assert!(plot.starts_with("<svg") && plot.contains("bridge"));
    }
}

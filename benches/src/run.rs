//! A run: every scenario, round by round, its targets in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    load::{self, Measured, backlog},
    result::{Failure, Place, Window},
    scenario::{Class, Kind, Scenario},
    target::{self, Known, Setup, Target, flushes},
};

/// No window takes longer than this beyond its own time: a peer that hangs is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A target that failed so often is left out for the rest of its scenario.
const FAILURES: usize = 3;

/// What a run has found so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) known: BTreeMap<Class, Vec<Known>>,
    pub(crate) windows: Vec<Window>,
    pub(crate) failures: Vec<Failure>,
}

/// Runs scenarios, and tells of it.
#[derive(Debug)]
pub(crate) struct Runner {
    setup: Setup,
    /// These alone, if any are named.
    only: BTreeSet<String>,
    bars: MultiProgress,
    found: Found,
}

/// A target that runs, or why it does not any more.
struct Runs {
    name: String,
    target: Option<Box<dyn Target>>,
    failures: usize,
}

impl Runner {
    pub(crate) fn new(setup: Setup, only: BTreeSet<String>) -> Self {
        Self { setup, only, bars: MultiProgress::new(), found: Found::default() }
    }

    /// What was found.
    pub(crate) fn found(self) -> Found {
        self.found
    }

    /// Runs one scenario in all its classes.
    pub(crate) async fn run(&mut self, scenario: &Scenario) -> Result<()> {
        for (class, names) in &scenario.targets {
            let names = self.present(*class, names)?;
            match scenario.kind {
                Kind::Backlog => {
                    for name in &names {
                        self.backlog(scenario, *class, name).await;
                    }
                }
                _ => self.rounds(scenario, *class, &names).await,
            }
        }
        Ok(())
    }

    /// The targets that can be measured here; those that cannot are told.
    fn present(&mut self, class: Class, names: &[String]) -> Result<Vec<String>> {
        let mut present = Vec::new();
        for name in names.iter().filter(|name| self.only.is_empty() || self.only.contains(*name)) {
            let known = self.found.known.entry(class).or_default();
            if !known.iter().any(|known| known.name == *name) {
                let looked = target::look(name, class, &self.setup)?;
                if let Some(missing) = &looked.missing {
                    tell(&self.bars, &format!("missing: {name} in class {class}: {missing}"));
                }
                known.push(looked);
            }
            if known.iter().any(|known| known.name == *name && known.missing.is_none()) {
                present.push(name.clone());
            }
        }
        Ok(present)
    }

    async fn rounds(&mut self, scenario: &Scenario, class: Class, names: &[String]) {
        let mut scenario = scenario.clone();
        let bar = self.bar(&scenario.name, class, scenario.clients.len() * scenario.rounds * names.len());
        let mut runs = Vec::new();
        for name in names {
            runs.push(Runs { name: name.clone(), target: None, failures: 0 });
        }
        for clients in scenario.clients.clone() {
            for round in 0..scenario.rounds {
                // Each round begins with another, so that nobody always follows the same one.
                for turn in 0..runs.len() {
                    let run = &mut runs[(turn + round) % names.len()];
                    bar.set_message(format!("{} with {clients}, round {}", run.name, round + 1));
                    let place = place(&scenario, class, &run.name, clients, 0);
                    self.window(&mut scenario, run, place, round).await;
                    bar.inc(1);
                }
            }
        }
        for run in runs {
            if let Some(target) = run.target {
                target.stop().await;
            }
        }
        // In class K only checkpoints flush, which says nothing of commits.
        let counts = class == Class::P && names.iter().any(|name| name == "bridge");
        if let Some(clients) = scenario.count_syncs_at.filter(|_| counts) {
            bar.set_message(format!("flushes of the bridge with {clients}"));
            self.count_flushes(&scenario, class, clients).await;
        }
        bar.finish_with_message("done");
    }

    /// One target in one round.
    async fn window(&mut self, scenario: &mut Scenario, run: &mut Runs, place: Place, round: usize) {
        if run.failures >= FAILURES {
            return;
        }
        let measured = tokio::time::timeout(PATIENCE + scenario.warm_up() + scenario.window(), async {
            match &mut run.target {
                Some(target) => target.renew().await?,
                None => run.target = Some(target::start(&run.name, place.class, &self.setup).await?),
            }
            let target = run.target.as_deref().expect("it was just started");
            if scenario.season > 0 {
                backlog::season(scenario, target).await?;
            }
            load::measure(scenario, place.clients, target).await
        });
        match measured.await.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than {PATIENCE:?}"))) {
            Ok(measured) => {
                // Who answers without a store answers with as much as the bridge, which comes first.
                if let Some(bytes) = measured.figures.get("bytes") {
                    scenario.page_bytes = *bytes as usize;
                }
                self.note(place, round, measured);
            }
            Err(error) => {
                run.failures += 1;
                let log = run.target.take().map(|target| target.process().log_tail());
                self.fail(place, round, &error, log.unwrap_or_default());
            }
        }
    }

    fn note(&mut self, place: Place, round: usize, measured: Measured) {
        let Measured { figures, times } = measured;
        self.found.windows.push(Window { place, round, figures, times });
    }

    fn fail(&mut self, place: Place, round: usize, error: &anyhow::Error, log: String) {
        let Place { scenario, class, target, clients, .. } = &place;
        let what = format!("{target} in {scenario} {class} with {clients}, round {}", round + 1);
        tell(&self.bars, format!("failed: {what}: {error:#}\n{log}").trim_end());
        self.found.failures.push(Failure { place, round, error: format!("{error:#}"), log });
    }

    /// A window whose times do not count, since the program is watched: how many flushes there are for a message.
    async fn count_flushes(&mut self, scenario: &Scenario, class: Class, clients: usize) {
        let place = place(scenario, class, "bridge, watched", clients, 0);
        match flushes::count(scenario, clients, class, &self.setup).await {
            Ok(measured) => self.note(place, 0, measured),
            Err(error) => self.fail(place, 0, &error, String::new()),
        }
    }

    async fn backlog(&mut self, scenario: &Scenario, class: Class, name: &str) {
        let mut filled = Vec::new();
        for queued in &scenario.queued {
            let place = place(scenario, class, name, scenario.clients[0], *queued);
            match self.filled(scenario, &place).await {
                Ok(target) => filled.push((place, target)),
                Err(error) => self.fail(place, 0, &error, String::new()),
            }
        }
        let bar = self.bar(&scenario.name, class, scenario.rounds * filled.len());
        for round in 0..scenario.rounds {
            for (place, target) in &filled {
                bar.set_message(format!("{name} with {} queued, round {}", place.queued, round + 1));
                match backlog::measure(scenario, &**target).await {
                    Ok(measured) => self.note(place.clone(), round, measured),
                    Err(error) => self.fail(place.clone(), round, &error, target.process().log_tail()),
                }
                bar.inc(1);
            }
        }
        for (place, mut target) in filled {
            for round in 0..scenario.rounds {
                bar.set_message(format!("{name} starts with {} queued", place.queued));
                match target.restart().await {
                    Ok(took) => self.note(place.clone(), round, started(took, &*target)),
                    Err(error) => {
                        self.fail(place.clone(), round, &error, target.process().log_tail());
                        break;
                    }
                }
            }
            target.stop().await;
        }
        bar.finish_with_message("done");
    }

    async fn filled(&self, scenario: &Scenario, place: &Place) -> Result<Box<dyn Target>> {
        let target = target::start(&place.target, place.class, &self.setup).await?;
        let bar = Arc::new(self.bar(&format!("{}, filling", scenario.name), place.class, place.queued));
        let told = Arc::clone(&bar);
        let mailboxes: Vec<usize> = (0..scenario.mailboxes).collect();
        backlog::fill(scenario, place.queued, &mailboxes, &*target, move || told.inc(1)).await?;
        bar.finish();
        Ok(target)
    }

    fn bar(&self, name: &str, class: Class, steps: usize) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix:24} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}");
        let bar = self.bars.add(ProgressBar::new(steps as u64));
        bar.set_style(style.expect("the template names what there is").progress_chars("=> "));
        bar.with_prefix(format!("{name} {class}"))
    }
}

/// Says something above the bars, and also where there are none because nobody watches.
fn tell(bars: &MultiProgress, text: &str) {
    bars.suspend(|| eprintln!("{text}"));
}

fn started(took: Duration, target: &dyn Target) -> Measured {
    let memory = target.process().memory();
    let mut measured = Measured::default();
    measured.figures.insert("start_ms".to_owned(), took.as_secs_f64() * 1e3);
    measured.figures.insert("start_resident_kib".to_owned(), memory.resident_kib as f64);
    measured.figures.insert("start_peak_kib".to_owned(), memory.peak_kib as f64);
    measured
}

fn place(scenario: &Scenario, class: Class, target: &str, clients: usize, queued: usize) -> Place {
    Place { scenario: scenario.name.clone(), class, target: target.to_owned(), clients, queued }
}

//! How clients behave while they are measured.

pub(crate) mod backlog;
mod closed;
mod deliver;
mod saturate;

use std::{
    any::Any,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use crate::{
    figures::{Recorder, Times},
    process::Process,
    scenario::{Kind, Scenario},
    target::{Consumer, Publisher, Target},
    usage,
};

/// What one window gave.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) figures: BTreeMap<String, f64>,
    pub(crate) times: BTreeMap<String, Times>,
}

/// Measures one window of a target.
pub(crate) async fn measure(scenario: &Scenario, clients: usize, target: &dyn Target) -> Result<Measured> {
    match scenario.kind {
        Kind::Publish => closed::publish(scenario, clients, target).await,
        Kind::Read => closed::read(scenario, clients, target).await,
        Kind::Deliver => deliver::deliver(scenario, clients, target).await,
        Kind::Saturate => saturate::saturate(scenario, clients, target).await,
        Kind::Backlog => bail!("a backlog is measured by itself"),
    }
}

/// When calls begin to count, and when they cease to.
#[derive(Debug, Clone, Copy)]
struct Phase {
    starts: Instant,
    ends: Instant,
}

impl Phase {
    fn of(scenario: &Scenario) -> Self {
        let starts = Instant::now() + scenario.warm_up();
        Self { starts, ends: starts + scenario.window() }
    }

    fn counts(self, moment: Instant) -> bool {
        (self.starts..self.ends).contains(&moment)
    }
}

/// What one client has counted.
#[derive(Debug, Default)]
struct Tally {
    operations: u64,
    times: BTreeMap<&'static str, Recorder>,
    kept: Vec<Box<dyn Any + Send>>,
}

impl Tally {
    /// Keeps a client's connection until all was read: a server's process that ends with it would be missed.
    fn keep(mut self, client: impl Any + Send) -> Self {
        self.kept.push(Box::new(client));
        self
    }

    fn record(&mut self, what: &'static str, took: Duration) {
        self.times.entry(what).or_insert_with(Recorder::new).record(took.as_nanos() as u64);
    }

    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.kept.extend(other.kept);
        for (what, recorder) in &other.times {
            self.times.entry(what).or_insert_with(Recorder::new).add(recorder);
        }
    }
}

type Clients = JoinSet<Result<Tally>>;

/// A consumer for each mailbox.
async fn consumers(scenario: &Scenario, target: &dyn Target) -> Result<Vec<Box<dyn Consumer>>> {
    let mut consumers = Vec::with_capacity(scenario.mailboxes);
    for mailbox in 0..scenario.mailboxes {
        consumers.push(target.consumer(mailbox).await?);
    }
    Ok(consumers)
}

/// So many publishers, spread over the mailboxes.
async fn publishers(
    scenario: &Scenario,
    clients: usize,
    target: &dyn Target,
) -> Result<Vec<Box<dyn Publisher>>> {
    let mut publishers = Vec::with_capacity(clients);
    for client in 0..clients {
        publishers.push(target.publisher(client % scenario.mailboxes).await?);
    }
    Ok(publishers)
}

/// Lets the clients work, and reads what server and clients used while it counted. A client that fails ends the measurement.
async fn observe(clients: &mut Clients, phase: Phase, process: &Process) -> Result<Measured> {
    let mut tally = Tally::default();
    until(clients, phase.starts, &mut tally).await?;
    let before = (process.cpu(), usage::cpu_of_this());
    until(clients, phase.ends, &mut tally).await?;
    let after = (process.cpu(), usage::cpu_of_this());
    let memory = process.memory();
    while let Some(ended) = clients.join_next().await {
        tally.add(ended.context("a client panicked")??);
    }
    let seconds = (phase.ends - phase.starts).as_secs_f64();
    let operations = tally.operations as f64;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / operations;
    let mut measured = Measured::default();
    let mut say = |name: &str, figure: f64| measured.figures.insert(name.to_owned(), figure);
    say("operations", operations);
    say("per_second", operations / seconds);
    say("server_cpu_us", each(after.0.saturating_sub(before.0)));
    say("client_cpu_us", each(after.1.saturating_sub(before.1)));
    say("resident_kib", memory.resident_kib as f64);
    say("peak_kib", memory.peak_kib as f64);
    for (what, recorder) in tally.times {
        measured.times.extend(recorder.times().map(|times| (what.to_owned(), times)));
    }
    if tally.operations == 0 {
        bail!("nothing was done within {seconds} s");
    }
    Ok(measured)
}

async fn until(clients: &mut Clients, moment: Instant, tally: &mut Tally) -> Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(moment.into()) => return Ok(()),
            Some(ended) = clients.join_next() => tally.add(ended.context("a client panicked")??),
        }
    }
}

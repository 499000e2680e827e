//! Clients that wait for each answer before the next call.

use std::time::Instant;

use anyhow::Result;

use super::{Clients, Measured, Phase, Tally, observe, publishers};
use crate::{
    payload::{Stamp, payload},
    scenario::Scenario,
    target::Target,
};

pub(super) async fn publish(scenario: &Scenario, clients: usize, target: &dyn Target) -> Result<Measured> {
    let publishers = publishers(scenario, clients, target).await?;
    let phase = Phase::of(scenario);
    let bytes = scenario.payload_bytes;
    let mut tasks = Clients::new();
    for mut publisher in publishers {
        tasks.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let began = Instant::now();
                if began >= phase.ends {
                    return Ok(tally.keep(publisher));
                }
                publisher.publish(payload(Stamp::of(began), bytes)).await?;
                note(&mut tally, phase, "publish", began);
            }
        });
    }
    observe(&mut tasks, phase, target.process()).await
}

pub(super) async fn read(scenario: &Scenario, clients: usize, target: &dyn Target) -> Result<Measured> {
    let mut readers = Vec::with_capacity(clients);
    for _ in 0..clients {
        readers.push(target.reader(scenario.batch, scenario.page_bytes).await?);
    }
    let bytes = readers[0].read().await?;
    let phase = Phase::of(scenario);
    let mut tasks = Clients::new();
    for mut reader in readers {
        tasks.spawn(async move {
            let mut tally = Tally::default();
            loop {
                let began = Instant::now();
                if began >= phase.ends {
                    return Ok(tally.keep(reader));
                }
                reader.read().await?;
                note(&mut tally, phase, "read", began);
            }
        });
    }
    let mut measured = observe(&mut tasks, phase, target.process()).await?;
    measured.figures.insert("bytes".to_owned(), bytes as f64);
    Ok(measured)
}

fn note(tally: &mut Tally, phase: Phase, what: &'static str, began: Instant) {
    let ended = Instant::now();
    if phase.counts(ended) {
        tally.operations += 1;
        tally.record(what, ended - began);
    }
}

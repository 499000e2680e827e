//! One client beside a queue that keeps its length.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{Clients, Measured, Phase, Tally, observe};
use crate::{
    payload::{Stamp, payload},
    scenario::Scenario,
    target::Target,
};

/// Clients that fill a queue.
const FILLERS: usize = 64;

/// Publishes into a mailbox that nobody takes from. Files that grow are slower to flush than files that are used again: a server
/// that has just begun would be measured at something that it does once.
pub(crate) async fn season(scenario: &Scenario, target: &dyn Target) -> Result<()> {
    fill(scenario, scenario.season, &[scenario.mailboxes], target, || ()).await
}

/// Publishes `count` messages into mailboxes; `filled` is told of each.
pub(crate) async fn fill(
    scenario: &Scenario,
    count: usize,
    mailboxes: &[usize],
    target: &dyn Target,
    filled: impl Fn() + Clone + Send + 'static,
) -> Result<()> {
    let mut fillers = tokio::task::JoinSet::new();
    for filler in 0..FILLERS {
        let mut publisher = target.publisher(mailboxes[filler % mailboxes.len()]).await?;
        let (share, bytes) = ((count + filler) / FILLERS, scenario.payload_bytes);
        let filled = filled.clone();
        fillers.spawn(async move {
            for _ in 0..share {
                publisher.publish(payload(Stamp::now(), bytes)).await?;
                filled();
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = fillers.join_next().await {
        ended.context("a client panicked")??;
    }
    Ok(())
}

/// Publishes one, receives one and acknowledges it, again and again.
pub(crate) async fn measure(scenario: &Scenario, target: &dyn Target) -> Result<Measured> {
    let mut publisher = target.publisher(0).await?;
    let mut consumer = target.consumer(0).await?;
    let (phase, bytes) = (Phase::of(scenario), scenario.payload_bytes);
    let mut tasks = Clients::new();
    tasks.spawn(async move {
        let mut tally = Tally::default();
        loop {
            let began = Instant::now();
            if began >= phase.ends {
                return Ok(tally.keep((publisher, consumer)));
            }
            publisher.publish(payload(Stamp::of(began), bytes)).await?;
            let published = Instant::now();
            let received = consumer.receive(1, std::time::Duration::ZERO).await?;
            let taken = Instant::now();
            ensure!(received.len() == 1, "there are messages, and none came");
            consumer.ack().await?;
            let acknowledged = Instant::now();
            if phase.counts(acknowledged) {
                tally.operations += 1;
                tally.record("publish", published - began);
                tally.record("receive", taken - published);
                tally.record("ack", acknowledged - taken);
            }
        }
    });
    observe(&mut tasks, phase, target.process()).await
}

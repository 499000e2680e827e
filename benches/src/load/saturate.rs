//! Everybody does all they can; publishers wait only while too much is on its way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::Semaphore;

use super::{Clients, Measured, Phase, Tally, consumers, observe, publishers};
use crate::{
    payload::{Stamp, payload},
    scenario::Scenario,
    target::{Consumer, Publisher, Target},
};

/// How long a consumer waits before it looks whether all is over.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn saturate(scenario: &Scenario, clients: usize, target: &dyn Target) -> Result<Measured> {
    let consumers = consumers(scenario, target).await?;
    let publishers = publishers(scenario, clients, target).await?;
    let room = Arc::new(Semaphore::new(scenario.outstanding));
    let phase = Phase::of(scenario);
    let mut tasks = Clients::new();
    for publisher in publishers {
        tasks.spawn(publish(publisher, phase, scenario.payload_bytes, Arc::clone(&room)));
    }
    for consumer in consumers {
        tasks.spawn(consume(consumer, phase, scenario.batch, Arc::clone(&room)));
    }
    observe(&mut tasks, phase, target.process()).await
}

async fn publish(
    mut publisher: Box<dyn Publisher>,
    phase: Phase,
    bytes: usize,
    room: Arc<Semaphore>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    loop {
        match room.try_acquire() {
            Ok(place) => place.forget(),
            Err(_) => tokio::select! {
                place = room.acquire() => place?.forget(),
                () = tokio::time::sleep_until(phase.ends.into()) => return Ok(tally.keep(publisher)),
            },
        }
        let began = Instant::now();
        if began >= phase.ends {
            return Ok(tally.keep(publisher));
        }
        publisher.publish(payload(Stamp::of(began), bytes)).await?;
        if phase.counts(began) {
            tally.record("publish", began.elapsed());
        }
    }
}

async fn consume(
    mut consumer: Box<dyn Consumer>,
    phase: Phase,
    batch: usize,
    room: Arc<Semaphore>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    while Instant::now() < phase.ends {
        let stamps = consumer.receive(batch, LOOK).await?;
        let delivered = Stamp::now();
        consumer.ack().await?;
        room.add_permits(stamps.len());
        if phase.counts(Instant::now()) {
            tally.operations += stamps.len() as u64;
            for stamp in stamps {
                tally.record("deliver", Duration::from_nanos(delivered.0.saturating_sub(stamp.0)));
            }
        }
    }
    Ok(tally.keep(consumer))
}

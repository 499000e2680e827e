//! Messages on a schedule that nobody's slowness changes: each is timed from when it was due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::sync::mpsc;

use super::{Clients, Measured, Phase, Tally, consumers, observe, publishers};
use crate::{
    payload::{Stamp, payload},
    scenario::Scenario,
    target::{Consumer, Publisher, Target},
};

/// How long the last messages may take to arrive.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// How long a consumer waits before it looks whether all is over.
const LOOK: Duration = Duration::from_millis(250);

/// What publishers and consumers know of each other.
#[derive(Debug, Default)]
struct Progress {
    published: AtomicU64,
    acknowledged: AtomicU64,
    over: AtomicBool,
}

pub(super) async fn deliver(scenario: &Scenario, clients: usize, target: &dyn Target) -> Result<Measured> {
    let mut tasks = Clients::new();
    let progress = Arc::new(Progress::default());
    let consumers = consumers(scenario, target).await?;
    let publishers = publishers(scenario, clients, target).await?;
    let phase = Phase::of(scenario);
    for consumer in consumers {
        tasks.spawn(consume(consumer, phase, scenario.batch, Arc::clone(&progress)));
    }
    let mut due = Vec::new();
    for publisher in publishers {
        // Room for all that can become due, so that the clock never waits for a publisher.
        let room =
            (scenario.per_second as usize) * (scenario.warm_up() + scenario.window()).as_secs_f64() as usize;
        let (sender, receiver) = mpsc::channel(room + 16);
        due.push(sender);
        tasks.spawn(publish(publisher, receiver, phase, scenario.payload_bytes, Arc::clone(&progress)));
    }
    let every = Duration::from_secs(1) / scenario.per_second;
    // A thread sleeps to the microsecond; the runtime's timers to the millisecond.
    let clock = std::thread::spawn(move || keep_time(&due, every, phase.ends));
    let watched = Arc::clone(&progress);
    tasks.spawn(async move {
        tokio::time::sleep_until((phase.ends + LOOK).into()).await;
        let arrived =
            || watched.acknowledged.load(Ordering::Acquire) >= watched.published.load(Ordering::Acquire);
        while !arrived() && phase.ends.elapsed() < STRAGGLERS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        watched.over.store(true, Ordering::Release);
        Ok(Tally::default())
    });
    let measured = observe(&mut tasks, phase, target.process()).await;
    clock.join().expect("the clock only sleeps and sends");
    let counted = (progress.published.load(Ordering::Acquire), progress.acknowledged.load(Ordering::Acquire));
    ensure!(
        measured.is_err() || counted.0 == counted.1,
        "of {} messages {} were acknowledged",
        counted.0,
        counted.1
    );
    measured
}

/// Gives each publisher in turn the moment at which its next message is due.
fn keep_time(publishers: &[mpsc::Sender<Instant>], every: Duration, ends: Instant) {
    // Without it the kernel may let each sleep last 50 us longer, to wake up for several at once.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut due = Instant::now();
    for publisher in publishers.iter().cycle() {
        due += every;
        if due >= ends {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // It is closed if the publisher has failed, which is told by the publisher.
        let _ = publisher.try_send(due);
    }
}

async fn publish(
    mut publisher: Box<dyn Publisher>,
    mut due: mpsc::Receiver<Instant>,
    phase: Phase,
    bytes: usize,
    progress: Arc<Progress>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    while let Some(due) = due.recv().await {
        progress.published.fetch_add(1, Ordering::AcqRel);
        publisher.publish(payload(Stamp::of(due), bytes)).await?;
        if phase.counts(due) {
            tally.record("publish", due.elapsed());
        }
    }
    Ok(tally.keep(publisher))
}

async fn consume(
    mut consumer: Box<dyn Consumer>,
    phase: Phase,
    batch: usize,
    progress: Arc<Progress>,
) -> Result<Tally> {
    let counted = Stamp::of(phase.starts)..Stamp::of(phase.ends);
    let mut tally = Tally::default();
    while !progress.over.load(Ordering::Acquire) {
        let stamps = consumer.receive(batch, LOOK).await?;
        let delivered = Stamp::now();
        consumer.ack().await?;
        let acknowledged = Stamp::now();
        for stamp in stamps.iter().filter(|stamp| counted.contains(stamp)) {
            tally.operations += 1;
            tally.record("deliver", Duration::from_nanos(delivered.0.saturating_sub(stamp.0)));
            tally.record("ack", Duration::from_nanos(acknowledged.0.saturating_sub(stamp.0)));
        }
        progress.acknowledged.fetch_add(stamps.len() as u64, Ordering::AcqRel);
    }
    Ok(tally.keep(consumer))
}

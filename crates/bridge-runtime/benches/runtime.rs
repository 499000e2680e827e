//! What a job costs inside a program, over a store in memory: it is published, received and acknowledged, by one caller and by
//! many at once.

use std::{cell::OnceCell, time::Duration};

use bridge_runtime::{Address, Bridge, Credential, NewMessage, ReceiveRequest, SetMailbox, Settlement};
use bridge_store::MemoryStore;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use tokio::runtime::Builder;

/// Callers at one time, and jobs that wait before they call.
const LOADS: [(u64, &str, u32); 5] =
    [(1, "", 0), (64, "", 0), (1_024, "", 0), (64, "_at_10k", 10_000), (64, "_at_1m", 1_000_000)];

fn runtime(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let mut group = criterion.benchmark_group("runtime");
    for (callers, at, waiting) in LOADS {
        // Filled by the first that is measured: a filter may leave it out.
        let bridge = OnceCell::new();
        group.throughput(Throughput::Elements(callers));
        group.bench_function(format!("publish_settle_{callers}{at}"), |bencher| {
            let bridge = bridge.get_or_init(|| runtime.block_on(filled(waiting)));
            bencher.iter(|| runtime.block_on(join_all((0..callers).map(|_| publish_settle(bridge)))));
        });
        if let Some(bridge) = bridge.into_inner() {
            runtime.block_on(bridge.shutdown());
        }
    }
    group.finish();
}

fn jobs() -> Address {
    "group:jobs".parse().expect("it is an address")
}

/// A bridge with so many jobs.
async fn filled(waiting: u32) -> Bridge {
    let bridge = Bridge::builder(MemoryStore::new()).start().await.expect("a store in memory has no faults");
    let room = Some(Some(waiting + 10_000));
    bridge
        .set_mailbox(SetMailbox {
            max_pending: room,
            max_pending_bytes: Some(Some(1 << 30)),
            ..SetMailbox::new(jobs())
        })
        .await
        .expect("a mailbox of that size may be");
    for left in (1..=waiting).rev().step_by(1_000) {
        join_all((0..left.min(1_000)).map(|_| publish(&bridge))).await;
    }
    bridge
}

async fn publish(bridge: &Bridge) {
    bridge.publish(NewMessage::new(jobs(), vec![b'x'; 256])).await.expect("there is room");
}

/// Publishes a job, and does one: its own or another's.
async fn publish_settle(bridge: &Bridge) {
    publish(bridge).await;
    let mut received = bridge.receive(ReceiveRequest::new(jobs())).await.expect("it is there");
    received.handover.complete();
    let delivery = received.deliveries.pop().expect("everybody published one before");
    let token = Credential::Token(delivery.token);
    bridge.settle(token, Settlement::Ack).await.expect("the lease is new");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = runtime
}
criterion_main!(benches);

//! What a job costs inside a program, over a store in memory: it is published, received and acknowledged, by one caller and by
//! many at once.

use std::time::Duration;

use bridge_runtime::{Address, Bridge, Credential, NewMessage, ReceiveRequest, Settlement};
use bridge_store::MemoryStore;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use tokio::runtime::Builder;

/// Callers at one time.
const CALLERS: [u64; 3] = [1, 64, 1_024];

fn runtime(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let mut group = criterion.benchmark_group("runtime");
    for callers in CALLERS {
        group.throughput(Throughput::Elements(callers));
        group.bench_function(format!("publish_settle_{callers}"), |bencher| {
            // What is done stays in the store: each begins with an empty one.
            let started = runtime.block_on(Bridge::builder(MemoryStore::new()).start());
            let bridge = started.expect("a store in memory has no faults");
            let jobs: Address = "group:jobs".parse().expect("it is an address");
            bencher.iter(|| runtime.block_on(join_all((0..callers).map(|_| publish_settle(&bridge, &jobs)))));
            runtime.block_on(bridge.shutdown());
        });
    }
    group.finish();
}

/// Publishes a job, and does one: its own or another's.
async fn publish_settle(bridge: &Bridge, jobs: &Address) {
    bridge.publish(NewMessage::new(jobs.clone(), vec![b'x'; 256])).await.expect("there is room");
    let mut received = bridge.receive(ReceiveRequest::new(jobs.clone())).await.expect("it is there");
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

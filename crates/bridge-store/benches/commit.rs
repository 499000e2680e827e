//! What a commit costs: the publishes of one transaction, on each store. The disk's flush dominates `sqlite_full`.

use std::{hint::black_box, time::Duration};

use bridge_core::{Change, NodeId, Ownership, ShardId, Store};
use bridge_store::{Durability, MemoryStore, Settings, SqliteStore};
use bridge_testkit::samples;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

const PUBLISHES: [u64; 3] = [1, 64, 512];

fn commits(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().build().expect("a runtime without drivers starts");
    commit(criterion, &runtime, "memory", &MemoryStore::new());
    for (name, durability) in [("sqlite_normal", Durability::Normal), ("sqlite_full", Durability::Full)] {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let settings = Settings::default().durability(durability);
        let store = SqliteStore::open_with(directory.path(), settings).expect("a new store opens");
        commit(criterion, &runtime, name, &store);
    }
}

fn commit(criterion: &mut Criterion, runtime: &Runtime, name: &str, store: &impl Store) {
    let acquired = store.acquire(ShardId(0), NodeId(1), samples::at(0), Duration::from_secs(10));
    let owner: Ownership = runtime.block_on(acquired).expect("a new shard is free");
    let mut last = 0;
    let mut group = criterion.benchmark_group(name);
    for publishes in PUBLISHES {
        group.throughput(Throughput::Elements(publishes));
        group.bench_function(BenchmarkId::from_parameter(format_args!("commit_{publishes}")), |bencher| {
            bencher.iter_batched(
                || {
                    let first = last + 1;
                    last += publishes;
                    (first..=last).flat_map(samples::publish).collect::<Vec<Change>>()
                },
                |changes| runtime.block_on(store.commit(&owner, black_box(&changes))).expect("it commits"),
                criterion::BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);

//! What a commit costs the processor, over all threads: the publishes or acknowledgements of one transaction, with few rows
//! there and with very many. What the disk takes for a flush is not in it.

use std::{hint::black_box, time::Duration};

use bridge_core::{Change, Delivery, NodeId, Ownership, Row, ShardId, State, Store};
use bridge_store::{Durability, MemoryStore, Settings, SqliteStore};
use bridge_testkit::samples;
use criterion::{
    BatchSize, Criterion, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

/// Messages of one transaction.
const SIZES: [u64; 3] = [1, 64, 1_024];

/// Messages that are there before anything is measured.
const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;

/// The time that the processor worked for this process.
struct Cpu;

impl Measurement for Cpu {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).expect("no process has worked for a negative time");
        let nanoseconds = u32::try_from(time.tv_nsec).expect("a second has fewer nanoseconds");
        Duration::new(seconds, nanoseconds)
    }

    fn end(&self, started: Duration) -> Duration {
        self.start() - started
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn commits(criterion: &mut Criterion<Cpu>) {
    measure(criterion, "memory", &MemoryStore::new(), 0);
    for (name, durability, present) in [
        ("sqlite_normal", Durability::Normal, FEW),
        ("sqlite_full", Durability::Full, FEW),
        ("sqlite_normal_1m", Durability::Normal, MANY),
    ] {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let settings = Settings::default().durability(durability);
        let store = SqliteStore::open_with(directory.path(), settings).expect("a new store opens");
        measure(criterion, name, &store, present);
    }
}

/// A store and how many messages it has been given.
struct Filled<'s, S> {
    runtime: Runtime,
    store: &'s S,
    owner: Ownership,
    last: u64,
}

impl<S: Store> Filled<'_, S> {
    /// Changes that publish the next messages.
    fn publishes(&mut self, count: u64) -> Vec<Change> {
        let first = self.last + 1;
        self.last += count;
        (first..=self.last).flat_map(samples::publish).collect()
    }

    /// Changes that acknowledge the last messages.
    fn acks(&self, count: u64) -> Vec<Change> {
        let acked = (self.last - count + 1..=self.last).map(|n| {
            let mut delivery = Delivery {
                state: State::Done,
                attempt: 1,
                grant: Some(samples::spent_grant()),
                ..samples::delivery(n)
            };
            delivery.receipts.presented = Some(samples::at(n));
            delivery.receipts.seen = Some(samples::at(n + 1));
            delivery.receipts.settled = Some(samples::at(n + 1));
            Change::Put(Row::Delivery(Box::new(delivery)))
        });
        acked.collect()
    }

    fn commit(&self, changes: &[Change]) {
        self.runtime.block_on(self.store.commit(&self.owner, black_box(changes))).expect("it commits");
    }
}

fn measure(criterion: &mut Criterion<Cpu>, name: &str, store: &impl Store, present: u64) {
    let runtime = Builder::new_current_thread().build().expect("a runtime without drivers starts");
    let acquired = store.acquire(ShardId(0), NodeId(1), samples::at(0), Duration::from_secs(10));
    let owner = runtime.block_on(acquired).expect("a new shard is free");
    let mut filled = Filled { runtime, store, owner, last: 0 };
    while filled.last < present {
        let changes = filled.publishes(10_000.min(present - filled.last));
        filled.commit(&changes);
    }
    let mut group = criterion.benchmark_group(name);
    for size in SIZES {
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("publish_{size}"), |bencher| {
            let filled = std::cell::RefCell::new(&mut filled);
            bencher.iter_batched(
                || filled.borrow_mut().publishes(size),
                |changes| filled.borrow().commit(&changes),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(format!("ack_{size}"), |bencher| {
            let filled = std::cell::RefCell::new(&mut filled);
            bencher.iter_batched(
                || {
                    let mut filled = filled.borrow_mut();
                    let changes = filled.publishes(size);
                    filled.commit(&changes);
                    filled.acks(size)
                },
                |changes| filled.borrow().commit(&changes),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn quick() -> Criterion<Cpu> {
    Criterion::default()
        .with_measurement(Cpu)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = benches;
    config = quick();
    targets = commits
}
criterion_main!(benches);

//! What a commit costs the processor, over all threads: the publishes, claims or acknowledgements of one transaction, with few
//! rows there and with very many. What the disk takes for a flush is not in it. And what it costs to read a page of a
//! conversation.

use std::{
    cell::{LazyCell, RefCell},
    hint::black_box,
    sync::Arc,
    time::Duration,
};

use bridge_core::{
    Change, Delivery, Event, Grant, Index, Message, NodeId, Ownership, Row, ShardId, State, Store,
};
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

/// Messages of a page, one more than are shown.
const PAGE: usize = 101;

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
    measure(criterion, "memory", "", || Filled::new(MemoryStore::new(), FEW));
    for (name, durability, at, present) in [
        ("sqlite_full", Durability::Full, "", FEW),
        ("sqlite_full", Durability::Full, "_at_1m", MANY),
        ("sqlite_normal", Durability::Normal, "", FEW),
        ("sqlite_normal", Durability::Normal, "_at_1m", MANY),
    ] {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let settings = Settings::default().durability(durability);
        let open = || SqliteStore::open_with(directory.path(), settings).expect("a new store opens");
        measure(criterion, name, at, || Filled::new(open(), present));
    }
}

fn pages(criterion: &mut Criterion<Cpu>) {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let filled = LazyCell::new(|| {
        let filled = Filled::new(SqliteStore::open(directory.path()).expect("a new store opens"), 0);
        filled.commit(&(1..=PAGE as u64).flat_map(said).collect::<Vec<_>>());
        filled
    });
    let mut group = criterion.benchmark_group("sqlite_full");
    group.throughput(Throughput::Elements(PAGE as u64));
    group.bench_function("read_100", |bencher| bencher.iter(|| assert_eq!(filled.read().len(), 2 * PAGE)));
    group.finish();
}

/// Changes that publish the `n`-th message of one conversation.
fn said(n: u64) -> Vec<Change> {
    let (to, session) = (samples::address(0), samples::session_id(0));
    let key = Some(session.to_string().parse().expect("an id is a name"));
    let payload = vec![b'x'; 200];
    let message = Message {
        to: to.clone(),
        session: Some(session),
        key,
        payload: payload.into(),
        ..samples::message(n)
    };
    let delivery = Delivery { mailbox: to, key: message.key.clone(), size: 200, ..samples::delivery(n) };
    let event = Event { session: message.session, ..samples::event(n) };
    vec![
        Change::Append(event),
        Change::Put(Row::Message(Arc::new(message))),
        Change::Put(Row::Delivery(Arc::new(delivery))),
    ]
}

/// A store and how many messages it has been given.
struct Filled<S> {
    runtime: Runtime,
    store: S,
    owner: Ownership,
    last: u64,
}

impl<S: Store> Filled<S> {
    fn new(store: S, present: u64) -> Self {
        let runtime = Builder::new_current_thread().build().expect("a runtime without drivers starts");
        let acquired = store.acquire(ShardId(0), NodeId(1), samples::at(0), Duration::from_secs(10));
        let owner = runtime.block_on(acquired).expect("a new shard is free");
        let mut filled = Self { runtime, store, owner, last: 0 };
        while filled.last < present {
            filled.publish(10_000.min(present - filled.last));
        }
        filled
    }

    fn publish(&mut self, count: u64) {
        let changes = self.publishes(count);
        self.commit(&changes);
    }

    /// Changes that publish the next messages.
    fn publishes(&mut self, count: u64) -> Vec<Change> {
        let first = self.last + 1;
        self.last += count;
        (first..=self.last).flat_map(samples::publish).collect()
    }

    /// Changes that hand out the last messages.
    fn claims(&self, count: u64) -> Vec<Change> {
        let grant = Grant { end: None, ..samples::spent_grant() };
        self.last_deliveries(count, |n, delivery| {
            delivery.state = State::Leased;
            delivery.grant = Some(grant.clone());
            delivery.receipts.presented = Some(samples::at(n));
        })
    }

    /// Changes that acknowledge the last messages.
    fn acks(&self, count: u64) -> Vec<Change> {
        self.last_deliveries(count, |n, delivery| {
            delivery.state = State::Done;
            delivery.grant = Some(samples::spent_grant());
            delivery.receipts.presented = Some(samples::at(n));
            delivery.receipts.seen = Some(samples::at(n + 1));
            delivery.receipts.settled = Some(samples::at(n + 1));
        })
    }

    fn last_deliveries(&self, count: u64, change: impl Fn(u64, &mut Delivery)) -> Vec<Change> {
        let changed = (self.last - count + 1..=self.last).map(|n| {
            let mut delivery = Delivery { attempt: 1, ..samples::delivery(n) };
            change(n, &mut delivery);
            Change::Put(Row::Delivery(Arc::new(delivery)))
        });
        changed.collect()
    }

    /// The newest messages of the conversation and their deliveries.
    fn read(&self) -> Vec<Row> {
        let index = Index::Messages { session: samples::session_id(0), before: None };
        self.runtime.block_on(self.store.scan(ShardId(0), index, PAGE)).expect("it is read")
    }

    fn commit(&self, changes: &[Change]) {
        self.runtime.block_on(self.store.commit(&self.owner, black_box(changes))).expect("it commits");
    }
}

fn measure<S: Store>(criterion: &mut Criterion<Cpu>, name: &str, at: &str, fill: impl FnOnce() -> Filled<S>) {
    // Filled by the first that is measured: a filter may leave out all.
    let filled = LazyCell::new(|| RefCell::new(fill()));
    let mut group = criterion.benchmark_group(name);
    for size in SIZES {
        let mut commit = |verb: &str, changes: fn(&mut Filled<S>, u64) -> Vec<Change>| {
            group.throughput(Throughput::Elements(size));
            group.bench_function(format!("{verb}_{size}{at}"), |bencher| {
                bencher.iter_batched(
                    || changes(&mut filled.borrow_mut(), size),
                    |changes| filled.borrow().commit(&changes),
                    BatchSize::PerIteration,
                );
            });
        };
        commit("commit", Filled::publishes);
        commit("claim", |filled, size| {
            filled.publish(size);
            filled.claims(size)
        });
        commit("ack", |filled, size| {
            filled.publish(size);
            filled.acks(size)
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
    targets = commits, pages
}
criterion_main!(benches);

//! Callers, the actor and its stop, in one order after the other: `scripts/check model` builds and runs it.
//!
//! The code is the runtime's own, on the channels that it always has. Shuttle takes tokio's place as the one who says who goes on,
//! and a test is played in thousands of orders. It fails if somebody waits for ever: nothing here has a time limit, and no
//! clock moves.

#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a house that cannot be set up fails its test")]

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use bridge_core::{Clock, Scope, StateKind, StoreErrorKind, Timestamp};
use bridge_runtime::{
    Address, Bridge, CallError, Credential, Fault, From, NewMessage, ReceiveRequest, Settlement,
};
use bridge_store::MemoryStore;
use bridge_testkit::{
    clock::ManualClock,
    fault::{Fault as Planted, FaultyStore},
};
use shuttle::{
    Config, Runner,
    future::{JoinHandle, block_on, spawn},
    scheduler::{PctScheduler, RandomScheduler},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::oneshot;

/// Orders that a test is played in, by each of two ways to choose them.
const ORDERS: usize = 1_000;

/// Longer than any test: the clock stands still.
const EVER: Duration = Duration::from_secs(3_600);

/// Plays a test in many orders.
fn model<F: Future<Output = ()> + Send + 'static>(test: fn() -> F) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new(ORDERS), config.clone()).run(move || block_on(test()));
    Runner::new(PctScheduler::new(3, ORDERS), config).run(move || block_on(test()));
}

/// A clock that stands still. Whoever looks at it may be held up there while others go on.
#[derive(Debug, Clone, Default)]
struct Still {
    clock: ManualClock,
    looks: Arc<Looks>,
}

#[derive(Debug, Default)]
struct Looks(AtomicU64);

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.looks.0.fetch_add(1, Ordering::SeqCst);
        self.clock.now()
    }

    fn not_before(&self, mark: Timestamp) {
        self.clock.not_before(mark);
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        self.clock.sleep_until(deadline).await;
    }
}

async fn start(store: FaultyStore<MemoryStore>) -> Bridge {
    Bridge::builder(store).clock(Still::default()).start().await.unwrap()
}

fn store() -> FaultyStore<MemoryStore> {
    FaultyStore::new(MemoryStore::new())
}

fn jobs() -> Address {
    "group:jobs".parse().unwrap()
}

fn publish(bridge: &Bridge, text: &str) -> JoinHandle<Result<(), Fault>> {
    let (bridge, message) = (bridge.clone(), NewMessage::new(jobs(), text.to_owned()));
    spawn(async move {
        match bridge.publish(message).await {
            Ok(_) => Ok(()),
            Err(CallError::Fault(fault)) => Err(fault),
            Err(CallError::Refused(refused)) => panic!("{refused}"),
        }
    })
}

/// Waits for a message and acknowledges it; none if it was sent home.
async fn take(bridge: Bridge) -> Option<String> {
    let mut received = bridge.receive(ReceiveRequest::new(jobs()).wait(EVER)).await.ok()?;
    let delivery = received.deliveries.pop()?;
    received.handover.complete();
    let text = String::from_utf8(delivery.message.unwrap().payload.to_vec()).unwrap();
    bridge.settle(Credential::Token(delivery.token), Settlement::Ack).await.unwrap();
    Some(text)
}

async fn waiting(bridge: &Bridge) -> usize {
    bridge.deliveries(StateKind::Pending, Some(&jobs()), None, 100).await.unwrap().deliveries.len()
}

#[test]
fn whoever_waits_is_woken_for_each_message() {
    model(|| async {
        let bridge = start(store()).await;
        let takers: Vec<_> = (0..3).map(|_| spawn(take(bridge.clone()))).collect();
        let publishers: Vec<_> = ["a", "b", "c"].map(|text| publish(&bridge, text)).into();
        let mut taken = Vec::new();
        for taker in takers {
            taken.push(taker.await.unwrap().unwrap());
        }
        for publisher in publishers {
            publisher.await.unwrap().unwrap();
        }
        taken.sort();
        assert_eq!(taken, ["a", "b", "c"]);
        bridge.shutdown().await;
    });
}

#[test]
fn a_backlog_larger_than_one_take_is_worked_off() {
    model(|| async {
        let store = store();
        let bridge = start(store.clone()).await;
        store.hold();
        let publishers: Vec<_> =
            ["a", "b", "c", "d", "e", "f", "g"].map(|text| publish(&bridge, text)).into();
        store.let_go();
        for publisher in publishers {
            publisher.await.unwrap().unwrap();
        }
        assert_eq!(waiting(&bridge).await, 7);
        bridge.shutdown().await;
    });
}

#[test]
fn what_goes_to_a_caller_that_has_left_goes_to_the_next() {
    model(|| async {
        let bridge = start(store()).await;
        let (leave, left) = oneshot::channel::<()>();
        let leaver = bridge.clone();
        // It leaves at some moment: before it is heard, while it waits, or when the answer is on its way.
        let leaver = spawn(async move {
            tokio::select! {
                biased;
                _ = left => {}
                received = leaver.receive(ReceiveRequest::new(jobs()).wait(EVER)) => drop(received),
            }
        });
        let publisher = publish(&bridge, "a");
        leave.send(()).ok();
        let taker = spawn(take(bridge.clone()));
        assert_eq!(taker.await.unwrap().as_deref(), Some("a"));
        leaver.await.unwrap();
        publisher.await.unwrap().unwrap();
        bridge.shutdown().await;
    });
}

#[test]
fn a_stop_answers_everybody_and_keeps_what_it_confirmed() {
    model(|| async {
        let store = store();
        let bridge = start(store.clone()).await;
        let taker = bridge.clone();
        let taker = spawn(async move {
            taker.receive(ReceiveRequest::new("group:none".parse().unwrap()).wait(EVER)).await.is_ok()
        });
        let publishers: Vec<_> = ["a", "b", "c"].map(|text| publish(&bridge, text)).into();
        let stopper = bridge.clone();
        let stopper = spawn(async move { stopper.shutdown().await });
        let mut confirmed = 0;
        for publisher in publishers {
            match publisher.await.unwrap() {
                Ok(()) => confirmed += 1,
                Err(fault) => assert_eq!(fault, Fault::ShuttingDown),
            }
        }
        taker.await.unwrap();
        stopper.await.unwrap();
        drop(bridge);

        let bridge = start(store).await;
        assert_eq!(waiting(&bridge).await, confirmed);
        bridge.shutdown().await;
    });
}

#[test]
fn a_failed_commit_leaves_nobody_waiting() {
    model(|| async {
        let store = store();
        let bridge = start(store.clone()).await;
        let taker = spawn(take(bridge.clone()));
        publish(&bridge, "a").await.unwrap().unwrap();
        assert_eq!(taker.await.unwrap().as_deref(), Some("a"));
        // What waits outlives the shard; what was sent is told that nobody knows.
        let taker = spawn(take(bridge.clone()));
        store.fail(Planted::Before(StoreErrorKind::Unavailable));
        let publishers: Vec<_> = ["b", "c"].map(|text| publish(&bridge, text)).into();
        let mut confirmed = 0;
        for publisher in publishers {
            match publisher.await.unwrap() {
                Ok(()) => confirmed += 1,
                Err(fault) => assert_eq!(fault, Fault::OutcomeUnknown),
            }
        }
        while confirmed == 0 {
            confirmed += usize::from(publish(&bridge, "d").await.unwrap().is_ok());
        }
        assert!(taker.await.unwrap().is_some());
        bridge.shutdown().await;
    });
}

#[test]
fn who_follows_the_log_is_told_of_everything() {
    model(|| async {
        let bridge = start(store()).await;
        let mut follow = bridge.follow(Scope::All, From::Head).await.unwrap();
        let follower = spawn(async move {
            let mut accepted = 0;
            while accepted < 3 {
                let events = follow.next_events(2).await.unwrap().events;
                accepted +=
                    events.iter().filter(|(event, _)| event.kind.name() == "message.accepted").count();
            }
        });
        let publishers: Vec<_> = ["a", "b", "c"].map(|text| publish(&bridge, text)).into();
        for publisher in publishers {
            publisher.await.unwrap().unwrap();
        }
        follower.await.unwrap();
        bridge.shutdown().await;
    });
}

//! What was confirmed is there; what is not durable is not told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bridge_core::{Measure, Metrics};
use bridge_runtime::{Bridge, NewMessage};
use bridge_store::MemoryStore;

use super::{House, soon, texts};

#[tokio::test]
async fn a_publish_is_confirmed_only_after_its_commit() {
    let house = House::open().await;
    house.store.hold();
    let bridge = house.bridge.clone();
    let message = house.message("hello");
    let publish = tokio::spawn(async move { bridge.publish(message).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!publish.is_finished());
    house.store.let_go();
    soon(publish).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_grant_leaves_only_after_its_commit() {
    let house = House::open().await;
    house.publish("hello").await;
    house.store.hold();
    let (bridge, ask) = (house.bridge.clone(), house.ask("a"));
    let receive = tokio::spawn(async move { bridge.receive(ask).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!receive.is_finished());
    house.store.let_go();
    let received = soon(receive).await.unwrap().unwrap();
    assert_eq!(texts(&received), ["hello"]);
    received.handover.complete();
}

#[tokio::test]
async fn a_restart_forgets_no_message_and_no_lease() {
    let mut house = House::open().await;
    house.publish("one").await;
    house.publish("two").await;
    let received = house.bridge.receive(house.ask("a")).await.unwrap();
    let token = received.deliveries[0].token.clone();
    received.handover.complete();

    house.reopen().await;

    assert_eq!(texts(&house.receive("b").await), [""; 0]);
    let credential = bridge_runtime::Credential::Token(token);
    let settled = house.bridge.settle(credential, bridge_runtime::Settlement::Ack).await.unwrap();
    assert!(!settled.already_done);
    assert_eq!(texts(&house.receive("b").await), ["two"]);
}

/// Whoever takes a full batch and sleeps before it looks again leaves the rest where it is.
#[tokio::test]
async fn a_backlog_larger_than_one_take_is_worked_off() {
    const MANY: usize = 3_000;
    let house = House::open().await;
    house.store.hold();
    let publishes = (0..MANY).map(|n| {
        let (bridge, message) =
            (house.bridge.clone(), NewMessage::new("group:jobs".parse().unwrap(), n.to_string()));
        tokio::spawn(async move { bridge.publish(message).await })
    });
    let publishes: Vec<_> = publishes.collect();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    house.store.let_go();
    for publish in publishes {
        soon(publish).await.unwrap().unwrap();
    }
}

/// Counts commits and what they answered.
#[derive(Debug, Clone, Default)]
struct Commits {
    commits: Arc<AtomicUsize>,
    commands: Arc<AtomicUsize>,
}

impl Metrics for Commits {
    fn record(&self, measure: &Measure) {
        if let Measure::Commit { commands, .. } = measure {
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.commands.fetch_add(*commands, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn what_comes_together_is_committed_together() {
    let commits = Commits::default();
    let store = bridge_testkit::fault::FaultyStore::new(MemoryStore::new());
    let bridge = Bridge::builder(store.clone()).metrics(commits.clone()).start().await.unwrap();
    let session = bridge.open_session(None, "anna".parse().unwrap()).await.unwrap().session.id;
    let agent = bridge_runtime::Address::Session(session, bridge_runtime::Side::Agent);
    let before = commits.commits.load(Ordering::Relaxed);

    store.hold();
    let publish = |n: usize| {
        let (bridge, agent) = (bridge.clone(), agent.clone());
        tokio::spawn(
            async move { bridge.publish(bridge_runtime::NewMessage::new(agent, n.to_string())).await },
        )
    };
    let publishes: Vec<_> = (0..64).map(publish).collect();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    store.let_go();
    for publish in publishes {
        soon(publish).await.unwrap().unwrap();
    }
    // One went ahead and was held; all the others were waiting by then.
    assert!(commits.commits.load(Ordering::Relaxed) - before <= 3);
}

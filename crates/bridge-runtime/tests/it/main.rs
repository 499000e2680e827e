//! The runtime over a real store that is told to fail.

#![expect(clippy::unwrap_used, reason = "a house that cannot be set up fails its test")]

mod consuming;
mod durability;
mod faults;
mod log;
mod redriving;
mod retention;
mod settling;
mod waiting;

use std::{future::Future, time::Duration};

use bridge_core::{SessionId, Store};
use bridge_runtime::{Address, Bridge, NewMessage, ReceiveRequest, Received, Side};
use bridge_store::MemoryStore;
use bridge_testkit::{clock::ManualClock, fault::FaultyStore};

/// A bridge, what it stands on, and one conversation.
struct House {
    bridge: Bridge,
    store: FaultyStore<MemoryStore>,
    clock: ManualClock,
    session: SessionId,
}

impl House {
    async fn open() -> Self {
        let store = FaultyStore::new(MemoryStore::new());
        let clock = ManualClock::new();
        let bridge = start(store.clone(), clock.clone()).await;
        let session = bridge.open_session(None, "anna".parse().unwrap()).await.unwrap().session.id;
        Self { bridge, store, clock, session }
    }

    /// Stops the bridge and starts another on the same data.
    async fn reopen(&mut self) {
        self.bridge.shutdown().await;
        self.bridge = start(self.store.clone(), self.clock.clone()).await;
    }

    fn agent(&self) -> Address {
        Address::Session(self.session, Side::Agent)
    }

    fn message(&self, text: &str) -> NewMessage {
        NewMessage::new(self.agent(), text.to_owned())
    }

    fn ask(&self, consumer: &str) -> ReceiveRequest {
        ReceiveRequest::new(self.agent()).consumer(consumer.parse().unwrap())
    }

    async fn publish(&self, text: &str) {
        self.bridge.publish(self.message(text)).await.unwrap();
    }

    async fn receive(&self, consumer: &str) -> Received {
        self.bridge.receive(self.ask(consumer).max(10)).await.unwrap()
    }
}

async fn start(store: impl Store, clock: ManualClock) -> Bridge {
    Bridge::builder(store).clock(clock).start().await.unwrap()
}

fn texts(received: &Received) -> Vec<String> {
    let text = |leased: &bridge_runtime::Leased| {
        String::from_utf8(leased.message.as_ref().unwrap().payload.to_vec()).unwrap()
    };
    received.deliveries.iter().map(text).collect()
}

/// Waits for something that must happen, for as long as a slow machine may need.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it should have happened by now")
}

/// Lets other tasks run until `condition` holds.
async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

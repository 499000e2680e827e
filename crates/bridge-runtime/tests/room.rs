//! What a shard needs of the memory for what waits, and while it is loaded again, counted. A test of its own process: whoever
//! else allocates would be counted too.

#![expect(clippy::unwrap_used, reason = "a house that cannot be set up fails its test")]

use std::time::Duration;

use bridge_core::{SessionId, StoreErrorKind};
use bridge_runtime::{Address, Bridge, CallError, Health, NewMessage};
use bridge_store::MemoryStore;
use bridge_testkit::{clock::ManualClock, fault::FaultyStore};

#[global_allocator]
static COUNTED: dhat::Alloc = dhat::Alloc;

const MESSAGES: usize = 20_000;

/// Bytes that a delivery may take while it waits; its content is in the store.
const PENDING: usize = 200;

async fn start(store: &FaultyStore<MemoryStore>, clock: &ManualClock) -> Bridge {
    Bridge::builder(store.clone()).clock(clock.clone()).start().await.unwrap()
}

/// Lets other tasks run until the bridge fares as it should.
async fn until(bridge: &Bridge, is_so: impl Fn(Health) -> bool) {
    let waiting = async {
        while !is_so(bridge.health()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it should have happened by now");
}

#[tokio::test]
async fn what_waits_is_held_small_and_once_while_it_is_loaded_again() {
    let (store, clock) = (FaultyStore::new(MemoryStore::new()), ManualClock::new());
    let bridge = start(&store, &clock).await;
    let to: Address = "worker".parse().unwrap();
    for _ in 0..MESSAGES {
        bridge.publish(NewMessage::new(to.clone(), "{}")).await.unwrap();
    }
    bridge.shutdown().await;
    drop(bridge);

    // What is in the store by now is not counted.
    let profiler = dhat::Profiler::builder().testing().build();
    let bridge = start(&store, &clock).await;
    let shard = dhat::HeapStats::get().curr_bytes;
    assert!(shard < PENDING * MESSAGES, "{} bytes for a delivery that waits", shard / MESSAGES);
    store.break_down(StoreErrorKind::Unavailable);
    assert!(bridge.publish(NewMessage::new(to, "{}")).await.is_err());
    until(&bridge, |health| health != Health::Ready).await;
    // Who looks is answered from what was loaded for that.
    assert!(matches!(bridge.session(SessionId(1)).await, Err(CallError::Refused(_))));
    store.mend();
    clock.advance(Duration::from_secs(1));
    until(&bridge, |health| health == Health::Ready).await;
    let most = dhat::HeapStats::get().max_bytes;
    assert!(most < shard + shard / 2, "{most} bytes at most, {shard} for a shard");
    drop(profiler);
    bridge.shutdown().await;
}

//! What a message costs, counted instead of timed. A test of its own process: whoever else allocates would be counted too.

#![expect(clippy::unwrap_used, reason = "a house that cannot be set up fails its test")]

use bridge_core::bytes::Bytes;
use bridge_runtime::{Address, Bridge, Credential, NewMessage, ReceiveRequest, Settlement};
use bridge_store::MemoryStore;

#[global_allocator]
static COUNTED: dhat::Alloc = dhat::Alloc;

/// Messages that are counted together.
const MESSAGES: u64 = 256;

/// Allocations for a message from its publish to its ack, in the calls, the actor, the shard and a store in memory. More than
/// this is a step back.
const ALLOCATIONS: u64 = 66;

/// Publishes, receives and acknowledges one message.
async fn pass(bridge: &Bridge, to: &Address, payload: Bytes) {
    bridge.publish(NewMessage::new(to.clone(), payload)).await.unwrap();
    let mut received = bridge.receive(ReceiveRequest::new(to.clone())).await.unwrap();
    received.handover.complete();
    let leased = received.deliveries.pop().unwrap();
    bridge.settle(Credential::Token(leased.token), Settlement::Ack).await.unwrap();
}

#[tokio::test]
async fn a_message_costs_few_allocations_and_no_copy_of_its_payload() {
    let bridge = Bridge::builder(MemoryStore::new()).start().await.unwrap();
    let to: Address = "worker".parse().unwrap();
    for _ in 0..MESSAGES {
        pass(&bridge, &to, Bytes::from_static(b"{}")).await;
    }

    let profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get();
    for _ in 0..MESSAGES {
        pass(&bridge, &to, Bytes::from_static(b"{}")).await;
    }
    let after = dhat::HeapStats::get();
    let allocations = (after.total_blocks - before.total_blocks) / MESSAGES;
    assert!(allocations <= ALLOCATIONS, "{allocations} allocations a message");

    // All of them share one payload: a single copy would be seen.
    let payload = Bytes::from(vec![b' '; 1 << 20]);
    let before = dhat::HeapStats::get();
    for _ in 0..16 {
        pass(&bridge, &to, payload.clone()).await;
    }
    let bytes = dhat::HeapStats::get().total_bytes - before.total_bytes;
    assert!(bytes < 1 << 20, "{bytes} bytes for 16 messages that share their payload");
    drop(profiler);
    bridge.shutdown().await;
}

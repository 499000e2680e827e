//! Run it: `cargo run -p custom-store`, and see it held to its promises: `cargo nextest run -p custom-store`
//!
//! A store of one's own below a bridge, in `snapshots.rs`. A message is published, the bridge is stopped, another one is started
//! over the same data, and the message is still there.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

mod snapshots;

use std::error::Error;

use bridge_runtime::{Address, Bridge, NewMessage, ReceiveRequest};

use self::snapshots::Snapshots;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Snapshots::default();
    let jobs: Address = "group:jobs".parse()?;

    let bridge = Bridge::builder(store.clone()).start().await?;
    bridge.publish(NewMessage::new(jobs.clone(), "paint the fence")).await?;
    bridge.shutdown().await;
    println!("published, and stopped");

    let bridge = Bridge::builder(store).start().await?;
    let received = bridge.receive(ReceiveRequest::new(jobs)).await?;
    received.handover.complete();
    for message in received.deliveries.iter().filter_map(|delivery| delivery.message.as_ref()) {
        println!("after the restart there is: {}", String::from_utf8_lossy(&message.payload));
    }
    bridge.shutdown().await;
    Ok(())
}

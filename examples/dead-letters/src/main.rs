//! Run it: `cargo run -p dead-letters`
//!
//! A worker that cannot reach its printer fails, and once is enough here; what is no order at all it rejects. Both become dead
//! letters: they stay where they are with their reason and their attempts, their sender is told, and once the printer works
//! those that failed are given another life.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bridge_runtime::{
    Address, Bridge, Consume, DeadLetters, EventFilter, From, Handled, LocalQueue, NewMessage,
    ReceiveRequest, SetMailbox, StateKind,
    core::{DeadReason, QueueDelivery, Scope},
};
use bridge_store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::builder(MemoryStore::new()).start().await?;
    let printer: Address = "printer".parse()?;
    bridge
        .set_mailbox(SetMailbox { max_failures: Some(Some(1)), ..SetMailbox::new(printer.clone()) })
        .await?;
    // Who wants to hear of dead letters has a mailbox of its own.
    let shop: Address = "shop".parse()?;
    bridge.set_mailbox(SetMailbox::new(shop.clone())).await?;

    for order in ["print 1", "print 2", "sing a song"] {
        bridge.publish(NewMessage::new(printer.clone(), order).from("shop".parse()?)).await?;
    }

    let works = Arc::new(AtomicBool::new(false));
    work(&bridge, &printer, &works, 3).await?;
    for dead in bridge.deliveries(StateKind::Dead, Some(&printer), None, 10).await?.deliveries {
        println!("{} was given up: {}", dead.id, dead.last_error.as_deref().unwrap_or_default());
    }
    let bounces = bridge.receive(ReceiveRequest::new(shop).max(10)).await?;
    println!("the shop is told of {}", bounces.deliveries.len());
    bounces.handover.complete();

    works.store(true, Ordering::Relaxed);
    // Those that failed, not those that were rejected; at most a hundred a second.
    let wanted = DeadLetters { reason: Some(DeadReason::MaxFailures), ..DeadLetters::default() };
    let again = bridge.redrive_dead(&wanted, None, 100, 100).await?;
    println!("{} are tried again", again.deliveries.len());
    work(&bridge, &printer, &works, 2).await?;
    let left = bridge.deliveries(StateKind::Dead, Some(&printer), None, 10).await?.deliveries;
    println!("{} of them stay dead", left.iter().filter(|dead| dead.redriven_as.is_none()).count());
    bridge.shutdown().await;
    Ok(())
}

/// Works until so many deliveries have come to their end.
async fn work(
    bridge: &Bridge,
    printer: &Address,
    works: &Arc<AtomicBool>,
    enough: usize,
) -> Result<(), Box<dyn Error>> {
    let works = Arc::clone(works);
    let handler = move |job: QueueDelivery<LocalQueue>| {
        let works = works.load(Ordering::Relaxed);
        async move {
            let order = String::from_utf8_lossy(&job.payload);
            match (order.strip_prefix("print "), works) {
                (None, _) => Ok(Handled::Rejected(format!("this is a printer, it cannot {order}"))),
                (Some(_), false) => Err("the printer does not answer"),
                (Some(page), true) => {
                    println!("page {page} is printed");
                    Ok(Handled::Done)
                }
            }
        }
    };
    // The log tells of each that ends.
    let ends = EventFilter::new(["delivery.settled", "delivery.dead"]);
    let mut log = bridge.follow(Scope::All, From::Head).await?.only(ends);
    let stop = async {
        let mut ended = 0;
        while ended < enough {
            match log.next_events(enough).await {
                Ok(some) => ended += some.events.len(),
                Err(_stopping) => return,
            }
        }
    };
    Consume::new(bridge.queue(printer.clone(), "printer-1".parse()?)).run(stop, handler).await?;
    Ok(())
}

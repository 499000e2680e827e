//! Run it: `cargo run -p in-process`
//!
//! A bridge inside a program: in memory, without HTTP. Anna asks two questions; a worker takes them one after the other
//! under a lease, gives one back because it fails, and answers both.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

use std::{error::Error, time::Duration};

use bridge_runtime::{Address, Bridge, Credential, NewMessage, NewReply, ReceiveRequest, Settlement, Side};
use bridge_store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // For data that outlives the program: bridge_store::SqliteStore::open(directory)?, with the feature `sqlite`.
    let bridge = Bridge::builder(MemoryStore::new()).start().await?;
    let session = bridge.open_session(Some("Arithmetic"), "anna".parse()?).await?.session.id;
    let to_agent = Address::Session(session, Side::Agent);

    for question in ["6 * 7", "1 / 0"] {
        let message = NewMessage::new(to_agent.clone(), question).from("anna".parse()?);
        let published = bridge.publish(message).await?;
        println!("anna asks {question}, with {} before it", published.depth - 1);
    }

    for attempt in 0.. {
        let wish = ReceiveRequest::new(to_agent.clone())
            .consumer("worker".parse()?)
            .wait(Duration::from_millis(500));
        let mut received = bridge.receive(wish).await?;
        received.handover.complete(); // It has arrived; dropped instead, it would be handed out again.
        let Some(delivery) = received.deliveries.pop() else { break };

        let question = delivery.message.map(|message| message.payload.clone()).unwrap_or_default();
        let question = String::from_utf8_lossy(&question);
        let settlement = match (&*question, attempt) {
            ("1 / 0", 1) => {
                println!("the worker fails at {question} and gives it back");
                let error = Some("division by zero".to_owned());
                Settlement::Nack { delay: Some(Duration::from_millis(100)), error }
            }
            _ => {
                let answer = if question == "6 * 7" { "42" } else { "undefined" };
                println!("the worker answers {question} with {answer}, at attempt {}", delivery.attempt);
                Settlement::Answer { reply: NewReply::new(answer), covers: Vec::new() }
            }
        };
        bridge.settle(Credential::Token(delivery.token), settlement).await?;
    }

    for (message, deliveries) in bridge.snapshot(session, None, 10).await?.messages {
        let text = String::from_utf8_lossy(&message.payload);
        println!("{} to {}: {text} ({})", message.from, message.to, deliveries[0].state.as_str());
    }
    bridge.shutdown().await;
    Ok(())
}

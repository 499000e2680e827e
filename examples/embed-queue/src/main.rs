//! Run it: `cargo run -p embed-queue`
//!
//! A job queue inside a service: jobs are on disk before they are confirmed, a pool of workers takes them, one that fails is
//! tried again, and the service stops cleanly while work is going on. Started again on the same data, it goes on where it was.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

use std::{error::Error, path::Path, time::Duration};

use bridge_runtime::{Address, Bridge, Class, Consume, NewMessage, SetMailbox, StateKind, json};
use bridge_store::SqliteStore;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// What is to be done. Whatever serde can write can be a job.
#[derive(Debug, Serialize, Deserialize)]
struct Resize {
    picture: String,
    width: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A real service names a directory that stays.
    let data = tempfile::tempdir()?;
    run(data.path(), 6, 4).await?;
    println!("-- the service is started again");
    run(data.path(), 0, 3).await
}

/// One life of the service: takes in so many jobs, and stops when so many are done.
async fn run(data: &Path, jobs: usize, enough: usize) -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::builder(SqliteStore::open(data)?).start().await?;
    let resize: Address = "group:resize".parse()?;

    // Three tries a job; everything else as it is for programs. Setting the same again changes nothing.
    let tries = SetMailbox { max_failures: Some(Some(3)), ..SetMailbox::new(resize.clone()) };
    let mailbox = bridge.set_mailbox(tries).await?.into_view();
    assert_eq!(mailbox.mailbox.settings.class, Class::Service);

    for nth in 0..jobs {
        let job = Resize { picture: format!("{nth}.png"), width: 640 };
        // With a key of its own, a job that is sent twice is one job.
        let message = NewMessage::json(resize.clone(), &job)?.idempotency_key(job.picture.parse()?);
        bridge.publish(message).await?;
    }

    let (done, mut results) = mpsc::channel(16);
    let handler = json(move |job: Resize| {
        let done = done.clone();
        async move {
            tokio::task::yield_now().await; // Here the work is done.
            println!("{} is {} wide now", job.picture, job.width);
            done.send(()).await.map_err(|_| "the service is gone")
        }
    });
    // A service stops when it is told to: `tokio::signal::ctrl_c()` would do as well.
    let stop = async move {
        for _ in 0..enough {
            if tokio::time::timeout(Duration::from_secs(5), results.recv()).await.is_err() {
                break;
            }
        }
    };
    let workers = Consume::new(bridge.queue(resize.clone(), "resizer".parse()?)).concurrency(2);
    workers.run(stop, handler).await?;

    let left = bridge.deliveries(StateKind::Pending, Some(&resize), None, 100).await?.deliveries.len();
    println!("{left} left for the next time");
    bridge.shutdown().await;
    Ok(())
}

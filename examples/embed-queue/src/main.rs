//! Run it: `cargo run -p embed-queue`
//!
//! A job queue inside a service: jobs are on disk before they are confirmed, a pool of workers takes them, one that fails is
//! tried again, one that makes no sense becomes a dead letter, and the service stops cleanly while work is going on. Started
//! again on the same data, it goes on where it was.
//!
//! With a directory behind `--` the data stays there: `bridge serve --data DIRECTORY` and `bridge dead list` show it then.

#![expect(clippy::print_stdout, reason = "it tells what it does")]

use std::{env, error::Error, ops::ControlFlow, path::Path, time::Duration};

use bridge_runtime::{Address, Bridge, Class, Consume, Handled, NewMessage, SetMailbox, StateKind, json};
use bridge_store::SqliteStore;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::timeout};

/// How long what has begun may take when the service is told to stop; Docker kills after ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// What is to be done. Whatever serde can write can be a job.
#[derive(Debug, Serialize, Deserialize)]
struct Resize {
    picture: String,
    width: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A real service names a directory that stays.
    let passing = tempfile::tempdir()?;
    let named = env::args_os().nth(1);
    let data = named.as_deref().map_or(passing.path(), Path::new);
    if run(data, 6, 4).await?.is_continue() {
        println!("-- the service is started again");
        let _ = run(data, 0, 2).await?;
    }
    Ok(())
}

/// One life of the service: takes in so many jobs, and stops when it has handled so many, or when it is told to, which breaks
/// off what would come behind it.
async fn run(data: &Path, jobs: usize, enough: usize) -> Result<ControlFlow<()>, Box<dyn Error>> {
    let bridge = Bridge::builder(SqliteStore::open(data)?).start().await?;
    let resize: Address = "group:resize".parse()?;

    // Three tries a job; everything else as it is for programs. Setting the same again changes nothing.
    let tries = SetMailbox { max_failures: Some(Some(3)), ..SetMailbox::new(resize.clone()) };
    let mailbox = bridge.set_mailbox(tries).await?.into_view();
    assert_eq!(mailbox.mailbox.settings.class, Class::Service);

    for nth in 0..jobs {
        let job = Resize { picture: format!("{nth}.png"), width: if nth == 1 { 0 } else { 640 } };
        // With a key of its own, a job that is sent twice is one job.
        let message = NewMessage::json(resize.clone(), &job)?.idempotency_key(job.picture.parse()?);
        bridge.publish(message).await?;
    }

    // What handlers share is cloned for each of them.
    let (done, mut results) = mpsc::channel(16);
    let handler = json(move |job: Resize| {
        let done = done.clone();
        async move {
            tokio::task::yield_now().await; // Here the work is done.
            let handled = if job.width == 0 {
                Handled::Rejected("no picture is that narrow".to_owned())
            } else {
                println!("{} is {} wide now", job.picture, job.width);
                Handled::Done
            };
            done.send(()).await.map(|()| handled).map_err(|_| "the service is gone")
        }
    });
    let mut ended = ControlFlow::Continue(());
    let stop = async {
        let all = async {
            for _ in 0..enough {
                results.recv().await;
            }
        };
        // An example ends by itself; a service only waits for its signal.
        tokio::select! {
            _ = timeout(Duration::from_secs(5), all) => {}
            () = told_to_stop() => {
                ended = ControlFlow::Break(());
                tokio::spawn(leave_in_time());
            }
        }
    };
    let workers = Consume::new(bridge.queue(resize.clone(), "resizer".parse()?)).concurrency(2);
    workers.run(stop, handler).await?;

    let left = bridge.deliveries(StateKind::Pending, Some(&resize), None, 100).await?.deliveries.len();
    println!("{left} left for the next time");
    for dead in bridge.deliveries(StateKind::Dead, Some(&resize), None, 100).await?.deliveries {
        println!("{} was given up: {}", dead.id, dead.last_error.as_deref().unwrap_or_default());
    }
    bridge.shutdown().await;
    Ok(ended)
}

/// Waits for Ctrl-C, or for SIGTERM, which systemd and Docker send.
#[cfg(unix)]
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut term = signal(SignalKind::terminate()).expect("a process hears its signals");
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn told_to_stop() {
    drop(tokio::signal::ctrl_c().await);
}

/// Ends the process when what has begun takes too long, or when it is told again. What is not done is handed out again.
#[expect(clippy::disallowed_methods, reason = "a handler that hangs would keep the process for ever")]
async fn leave_in_time() {
    drop(timeout(PATIENCE, told_to_stop()).await);
    std::process::exit(1)
}

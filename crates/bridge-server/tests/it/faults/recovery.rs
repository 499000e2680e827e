//! How soon a server is ready that was killed with much in its store.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bridge_runtime::{Address, Bridge, NewMessage, Side};
use bridge_store::{Durability, Settings, SqliteStore};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::ready;
use crate::bridge::{Data, Http, Server, look_again};

/// Messages that are stored, unless `BRIDGE_STORED` says otherwise.
const STORED: u64 = 50_000;

/// What is promised for a million, of which as many wait as may.
const READY: Duration = Duration::from_secs(3);

/// Starts of which the best counts.
const STARTS: usize = 5;

/// Messages of one conversation: as many as may wait there.
const EACH: u64 = 10_000;

/// Publishes at one time: as many as one commit takes.
const AT_ONCE: usize = 1_024;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().expect("a number"))
}

/// Stores messages as fast as a bridge can without a network. Some wait for their agents; the others were read.
async fn store(directory: &Path, stored: u64, waiting: u64) {
    let settings = Settings::default().durability(Durability::Normal);
    let bridge = Bridge::builder(SqliteStore::open_with(directory, settings).unwrap()).start().await.unwrap();
    for (side, messages) in [(Side::Agent, waiting), (Side::User, stored - waiting)] {
        for first in (0..messages).step_by(usize::try_from(EACH).unwrap()) {
            let session = bridge.open_session(None, "anna".parse().unwrap()).await.unwrap().session.id;
            let to = Address::Session(session, side);
            let text = format!("\"{}\"", "x".repeat(200));
            let publish = |_| bridge.publish(NewMessage::new(to.clone(), text.clone()));
            let published = stream::iter(first..messages.min(first + EACH)).map(publish);
            let published: Vec<_> = published.buffer_unordered(AT_ONCE).collect().await;
            if side == Side::User {
                let last = published.into_iter().map(Result::unwrap).max_by_key(|one| one.seq).unwrap();
                bridge.read(session, last.seq).await.unwrap();
                while !bridge
                    .delivery(last.deliveries[0].delivery)
                    .await
                    .unwrap()
                    .unwrap()
                    .state
                    .is_terminal()
                {
                    look_again().await;
                }
            }
        }
    }
    bridge.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_with_much_in_its_store_is_ready_soon() {
    let stored = number("BRIDGE_STORED").unwrap_or(STORED);
    let waiting = number("BRIDGE_WAITING").unwrap_or(stored / 10);
    // Without optimisation, and with little there, what a start takes anyway counts more.
    let bound = if stored < 1_000_000 { READY / 5 } else { READY };
    let data = Data::new();
    store(&data.path(), stored, waiting).await;

    let http = Http::new();
    let mut server = Server::start(&data.path());
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let session = http.open(&server.url).await;
        let message = json!({ "text": "one more", "from": "user" });
        http.post(&format!("{}/api/sessions/{session}/messages", server.url), &message).await;
        server.kill();
        let before = now();
        server = Server::start(&data.path());
        assert_eq!(ready(&http, &server.url).await.0, 200);
        took.push(now() - before);
    }
    println!("of {stored} stored messages {waiting} wait: ready after {took:?}");
    // Others use the machine as well: what it does at its best is what it can.
    assert!(took.iter().min().unwrap() < &bound, "ready after {took:?}, and {bound:?} are promised");
}

#[expect(clippy::disallowed_methods, reason = "how long a start takes is what is promised")]
fn now() -> Instant {
    Instant::now()
}

//! A disk that fails to write or to flush: nothing is confirmed that may not be there.

use super::{Sender, gets_what_it_waited_for, heals, park, ready, syscalls::Broken};
use crate::bridge::{Data, Http, PATIENCE, Server};

const FLUSHES: &str = "fsync,fdatasync";
const WRITES: &str = "pwrite64";

#[tokio::test]
async fn after_one_failed_flush_nothing_is_written_before_the_database_was_opened_again() {
    for error in ["EIO", "ENOSPC"] {
        let data = Data::new();
        let http = Http::new();
        let mut server = Server::start(&data.path());
        let url = server.url.clone();
        let mut sender = Sender::new(&http, &url).await;
        assert_eq!(sender.send(&url).await.0, 201);

        // Each thread's first flush: only one thread flushes.
        let Some(broken) = Broken::begin(&server, FLUSHES, &format!("error={error}:when=1")) else { return };
        let (status, unknown) = sender.send(&url).await;
        assert_eq!((status, unknown["code"].as_str()), (503, Some("outcome_unknown")), "{unknown}");
        sender.repeat_unconfirmed(&url).await;
        let seen = broken.end();
        let failed = seen.iter().position(|call| call.contains("INJECTED")).expect("a flush failed");
        assert!(seen[failed].contains("bridge.db-wal"), "{}", seen[failed]);
        let opened = |call: &&String| call.contains("bridge.db-wal\"") && call.contains("O_RDWR");
        let written = |call: &&String| call.contains("pwrite64") && call.contains("bridge.db");
        let first = seen[failed + 1..].iter().find(|call| opened(call) || written(call));
        assert!(first.is_some_and(|call| opened(&call)), "{error}: it goes on with {first:?}");

        server.kill();
        let server = Server::start(&data.path());
        sender.lost_nothing(&server.url).await;
    }
}

/// Breaks the disk under a sender and somebody who waits, and mends it, or cuts the power.
async fn break_down(calls: &str, error: &str, end: End) {
    let data = Data::new();
    let http = Http::new();
    let mut server = Server::start(&data.path());
    let url = server.url.clone();
    let mut sender = Sender::new(&http, &url).await;
    for _ in 0..10 {
        assert_eq!(sender.send(&url).await.0, 201);
    }
    let quiet = http.open(&url).await;
    let parked = park(&http, &url, &quiet).await;

    let Some(broken) = Broken::begin(&server, calls, &format!("error={error}")) else { return };
    let unusable = async {
        while ready(&http, &url).await.0 == 200 || sender.unconfirmed.len() < 5 {
            let (status, answer) = sender.send(&url).await;
            let code = answer["code"].as_str().unwrap_or_default();
            let is_told =
                matches!((status, code), (503, "outcome_unknown" | "unavailable") | (507, "store_full"));
            assert!(is_told, "by a disk that fails: {status} {answer}");
        }
    };
    tokio::time::timeout(PATIENCE, unusable).await.expect("the fault is seen");
    sender.reads_go_on(&url).await;
    assert!(!parked.is_finished(), "who waited was sent home: {:?}", parked.await);

    match end {
        End::Mended => {
            drop(broken.end());
            heals(&http, &url).await;
            gets_what_it_waited_for(parked, &http, &url, &quiet).await;
            sender.repeat_unconfirmed(&url).await;
            server.kill();
            server = Server::start(&data.path());
        }
        End::Killed => {
            server.kill();
            drop(broken);
            server = Server::start(&data.path());
            sender.repeat_unconfirmed(&server.url).await;
        }
    }
    sender.lost_nothing(&server.url).await;
}

enum End {
    Mended,
    Killed,
}

#[tokio::test]
async fn a_disk_that_cannot_flush_confirms_nothing_and_heals() {
    break_down(FLUSHES, "EIO", End::Mended).await;
    break_down(FLUSHES, "ENOSPC", End::Mended).await;
}

#[tokio::test]
async fn a_disk_that_cannot_write_confirms_nothing_and_heals() {
    break_down(WRITES, "EIO", End::Mended).await;
    break_down(WRITES, "ENOSPC", End::Mended).await;
}

#[tokio::test]
async fn a_kill_while_the_disk_fails_loses_nothing_that_was_confirmed() {
    break_down(FLUSHES, "EIO", End::Killed).await;
    break_down(WRITES, "EIO", End::Killed).await;
    break_down(WRITES, "ENOSPC", End::Killed).await;
}

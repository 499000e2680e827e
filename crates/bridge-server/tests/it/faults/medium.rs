//! A disk that fails to write or to flush: nothing is confirmed that may not be there.

use std::{process::Command, time::Duration};

use bridge_core::{Archive, ArchiveRecord, StoreErrorKind};
use bridge_store::FileArchive;
use bridge_testkit::samples;
use http::Method;
use rustix::process::Signal;
use serde_json::json;

use super::{Sender, answers_at_once, gets_what_it_waited_for, heals, park, ready, syscalls::Broken};
use crate::bridge::{Data, Http, PATIENCE, Server, look_again, stdout};

const STOP: Duration = Duration::from_secs(10);
const FLUSHES: &str = "fsync,fdatasync";
const WRITES: &str = "pwrite64";
const READS: &str = "pread64";

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

#[tokio::test]
async fn one_read_that_fails_is_tried_again() {
    let data = Data::new();
    let http = Http::new();
    let server = Server::start(&data.path());
    let mut sender = Sender::new(&http, &server.url).await;
    assert_eq!(sender.send(&server.url).await.0, 201);
    // Each thread's first reads.
    let Some(broken) = Broken::begin(&server, READS, "error=EIO:when=1") else { return };
    sender.reads_go_on(&server.url).await;
    sender.lost_nothing(&server.url).await;
    let seen = broken.end();
    assert!(seen.iter().any(|call| call.contains("INJECTED")), "nothing was read from the disk");
}

#[tokio::test]
async fn what_the_archive_could_not_flush_is_written_again() {
    let data = Data::new();
    let archive = FileArchive::new(&data.path());
    let append = async |n| {
        let record = ArchiveRecord { message: samples::message(n), deliveries: Vec::new() };
        archive.append(vec![record], samples::at(0)).await
    };
    append(1).await.unwrap();
    let file = std::fs::read_dir(data.path()).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&file).unwrap();

    // A flush that fails once: the next one would not tell.
    let Some(broken) = Broken::begin_with(std::process::id(), "fsync", "error=EIO:when=1") else { return };
    assert_eq!(append(2).await.unwrap_err().kind, StoreErrorKind::Unavailable);
    drop(broken.end());
    assert_eq!(std::fs::read(&file).unwrap(), before);
    append(2).await.unwrap();

    // And one that fails for a while, so that nothing can be taken back.
    let broken = Broken::begin_with(std::process::id(), "fsync", "error=EIO").unwrap();
    for _ in 0..2 {
        assert_eq!(append(3).await.unwrap_err().kind, StoreErrorKind::Unavailable);
    }
    drop(broken.end());
    append(3).await.unwrap();
    let unpacked = Command::new("zcat").arg(file).output().unwrap();
    assert_eq!(stdout(&unpacked).lines().count(), 3, "{}", stdout(&unpacked));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_answer_holds_up_what_is_written_alone() {
    let data = Data::new();
    let http = Http::new();
    let mut server = Server::start(&data.path());
    let url = server.url.clone();
    let mut sender = Sender::new(&http, &url).await;
    assert_eq!(sender.send(&url).await.0, 201);
    let messages = format!("{url}/api/sessions/{}/messages", sender.session);
    let send = |key: &'static str| {
        let (http, messages) = (http.clone(), messages.clone());
        let message = json!({ "text": key, "from": "user" });
        tokio::spawn(async move { http.call(Method::POST, &messages, Some(key), Some(&message)).await })
    };

    let Some(hung) = Broken::begin(&server, FLUSHES, "delay_enter=60000000") else { return };
    let late = send("late");
    answers_at_once(&http, &url, "/health/live").await;
    answers_at_once(&http, &url, "/api/events").await;
    assert!(!late.is_finished(), "confirmed without a flush: {:?}", late.await);
    drop(hung.end());
    let (status, answer) = late.await.unwrap().expect("the server answers");
    assert_eq!(status, 201, "{answer}");

    let hung = Broken::begin(&server, FLUSHES, "delay_enter=60000000");
    let never = send("never");
    // What asks the shard is not answered once the shard waits for the disk.
    let session = format!("{url}/api/sessions/{}", sender.session);
    let asked =
        || tokio::time::timeout(Duration::from_millis(500), http.call(Method::GET, &session, None, None));
    while asked().await.is_ok() {}
    answers_at_once(&http, &url, "/health/live").await;
    server.signal(Signal::TERM);
    // Who waits is told that nobody knows, and the process does not wait for its disk.
    let (status, answer) = never.await.unwrap().expect("the server answers");
    assert_eq!((status, answer["code"].as_str()), (503, Some("outcome_unknown")), "{answer}");
    let left = async {
        while !server.has_left() {
            look_again().await;
        }
    };
    tokio::time::timeout(STOP, left).await.unwrap_or_else(|_| panic!("it does not end: {}", server.log()));
    // Its tracer still holds the thread that flushes.
    drop(hung);
    assert_eq!(server.ended(PATIENCE).await.code(), Some(1), "{}", server.log());
    let server = Server::start(&data.path());
    sender.lost_nothing(&server.url).await;
}

//! A disk without space: what was confirmed stays, reads go on, and space is all that is needed.

use std::process::Command;

use bridge_core::{Archive, ArchiveRecord, Message, StoreErrorKind, bytes::Bytes};
use bridge_store::FileArchive;
use bridge_testkit::samples;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Sender, gets_what_it_waited_for, heals, park, ready, small_disk::SmallDisk};
use crate::bridge::{Http, PATIENCE, Server, program, stderr, stdout};

const DISK: u64 = 4 << 20;

/// What is on the disk besides the data, and can be removed.
const BALLAST: &str = "ballast";

/// Sends until the disk is full, and stays so.
async fn fill(sender: &mut Sender, disk: &SmallDisk, url: &str) {
    while sender.send(url).await.0 < 300 {}
    disk.fill("rest");
    let filled = async {
        // What is refused may leave room for less: until nothing at all fits.
        loop {
            let (status, answer) = sender.send(url).await;
            assert!(matches!(status, 201 | 507), "{status} {answer}");
            if ready(&sender.http, url).await == (503, json!("full")) && sender.send(url).await.0 == 507 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, filled).await.expect("a disk has an end");
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_keeps_the_rest_and_heals_with_space() {
    let Some(disk) = SmallDisk::new(DISK) else { return };
    disk.take(BALLAST, 2 << 20);
    let http = Http::new();
    let mut server = Server::of(disk.serve());
    let url = server.url.clone();
    let quiet = http.open(&url).await;
    let parked = park(&http, &url, &quiet).await;

    let mut sender = Sender::new(&http, &url).await;
    fill(&mut sender, &disk, &url).await;
    assert!(sender.confirmed.len() > 10, "{} confirmed", sender.confirmed.len());
    let (status, refused) = sender.send(&url).await;
    assert_eq!((status, refused["code"].as_str()), (507, Some("store_full")), "{refused}");
    sender.reads_go_on(&url).await;
    sender.lost_nothing(&url).await;
    assert!(!parked.is_finished(), "who waited was sent home: {:?}", parked.await);

    disk.free(BALLAST);
    heals(&http, &url).await;
    sender.repeat_unconfirmed(&url).await;
    gets_what_it_waited_for(parked, &http, &url, &quiet).await;

    server.kill();
    let server = Server::of(disk.serve());
    sender.lost_nothing(&server.url).await;
}

/// Starts a server that has no space. What was refused last may leave room for the little that a start writes: until there
/// is none for that either.
async fn start_full(disk: &SmallDisk, http: &Http) -> Server {
    loop {
        let mut server = Server::of(disk.serve());
        if ready(http, &server.url).await == (503, json!("full")) {
            return server;
        }
        server.kill();
    }
}

#[tokio::test]
async fn a_server_that_starts_on_a_full_disk_reads_stops_and_heals_with_space() {
    let Some(disk) = SmallDisk::new(DISK) else { return };
    disk.take(BALLAST, 2 << 20);
    let http = Http::new();
    let mut server = Server::of(disk.serve());
    let mut sender = Sender::new(&http, &server.url).await;
    fill(&mut sender, &disk, &server.url).await;
    server.kill();

    let mut server = start_full(&disk, &http).await;
    server.signal(Signal::TERM);
    assert_eq!(server.ended(PATIENCE).await.code(), Some(0), "{}", server.log());
    let mut server = start_full(&disk, &http).await;
    let url = server.url.clone();
    assert_eq!(sender.send(&url).await.0, 507);
    sender.reads_go_on(&url).await;
    sender.lost_nothing(&url).await;

    disk.free(BALLAST);
    heals(&http, &url).await;
    sender.repeat_unconfirmed(&url).await;
    server.kill();
    let check = disk.enter(program().arg("check").arg("--data").arg(disk.data())).output().unwrap();
    assert!(check.status.success(), "{}{}", stdout(&check), stderr(&check));
    let server = Server::of(disk.serve());
    sender.lost_nothing(&server.url).await;
}

#[tokio::test]
async fn a_new_server_on_a_full_disk_says_that_there_is_no_space() {
    let Some(disk) = SmallDisk::new(DISK) else { return };
    disk.fill(BALLAST);
    let output = disk.serve_in_vain();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(said.contains("There is no space left for the data in") && said.contains("data"), "{said}");
    assert_eq!(stdout(&output), "");

    // What it began is no obstacle once there is space.
    disk.free(BALLAST);
    let http = Http::new();
    let server = Server::of(disk.serve());
    assert_eq!(ready(&http, &server.url).await, (200, Value::from("ok")));
}

/// A message of some KiB that cannot be packed much smaller.
fn archived(n: u64) -> ArchiveRecord {
    let mut noise = n + 1;
    let payload = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.to_be_bytes()[0]
    });
    let payload = Bytes::from_iter(payload.take(8 << 10));
    ArchiveRecord { message: Message { payload, ..samples::message(n) }, deliveries: Vec::new() }
}

#[tokio::test]
async fn an_archive_without_space_loses_nothing_and_goes_on_with_space() {
    let Some(disk) = SmallDisk::new(256 << 10) else { return };
    disk.take(BALLAST, 64 << 10);
    let directory = disk.outside("archive");
    let archive = FileArchive::new(&directory);
    let mut kept = 0;
    let refused = loop {
        match archive.append(vec![archived(kept)], samples::at(0)).await {
            Ok(()) => kept += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.kind, StoreErrorKind::Full, "{refused}");
    assert!(kept > 5, "{kept} were kept");
    disk.free(BALLAST);
    for archive in [archive, FileArchive::new(&directory)] {
        archive.append(vec![archived(kept)], samples::at(0)).await.unwrap();
        kept += 1;
    }
    let file = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let unpacked = Command::new("zcat").arg(file).output().unwrap();
    assert!(unpacked.status.success(), "{}", stderr(&unpacked));
    let lines = stdout(&unpacked);
    let ids = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["message"]["id"].clone());
    let expected = (0..kept).map(|n| json!(samples::message_id(n).to_string()));
    assert_eq!(ids.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

//! A disk without space: what was confirmed stays, reads go on, and space is all that is needed.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use super::{Sender, heals, ready, small_disk::SmallDisk};
use crate::bridge::{Answer, Http, PATIENCE, Server, look_again, program, stderr, stdout};

const DISK: u64 = 4 << 20;

/// What is on the disk besides the data, and can be removed.
const BALLAST: &str = "ballast";

fn serve(disk: &SmallDisk) -> Command {
    let mut program = program();
    program.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(disk.data());
    disk.enter(&program)
}

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

/// Waits for a message of a conversation.
fn park(http: &Http, url: &str, session: &str) -> tokio::task::JoinHandle<Option<Answer>> {
    let receive =
        json!({ "mailbox": format!("session:{session}/agent"), "consumer": "agent", "wait_ms": 60_000 });
    let (http, url) = (http.clone(), format!("{url}/api/receive"));
    tokio::spawn(async move { http.try_call(Method::POST, &url, None, Some(&receive)).await })
}

async fn is_parked(http: &Http, url: &str, session: &str) {
    let parked = async {
        while http.get(&format!("{url}/api/sessions/{session}")).await["presence"]["state"] == "away" {
            look_again().await;
        }
    };
    tokio::time::timeout(PATIENCE, parked).await.expect("who waits is seen");
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_keeps_the_rest_and_heals_with_space() {
    let Some(disk) = SmallDisk::new(DISK) else { return };
    disk.take(BALLAST, 2 << 20);
    let http = Http::new();
    let mut server = Server::of(serve(&disk));
    let url = server.url.clone();
    let quiet = http.open(&url).await;
    let parked = park(&http, &url, &quiet);
    is_parked(&http, &url, &quiet).await;

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
    let wanted = json!({ "text": "wanted", "from": "user" });
    http.post(&format!("{url}/api/sessions/{quiet}/messages"), &wanted).await;
    let (status, received) = parked.await.unwrap().expect("the server answers");
    assert_eq!(status, 200, "{received}");
    assert_eq!(received["deliveries"][0]["message"]["text"], "wanted", "{received}");

    server.kill();
    let server = Server::of(serve(&disk));
    sender.lost_nothing(&server.url).await;
}

#[tokio::test]
async fn a_server_that_starts_on_a_full_disk_reads_and_heals_with_space() {
    let Some(disk) = SmallDisk::new(DISK) else { return };
    disk.take(BALLAST, 2 << 20);
    let http = Http::new();
    let mut server = Server::of(serve(&disk));
    let mut sender = Sender::new(&http, &server.url).await;
    fill(&mut sender, &disk, &server.url).await;
    server.kill();

    // What was refused last may leave room for the little that a start writes: until there is none for that either.
    let mut server = Server::of(serve(&disk));
    while ready(&http, &server.url).await != (503, json!("full")) {
        server.kill();
        server = Server::of(serve(&disk));
    }
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
    let server = Server::of(serve(&disk));
    sender.lost_nothing(&server.url).await;
}

#[tokio::test]
async fn a_new_server_on_a_full_disk_says_that_there_is_no_space() {
    let Some(disk) = SmallDisk::new(DISK) else { return };
    disk.fill(BALLAST);
    let output = serve(&disk).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(said.contains("There is no space left for the data in") && said.contains("data"), "{said}");
    assert_eq!(stdout(&output), "");

    // What it began is no obstacle once there is space.
    disk.free(BALLAST);
    let http = Http::new();
    let server = Server::of(serve(&disk));
    assert_eq!(ready(&http, &server.url).await, (200, Value::from("ok")));
}

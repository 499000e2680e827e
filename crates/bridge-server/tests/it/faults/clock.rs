//! A wall clock that is set while the server runs: nothing is lost, ends early or changes its order.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Needed, Sender};
use crate::bridge::{Data, Http, PATIENCE, Server, look_again, program};

/// The wall clock of the processes that are run with it. The time since boot, and timers, stay the machine's.
struct WallClock {
    library: PathBuf,
    home: TempDir,
}

impl WallClock {
    /// None if this is left out here.
    fn new() -> Option<Self> {
        if Needed::Faketime.is_left_out() {
            return None;
        }
        let Some(library) = library() else {
            Needed::Faketime.is_missing("there is no libfaketimeMT.so.1 below /usr/lib")
        };
        let clock = Self { library, home: tempfile::tempdir().unwrap() };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it so far from the machine's, in the words of faketime.
    fn set(&self, offset: &str) {
        let file = self.file();
        let whole = file.with_extension("new");
        fs::write(&whole, offset).unwrap();
        fs::rename(whole, file).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("offset")
    }

    fn serve(&self, data: &Path) -> Server {
        let mut program: Command = program();
        program.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        program.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.file());
        program.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Server::of(program)
    }
}

/// Where Debian puts it, below the name of the machine's kind.
fn library() -> Option<PathBuf> {
    let kinds = fs::read_dir("/usr/lib").ok()?;
    let mut places = kinds.filter_map(|kind| Some(kind.ok()?.path().join("faketime/libfaketimeMT.so.1")));
    places.find(|place| place.is_file())
}

/// One conversation over a jump of the wall clock.
struct Scene {
    http: Http,
    url: String,
}

impl Scene {
    async fn receive(&self, session: &str, consumer: &str) -> Value {
        let receive = json!({ "mailbox": format!("session:{session}/agent"), "consumer": consumer });
        self.http.post(&format!("{}/api/receive", self.url), &receive).await
    }

    /// Sends what may wait for so long, and tells its delivery.
    async fn send_for(&self, session: &str, ttl: Duration) -> String {
        let message = json!({ "text": "in time", "from": "user", "ttl_ms": ttl.as_millis() });
        let sent = self.http.post(&format!("{}/api/sessions/{session}/messages", self.url), &message).await;
        sent["deliveries"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn delivery(&self, id: &str) -> Value {
        self.http.get(&format!("{}/api/deliveries/{id}", self.url)).await
    }
}

/// Lets the wall clock jump, and sees that nobody who is busy notices.
async fn jump(offset: &str, hours: i64) {
    let Some(clock) = WallClock::new() else { return };
    let data = Data::new();
    let http = Http::new();
    let mut server = clock.serve(&data.path());
    let mut sender = Sender::new(&http, &server.url).await;
    let scene = Scene { http: http.clone(), url: server.url.clone() };
    let url = &scene.url;
    let other = http.open(url).await;
    for _ in 0..3 {
        assert_eq!(sender.send(url).await.0, 201);
    }
    let held = scene.receive(&sender.session, "anna").await["deliveries"][0].clone();
    let ttl = Duration::from_secs(2);
    let (soon, later) =
        (scene.send_for(&other, ttl).await, scene.send_for(&other, Duration::from_secs(3600)).await);

    clock.set(offset);
    for _ in 0..3 {
        assert_eq!(sender.send(url).await.0, 201);
    }
    // The lease goes on, and so does the key of the conversation.
    let received = scene.receive(&sender.session, "berta").await;
    assert_eq!(received["deliveries"], json!([]), "a lease ended early: {received}");
    let settle = json!({ "token": held["token"], "outcome": "extend" });
    let extended = http.post(&format!("{url}/api/settle"), &settle).await;
    assert_eq!(extended["state"], "leased", "{extended}");
    let (key, id) = sender.confirmed[0].clone();
    let (status, again) = sender.send_with(url, &key).await;
    assert_eq!((status, &again["message_id"], &again["duplicate"]), (200, &json!(id), &json!(true)));
    sender.confirmed.pop();

    // What has a time ends by the time that has run.
    let expired = async {
        while scene.delivery(&soon).await["state"] != "dead" {
            look_again().await;
        }
        scene.delivery(&soon).await
    };
    let expired =
        tokio::time::timeout(PATIENCE, expired).await.expect("a message expires though the clock was set");
    assert_eq!(expired["reason"], "expired", "{expired}");
    let receipts = &expired["receipts"];
    let lived = time(&receipts["dead"]).duration_since(time(&receipts["accepted"]));
    assert!(lived >= SignedDuration::try_from(ttl).unwrap(), "it expired early: {expired}");
    assert!(lived < SignedDuration::from_mins(5), "it expired late: {expired}");
    assert_eq!(scene.delivery(&later).await["state"], "pending");

    is_in_order(&sender, url).await;
    server.signal(Signal::TERM);
    assert!(server.ended(PATIENCE).await.success());
    jumped(&server.log(), hours);

    // The clock stays where it is, and the next server begins with it.
    let mut server = clock.serve(&data.path());
    assert_eq!(sender.send(&server.url).await.0, 201);
    is_in_order(&sender, &server.url).await;
    if hours < 0 {
        let (_, again) = sender.send_with(&server.url, &key).await;
        assert_eq!((&again["message_id"], &again["duplicate"]), (&json!(id), &json!(true)), "{again}");
    }
    // What faketime shares among processes it removes when they end by themselves.
    server.signal(Signal::TERM);
    assert!(server.ended(PATIENCE).await.success());
}

fn time(shown: &Value) -> Timestamp {
    shown.as_str().unwrap_or_else(|| panic!("no time: {shown}")).parse().unwrap()
}

/// Everything confirmed is there, in the order in which it was, and so are its times.
async fn is_in_order(sender: &Sender, url: &str) {
    sender.lost_nothing(url).await;
    let stored = sender.http.messages(url, &sender.session).await;
    let keys: Vec<_> = stored.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert!(keys.iter().eq(sender.confirmed.iter().map(|(key, _)| key)), "{keys:?}");
    assert!(stored.is_sorted_by_key(|message| time(&message["created_at"])), "{stored:?}");
}

/// The wall clock did jump, as the log shows, whose times are those of the wall.
fn jumped(log: &str, hours: i64) {
    let at = |line: Option<&str>| -> Timestamp { line.unwrap().split_once(' ').unwrap().0.parse().unwrap() };
    let between = at(log.lines().next_back()).duration_since(at(log.lines().next()));
    let off = between - SignedDuration::from_hours(hours);
    assert!(off.abs() < SignedDuration::from_mins(5), "the clock did not jump by {hours} h: {log}");
}

#[tokio::test]
async fn a_wall_clock_that_is_set_back_changes_nothing() {
    jump("-1h", -1).await;
}

#[tokio::test]
async fn a_wall_clock_that_is_set_forward_ends_nothing_early() {
    jump("+25h", 25).await;
}

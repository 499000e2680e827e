//! A process that may not open any more files or sockets: it rests, goes on with what it has, and heals.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use futures_util::future::join_all;
use http::Method;

use super::{AT_ONCE, Sender, syscalls::Broken};
use crate::bridge::{Data, Http, PATIENCE, Server, look_again, program};

/// Calls at one time, each on a connection of its own that is there already.
const CALLERS: usize = 4;

const CROWD: usize = 100;

/// A server, somebody with connections to it, and its address.
async fn start(limit: &str, data: &Data) -> (Server, Sender, String) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!(r#"{limit}; exec "$0" serve --json --listen 127.0.0.1:0 --data "$1""#)]);
    shell.arg(program().get_program()).arg(data.path());
    let server = Server::of(shell);
    let http = Http::new();
    let sender = Sender::new(&http, &server.url).await;
    let live = format!("{}/health/live", server.url);
    join_all((0..CALLERS).map(|_| http.get(&live))).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    (server, sender, address)
}

fn crowd(address: &str) -> Vec<TcpStream> {
    (0..CROWD).map(|_| TcpStream::connect(address).unwrap()).collect()
}

/// Whether one more connection is served.
async fn serves_who_comes(url: &str) {
    let (http, live) = (Http::new(), format!("{url}/health/live"));
    tokio::time::timeout(Duration::from_secs(5), http.get(&live)).await.expect("it heals in time");
}

#[tokio::test]
async fn a_crowd_waits_and_leaves_the_store_the_files_it_needs() {
    let data = Data::new();
    let (server, mut sender, address) = start("ulimit -n 64", &data).await;
    let url = server.url.clone();
    assert!(server.log().contains("ulimit -n"), "nobody was told: {}", server.log());
    let crowd = crowd(&address);

    for round in 0..10 {
        let (status, answer) = sender.send(&url).await;
        assert_eq!(status, 201, "{answer}");
        join_all((0..CALLERS).map(|_| sender.reads_go_on(&url))).await;
        assert!(server.open_files() < 50, "{} files are open in round {round}", server.open_files());
    }
    // What makes the store open its files again heals while the crowd is there.
    let Some(broken) = Broken::begin(&server, "fsync,fdatasync", "error=EIO:when=1") else { return };
    assert_eq!(sender.send(&url).await.0, 503);
    sender.repeat_unconfirmed(&url).await;
    drop(broken);
    sender.lost_nothing(&url).await;

    drop(crowd);
    serves_who_comes(&url).await;
}

#[tokio::test]
async fn a_server_asks_the_system_for_as_many_files_as_it_may_have() {
    let data = Data::new();
    let (server, _sender, address) = start("ulimit -S -n 64", &data).await;
    let _crowd = crowd(&address);
    let served = async {
        while server.open_files() < CROWD {
            look_again().await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("all of them fit");
}

#[tokio::test]
async fn a_server_without_descriptors_rests_and_serves_again_when_there_are_some() {
    let data = Data::new();
    let (mut server, mut sender, address) = start(":", &data).await;
    let url = server.url.clone();
    let mut open = TcpStream::connect(&address).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut live = || {
        write!(open, "GET /health/live HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
        let mut answer = [0; 15];
        open.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        // The rest of it, which is small, comes with it.
        open.read(&mut [0; 4096]).unwrap()
    };
    live();
    // From now on there is room for a few more, as if others had used up what the system has.
    let limit = Command::new("prlimit")
        .args(["--pid", &server.id().to_string(), &format!("--nofile={}:", server.open_files() + 8)])
        .status();
    assert!(limit.unwrap().success());
    let crowd = crowd(&address);
    let refused = async {
        while !server.log().contains("no connection can be accepted now") {
            look_again().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("not all of them fit");

    let used = server.processor_time();
    let rest = async {
        loop {
            live();
            look_again().await;
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_secs(1), rest).await;
    let used = server.processor_time() - used;
    assert!(used < 50, "{used} hundredths of a second in one second of rest");

    let log = format!("{url}/api/events?limit=100");
    for _ in 0..20 {
        let (status, answer) = sender.send(&url).await;
        assert!(matches!(status, 201 | 503), "{status} {answer}");
        // A thread that reads may have had no reason yet to open its connection, and cannot now.
        let read = sender.http.try_call(Method::GET, &log, None, None);
        let read = tokio::time::timeout(AT_ONCE, read).await.expect("it is answered at once");
        assert!(matches!(read, Some((200 | 503, _))), "{read:?}");
    }
    drop(crowd);
    serves_who_comes(&url).await;
    sender.repeat_unconfirmed(&url).await;
    sender.reads_go_on(&url).await;
    server.kill();
    let server = Server::start(&data.path());
    sender.lost_nothing(&server.url).await;
}

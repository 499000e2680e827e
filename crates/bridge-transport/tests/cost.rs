//! What a message over HTTP costs, counted instead of timed. A test of its own process: whoever else allocates would be counted
//! too.

#![expect(clippy::unwrap_used, reason = "a house that cannot be set up fails its test")]

use bridge_runtime::Bridge;
use bridge_store::MemoryStore;
use bridge_transport::{HttpDoor, ServeSettings, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[global_allocator]
static COUNTED: dhat::Alloc = dhat::Alloc;

/// Messages that are counted together.
const MESSAGES: u64 = 256;

/// Allocations of the server for a message that it takes, over a store in memory. More than this is a step back.
const ALLOCATIONS: u64 = 60;

/// Bytes of memory asked for, for each byte of a large payload: it is read in pieces into one body, which grows on the way, and
/// cut out of that once.
const COPIES: u64 = 5;

fn request(payload: usize) -> Vec<u8> {
    let body = format!(r#"{{"from": "anna", "to": "worker", "payload": "{}"}}"#, "x".repeat(payload));
    let length = body.len();
    let head = "POST /api/send HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Sends one request, and reads its answer, which is short.
async fn say(connection: &mut TcpStream, request: &[u8]) {
    connection.write_all(request).await.unwrap();
    let mut answer = [0; 4_096];
    let mut length = 0;
    while !answer[..length].ends_with(b"}") {
        length += connection.read(&mut answer[length..]).await.unwrap();
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
}

#[tokio::test]
async fn a_message_costs_few_allocations_and_few_copies_of_its_payload() {
    let bridge = Bridge::builder(MemoryStore::new()).start().await.unwrap();
    let door = HttpDoor::builder(bridge).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let serving = tokio::spawn(serve(listener, door, ServeSettings::default(), std::future::pending()));
    let (small, large) = (request(200), request(480 << 10));
    for _ in 0..MESSAGES {
        say(&mut connection, &small).await;
    }

    let profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get();
    for _ in 0..MESSAGES {
        say(&mut connection, &small).await;
    }
    let after = dhat::HeapStats::get();
    let allocations = (after.total_blocks - before.total_blocks) / MESSAGES;
    assert!(allocations <= ALLOCATIONS, "{allocations} allocations a message");

    let before = dhat::HeapStats::get();
    for _ in 0..8 {
        say(&mut connection, &large).await;
    }
    let bytes = (dhat::HeapStats::get().total_bytes - before.total_bytes) / (8 * large.len() as u64);
    assert!(bytes <= COPIES, "{bytes} bytes of memory for a byte of payload");
    drop(profiler);
    serving.abort();
}

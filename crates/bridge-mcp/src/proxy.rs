//! A stdio front for clients that speak nothing else: it relays to a running server.

mod http;
mod lines;
mod relay;

use std::{io, sync::Arc, time::Duration};

use bridge_core::{Clock, Name};
use bridge_runtime::SystemClock;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::mpsc,
    task::JoinSet,
};

use self::{
    lines::Line,
    relay::{Message, Relay},
};

/// Answers that may wait to be written.
const OUTPUT: usize = 64;

/// Calls that may be under way; the next one waits to be read.
const MAX_CALLS: usize = 64;

/// How long calls may take to end when the client has closed its side.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Relays the protocol between a client on `input` and `output` and the server at `url`, until `input` ends.
///
/// Nothing but the protocol is written to `output`. A server that is away for a moment is waited for, and calls that are
/// safe to repeat are repeated, so that the client does not notice its restart; after 20 s the client is told in words.
/// Both eras of the protocol are relayed as they are. The server knows this client as `agent`, or by a name made for the
/// life of this call.
///
/// # Shape
/// `url` is `http://host:port`, with or without a path; the path is `/mcp` unless given. One JSON-RPC message per line.
///
/// # Errors
/// * [`io::ErrorKind::InvalidInput`] — `url` is no address of HTTP.
/// * Others — `input` or `output` failed.
///
/// # Cancel safety
/// Dropping the future ends every call that is under way.
///
/// # Example
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let nobody = tokio::io::empty();
/// bridge_mcp::proxy("http://127.0.0.1:8765", None, nobody, tokio::io::sink()).await.unwrap();
/// # });
/// ```
pub async fn proxy<R, W>(url: &str, agent: Option<&Name>, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let agent = agent.map_or_else(made_up_name, |name| Ok(name.to_string()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (answers, written) = mpsc::channel(OUTPUT);
    let relay = Arc::new(Relay::new(url, &agent, clock, answers.clone())?);
    let writing = lines::write(output, written);
    let reading = read(input, relay, answers);
    tokio::try_join!(reading, writing).map(drop)
}

/// Takes lines until there are no more, then waits a little for the calls under way.
async fn read<R>(input: R, relay: Arc<Relay>, answers: mpsc::Sender<Value>) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let mut input = BufReader::new(input);
    let mut calls = JoinSet::new();
    while let Some(line) = lines::next(&mut input).await? {
        while calls.len() >= MAX_CALLS || calls.try_join_next().is_some() {
            if calls.len() >= MAX_CALLS {
                calls.join_next().await;
            }
        }
        let relay = Arc::clone(&relay);
        match Message::parse(line) {
            Ok(Message::Call(call)) => {
                calls.spawn(relay.start(call));
            }
            // In order: what follows may depend on it.
            Ok(Message::Other(message)) => relay.tell(message).await,
            Err(refusal) => send(&answers, refusal).await?,
        }
    }
    // A client that has gone does not need the rest.
    let _ = tokio::time::timeout(LAST_WORDS, async { while calls.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn send(answers: &mpsc::Sender<Value>, answer: Value) -> io::Result<()> {
    answers.send(answer).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn made_up_name() -> io::Result<String> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(format!("stdio-{random:016x}"))
}

impl Message {
    /// Reads a line; if it is no message, what to answer.
    fn parse(line: Line) -> Result<Self, Value> {
        let refusal = |code, message| json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
        let Line::Text(text) = line else {
            return Err(refusal(-32600, "Invalid Request: the line is too long"));
        };
        let message: Value = serde_json::from_slice(&text).map_err(|_| refusal(-32700, "Parse error"))?;
        Self::new(message).ok_or_else(|| refusal(-32600, "Invalid Request"))
    }
}

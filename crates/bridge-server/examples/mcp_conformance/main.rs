//! Run by `scripts/mcp-conformance`: the fixtures of the protocol's conformance suite behind our own door and front.
//! Prints its address, and serves until it is killed.

mod fixture;
mod rounds;

use std::{future, io, sync::Arc};

use bridge_mcp::Front;
use bridge_runtime::Bridge;
use bridge_store::MemoryStore;
use bridge_transport::{HttpDoor, Mounted, ServeSettings, serve};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use tokio::net::TcpListener;

use crate::fixture::Fixture;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "whoever started it reads the address")]
async fn main() -> anyhow::Result<()> {
    let sessions = Arc::new(LocalSessionManager::default());
    let fixture = Fixture::new(Arc::clone(&sessions));
    let config = StreamableHttpServerConfig::default();
    let protocol = StreamableHttpService::new(move || Ok::<_, io::Error>(fixture.clone()), sessions, config);
    let bridge = Bridge::builder(MemoryStore::new()).start().await?;
    let door = HttpDoor::builder(bridge).mount("/mcp", Mounted::new(Front::new(protocol))).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/mcp", listener.local_addr()?);
    serve(listener, door, ServeSettings::default(), future::pending()).await;
    Ok(())
}

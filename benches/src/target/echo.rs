//! The floor under an HTTP server: hyper alone, which answers a body with itself.

use std::{convert::Infallible, net::SocketAddr, path::Path, process::Command};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{Consumer, Publisher, Reader, Target};
use crate::{
    http::{Connection, succeeded},
    process::{self, Process},
};

/// A running echo, in a process of its own.
pub(super) struct Echo {
    process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Echo {
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let directory = process::directory(folder, None)?;
        let address = process::free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["echo", &address.to_string()]);
        let mut process = Process::start(command, &directory.path().join("log"))?;
        process.listening(address).await?;
        Ok(Self { process, address, _directory: directory })
    }
}

#[async_trait]
impl Target for Echo {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn renew(&mut self) -> Result<()> {
        Ok(())
    }

    async fn publisher(&self, _mailbox: usize) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(EchoClient { connection: Connection::open(self.address).await?, path: String::new() }))
    }

    async fn consumer(&self, _mailbox: usize) -> Result<Box<dyn Consumer>> {
        anyhow::bail!("it keeps nothing")
    }

    async fn reader(&self, _messages: usize, bytes: usize) -> Result<Box<dyn Reader>> {
        ensure!(bytes > 0, "nobody has told how many bytes a page has");
        let path = format!("/{bytes}");
        Ok(Box::new(EchoClient { connection: Connection::open(self.address).await?, path }))
    }

    async fn stop(self: Box<Self>) {
        self.process.stop().await;
    }
}

struct EchoClient {
    connection: Connection,
    path: String,
}

#[async_trait]
impl Publisher for EchoClient {
    /// Its body is as long as that of a send to the bridge.
    async fn publish(&mut self, payload: Vec<u8>) -> Result<()> {
        const HEAD: &[u8] = br#"{"from":"load","to":"worker-1","type":"job","payload":"#;
        let mut body = Vec::with_capacity(HEAD.len() + payload.len() + 1);
        body.extend_from_slice(HEAD);
        body.extend_from_slice(&payload);
        body.push(b'}');
        succeeded(self.connection.post("/api/send", body).await?).map(drop)
    }
}

#[async_trait]
impl Reader for EchoClient {
    async fn read(&mut self) -> Result<usize> {
        Ok(succeeded(self.connection.get(&self.path).await?)?.len())
    }
}

/// Answers a body with itself, and a path that is a number with so many bytes.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // Whoever closes a connection has nothing more to say about it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let bytes = request.uri().path().trim_start_matches('/').parse::<usize>();
    let body = match bytes {
        Ok(bytes) => Bytes::from(vec![b'x'; bytes]),
        Err(_) => request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

//! The bridge: the real program, over HTTP.

use std::{
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use hyper::StatusCode;
use tempfile::TempDir;

use super::{
    Consumer, Publisher, Reader, Setup, Target,
    wire::{self, Route, Wire},
};
use crate::{
    http::{Connection, succeeded},
    payload::{Stamp, payload},
    process::{self, Process},
    scenario::Class,
};

pub(super) fn look(setup: &Setup) -> Result<String> {
    ensure!(setup.bridge.is_file(), "there is no program {}", setup.bridge.display());
    Ok(process::first_line(&setup.bridge, &["--version"]))
}

/// A running bridge.
pub(super) struct Bridge {
    class: Class,
    setup: Setup,
    /// None only while it is started again.
    running: Option<Process>,
    directory: TempDir,
    address: SocketAddr,
    wire: Wire,
}

impl Bridge {
    pub(super) async fn start(class: Class, setup: &Setup) -> Result<Self> {
        let directory = process::directory(&setup.data, None)?;
        let address = process::free_port()?;
        let mut process = serve(class, setup, &directory, address)?;
        ready(&mut process, address).await?;
        let wire = Wire::of(&mut Connection::open(address).await?).await?;
        Ok(Self { class, setup: setup.clone(), running: Some(process), directory, address, wire })
    }

    async fn connect(&self) -> Result<Connection> {
        Connection::open(self.address).await
    }

    async fn end(&mut self) {
        if let Some(process) = self.running.take() {
            process.stop().await;
        }
    }
}

fn serve(class: Class, setup: &Setup, directory: &TempDir, address: SocketAddr) -> Result<Process> {
    let durability = match class {
        Class::K => "normal",
        Class::P => "full",
    };
    let mut command = match &setup.watch {
        Some(counts) => {
            let mut command = Command::new("strace");
            // With the filter in the kernel, only the calls that are counted stop the program.
            command.args(["-f", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync", "-o"]).arg(counts);
            command.arg(&setup.bridge);
            command
        }
        None => Command::new(&setup.bridge),
    };
    command.args(["serve", "--log-level", "warn", "--durability", durability]);
    command.arg("--data").arg(directory.path().join("data")).args(["--listen", &address.to_string()]);
    Process::start(command, &directory.path().join("log"))
}

/// Waits until it takes messages, and says how long that took.
async fn ready(process: &mut Process, address: SocketAddr) -> Result<Duration> {
    let began = Instant::now();
    loop {
        if let Ok(mut connection) = Connection::open(address).await
            && let Ok((StatusCode::OK, _)) = connection.get("/health/ready").await
        {
            return Ok(began.elapsed());
        }
        process.still_starting(began).await?;
    }
}

#[async_trait]
impl Target for Bridge {
    fn process(&self) -> &Process {
        self.running.as_ref().expect("it runs but while it is started again")
    }

    async fn renew(&mut self) -> Result<()> {
        self.end().await;
        *self = Self::start(self.class, &self.setup).await?;
        Ok(())
    }

    async fn publisher(&self, mailbox: usize) -> Result<Box<dyn Publisher>> {
        let mut connection = self.connect().await?;
        let route = self.wire.route(mailbox, &mut connection).await?;
        Ok(Box::new(BridgePublisher { connection, wire: self.wire.clone(), route }))
    }

    async fn consumer(&self, mailbox: usize) -> Result<Box<dyn Consumer>> {
        let connection = self.connect().await?;
        Ok(Box::new(BridgeConsumer { connection, wire: self.wire.clone(), mailbox, held: Vec::new() }))
    }

    async fn reader(&self, messages: usize, _bytes: usize) -> Result<Box<dyn Reader>> {
        let mut connection = self.connect().await?;
        let (path, route) = self.wire.page(messages, &mut connection).await?;
        let page = succeeded(connection.get(&path).await?)?;
        let there = page.windows(6).filter(|window| window == br#""at":1"#).count();
        for _ in there..messages {
            let (path, body) = route.call(&payload(Stamp::now(), 200));
            succeeded(connection.post(path, body).await?)?;
        }
        Ok(Box::new(BridgeReader { connection, path }))
    }

    async fn restart(&mut self) -> Result<Duration> {
        self.end().await;
        let mut process = serve(self.class, &self.setup, &self.directory, self.address)?;
        let took = ready(&mut process, self.address).await;
        self.running = Some(process);
        took
    }

    async fn stop(mut self: Box<Self>) {
        self.end().await;
    }
}

struct BridgePublisher {
    connection: Connection,
    wire: Wire,
    route: Route,
}

#[async_trait]
impl Publisher for BridgePublisher {
    async fn publish(&mut self, payload: Vec<u8>) -> Result<()> {
        let (path, body) = self.route.call(&payload);
        let (status, answer) = self.connection.post(path, body).await?;
        if status != StatusCode::TOO_MANY_REQUESTS {
            return succeeded((status, answer)).map(drop);
        }
        let full = || format!("the mailbox has no room: {}", String::from_utf8_lossy(&answer));
        self.route = self.wire.elsewhere(&mut self.connection).await?.with_context(full)?;
        let (path, body) = self.route.call(&payload);
        succeeded(self.connection.post(path, body).await?).map(drop)
    }
}

struct BridgeConsumer {
    connection: Connection,
    wire: Wire,
    mailbox: usize,
    held: Vec<String>,
}

#[async_trait]
impl Consumer for BridgeConsumer {
    async fn receive(&mut self, max: usize, wait: Duration) -> Result<Vec<Stamp>> {
        let mut body = self.wire.receive(self.mailbox, max, &mut self.connection).await?;
        body.push_str(&format!("{}}}", wait.as_millis()));
        let answer = succeeded(self.connection.post("/api/receive", body).await?)?;
        let (tokens, stamps) = wire::received(&answer)?;
        self.held.extend(tokens);
        Ok(stamps)
    }

    async fn ack(&mut self) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let body = self.wire.acks(&self.held);
        let answer = succeeded(self.connection.post("/api/settle", body).await?)?;
        self.held.clear();
        wire::settled(&answer)
    }
}

struct BridgeReader {
    connection: Connection,
    path: String,
}

#[async_trait]
impl Reader for BridgeReader {
    async fn read(&mut self) -> Result<usize> {
        Ok(succeeded(self.connection.get(&self.path).await?)?.len())
    }
}

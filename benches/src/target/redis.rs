//! Redis: a stream for each mailbox, with its append-only file.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, Value,
    aio::MultiplexedConnection,
    cmd, pipe,
    streams::{StreamReadOptions, StreamReadReply},
};
use tempfile::TempDir;

use super::{Consumer, Publisher, Target};
use crate::{
    payload::{Stamp, stamp_of},
    process::{self, Process},
    scenario::Class,
};

const PROGRAM: &str = "redis-server";
const GROUP: &str = "workers";
const FIELD: &str = "m";

pub(super) fn look() -> Result<String> {
    let program = process::find(PROGRAM, &[]).context("redis-server is not installed")?;
    Ok(process::first_line(&program, &["--version"]))
}

/// A running Redis.
pub(super) struct Redis {
    class: Class,
    process: Process,
    directory: TempDir,
    address: SocketAddr,
}

impl Redis {
    pub(super) async fn start(class: Class, folder: &Path) -> Result<Self> {
        let program = process::find(PROGRAM, &[]).context("redis-server is not installed")?;
        let directory = process::directory(folder, None)?;
        let address = process::free_port()?;
        let flush = match class {
            Class::K => "everysec",
            Class::P => "always",
        };
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""]);
        // No rewrite of the file in the middle of a measurement.
        command.args(["--appendonly", "yes", "--appendfsync", flush, "--auto-aof-rewrite-percentage", "0"]);
        command.arg("--dir").arg(directory.path());
        let mut process = Process::start(command, &directory.path().join("log"))?;
        process.listening(address).await?;
        Ok(Self { class, process, directory, address })
    }

    async fn connect(&self) -> Result<MultiplexedConnection> {
        let client = Client::open(format!("redis://{}", self.address))?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }
}

fn stream(mailbox: usize) -> String {
    format!("worker-{mailbox}")
}

#[async_trait]
impl Target for Redis {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn renew(&mut self) -> Result<()> {
        let folder = self.directory.path().parent().context("the directory lies in another")?.to_owned();
        *self = Self::start(self.class, &folder).await?;
        Ok(())
    }

    async fn publisher(&self, mailbox: usize) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(RedisPublisher { connection: self.connect().await?, stream: stream(mailbox) }))
    }

    async fn consumer(&self, mailbox: usize) -> Result<Box<dyn Consumer>> {
        let mut connection = self.connect().await?;
        let stream = stream(mailbox);
        let created: Result<Value, _> = cmd("XGROUP")
            .arg("CREATE")
            .arg(&stream)
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM")
            .query_async(&mut connection)
            .await;
        match created {
            Err(error) if error.code() != Some("BUSYGROUP") => return Err(error.into()),
            _ => Ok(Box::new(RedisConsumer { connection, stream, held: Vec::new() })),
        }
    }

    async fn stop(self: Box<Self>) {
        self.process.stop().await;
    }
}

struct RedisPublisher {
    connection: MultiplexedConnection,
    stream: String,
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&mut self, payload: Vec<u8>) -> Result<()> {
        let mut add = cmd("XADD");
        add.arg(&self.stream).arg("*").arg(FIELD).arg(payload);
        self.connection.send_packed_command(&add).await?;
        Ok(())
    }
}

struct RedisConsumer {
    connection: MultiplexedConnection,
    stream: String,
    held: Vec<String>,
}

impl RedisConsumer {
    fn read(&self, max: usize, wait: Duration) -> Cmd {
        let options =
            StreamReadOptions::default().group(GROUP, "worker").count(max).block(wait.as_millis() as usize);
        redis::Cmd::xread_options(&[&self.stream], &[">"], &options)
    }

    /// An acknowledged entry stays in its stream until it is deleted too.
    fn done(&self) -> Pipeline {
        let mut both = pipe();
        both.cmd("XACK").arg(&self.stream).arg(GROUP).arg(&self.held).ignore();
        both.cmd("XDEL").arg(&self.stream).arg(&self.held).ignore();
        both
    }
}

#[async_trait]
impl Consumer for RedisConsumer {
    async fn receive(&mut self, max: usize, wait: Duration) -> Result<Vec<Stamp>> {
        let read: Option<StreamReadReply> = self.read(max, wait).query_async(&mut self.connection).await?;
        let mut stamps = Vec::new();
        for entry in read.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
            let payload: Vec<u8> = entry.get(FIELD).context("an entry has no payload")?;
            stamps.push(stamp_of(&payload).context("a message came without its stamp")?);
            self.held.push(entry.id);
        }
        Ok(stamps)
    }

    async fn ack(&mut self) -> Result<()> {
        if !self.held.is_empty() {
            self.done().query_async::<()>(&mut self.connection).await?;
            self.held.clear();
        }
        Ok(())
    }
}

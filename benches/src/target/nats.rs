//! NATS: a `JetStream` work queue in files, a pull consumer for each mailbox.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{
    self, Context, Message,
    consumer::{AckPolicy, pull},
    stream::{self, RetentionPolicy, StorageType},
};
use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;

use super::{Consumer, Publisher, Target, ready};
use crate::{
    payload::{Stamp, stamp_of},
    process::{self, Process},
    scenario::Class,
};

const STREAM: &str = "load";

/// Another program than the one in the path, such as a newer one.
const PROGRAM: &str = "NATS_SERVER";

pub(super) fn look(class: Class) -> Result<String> {
    let program = program()?;
    let version = process::first_line(&program, &["--version"]);
    // Of versions before it the configuration knows no `sync_interval`.
    ensure!(
        class == Class::K || is_recent(&version).unwrap_or(true),
        "{version} cannot flush each message: 2.10 can; name one with {PROGRAM}"
    );
    Ok(version)
}

fn program() -> Result<PathBuf> {
    match std::env::var_os(PROGRAM).map(PathBuf::from) {
        Some(named) => {
            named.is_file().then_some(named).with_context(|| format!("{PROGRAM} names no program"))
        }
        None => process::find("nats-server", &[]).context("nats-server is not installed"),
    }
}

/// Whether a version such as `nats-server: v2.9.10` is 2.10 at least.
fn is_recent(version: &str) -> Option<bool> {
    let mut numbers = version.rsplit_once('v')?.1.split('.').map_while(|part| part.parse::<u32>().ok());
    Some((numbers.next()?, numbers.next()?) >= (2, 10))
}

/// A running NATS server.
pub(super) struct Nats {
    class: Class,
    process: Process,
    directory: TempDir,
    address: SocketAddr,
}

impl Nats {
    pub(super) async fn start(class: Class, folder: &Path) -> Result<Self> {
        let directory = process::directory(folder, None)?;
        let address = process::free_port()?;
        let sync = match class {
            Class::K => "",
            Class::P => ", sync_interval: always",
        };
        let store = directory.path().join("store");
        let settings = directory.path().join("nats.conf");
        let text = format!("listen: \"{address}\"\njetstream {{ store_dir: {store:?}{sync} }}\n");
        std::fs::write(&settings, text)?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(settings);
        let mut process = Process::start(command, &directory.path().join("log"))?;
        process.listening(address).await?;
        let nats = Self { class, process, directory, address };
        nats.make_stream().await?;
        Ok(nats)
    }

    async fn connect(&self) -> Result<Context> {
        let client = async_nats::connect(format!("nats://{}", self.address)).await?;
        Ok(jetstream::new(client))
    }

    async fn make_stream(&self) -> Result<()> {
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![subject("*")],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            ..stream::Config::default()
        };
        self.connect().await?.create_stream(config).await?;
        Ok(())
    }
}

fn subject(mailbox: impl std::fmt::Display) -> String {
    format!("worker.{mailbox}")
}

#[async_trait]
impl Target for Nats {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn renew(&mut self) -> Result<()> {
        let folder = self.directory.path().parent().context("the directory lies in another")?.to_owned();
        *self = Self::start(self.class, &folder).await?;
        Ok(())
    }

    async fn publisher(&self, mailbox: usize) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(NatsPublisher { context: self.connect().await?, subject: subject(mailbox).into() }))
    }

    async fn consumer(&self, mailbox: usize) -> Result<Box<dyn Consumer>> {
        let stream = self.connect().await?.get_stream(STREAM).await?;
        let config = pull::Config {
            durable_name: Some(format!("worker-{mailbox}")),
            filter_subject: subject(mailbox),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 10_000,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        // It asks for more before it has run out, so that messages wait at the client.
        let messages = consumer.stream().max_messages_per_batch(500).messages().await?;
        Ok(Box::new(NatsConsumer { messages, held: Vec::new() }))
    }

    async fn stop(self: Box<Self>) {
        self.process.stop().await;
    }
}

struct NatsPublisher {
    context: Context,
    subject: async_nats::Subject,
}

#[async_trait]
impl Publisher for NatsPublisher {
    async fn publish(&mut self, payload: Vec<u8>) -> Result<()> {
        self.context.publish(self.subject.clone(), Bytes::from(payload)).await?.await?;
        Ok(())
    }
}

struct NatsConsumer {
    messages: pull::Stream,
    held: Vec<Message>,
}

impl NatsConsumer {
    fn hold(&mut self, message: Message) -> Result<Stamp> {
        let stamp = stamp_of(&message.payload).context("a message came without its stamp")?;
        self.held.push(message);
        Ok(stamp)
    }
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn receive(&mut self, max: usize, wait: Duration) -> Result<Vec<Stamp>> {
        let messages = ready(&mut self.messages, max, wait).await?;
        messages.into_iter().map(|message| self.hold(message)).collect()
    }

    /// The last is confirmed, and the server takes them in order: so all are.
    async fn ack(&mut self) -> Result<()> {
        let Some(last) = self.held.pop() else { return Ok(()) };
        for message in self.held.drain(..) {
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        last.double_ack().await.map_err(anyhow::Error::from_boxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_can_flush_each_message_are_known() {
        let told =
            ["nats-server: v2.9.10", "nats-server: v2.10.0", "nats-server: v2.14.1", "nats-server: v3.0.0"];
        assert_eq!(told.map(is_recent), [Some(false), Some(true), Some(true), Some(true)]);
        assert_eq!(is_recent("unknown"), None);
    }
}

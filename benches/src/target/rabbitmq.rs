//! `RabbitMQ`: a durable queue for each mailbox, publishers with confirms; classic in class K, a quorum queue in class P.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{Consumer, Publisher, Target, ready};
use crate::{
    payload::{Stamp, stamp_of},
    process::{self, Process},
    scenario::Class,
};

/// Connections that publishers share, each with a channel of its own, as its documentation recommends.
const CONNECTIONS: usize = 4;

/// Messages on their way to one consumer.
const PREFETCH: u16 = 500;

pub(super) fn look() -> Result<String> {
    program()?;
    let control = process::find("rabbitmqctl", &[]).context("rabbitmqctl is not installed")?;
    Ok(format!("RabbitMQ {}", process::first_line(&control, &["version"])))
}

/// Not the one in the path, which on Debian starts it as another user with their settings.
fn program() -> Result<PathBuf> {
    let folder = PathBuf::from("/usr/lib/rabbitmq/bin");
    process::find("rabbitmq-server", &[folder]).context("rabbitmq-server is not installed")
}

/// A running `RabbitMQ`.
pub(super) struct Rabbitmq {
    class: Class,
    process: Process,
    connections: Mutex<Vec<Connection>>,
    next: AtomicUsize,
    /// The mailboxes whose queues were made.
    made: Mutex<Vec<usize>>,
    _directory: TempDir,
}

impl Rabbitmq {
    pub(super) async fn start(class: Class, folder: &Path) -> Result<Self> {
        let directory = process::directory(folder, None)?;
        let (address, distribution) = (process::free_port()?, process::free_port()?);
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("rabbitmq.conf"), format!("listeners.tcp.1 = {address}\nlog.console = true\n"))?;
        std::fs::write(at("plugins"), "[].\n")?;
        let mut command = Command::new(program()?);
        command
            .current_dir(directory.path())
            .env("HOME", directory.path())
            .env("RABBITMQ_NODENAME", format!("load-{}@localhost", address.port()))
            .env("RABBITMQ_NODE_PORT", address.port().to_string())
            .env("RABBITMQ_DIST_PORT", distribution.port().to_string())
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", at("rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .env("RABBITMQ_MNESIA_BASE", at("data"))
            .env("RABBITMQ_LOG_BASE", at("logs"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-setcookie load");
        let mut process = Process::start(command, &at("log"))?;
        process.listening(address).await?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let uri = format!("amqp://guest:guest@{address}/%2f");
            connections.push(Connection::connect(&uri, ConnectionProperties::default()).await?);
        }
        let (next, made) = (AtomicUsize::new(0), Mutex::default());
        let connections = Mutex::new(connections);
        Ok(Self { class, process, connections, next, made, _directory: directory })
    }

    async fn channel(&self) -> Result<Channel> {
        let connections = self.connections.lock().await;
        let next = self.next.fetch_add(1, Ordering::Relaxed) % connections.len();
        Ok(connections[next].create_channel().await?)
    }

    async fn make_queue(&self, mailbox: usize, channel: &Channel) -> Result<()> {
        let mut made = self.made.lock().await;
        if made.contains(&mailbox) {
            return Ok(());
        }
        let mut arguments = FieldTable::default();
        let kind = match self.class {
            Class::K => "classic",
            Class::P => "quorum",
        };
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        channel.queue_declare(queue(mailbox).into(), QueueDeclareOptions::durable(), arguments).await?;
        made.push(mailbox);
        Ok(())
    }
}

fn queue(mailbox: usize) -> String {
    format!("worker-{mailbox}")
}

#[async_trait]
impl Target for Rabbitmq {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn renew(&mut self) -> Result<()> {
        let channel = self.channel().await?;
        for mailbox in self.made.lock().await.iter() {
            channel.queue_purge(queue(*mailbox).into(), QueuePurgeOptions::default()).await?;
        }
        Ok(())
    }

    async fn publisher(&self, mailbox: usize) -> Result<Box<dyn Publisher>> {
        let channel = self.channel().await?;
        self.make_queue(mailbox, &channel).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Box::new(RabbitmqPublisher { channel, queue: queue(mailbox) }))
    }

    async fn consumer(&self, mailbox: usize) -> Result<Box<dyn Consumer>> {
        let channel = self.channel().await?;
        self.make_queue(mailbox, &channel).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let messages = channel.basic_consume(queue(mailbox).into(), "".into(), options, none).await?;
        Ok(Box::new(RabbitmqConsumer { _channel: channel, messages, held: None }))
    }

    async fn stop(self: Box<Self>) {
        self.process.stop().await;
    }
}

struct RabbitmqPublisher {
    channel: Channel,
    queue: String,
}

#[async_trait]
impl Publisher for RabbitmqPublisher {
    async fn publish(&mut self, payload: Vec<u8>) -> Result<()> {
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let (nowhere, queue) = ("".into(), self.queue.as_str().into());
        let options = BasicPublishOptions::default();
        let confirmed =
            self.channel.basic_publish(nowhere, queue, options, &payload, persistent).await?.await?;
        ensure!(matches!(confirmed, Confirmation::Ack(None)), "a message was not confirmed: {confirmed:?}");
        Ok(())
    }
}

struct RabbitmqConsumer {
    _channel: Channel,
    messages: lapin::Consumer,
    /// The last that was taken: its ack counts for all before it.
    held: Option<Delivery>,
}

impl RabbitmqConsumer {
    fn hold(&mut self, delivery: Delivery) -> Result<Stamp> {
        let stamp = stamp_of(&delivery.data).context("a message came without its stamp")?;
        self.held = Some(delivery);
        Ok(stamp)
    }
}

#[async_trait]
impl Consumer for RabbitmqConsumer {
    async fn receive(&mut self, max: usize, wait: Duration) -> Result<Vec<Stamp>> {
        let messages = ready(&mut self.messages, max, wait).await?;
        messages.into_iter().map(|message| self.hold(message)).collect()
    }

    /// AMQP confirms no ack: this one is only on its way.
    async fn ack(&mut self) -> Result<()> {
        if let Some(last) = self.held.take() {
            last.ack(BasicAckOptions { multiple: true }).await?;
        }
        Ok(())
    }
}

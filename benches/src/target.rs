//! Who is measured: the bridge and its peers, each behind the same few calls.

mod bridge;
mod echo;
pub(crate) mod flushes;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;
mod wire;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use futures_util::{FutureExt, Stream, StreamExt};
use serde::{Deserialize, Serialize};

use crate::{payload::Stamp, process::Process, scenario::Class};

pub(crate) use echo::serve as serve_echo;

/// What targets are started with.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The program `bridge`.
    pub(crate) bridge: PathBuf,
    /// Where directories for data are made.
    pub(crate) data: PathBuf,
    /// Whether the bridge runs under a watch that counts its flushes.
    pub(crate) watch: Option<PathBuf>,
}

/// A running server with nothing in its queues.
#[async_trait]
pub(crate) trait Target: Send + Sync {
    /// The server.
    fn process(&self) -> &Process;

    /// Makes it empty again, and as if it had just been started.
    async fn renew(&mut self) -> Result<()>;

    /// Somebody with a connection of their own who publishes into a mailbox.
    async fn publisher(&self, mailbox: usize) -> Result<Box<dyn Publisher>>;

    /// Somebody with a connection of their own who takes from a mailbox; nobody else does.
    async fn consumer(&self, mailbox: usize) -> Result<Box<dyn Consumer>>;

    /// Somebody who reads a page of `messages` messages that are there; who keeps none answers with `bytes` bytes.
    async fn reader(&self, _messages: usize, _bytes: usize) -> Result<Box<dyn Reader>> {
        bail!("it has no such call")
    }

    /// Starts again with what it holds, and says how long that took.
    async fn restart(&mut self) -> Result<Duration> {
        bail!("it is not started again")
    }

    /// Stops it.
    async fn stop(self: Box<Self>);
}

#[async_trait]
pub(crate) trait Publisher: Send {
    /// Publishes, and returns when that is confirmed.
    async fn publish(&mut self, payload: Vec<u8>) -> Result<()>;
}

#[async_trait]
pub(crate) trait Consumer: Send {
    /// Waits up to `wait` for at most `max` messages, and holds them. They are told by their stamps.
    async fn receive(&mut self, max: usize, wait: Duration) -> Result<Vec<Stamp>>;

    /// Acknowledges all that it holds, and returns when that is as sure as this server makes it.
    async fn ack(&mut self) -> Result<()>;
}

/// What a stream brings: waits up to `wait` for the first, then takes what is there, `max` in all.
async fn ready<T, E>(
    stream: &mut (impl Stream<Item = Result<T, E>> + Unpin),
    max: usize,
    wait: Duration,
) -> Result<Vec<T>>
where
    anyhow::Error: From<E>,
{
    let Ok(first) = tokio::time::timeout(wait, stream.next()).await else { return Ok(Vec::new()) };
    let mut items = vec![first.context("the stream has ended")??];
    while items.len() < max
        && let Some(Some(next)) = stream.next().now_or_never()
    {
        items.push(next?);
    }
    Ok(items)
}

#[async_trait]
pub(crate) trait Reader: Send {
    /// Reads, and says how many bytes came.
    async fn read(&mut self) -> Result<usize>;
}

/// What is known of a target before it is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Why it cannot be measured here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<String>,
}

/// Looks whether a target is installed and can do what the class asks.
pub(crate) fn look(name: &str, class: Class, setup: &Setup) -> Result<Known> {
    let found = match name {
        "bridge" => bridge::look(setup),
        "echo" => Ok(format!("hyper, in bridge-load {}", env!("CARGO_PKG_VERSION"))),
        "nats" => nats::look(class),
        "postgres" | "postgres-notify" => postgres::look(),
        "rabbitmq" => rabbitmq::look(),
        "redis" => redis::look(),
        _ => bail!("no target is called {name}"),
    };
    let name = name.to_owned();
    Ok(match found {
        Ok(version) => Known { name, version, missing: None },
        Err(error) => Known { name, version: String::new(), missing: Some(format!("{error:#}")) },
    })
}

/// Starts a target.
pub(crate) async fn start(name: &str, class: Class, setup: &Setup) -> Result<Box<dyn Target>> {
    let folder: &Path = &setup.data;
    Ok(match name {
        "bridge" => Box::new(bridge::Bridge::start(class, setup).await?),
        "echo" => Box::new(echo::Echo::start(folder).await?),
        "nats" => Box::new(nats::Nats::start(class, folder).await?),
        "postgres" => Box::new(postgres::Postgres::start(postgres::Wake::Poll, class, folder).await?),
        "postgres-notify" => {
            Box::new(postgres::Postgres::start(postgres::Wake::Notify, class, folder).await?)
        }
        "rabbitmq" => Box::new(rabbitmq::Rabbitmq::start(class, folder).await?),
        "redis" => Box::new(redis::Redis::start(class, folder).await?),
        _ => bail!("no target is called {name}"),
    })
}

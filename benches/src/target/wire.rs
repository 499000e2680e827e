//! How this bridge is spoken to. Mailboxes of clients are used where the server has them, else the agent's side of conversations:
//! all that differs stands here.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use crate::{
    http::{Connection, succeeded},
    payload::{Stamp, stamp_of},
};

/// Which calls the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Mailboxes,
    Conversations,
}

/// The calls of one server.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    form: Form,
    /// The member that holds several settlements.
    settlements: &'static str,
    /// The conversations that stand for mailboxes, and the one whose pages are read.
    opened: Arc<Mutex<Vec<String>>>,
}

/// Where a client publishes to.
#[derive(Debug)]
pub(super) struct Route {
    path: String,
    head: String,
}

impl Wire {
    /// Finds out which calls there are.
    pub(super) async fn of(connection: &mut Connection) -> Result<Self> {
        let (status, _) = connection.post("/api/send", "{}").await?;
        let form = if status == StatusCode::NOT_FOUND { Form::Conversations } else { Form::Mailboxes };
        let (status, body) = connection.post("/api/settle", r#"{"settlements":[]}"#).await?;
        let settlements = if status.is_success() && has_results(&body) { "settlements" } else { "items" };
        Ok(Self { form, settlements, opened: Arc::default() })
    }

    /// The address of a mailbox.
    async fn address(&self, mailbox: usize, connection: &mut Connection) -> Result<String> {
        if self.form == Form::Mailboxes {
            return Ok(format!("worker-{mailbox}"));
        }
        Ok(format!("session:{}/agent", self.conversation(mailbox, connection).await?))
    }

    async fn conversation(&self, number: usize, connection: &mut Connection) -> Result<String> {
        let mut opened = self.opened.lock().await;
        while opened.len() <= number {
            opened.push(open(connection).await?);
        }
        Ok(opened[number].clone())
    }

    pub(super) async fn route(&self, mailbox: usize, connection: &mut Connection) -> Result<Route> {
        let address = self.address(mailbox, connection).await?;
        Ok(self.route_to(&address))
    }

    fn route_to(&self, address: &str) -> Route {
        match self.form {
            Form::Mailboxes => Route {
                path: "/api/send".to_owned(),
                head: format!(r#"{{"from":"load","to":"{address}","type":"job","payload":"#),
            },
            Form::Conversations => Route::into_conversation(session(address)),
        }
    }

    /// Where to publish instead when a mailbox has no room.
    pub(super) async fn elsewhere(&self, connection: &mut Connection) -> Result<Option<Route>> {
        if self.form == Form::Mailboxes {
            return Ok(None);
        }
        let id = open(connection).await?;
        Ok(Some(self.route_to(&format!("session:{id}/agent"))))
    }

    /// The body of a receive, but for how long to wait.
    pub(super) async fn receive(
        &self,
        mailbox: usize,
        max: usize,
        connection: &mut Connection,
    ) -> Result<String> {
        let address = self.address(mailbox, connection).await?;
        let from = match self.form {
            Form::Mailboxes => format!(r#""mailboxes":["{address}"]"#),
            Form::Conversations => format!(r#""mailbox":"{address}""#),
        };
        Ok(format!(r#"{{{from},"consumer":"load-{mailbox}","max":{max},"wait_ms":"#))
    }

    /// The body that acknowledges deliveries.
    pub(super) fn acks(&self, tokens: &[String]) -> String {
        let one = |token: &String| format!(r#"{{"token":"{token}","outcome":"ack"}}"#);
        match tokens {
            [token] => one(token),
            tokens => {
                let all: Vec<String> = tokens.iter().map(one).collect();
                format!(r#"{{"{}":[{}]}}"#, self.settlements, all.join(","))
            }
        }
    }

    /// The path of a page of messages, and where they are published to: pages are of conversations, whatever the form.
    pub(super) async fn page(&self, messages: usize, connection: &mut Connection) -> Result<(String, Route)> {
        let id = self.conversation(0, connection).await?;
        Ok((format!("/api/sessions/{id}/messages?limit={messages}"), Route::into_conversation(&id)))
    }
}

impl Route {
    fn into_conversation(id: &str) -> Self {
        Self { path: format!("/api/sessions/{id}/messages"), head: r#"{"type":"job","payload":"#.to_owned() }
    }

    /// The path, and the body that carries this payload.
    pub(super) fn call(&self, payload: &[u8]) -> (&str, Bytes) {
        let mut body = Vec::with_capacity(self.head.len() + payload.len() + 1);
        body.extend_from_slice(self.head.as_bytes());
        body.extend_from_slice(payload);
        body.push(b'}');
        (&self.path, body.into())
    }
}

/// The tokens and the stamps of what a receive brought.
pub(super) fn received(body: &[u8]) -> Result<(Vec<String>, Vec<Stamp>)> {
    #[derive(Deserialize)]
    struct Received<'a> {
        #[serde(borrow)]
        deliveries: Vec<Granted<'a>>,
    }
    #[derive(Deserialize)]
    struct Granted<'a> {
        token: String,
        #[serde(borrow)]
        message: &'a RawValue,
    }
    let received: Received<'_> = serde_json::from_slice(body)?;
    let stamps = received.deliveries.iter().map(|granted| stamp_of(granted.message.get().as_bytes()));
    let stamps = stamps.collect::<Option<_>>().context("a message came without its stamp")?;
    Ok((received.deliveries.into_iter().map(|granted| granted.token).collect(), stamps))
}

/// Fails if one of several settlements was refused.
pub(super) fn settled(body: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Results<'a> {
        #[serde(borrow, default)]
        results: Vec<Settled<'a>>,
    }
    #[derive(Deserialize)]
    struct Settled<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let results: Results<'_> = serde_json::from_slice(body)?;
    match results.results.iter().find_map(|settled| settled.error) {
        Some(error) => anyhow::bail!("an ack was refused: {error}"),
        None => Ok(()),
    }
}

fn has_results(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| body.get("results").is_some())
}

fn session(address: &str) -> &str {
    address.trim_start_matches("session:").trim_end_matches("/agent")
}

async fn open(connection: &mut Connection) -> Result<String> {
    #[derive(Deserialize)]
    struct Opened {
        id: String,
    }
    let body = succeeded(connection.post("/api/sessions", "{}").await?)?;
    Ok(serde_json::from_slice::<Opened>(&body)?.id)
}

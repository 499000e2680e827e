//! Mailboxes: how they stand, and whether they hand out.

use bridge_core::{Address, MailboxView};
use bridge_protocol::Mailbox;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{arguments, deliveries::address};
use crate::{
    handler::Call,
    refusal::Refusal,
    shown::{as_count, fitting, visible},
};

/// Mailboxes in one result.
const PAGE: usize = 50;

/// What `list_mailboxes` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ListArguments {
    /// This one alone: a client, `group:NAME` or `session:ID/agent`.
    mailbox: Option<String>,
    /// `next_cursor` of the result to go on from.
    cursor: Option<String>,
}

/// A page of mailboxes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Listed {
    /// In the order of their names.
    mailboxes: Vec<Shown>,
    /// Pass it as `cursor` for those behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// What `pause_mailbox` and `resume_mailbox` take.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NameArguments {
    /// The mailbox: a client, `group:NAME` or `session:ID/agent`.
    mailbox: String,
}

/// A mailbox and how it stands.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shown {
    /// Its name.
    name: String,
    /// `service`, `agent`, `browser` or `webhook`.
    class: String,
    /// Deliveries that wait.
    pending: i64,
    /// Of these, for later or in back-off.
    scheduled: i64,
    /// Deliveries in consumers' hands.
    leased: i64,
    /// Receives that wait.
    waiting: i64,
    /// When the oldest waiting delivery was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_at: Option<String>,
    /// `online`, `working` or `away`: whether somebody takes from it.
    presence: String,
    /// Who was there last.
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    /// Since when the presence is so.
    since: String,
    /// Who has paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_by: Option<String>,
    /// Deliveries that may wait.
    max_pending: i64,
    /// Charged returns until a delivery is given up.
    max_failures: i64,
    /// How long a lease lasts unless the receiver names another time.
    lease_ms: i64,
}

impl From<&MailboxView> for Shown {
    fn from(view: &MailboxView) -> Self {
        let mailbox = Mailbox::from(view);
        Self {
            name: visible(&mailbox.name),
            class: mailbox.class,
            pending: as_count(mailbox.pending),
            scheduled: as_count(mailbox.scheduled),
            leased: as_count(mailbox.leased),
            waiting: as_count(mailbox.waiting),
            oldest_at: mailbox.oldest_at.map(|at| at.to_string()),
            presence: mailbox.presence.state,
            consumer: mailbox.presence.consumer.as_deref().map(visible),
            since: mailbox.presence.since.to_string(),
            paused_by: mailbox.paused.map(|paused| visible(&paused.by)),
            max_pending: as_count(mailbox.max_pending),
            max_failures: as_count(mailbox.max_failures),
            lease_ms: as_count(mailbox.lease_ms),
        }
    }
}

/// Shows how mailboxes stand.
pub(super) async fn list(given: JsonObject, call: &Call<'_>) -> Result<Listed, Refusal> {
    let ListArguments { mailbox, cursor } = arguments(given)?;
    if let Some(mailbox) = mailbox {
        let view = call.bridge.mailbox(address(&mailbox)?).await?;
        return Ok(Listed { mailboxes: vec![Shown::from(&view)], next_cursor: None });
    }
    let after: Option<Address> = cursor.as_deref().map(address).transpose()?;
    let page = call.bridge.mailboxes(after, PAGE).await?;
    let mut mailboxes: Vec<_> = page.mailboxes.iter().map(Shown::from).collect();
    mailboxes.truncate(fitting(&mailboxes));
    let more = page.more || mailboxes.len() < page.mailboxes.len();
    let last = mailboxes.len().checked_sub(1).filter(|_| more).and_then(|last| page.mailboxes.get(last));
    Ok(Listed { next_cursor: last.map(|last| last.mailbox.address.to_string()), mailboxes })
}

/// Lets a mailbox hand out nothing for now.
pub(super) async fn pause(given: JsonObject, call: &Call<'_>) -> Result<Shown, Refusal> {
    let NameArguments { mailbox } = arguments(given)?;
    let by = call.caller.consumer.clone().unwrap_or_else(|| call.caller.principal.clone());
    Ok(Shown::from(&call.bridge.pause_mailbox(address(&mailbox)?, by).await?))
}

/// Lets a mailbox hand out again.
pub(super) async fn resume(given: JsonObject, call: &Call<'_>) -> Result<Shown, Refusal> {
    let NameArguments { mailbox } = arguments(given)?;
    Ok(Shown::from(&call.bridge.resume_mailbox(address(&mailbox)?).await?))
}

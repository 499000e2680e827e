//! The log as readers see it.

use bridge_core::{self as core, Cursor, EventKind, LogId};
use serde::{Deserialize, Serialize};

use crate::{
    message::{Message, Routed},
    session::Presence,
    time::Time,
};

/// One event. The members below `message_id` and `delivery_id` depend on `type`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// `message.accepted`, `delivery.presented` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its place in the log.
    pub seq: u64,
    /// The same place, to resume after it.
    pub cursor: String,
    /// When it happened.
    pub at: Time,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The message it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The delivery it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
    /// `message.accepted`: the message; `null` if its content was removed, or if it is shown later, by `message.visible`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Option<Box<Message>>>,
    /// With a message: its deliveries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Vec<Routed>>,
    /// `delivery.presented`: the ordinal of the hand-over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `delivery.presented`: who got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// `delivery.presented`, `.progressed`: when the lease ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Time>,
    /// `delivery.progressed`: what is being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `delivery.answered`: the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_id: Option<String>,
    /// `delivery.returned`, `.dead`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `delivery.returned`: charged returns so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// `delivery.returned`: when it can be handed out again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible_at: Option<Time>,
    /// `delivery.returned`, `.dead`: what the consumer said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `delivery.redriven`: the new delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redriven_as: Option<String>,
    /// `session.opened`, `.renamed`: the title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Option<String>>,
    /// `session.closed`: deliveries left unsettled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<u32>,
    /// `presence.changed`: what is known now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<Presence>,
    /// `message.ttl_changed`: when the message expires now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// `mailbox.paused`, `.resumed`, `.purged`, and `presence.changed` outside of a conversation: the mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// `mailbox.paused`: who has paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Event {
    /// The wire's form of an event; `message` is the one that it shows, as far as it is still there.
    pub fn new(log: LogId, event: &core::Event, message: Option<&core::Message>) -> Self {
        let mut wire = Self {
            kind: event.kind.name().to_owned(),
            seq: event.seq.0,
            cursor: Cursor { log, seq: event.seq }.to_string(),
            at: event.at.into(),
            session: event.session.map(|id| id.to_string()),
            message_id: event.message.map(|id| id.to_string()),
            delivery_id: event.delivery.map(|id| id.to_string()),
            message: None,
            deliveries: None,
            attempt: None,
            consumer: None,
            lease_until: None,
            text: None,
            reply_id: None,
            reason: None,
            failures: None,
            visible_at: None,
            error: None,
            redriven_as: None,
            title: None,
            unsettled: None,
            presence: None,
            expires_at: None,
            mailbox: None,
            by: None,
        };
        wire.tell(event, message);
        wire
    }

    fn show(&mut self, event: &core::Event, message: Option<&core::Message>) {
        self.message = Some(message.map(|message| Box::new(message.into())));
        let routed = |(id, message): (core::DeliveryId, &core::Message)| Routed {
            id: id.to_string(),
            mailbox: message.to.to_string(),
        };
        self.deliveries = Some(event.delivery.zip(message).map(routed).into_iter().collect());
    }

    fn tell(&mut self, event: &core::Event, message: Option<&core::Message>) {
        match &event.kind {
            EventKind::Accepted { .. } => self.show(event, message),
            EventKind::Visible if message.is_some() => self.show(event, message),
            EventKind::Presented { attempt, consumer, until, .. } => {
                self.attempt = Some(*attempt);
                self.consumer = Some(consumer.into());
                self.lease_until = Some((*until).into());
            }
            EventKind::Progressed { text, until } => {
                self.text = text.as_ref().map(ToString::to_string);
                self.lease_until = Some((*until).into());
            }
            EventKind::Answered { reply } => self.reply_id = Some(reply.to_string()),
            EventKind::Returned { reason, failures, visible_at, error } => {
                self.reason = Some(reason.as_str().to_owned());
                self.failures = Some(*failures);
                self.visible_at = Some((*visible_at).into());
                self.error = error.as_ref().map(ToString::to_string);
            }
            EventKind::Dead { reason, error } => {
                self.reason = Some(reason.as_str().to_owned());
                self.error = error.as_ref().map(ToString::to_string);
            }
            EventKind::Redriven { successor } => self.redriven_as = Some(successor.to_string()),
            EventKind::SessionOpened { title } | EventKind::SessionRenamed { title } => {
                self.title = Some(title.as_ref().map(ToString::to_string));
            }
            EventKind::SessionClosed { unsettled } => self.unsettled = Some(*unsettled),
            EventKind::PresenceChanged { mailbox, presence } => {
                self.presence = Some(presence.into());
                self.mailbox = mailbox.session().is_none().then(|| mailbox.to_string());
            }
            EventKind::TtlChanged { expires_at } => self.expires_at = Some((*expires_at).into()),
            EventKind::MailboxPaused { mailbox, by } => {
                self.mailbox = Some(mailbox.to_string());
                self.by = Some(by.to_string());
            }
            EventKind::MailboxPurged { mailbox, .. } | EventKind::MailboxResumed { mailbox } => {
                self.mailbox = Some(mailbox.to_string());
            }
            _ => {}
        }
    }
}

/// A page of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventPage {
    /// The events, in order; none if `recovered` is false.
    pub data: Vec<Event>,
    /// What to pass as `after` to go on.
    pub next: String,
    /// The end of the log.
    pub head: String,
    /// Everything up to here has been trimmed.
    pub floor: String,
    /// False: the cursor does not fit this log; load a snapshot and go on from its cursor.
    pub recovered: bool,
    /// Why not: `other_log`, `trimmed` or `ahead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

//! Accepting a message: remember its key, find its mailbox, make its delivery.

use alloc::{string::String, sync::Arc, vec, vec::Vec};
use core::{fmt::Write, time::Duration};

use super::{Shard, Step, Subject, timer::Timer};
use crate::{
    address::Address,
    delivery::{Delivery, Receipts, State},
    event::EventKind,
    id::{DeliveryId, Name, SessionId},
    mailbox::{Order, Presence, PresenceState},
    message::Message,
    publish::{IdempotencyRecord, IdempotencyScope, Publish, PublishError, Published, Routed},
    store::{Row, RowKey},
    time::Timestamp,
};

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Whoever sent it.
    Sender,
    /// The bridge, to tell a sender that a message was given up.
    Bridge,
}

/// Whether a message gets to a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// To the one that it is addressed to.
    Mailbox,
    /// To none: it can be read by its id.
    Nowhere,
}

/// When it is worth trying again to send to where there is no room.
const RETRY: Duration = Duration::from_secs(10);

impl Publish {
    /// The scope of its key, if it has one.
    pub(super) fn idempotency_scope(&self) -> Option<IdempotencyScope> {
        self.idempotency.as_ref().map(|idempotency| IdempotencyScope {
            from: self.from.clone(),
            to: self.to.clone(),
            key: idempotency.key.clone(),
        })
    }
}

impl Shard {
    pub(super) fn publish(
        &mut self,
        publish: Publish,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Published, PublishError> {
        // A known key is answered before anything else is looked at, so that a repetition gets the first result
        // whatever has become of its recipient.
        let scope = publish.idempotency_scope();
        if let Some(record) = scope.as_ref().and_then(|scope| self.remembered(scope, now)) {
            let same =
                publish.idempotency.as_ref().is_some_and(|sent| sent.fingerprint == record.fingerprint);
            return if same || fault!(AnyFingerprint) {
                Ok(self.duplicate(record))
            } else {
                Err(PublishError::IdempotencyConflict { message: record.message })
            };
        }
        self.room(&publish.to)?;
        let idempotency = publish.idempotency.clone();
        self.use_mailbox(&publish.to, now, step)?;
        let published = self.accept(Author::Sender, publish, Route::Mailbox, now, step);
        if let (Some(scope), Some(idempotency)) = (scope, idempotency) {
            let record = IdempotencyRecord {
                scope,
                fingerprint: idempotency.fingerprint,
                message: published.message,
                seq: published.seq,
                expires_at: now + self.policy.idempotency,
            };
            self.cold.keep(Row::Idempotency(record.clone()));
            if !fault!(KeyForgotten) {
                step.put(Row::Idempotency(record));
            }
        }
        Ok(published)
    }

    fn remembered(&self, scope: &IdempotencyScope, now: Timestamp) -> Option<&IdempotencyRecord> {
        match self.cold.get(&RowKey::Idempotency(scope.clone())) {
            Some(Row::Idempotency(record)) if record.expires_at > now => Some(record),
            _ => None,
        }
    }

    fn duplicate(&self, record: &IdempotencyRecord) -> Published {
        let to = &record.scope.to;
        Published {
            message: record.message,
            seq: record.seq,
            duplicate: true,
            deliveries: vec![Routed { delivery: DeliveryId::of(record.message, 0), mailbox: to.clone() }],
            delivery_count: 1,
            depth: self.depth(to),
            presence: self.presence(to),
        }
    }

    /// Whether a mailbox takes another message. What is read by a cursor always does.
    pub(super) fn room(&self, mailbox: &Address) -> Result<(), PublishError> {
        match mailbox.session() {
            Some(session) => self.open(session)?,
            None => self.check_use(mailbox)?,
        }
        if !mailbox.is_work() {
            return Ok(());
        }
        let limit = self.policy.max_pending;
        if self.pending >= limit {
            return Err(PublishError::TooManyPending { limit, retry_after: RETRY });
        }
        match self.inboxes.get(mailbox) {
            Some(inbox) if !inbox.has_room() => Err(PublishError::MailboxFull {
                mailbox: mailbox.clone(),
                depth: inbox.pending,
                bytes: (inbox.pending < inbox.limits.max_pending).then_some(inbox.pending_bytes),
                retry_after: RETRY,
            }),
            _ => Ok(()),
        }
    }

    fn open(&self, session: SessionId) -> Result<(), PublishError> {
        match self.find_session(session) {
            None => Err(PublishError::UnknownSession(session)),
            Some(found) if found.closed_at.is_some() => Err(PublishError::SessionClosed(session)),
            Some(_) => Ok(()),
        }
    }

    /// Accepts a message that has passed every check.
    pub(super) fn accept(
        &mut self,
        author: Author,
        publish: Publish,
        route: Route,
        now: Timestamp,
        step: &mut Step,
    ) -> Published {
        let session = publish.to.session();
        let delivery_id = DeliveryId::of(publish.id, 0);
        let deliveries = u32::from(route == Route::Mailbox);
        let delivered = (route == Route::Mailbox).then_some(delivery_id);
        let subject = Subject { session, message: Some(publish.id), delivery: delivered };
        let seq = self.tell(subject, EventKind::Accepted { deliveries }, now, step);
        let deliver_at = (!publish.delay.is_zero() && !fault!(TooEarly)).then(|| now + publish.delay);
        let visible_at = deliver_at.unwrap_or(now);
        let order = self.inboxes.get(&publish.to).map(|inbox| inbox.row.settings.order);
        let is_loose = order == Some(Order::Loose);
        let default = || (!is_loose).then(|| default_key(&publish.from, &publish.to));
        let key = publish.key.or_else(default);
        let bounce = author == Author::Bridge;
        let delivery = Delivery {
            id: delivery_id,
            message: publish.id,
            mailbox: publish.to.clone(),
            from: publish.from.clone(),
            kind: publish.kind.clone(),
            key: key.clone(),
            priority: publish.priority,
            seq,
            place: deliver_at.is_none().then_some(seq),
            size: u32::try_from(publish.payload.len()).unwrap_or(u32::MAX),
            bounce,
            expires_at: publish.ttl.map(|ttl| visible_at + ttl),
            state: State::Pending { visible_at },
            attempt: 0,
            failures: 0,
            grant: None,
            attempts: Vec::new(),
            receipts: Receipts { accepted: now, ..Receipts::default() },
            cancel_requested: false,
            reply: None,
            progress: None,
            last_error: None,
            redrive_of: None,
            redriven_as: None,
            retire_at: None,
            message_gone: false,
        };
        let message = Message {
            id: publish.id,
            seq,
            from: publish.from,
            verified: publish.verified,
            to: publish.to.clone(),
            kind: publish.kind,
            priority: publish.priority,
            session,
            key,
            reply_to: publish.reply_to,
            correlation_id: publish.correlation_id,
            created_at: now,
            deliver_at,
            expires_at: delivery.expires_at,
            headers: publish.headers,
            deliveries: 1,
            payload: publish.payload,
        };
        let message = Arc::new(message);
        step.put(Row::Message(Arc::clone(&message)));
        match route {
            Route::Mailbox => self.insert(delivery, now, step),
            // A repetition in the same step asks where it went.
            Route::Nowhere => {
                self.cold.insert(RowKey::Delivery(delivery_id), None);
                self.cold.keep(Row::Message(message));
            }
        }
        if let Some(session) = session {
            if publish.to.is_work()
                && !bounce
                && let Some(session) = self.sessions.get_mut(&session)
            {
                session.questions += 1;
            }
            self.touch(session, now, step);
        }
        Published {
            message: publish.id,
            seq,
            duplicate: false,
            deliveries: delivered
                .map(|delivery| Routed { delivery, mailbox: publish.to.clone() })
                .into_iter()
                .collect(),
            delivery_count: deliveries,
            depth: self.depth(&publish.to),
            presence: self.presence(&publish.to),
        }
    }

    /// Something happened in a conversation: it lives on, and whoever polls it polls quickly again.
    pub(super) fn touch(&mut self, id: SessionId, now: Timestamp, step: &mut Step) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.timers.clear(session.last_activity + self.policy.session_ttl, Timer::SessionEnd(id));
        session.last_activity = now;
        self.timers.set(now + self.policy.session_ttl, Timer::SessionEnd(id));
        step.put(Row::Session(session.clone()));
        for address in super::session::sides(id) {
            if let Some(inbox) = self.inboxes.get_mut(&address) {
                inbox.quiet.clear();
            }
        }
    }

    fn depth(&self, mailbox: &Address) -> u32 {
        self.inboxes.get(mailbox).map_or(0, |inbox| inbox.pending)
    }

    /// Who takes from a mailbox, as of now.
    pub(super) fn presence(&self, mailbox: &Address) -> Option<Presence> {
        let inbox = self.inboxes.get(mailbox).filter(|_| mailbox.is_work())?;
        let mut presence = inbox.row.presence.clone();
        if inbox.leased > 0 {
            presence.state = PresenceState::Working;
        }
        Some(presence)
    }
}

/// Messages of one conversation are handed out in order; elsewhere those of one sender to one recipient.
fn default_key(from: &Name, to: &Address) -> Name {
    let mut key = String::with_capacity(Name::MAX_LEN);
    // A string takes all that it is given.
    let _ = match to.session() {
        Some(session) => write!(key, "{session}"),
        None => write!(key, "{from}->{to}"),
    };
    Name::new(&key).unwrap_or_else(|_| from.clone())
}

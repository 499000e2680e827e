//! What readers ask for: rows as the store holds them, without disturbing the shard.

use std::sync::Arc;

use bridge_core::{
    Cursor, Delivery, DeliveryError, DeliveryId, Index, LogPage, Message, MessageId, Name, Row, RowKey,
    Scope, Seq, SessionError, SessionId, SessionView, StoreError,
};

use crate::{
    bridge::{Bridge, SHARD},
    fault::{CallError, Fault},
};

/// Bytes of content that end a page, behind the message that reaches them.
pub(crate) const PAGE_BYTES: usize = 1 << 20;

/// A message and its deliveries, the first one and what redrives made of it.
type Told = (Arc<Message>, Vec<Arc<Delivery>>);

/// Deliveries of one message that are told beside the first: the newest of those that redrives made.
const REDRIVES: usize = 32;

/// A page of a conversation.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The conversation.
    pub session: SessionView,
    /// A page of messages, oldest first, each with its deliveries.
    pub messages: Vec<(Arc<Message>, Vec<Arc<Delivery>>)>,
    /// Whether there are older ones.
    pub older: bool,
    /// Where to read on from, to get everything that this page does not show.
    pub cursor: Cursor,
}

impl Snapshot {
    /// Bytes of the messages' content.
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(|(message, _)| message.payload.len()).sum()
    }
}

/// Adds the next delivery of a message to the first one and the newest.
fn add<T>(deliveries: &mut Vec<T>, next: T) {
    if deliveries.len() > REDRIVES {
        deliveries.remove(1);
    }
    deliveries.push(next);
}

impl Bridge {
    /// Conversations, newest first: at most `limit` that began before `before`.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn sessions(&self, before: Option<SessionId>, limit: usize) -> Result<Vec<SessionView>, Fault> {
        let before = match before {
            None => None,
            Some(id) => match self.stored(RowKey::Session(id)).await? {
                Some(Row::Session(session)) => Some((session.created_at, id)),
                _ => return Ok(Vec::new()),
            },
        };
        let rows = self.scan(Index::Sessions { before }, limit).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            if let Row::Session(session) = row {
                match self.session(session.id).await {
                    Ok(view) => views.push(view),
                    Err(CallError::Refused(_)) => {}
                    Err(CallError::Fault(fault)) => return Err(fault),
                }
            }
        }
        Ok(views)
    }

    /// A delivery as it stands in the store, with the attempts that it remembers.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, Fault> {
        match self.rows(&[RowKey::Delivery(id)]).await?.pop().flatten() {
            Some(Row::Delivery(delivery)) => Ok(Some(Arc::unwrap_or_clone(delivery))),
            _ => Ok(None),
        }
    }

    /// A message, and its deliveries as they stand now: the first one and what redrives made of it, the newest 32. An answer that
    /// could be delivered to nobody has none.
    ///
    /// # Errors
    /// * [`DeliveryError::Unknown`] — there is no such message; if it was removed, its delivery is not remembered either.
    /// * [`DeliveryError::MessageGone`] — it was removed, and its delivery is remembered.
    pub async fn message(
        &self,
        id: MessageId,
    ) -> Result<(Arc<Message>, Vec<Delivery>), CallError<DeliveryError>> {
        let first = DeliveryId::of(id, 0);
        let Some(message) = self.messages_by_id(&[id]).await?.pop().flatten() else {
            self.inspect(first).await?;
            return Err(CallError::Refused(DeliveryError::MessageGone(first)));
        };
        let mut deliveries = Vec::new();
        let mut next = Some(first);
        while let Some(id) = next {
            // One that was redriven has ended, and stands as it is stored.
            let ended = self.delivery(id).await?.filter(|delivery| delivery.redriven_as.is_some());
            let delivery = match ended {
                Some(delivery) => delivery,
                None => match self.inspect(id).await {
                    Ok(delivery) => delivery,
                    Err(CallError::Refused(_)) => break,
                    Err(fault) => return Err(fault),
                },
            };
            next = delivery.redriven_as;
            add(&mut deliveries, delivery);
        }
        Ok((message, deliveries))
    }

    /// A page of a conversation: at most `limit` messages before `before`, the newest if absent. Large ones make it shorter:
    /// it ends behind the message with which it holds 1 MiB. Of each message that was redriven very often there is the first
    /// delivery, and the newest 32.
    ///
    /// # Errors
    /// [`SessionError::Unknown`], or a [`Fault`].
    pub async fn snapshot(
        &self,
        session: SessionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Snapshot, CallError<SessionError>> {
        // Taken first: what happens while the rows are read is told again by the events behind it.
        let cursor = self.head();
        let view = self.session(session).await?;
        let (messages, older) = self.newest_page(session, before, limit).await?;
        Ok(Snapshot { session: view, messages, older, cursor })
    }

    /// At most `limit` messages before a place and as many bytes as fit a page, oldest first; and whether there are older
    /// ones.
    async fn newest_page(
        &self,
        session: SessionId,
        mut before: Option<Seq>,
        limit: usize,
    ) -> Result<(Vec<Told>, bool), Fault> {
        let mut page: Vec<Told> = Vec::with_capacity(limit);
        let mut bytes = 0;
        let older = 'page: loop {
            // One more than is wanted tells whether there is one.
            let wanted = if bytes < PAGE_BYTES { limit + 1 - page.len() } else { 1 };
            let some = self.scan(Index::Messages { session, before }, wanted).await?;
            if some.is_empty() {
                break false;
            }
            for row in some {
                match row {
                    Row::Message(_) if page.len() == limit || bytes >= PAGE_BYTES => break 'page true,
                    Row::Message(message) => {
                        bytes += message.payload.len();
                        before = Some(message.seq);
                        page.push((message, Vec::new()));
                    }
                    Row::Delivery(delivery) => {
                        if let Some((_, deliveries)) = page.last_mut() {
                            deliveries.push(delivery);
                        }
                    }
                    _ => {}
                }
            }
        };
        page.reverse();
        self.follow_redrives(&mut page).await?;
        Ok((page, older))
    }

    /// Adds the deliveries that redrives made of those that are there.
    async fn follow_redrives(&self, page: &mut [Told]) -> Result<(), Fault> {
        let successor = |(at, (_, deliveries)): (usize, &Told)| Some((at, deliveries.last()?.redriven_as?));
        let mut wanted: Vec<_> = page.iter().enumerate().filter_map(successor).collect();
        while !wanted.is_empty() {
            let keys: Vec<_> = wanted.iter().map(|(_, id)| RowKey::Delivery(*id)).collect();
            let rows = self.rows(&keys).await?;
            let mut next = Vec::new();
            for ((at, _), row) in wanted.into_iter().zip(rows) {
                if let Some(Row::Delivery(delivery)) = row {
                    next.extend(delivery.redriven_as.map(|id| (at, id)));
                    add(&mut page[at].1, delivery);
                }
            }
            wanted = next;
        }
        Ok(())
    }

    /// The newest messages of a conversation, newest first; fewer than `limit` if they are large.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn newest_messages(&self, session: SessionId, limit: usize) -> Result<Vec<Message>, Fault> {
        Ok(messages(self.scan(Index::Messages { session, before: None }, limit).await?))
    }

    /// Messages by id, each in its place; none where the content was removed.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Option<Arc<Message>>>, Fault> {
        let removals = self.shared.tail.removals();
        let mut messages: Vec<_> = ids.iter().map(|id| self.shared.tail.recall(*id)).collect();
        let missing: Vec<usize> = (0..ids.len()).filter(|at| messages[*at].is_none()).collect();
        if missing.is_empty() {
            return Ok(messages);
        }
        let keys: Vec<_> = missing.iter().map(|at| RowKey::Message(ids[*at])).collect();
        for (at, row) in missing.into_iter().zip(self.rows(&keys).await?) {
            if let Some(Row::Message(message)) = row {
                self.shared.tail.remember_read(Arc::clone(&message), removals);
                messages[at] = Some(message);
            }
        }
        Ok(messages)
    }

    /// The same, and none where the content is damaged: its neighbours must not suffer from that.
    pub(crate) async fn contents(&self, ids: &[MessageId]) -> Result<Vec<Option<Arc<Message>>>, Fault> {
        let all = self.messages_by_id(ids).await;
        if !matches!(all, Err(Fault::Damaged)) {
            return all;
        }
        let mut contents = Vec::with_capacity(ids.len());
        for id in ids {
            contents.push(match self.messages_by_id(&[*id]).await {
                Ok(mut message) => message.pop().flatten(),
                Err(Fault::Damaged) => {
                    tracing::error!(message = %id, "the content of a message is damaged");
                    None
                }
                Err(fault) => return Err(fault),
            });
        }
        Ok(contents)
    }

    /// A reader's own place in a conversation.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn reader_place(&self, session: SessionId, reader: &Name) -> Result<Seq, Fault> {
        match self.rows(&[RowKey::Reader(session, reader.clone())]).await?.pop().flatten() {
            Some(Row::Reader(reader)) => Ok(reader.place),
            _ => Ok(Seq::ZERO),
        }
    }

    pub(crate) async fn log_page(&self, scope: Scope, after: Seq, limit: usize) -> Result<LogPage, Fault> {
        self.shared.store.read_log(SHARD, scope, after, limit).await.map_err(|error| fault(&error))
    }

    /// One row, as the store has it.
    pub(crate) async fn stored(&self, key: RowKey) -> Result<Option<Row>, Fault> {
        Ok(self.rows(&[key]).await?.pop().flatten())
    }

    async fn rows(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, Fault> {
        self.shared.store.get(SHARD, keys).await.map_err(|error| fault(&error))
    }

    pub(crate) async fn scan(&self, index: Index, limit: usize) -> Result<Vec<Row>, Fault> {
        self.shared.store.scan(SHARD, index, limit).await.map_err(|error| fault(&error))
    }
}

fn fault(error: &StoreError) -> Fault {
    tracing::error!(%error, "the store could not be read");
    Fault::of(error.kind)
}

fn messages(rows: Vec<Row>) -> Vec<Message> {
    rows.into_iter().filter_map(message).collect()
}

/// The message that a row is, if it is one.
pub(crate) fn message(row: Row) -> Option<Message> {
    match row {
        Row::Message(message) => Some(Arc::unwrap_or_clone(message)),
        _ => None,
    }
}

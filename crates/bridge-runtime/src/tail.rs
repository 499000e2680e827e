//! The end of the log: what was just committed, for those who follow it, and the messages it speaks of.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bridge_core::{Change, Event, Message, MessageId, Row, RowKey, Seq};
use tokio::sync::{broadcast, watch};

/// Batches a slow follower may lag behind before it reads from the store again.
const BATCHES: usize = 256;

/// Bytes of payload kept for those who will ask for them soon.
const CACHE_BYTES: usize = 16 << 20;

/// What followers of the log share.
#[derive(Debug)]
pub(crate) struct Tail {
    events: broadcast::Sender<Arc<[Event]>>,
    head: watch::Sender<Seq>,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    messages: HashMap<MessageId, Arc<Message>>,
    order: VecDeque<MessageId>,
    bytes: usize,
    /// How often messages were removed: what was read before may be of one of them.
    removals: u64,
}

impl Tail {
    pub(crate) fn new(head: Seq) -> Self {
        Self {
            events: broadcast::Sender::new(BATCHES),
            head: watch::Sender::new(head),
            recent: Mutex::default(),
        }
    }

    /// Tells of a batch that has become durable.
    pub(crate) fn announce(&self, changes: Vec<Change>) {
        let mut events = Vec::new();
        for change in changes {
            match change {
                Change::Append(event) => events.push(event),
                Change::Put(Row::Message(message)) => self.recent().remember(message),
                Change::Delete(RowKey::Message(id)) => self.forget(id),
                _ => {}
            }
        }
        if let Some(last) = events.last() {
            self.head.send_replace(last.seq);
            // Nobody follows: nobody misses it.
            let _ = self.events.send(events.into());
        }
    }

    /// Begins another life of the log: it may have grown unseen up to `head`, and messages may have been removed unseen.
    pub(crate) fn resync(&self, head: Seq) {
        let mut recent = self.recent();
        *recent = Recent { removals: recent.removals + 1, ..Recent::default() };
        drop(recent);
        self.head.send_replace(head);
        // A batch of nothing means: look again.
        let _ = self.events.send([].into());
    }

    /// The last event that is durable.
    pub(crate) fn head(&self) -> Seq {
        *self.head.borrow()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<[Event]>> {
        self.events.subscribe()
    }

    /// How often messages have been removed so far; taken before a read whose messages are to be remembered.
    pub(crate) fn removals(&self) -> u64 {
        self.recent().removals
    }

    /// Remembers a message that was read, unless some were removed since: it may be one of them.
    pub(crate) fn remember_read(&self, message: Arc<Message>, removals: u64) {
        let mut recent = self.recent();
        if recent.removals == removals {
            recent.remember(message);
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: MessageId) {
        let mut recent = self.recent();
        recent.removals += 1;
        if let Some(message) = recent.messages.remove(&id) {
            recent.bytes -= size_of(&message);
        }
        let Recent { messages, order, .. } = &mut *recent;
        if order.len() > 2 * messages.len() + 64 {
            order.retain(|id| messages.contains_key(id));
        }
    }

    pub(crate) fn recall(&self, id: MessageId) -> Option<Arc<Message>> {
        self.recent().messages.get(&id).cloned()
    }
}

impl Recent {
    fn remember(&mut self, message: Arc<Message>) {
        let id = message.id;
        let size = size_of(&message);
        if self.messages.insert(id, message).is_none() {
            self.bytes += size;
            self.order.push_back(id);
        }
        while self.bytes > CACHE_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(message) = self.messages.remove(&oldest) {
                self.bytes -= size_of(&message);
            }
        }
    }
}

/// Bytes that a message takes, roughly.
fn size_of(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
    message.payload.len() + headers + 512
}

#[cfg(test)]
mod tests {
    use bridge_testkit::samples;

    use super::*;

    #[test]
    fn a_message_that_was_removed_while_it_was_read_is_not_remembered() {
        let tail = Tail::new(Seq::ZERO);
        let message = Arc::new(samples::message(1));
        let removals = tail.removals();
        tail.announce(vec![Change::Delete(RowKey::Message(message.id))]);
        tail.remember_read(Arc::clone(&message), removals);
        assert_eq!(tail.recall(message.id), None);

        let removals = tail.removals();
        tail.resync(Seq::ZERO);
        tail.remember_read(Arc::clone(&message), removals);
        assert_eq!(tail.recall(message.id), None);

        tail.remember_read(Arc::clone(&message), tail.removals());
        assert_eq!(tail.recall(message.id), Some(message));
    }
}

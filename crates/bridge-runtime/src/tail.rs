//! The end of the log: what was just committed, for those who follow it, and the messages it speaks of.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bridge_core::{Change, Event, Message, MessageId, Row, Seq};
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
                Change::Put(Row::Message(message)) => self.remember(Arc::new(*message)),
                _ => {}
            }
        }
        if let Some(last) = events.last() {
            self.head.send_replace(last.seq);
            // Nobody follows: nobody misses it.
            let _ = self.events.send(events.into());
        }
    }

    /// Begins another life of the log: it may have grown unseen up to `head`.
    pub(crate) fn resync(&self, head: Seq) {
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

    pub(crate) fn remember(&self, message: Arc<Message>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let id = message.id;
        let size = size_of(&message);
        if recent.messages.insert(id, message).is_none() {
            recent.bytes += size;
            recent.order.push_back(id);
        }
        while recent.bytes > CACHE_BYTES {
            let Some(oldest) = recent.order.pop_front() else { break };
            if let Some(message) = recent.messages.remove(&oldest) {
                recent.bytes -= size_of(&message);
            }
        }
    }

    pub(crate) fn recall(&self, id: MessageId) -> Option<Arc<Message>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).messages.get(&id).cloned()
    }
}

/// Bytes that a message takes, roughly.
fn size_of(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
    message.payload.len() + headers + 512
}

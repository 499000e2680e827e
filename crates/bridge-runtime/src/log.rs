//! Reading the log: pages, waiting for more, following it.

use std::{sync::Arc, time::Duration};

use bridge_core::{Cursor, Event, EventKind, Gap, Message, Scope, Seq};
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};

use crate::{
    bridge::Bridge,
    fault::{Fault, Health},
    observe::PAGE_BYTES,
};

/// Events whose messages are fetched at once.
const CHUNK: usize = 8;

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the beginning, as far as it is kept.
    Floor,
    /// After what has happened so far.
    Head,
    /// After a place from an earlier answer.
    After(Cursor),
}

/// Some events, in order.
#[derive(Debug, Clone)]
pub struct Events {
    /// Each event, with the message if it tells of one that was accepted.
    pub events: Vec<(Event, Option<Arc<Message>>)>,
    /// Where to read on from.
    pub next: Cursor,
    /// The end of the log.
    pub head: Cursor,
    /// Everything up to here has been trimmed.
    pub floor: Cursor,
    /// Why nothing can be read from there; the reader loads a snapshot and goes on from its cursor.
    pub gap: Option<Gap>,
}

impl Events {
    /// Bytes of the messages' content, and of what was said with the events.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(size_of).sum()
    }

    /// Adds the events behind these.
    pub fn append(&mut self, rest: Self) {
        let Self { events, next, head, floor, gap } = rest;
        self.events.extend(events);
        (self.next, self.head, self.floor, self.gap) = (next, head, floor, gap);
    }
}

fn size_of((event, message): &(Event, Option<Arc<Message>>)) -> usize {
    let words = event.kind.words().map_or(0, str::len);
    words + message.as_ref().map_or(0, |message| message.payload.len())
}

/// Which events a reader wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter(Vec<String>);

impl EventFilter {
    /// Takes events of these names; a `*` at the end stands for anything. Without names it takes all.
    ///
    /// # Example
    /// ```
    /// use bridge_runtime::{EventFilter, core::EventKind};
    ///
    /// let filter = EventFilter::new(["delivery.*", "message.deleted"]);
    /// assert!(filter.takes(&EventKind::Settled) && filter.takes(&EventKind::MessageDeleted));
    /// assert!(!filter.takes(&EventKind::Visible));
    /// ```
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    fn takes_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it takes events of this kind.
    pub fn takes(&self, kind: &EventKind) -> bool {
        let name = kind.name();
        let fits = |wanted: &String| match wanted.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == wanted,
        };
        self.takes_all() || self.0.iter().any(fits)
    }
}

/// Reads of the store that one gathering makes at most while little passes its filter: then its page is short, or empty, and
/// goes on behind them.
const READS: usize = 32;

/// Events that are read at once, at the least, to find those that a filter takes.
const LOOKED_THROUGH: usize = 256;

/// Follows the log of one scope.
#[derive(Debug)]
pub struct Follow {
    bridge: Bridge,
    scope: Scope,
    filter: EventFilter,
    tail: Receiver<Arc<[Event]>>,
    health: watch::Receiver<Health>,
    /// Where to read on from after what was handed out.
    next: Seq,
    /// The same after what is unread too.
    end: Seq,
    /// The end of what the tail has told without a gap: if it goes on from there, it alone tells what is new.
    told: Option<Seq>,
    /// What was read and is not yet handed out.
    unread: Vec<Event>,
    floor: Seq,
    /// Why what was to come next cannot be read, until the reader has been told.
    gap: Option<Gap>,
}

impl Bridge {
    /// Reads at most `limit` events of `scope`; if there are none, waits up to `wait` for some. Large messages make the page
    /// shorter: it ends behind the event with which it holds 1 MiB.
    ///
    /// # Errors
    /// A [`Fault`].
    ///
    /// # Cancel safety
    /// May be dropped at any moment.
    pub async fn read_log(
        &self,
        scope: Scope,
        from: From,
        limit: usize,
        wait: Duration,
    ) -> Result<Events, Fault> {
        let mut follow = self.follow(scope, from).await?;
        follow.gather(limit, wait).await?;
        follow.hand_out().await
    }

    /// Follows the log of `scope`.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn follow(&self, scope: Scope, from: From) -> Result<Follow, Fault> {
        // Subscribed before anything is read, so that nothing falls in between.
        let tail = self.tail().subscribe();
        let bounds = self.log_page(scope, Seq::ZERO, 0).await?;
        let (next, gap) = match from {
            From::Floor => (bounds.floor, None),
            From::Head => (bounds.head, None),
            From::After(cursor) => match cursor.resume(self.log_id(), bounds.floor, bounds.head) {
                Ok(seq) => (seq, None),
                Err(gap) => (bounds.head, Some(gap)),
            },
        };
        Ok(Follow {
            bridge: self.clone(),
            scope,
            filter: EventFilter::default(),
            tail,
            health: self.watch_health(),
            next,
            end: next,
            told: None,
            unread: Vec::new(),
            floor: bounds.floor,
            gap,
        })
    }

    async fn with_messages(&self, events: Vec<Event>) -> Result<Vec<(Event, Option<Arc<Message>>)>, Fault> {
        let shows = |event: &Event| matches!(event.kind, EventKind::Accepted { .. } | EventKind::Visible);
        let ids: Vec<_> =
            events.iter().filter(|event| shows(event)).filter_map(|event| event.message).collect();
        let mut messages = self.contents(&ids).await?.into_iter();
        Ok(events
            .into_iter()
            .map(|event| {
                let message = if shows(&event) { messages.next().flatten() } else { None };
                let message = message.filter(|message| message.is_shown_by(&event.kind));
                (event, message)
            })
            .collect())
    }
}

impl Follow {
    /// Leaves out what a filter does not take.
    #[must_use]
    pub fn only(mut self, filter: EventFilter) -> Self {
        self.filter = filter;
        self
    }

    /// Why the log cannot be followed from there, until a page has told; then it is followed from its head.
    pub fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// The next events, at least one; waits for them. None where what comes next cannot be read, or has been trimmed meanwhile,
    /// with the gap, once: behind that the log is followed from its head.
    ///
    /// # Errors
    /// A [`Fault`]; [`Fault::ShuttingDown`] when the bridge stops.
    ///
    /// # Cancel safety
    /// May be dropped at any moment; nothing is skipped.
    pub async fn next_events(&mut self, limit: usize) -> Result<Events, Fault> {
        self.fill(limit).await?;
        self.hand_out().await
    }

    /// Looks for at most `limit` events, and waits up to `wait` for some. It takes no messages yet: whoever waits with
    /// many others fetches them with [`hand_out`](Follow::hand_out) when it is its turn.
    ///
    /// # Errors
    /// As of [`next_events`](Follow::next_events).
    ///
    /// # Cancel safety
    /// May be dropped at any moment; nothing is skipped.
    pub async fn gather(&mut self, limit: usize, wait: Duration) -> Result<(), Fault> {
        if self.gap.is_some() || !self.unread.is_empty() {
            return Ok(());
        }
        let limit = limit.max(1);
        if self.told.is_none() {
            self.look(limit).await?;
        }
        if wait.is_zero() || !self.unread.is_empty() {
            return Ok(());
        }
        let clock = Arc::clone(self.bridge.clock());
        let deadline = clock.now() + wait;
        tokio::select! {
            biased;
            filled = self.fill(limit) => filled,
            () = clock.sleep_until(deadline) => Ok(()),
        }
    }

    /// Takes back what was just handed out, to hand it out again: for those who have no room for the messages yet.
    pub fn put_back(&mut self, events: Events) {
        self.unread.splice(0..0, events.events.into_iter().map(|(event, _)| event));
    }

    /// Waits until something is unread.
    async fn fill(&mut self, limit: usize) -> Result<(), Fault> {
        let limit = limit.max(1);
        while self.unread.is_empty() && self.gap.is_none() {
            let Some(told) = self.told else {
                self.read(limit).await?;
                continue;
            };
            let received = tokio::select! {
                received = self.tail.recv() => received,
                _ = self.health.wait_for(|health| *health == Health::ShuttingDown) => {
                    return Err(Fault::ShuttingDown);
                }
            };
            match received {
                Ok(batch) => self.take_over(&batch, told, limit),
                Err(RecvError::Lagged(_)) => self.told = None,
                Err(RecvError::Closed) => return Err(Fault::ShuttingDown),
            }
        }
        Ok(())
    }

    /// Takes what a batch of the tail tells, if it goes on where the last one ended; else the store is read again.
    fn take_over(&mut self, batch: &[Event], told: Seq, limit: usize) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            self.told = None;
            return;
        };
        if first.seq > told.next() {
            self.told = None;
            return;
        }
        let wanted = |event: &Event| self.scope.contains(event) && self.filter.takes(&event.kind);
        let new = batch.iter().filter(|event| event.seq > told && wanted(event));
        self.unread = new.take(limit).cloned().collect();
        if self.unread.len() < limit {
            self.end = last.seq.max(told);
            self.told = Some(self.end);
        } else {
            // What did not fit is read from the store.
            self.end = self.unread.last().map_or(told, |event| event.seq);
            self.told = None;
        }
    }

    /// Reads what the store holds until there is no more, a gap, or it has looked for long enough.
    async fn look(&mut self, limit: usize) -> Result<(), Fault> {
        for _ in 0..READS {
            let end = self.end;
            self.read(limit).await?;
            if self.told.is_some() || self.gap.is_some() || self.end == end || self.unread.len() == limit {
                break;
            }
        }
        Ok(())
    }

    /// Reads once what the store holds after the last event that was read, until `limit` are unread.
    async fn read(&mut self, limit: usize) -> Result<(), Fault> {
        let looked_through =
            if self.filter.takes_all() { limit - self.unread.len() } else { limit.max(LOOKED_THROUGH) };
        let page = self.bridge.log_page(self.scope, self.end, looked_through).await?;
        self.floor = page.floor;
        if self.end < page.floor {
            // First what is before it.
            if !self.unread.is_empty() {
                return Ok(());
            }
            self.gap = Some(Gap::Trimmed);
            (self.next, self.end) = (page.head, page.head);
            return Ok(());
        }
        let all = page.events.len() < looked_through;
        self.end = page.events.last().filter(|_| !all).map_or(page.head.max(self.end), |event| event.seq);
        let mut wanted = page.events.into_iter().filter(|event| self.filter.takes(&event.kind));
        let room = limit - self.unread.len();
        self.unread.extend(wanted.by_ref().take(room));
        if wanted.next().is_some() {
            self.end = self.unread.last().map_or(self.end, |last| last.seq);
        } else {
            self.told = all.then_some(self.end);
        }
        if self.unread.is_empty() {
            self.next = self.end;
        }
        Ok(())
    }

    /// Hands out what was gathered with its messages, as much as fits a page; the rest comes next time.
    ///
    /// # Errors
    /// A [`Fault`].
    ///
    /// # Cancel safety
    /// May be dropped at any moment; nothing is skipped.
    pub async fn hand_out(&mut self) -> Result<Events, Fault> {
        let mut events = Vec::with_capacity(self.unread.len());
        let mut bytes = 0;
        'page: for some in self.unread.chunks(CHUNK) {
            for event in self.bridge.with_messages(some.to_vec()).await? {
                if bytes >= PAGE_BYTES {
                    break 'page;
                }
                bytes += size_of(&event);
                events.push(event);
            }
        }
        self.unread.drain(..events.len());
        self.next = match events.last() {
            Some((last, _)) if !self.unread.is_empty() => last.seq,
            _ => self.end,
        };
        let log = self.bridge.log_id();
        let cursor = |seq| Cursor { log, seq };
        Ok(Events {
            events,
            next: cursor(self.next),
            head: cursor(self.bridge.tail().head().max(self.end)),
            floor: cursor(self.floor),
            gap: self.gap.take(),
        })
    }
}

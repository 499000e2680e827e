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
};

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

/// Follows the log of one scope.
#[derive(Debug)]
pub struct Follow {
    bridge: Bridge,
    scope: Scope,
    tail: Receiver<Arc<[Event]>>,
    health: watch::Receiver<Health>,
    next: Seq,
    /// Everything up to `next` was read, so the tail alone tells what is new.
    caught_up: bool,
    gap: Option<Gap>,
}

impl Bridge {
    /// Reads at most `limit` events of `scope`; if there are none, waits up to `wait` for some.
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
        if follow.gap.is_some() {
            return follow.page(Vec::new()).await;
        }
        let events = if wait.is_zero() {
            follow.read(limit).await?
        } else {
            let deadline = self.now() + wait;
            tokio::select! {
                biased;
                events = follow.next(limit) => events?,
                () = self.clock().sleep_until(deadline) => Vec::new(),
            }
        };
        follow.page(events).await
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
        let (bridge, health) = (self.clone(), self.watch_health());
        Ok(Follow { bridge, scope, tail, health, next, caught_up: false, gap })
    }

    async fn with_messages(&self, events: Vec<Event>) -> Result<Vec<(Event, Option<Arc<Message>>)>, Fault> {
        let accepted = |event: &Event| matches!(event.kind, EventKind::Accepted { .. });
        let ids: Vec<_> =
            events.iter().filter(|event| accepted(event)).filter_map(|event| event.message).collect();
        let mut messages = self.messages_by_id(&ids).await?.into_iter();
        Ok(events
            .into_iter()
            .map(|event| {
                let message = if accepted(&event) { messages.next().flatten() } else { None };
                (event, message)
            })
            .collect())
    }
}

impl Follow {
    /// Why the log cannot be followed from there; then it is followed from its head.
    pub fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// The next events, at least one; waits for them.
    ///
    /// # Errors
    /// A [`Fault`]; [`Fault::ShuttingDown`] when the bridge stops.
    ///
    /// # Cancel safety
    /// May be dropped at any moment; nothing is skipped.
    pub async fn next_events(&mut self, limit: usize) -> Result<Events, Fault> {
        let events = self.next(limit).await?;
        self.page(events).await
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Event>, Fault> {
        loop {
            if !self.caught_up {
                let events = self.read(limit).await?;
                if !events.is_empty() {
                    return Ok(events);
                }
            }
            let received = tokio::select! {
                received = self.tail.recv() => received,
                _ = self.health.wait_for(|health| *health == Health::ShuttingDown) => {
                    return Err(Fault::ShuttingDown);
                }
            };
            let batch = match received {
                Ok(batch) => batch,
                Err(RecvError::Lagged(_)) => {
                    self.caught_up = false;
                    continue;
                }
                Err(RecvError::Closed) => return Err(Fault::ShuttingDown),
            };
            let events: Vec<Event> = batch
                .iter()
                .filter(|event| event.seq > self.next && self.scope.contains(event))
                .take(limit)
                .cloned()
                .collect();
            if let Some(last) = events.last() {
                self.next = last.seq;
                // What did not fit is read from the store.
                self.caught_up = events.len() < limit;
                return Ok(events);
            }
        }
    }

    /// What the store holds after the last event that was read.
    async fn read(&mut self, limit: usize) -> Result<Vec<Event>, Fault> {
        let page = self.bridge.log_page(self.scope, self.next, limit).await?;
        self.caught_up = page.events.len() < limit;
        self.next = if self.caught_up {
            page.head.max(self.next)
        } else {
            page.events.last().map_or(self.next, |event| event.seq)
        };
        Ok(page.events)
    }

    async fn page(&self, events: Vec<Event>) -> Result<Events, Fault> {
        let log = self.bridge.log_id();
        let cursor = |seq| Cursor { log, seq };
        Ok(Events {
            events: self.bridge.with_messages(events).await?,
            next: cursor(self.next),
            head: cursor(self.bridge.tail().head().max(self.next)),
            floor: cursor(Seq::ZERO),
            gap: self.gap,
        })
    }
}

//! Looks for what is to be removed, once a minute, a step at a time: old messages, old events, conversations that were closed
//! long ago. What becomes of it the shard decides; before it goes, it goes to the archive if its type is kept there.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use bridge_core::{
    Archive, ArchiveRecord, Command, Delivery, DeliveryId, Index, Measure, Message, MessageId, Metrics, Name,
    Policy, RetireSession, Row, RowKey, Scope, Seq, Session, SessionId, SessionPart, Timestamp,
};
use futures_util::FutureExt;

use crate::{
    bridge::{Bridge, Shared, answer_of},
    deliveries::deliveries,
    fault::Fault,
    observe::{PAGE_BYTES, message},
};

/// How often what is due is looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Deliveries, messages or readers that are removed together.
const BATCH: usize = 128;

/// Events that are removed together.
const EVENTS: usize = 1_024;

/// Conversations that one sweep looks at.
const SESSIONS: usize = 1_000;

/// Damaged things that are passed over; those beyond are tried, and told, each time.
const PASSED: usize = 1_024;

/// Conversations that are known to wait for the archive; those beyond are read each time.
const WAITING: usize = 65_536;

/// How long the archive may take for a batch.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long what has ended may be on its way to the store.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// What whoever cleans up goes by.
#[derive(Debug)]
pub(crate) struct Sweeper {
    pub(crate) bridge: Weak<Shared>,
    pub(crate) policy: Policy,
    pub(crate) archive: Option<Arc<dyn Archive>>,
    pub(crate) metrics: Arc<dyn Metrics>,
    /// The conversation that was looked at last: the next sweep goes on behind it, whether it could go or not.
    pub(crate) last: Option<(Timestamp, SessionId)>,
    /// Whether the archive has failed in this sweep: then it is not asked again, nor anything read that is known to wait for it.
    pub(crate) archive_is_down: bool,
    /// What waits for the archive, until that keeps something again.
    pub(crate) waiting: Waiting,
    /// What cannot go, since it is damaged: it was told, and stays for as long as the bridge lives.
    pub(crate) passed: BTreeSet<RowKey>,
}

/// What has to stay for as long as the archive is down. It is read once, not by each sweep.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// What is left of the deliveries that are due up to this one.
    up_to: Option<(Timestamp, Seq)>,
    /// Conversations.
    sessions: BTreeSet<SessionId>,
}

/// The bridge is gone, or something has failed: the rest has to wait.
enum Stop {
    Gone,
    Failed(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// What something came to; nothing if what it is about is damaged: that stays, and keeps nothing else from going.
fn if_sound<T>(result: Result<T, Stop>) -> Result<Option<T>, Stop> {
    match result {
        Err(Stop::Failed(Fault::Damaged)) => Ok(None),
        result => result.map(Some),
    }
}

impl Sweeper {
    /// Cleans up for as long as the bridge lives.
    pub(crate) async fn run(mut self) {
        while let Some(clock) = self.bridge.upgrade().map(|shared| Arc::clone(&shared.clock)) {
            clock.sleep_until(clock.now() + SWEEP).await;
            match self.sweep().await {
                Ok(()) => {}
                Err(Stop::Gone | Stop::Failed(Fault::ShuttingDown)) => return,
                Err(Stop::Failed(fault)) => tracing::warn!(%fault, "cleaning up has to wait"),
            }
        }
    }

    /// Does all of it, whatever a part of it comes to; the first failure is told.
    async fn sweep(&mut self) -> Result<(), Stop> {
        self.archive_is_down = false;
        let parts = [self.retire_messages().await, self.trim_log().await, self.retire_sessions().await];
        parts.into_iter().collect()
    }

    /// The bridge, for one step: it must not be kept alive by what is done behind its back.
    fn bridge(&self) -> Result<Bridge, Stop> {
        self.bridge.upgrade().map(|shared| Bridge { shared }).ok_or(Stop::Gone)
    }

    /// Has something removed, and lets others go first before the next step; how many changes it came to.
    async fn remove(&self, command: Command) -> Result<usize, Stop> {
        let changes = answer_of!(self.bridge()?.call(command).await?, Retired);
        if changes > 0 {
            self.metrics.record(&Measure::Retired { changes });
        }
        tokio::task::yield_now().await;
        Ok(changes)
    }

    async fn scan(&self, index: Index, limit: usize) -> Result<Vec<Row>, Stop> {
        Ok(self.bridge()?.scan(index, limit).await?)
    }

    /// Whether something can go, for all that is known.
    fn may_go(&self, key: &RowKey) -> bool {
        !self.passed.contains(key)
    }

    /// Something cannot go.
    fn pass(&mut self, key: RowKey) {
        tracing::error!(row = ?key, "it is not removed, for some of it is damaged");
        if self.passed.len() < PASSED {
            self.passed.insert(key);
        }
    }

    async fn retire_messages(&mut self) -> Result<(), Stop> {
        let until = self.bridge()?.now();
        let mut after = None;
        loop {
            let page = self.scan(Index::Retiring { after, until }, BATCH).await?;
            let mut due = deliveries(page);
            let Some(last) = due.last() else { return Ok(()) };
            after = last.retire_at.map(|at| (at, last.seq));
            due.retain(|due| self.may_go(&RowKey::Delivery(due.id)));
            let (archived, free): (Vec<_>, Vec<_>) =
                due.into_iter().partition(|due| self.is_removed_by(until, due) && self.may_be_archived(due));
            if !self.archive_is_down {
                self.retire_archived(archived).await?;
            }
            self.retire(&free).await?;
            if self.archive_is_down {
                // What ended shortly before may not be stored yet, and come before the last of the page.
                let seen = after.filter(|(at, _)| *at + UNDER_WAY < until);
                self.waiting.up_to = self.waiting.up_to.max(seen);
                after = after.max(self.waiting.up_to);
            }
        }
    }

    /// Removes messages that go to the archive before, as many at once as fit into memory.
    async fn retire_archived(&mut self, due: Vec<Delivery>) -> Result<(), Stop> {
        let mut due = due.into_iter().peekable();
        while due.peek().is_some() {
            let (mut records, mut kept) = (Vec::new(), Vec::new());
            let mut known = BTreeSet::new();
            let mut bytes = 0;
            while bytes < PAGE_BYTES
                && let Some(delivery) = due.next()
            {
                match if_sound(self.records(&delivery, &known).await)? {
                    Some(found) => {
                        known.extend(found.iter().map(|record| record.message.id));
                        bytes += found.iter().map(|record| record.message.payload.len()).sum::<usize>();
                        records.extend(found);
                        kept.push(delivery);
                    }
                    None => self.pass(RowKey::Delivery(delivery.id)),
                }
            }
            // They go at once: whatever happens, at most the last batch is kept twice.
            if !self.archive(records).await? {
                break;
            }
            self.retire(&kept).await?;
        }
        Ok(())
    }

    async fn retire(&mut self, due: &[Delivery]) -> Result<(), Stop> {
        if due.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = due.iter().map(|delivery| delivery.id).collect();
        if if_sound(self.retire_all(&ids).await)?.is_none() {
            for id in ids {
                if if_sound(self.retire_all(&[id]).await)?.is_none() {
                    self.pass(RowKey::Delivery(id));
                }
            }
        }
        Ok(())
    }

    /// Has deliveries removed in as many steps as that takes: one has only so much room, and leaves the rest.
    async fn retire_all(&self, ids: &[DeliveryId]) -> Result<(), Stop> {
        // One step for each of them is enough, unless it was redriven very often: that goes on the next time.
        for _ in ids {
            if self.remove(Command::Retire(ids.to_vec())).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn is_archived(&self, kind: &Name) -> bool {
        self.archive.is_some() && self.policy.retentions.of(kind).archive
    }

    /// Whether the message of a delivery goes at a time: by other rules than when it ended it may stay.
    fn is_removed_by(&self, now: Timestamp, delivery: &Delivery) -> bool {
        !delivery.message_gone && self.policy.removal(delivery).is_some_and(|at| at <= now)
    }

    /// Whether something of a delivery is kept in the archive, as far as can be seen: its answer has a type of its own.
    fn may_be_archived(&self, delivery: &Delivery) -> bool {
        self.is_archived(&delivery.kind) || self.archive.is_some() && delivery.reply.is_some()
    }

    /// What goes to the archive with a delivery: its message with all its deliveries, and its answer if that went to nobody and is
    /// not among what is `known` to go there: it may answer others too.
    async fn records(
        &self,
        newest: &Delivery,
        known: &BTreeSet<MessageId>,
    ) -> Result<Vec<ArchiveRecord>, Stop> {
        let bridge = self.bridge()?;
        let mut records = Vec::new();
        if self.is_archived(&newest.kind)
            && let Some(message) = find(&bridge, newest.message).await?
        {
            let mut deliveries = vec![newest.clone()];
            while let Some(id) = deliveries.last().and_then(|delivery| delivery.redrive_of) {
                match bridge.delivery(id).await? {
                    Some(delivery) => deliveries.push(delivery),
                    None => break,
                }
            }
            deliveries.reverse();
            records.push(ArchiveRecord { message, deliveries });
        }
        if let Some(reply) = newest.reply.filter(|reply| !known.contains(reply))
            && bridge.delivery(DeliveryId::of(reply, 0)).await?.is_none()
            && let Some(message) = find(&bridge, reply).await?
            && self.is_archived(&message.kind)
        {
            records.push(ArchiveRecord { message, deliveries: Vec::new() });
        }
        Ok(records)
    }

    /// Hands records to the archive; whether they are kept there. A fault of the archive is none of the bridge: what should go
    /// there waits for the next sweep.
    async fn archive(&mut self, records: Vec<ArchiveRecord>) -> Result<bool, Stop> {
        let messages = records.len();
        let Some(archive) = self.archive.as_ref().filter(|_| messages > 0) else { return Ok(true) };
        if self.archive_is_down {
            return Ok(false);
        }
        let clock = Arc::clone(&self.bridge()?.shared.clock);
        let now = clock.now();
        let append = AssertUnwindSafe(archive.append(records, now)).catch_unwind();
        let trouble = tokio::select! {
            biased;
            appended = append => match appended {
                Ok(Ok(())) => {
                    self.waiting = Waiting::default();
                    self.metrics.record(&Measure::Archived { messages });
                    return Ok(true);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".to_owned(),
            },
            () = clock.sleep_until(now + PATIENCE) => format!("it has not answered for {} s", PATIENCE.as_secs()),
        };
        tracing::error!(error = trouble, "the archive failed; what should go there stays");
        self.metrics.record(&Measure::ArchiveFailed);
        self.archive_is_down = true;
        Ok(false)
    }

    /// Removes old events, as many at once as fit a step.
    async fn trim_log(&self) -> Result<(), Stop> {
        let mut after = Seq::ZERO;
        let mut limit = EVENTS;
        let mut damaged = 0;
        loop {
            let bridge = self.bridge()?;
            let now = bridge.now();
            let old = |at: Timestamp| at + self.policy.log <= now;
            after = after.max(bridge.log_page(Scope::All, Seq::ZERO, 0).await?.floor);
            let read = async |limit| {
                let page = bridge.log_page(Scope::All, after, limit).await.map_err(Stop::Failed);
                if_sound(page)
            };
            let Some(first) = read(1).await? else {
                // What cannot be read goes with those behind it; if it is very much, more than these events is damaged.
                damaged += 1;
                if damaged > BATCH {
                    return Err(Stop::Failed(Fault::Damaged));
                }
                after = after.next();
                limit = EVENTS;
                continue;
            };
            if !first.events.first().is_some_and(|first| old(first.at)) {
                return Ok(());
            }
            let Some(page) = read(limit).await? else {
                limit /= 2;
                continue;
            };
            drop(bridge);
            // The last event of the log stays.
            let last = page.events.iter().take_while(|event| old(event.at) && event.seq < page.head).last();
            let Some(last) = last else { return Ok(()) };
            if self.remove(Command::Trim(last.seq, last.at)).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Goes through the conversations that were closed long ago, and begins anew behind the last one: those that have to stay must
    /// not keep the others from being looked at.
    async fn retire_sessions(&mut self) -> Result<(), Stop> {
        let ttl = self.policy.closed_session_ttl;
        let until = self.bridge()?.now() - ttl;
        let mut left = SESSIONS;
        while left > 0 {
            let page = self.scan(Index::ClosedSessions { after: self.last, until }, left).await?;
            if page.is_empty() {
                self.last = None;
                break;
            }
            for row in page {
                left = left.saturating_sub(1);
                let Row::Session(Session { id: session, closed_at: Some(closed_at), .. }) = row else {
                    continue;
                };
                self.last = Some((closed_at, session));
                let key = RowKey::Session(session);
                let retire = |part| Command::RetireSession(RetireSession { session, closed_at, part });
                let waits = self.archive_is_down && self.waiting.sessions.contains(&session);
                if !waits
                    && self.may_go(&key)
                    && if_sound(self.retire_session(session, retire).await)?.is_none()
                {
                    self.pass(key);
                }
            }
        }
        Ok(())
    }

    /// Removes a conversation part by part, as far as that goes now.
    async fn retire_session(
        &mut self,
        session: SessionId,
        retire: impl Fn(SessionPart) -> Command,
    ) -> Result<(), Stop> {
        let mut kept: Vec<MessageId> = Vec::new();
        loop {
            let messages = self.bridge()?.newest_messages(session, BATCH).await?;
            if messages.is_empty() {
                break;
            }
            if self.archive_is_down && messages.iter().any(|message| self.is_archived(&message.kind)) {
                self.wait_for_archive(session);
                return Ok(());
            }
            let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
            // What the last step had no room for is kept already.
            let new = messages.into_iter().filter(|message| !kept.contains(&message.id)).collect();
            let records = self.records_of(new).await?;
            if !self.archive(records).await? {
                self.wait_for_archive(session);
                return Ok(());
            }
            if self.remove(retire(SessionPart::Messages(ids.clone()))).await? == 0 {
                return Ok(());
            }
            kept = ids;
        }
        loop {
            let readers = self.scan(Index::Readers { session }, BATCH).await?.into_iter().filter_map(reader);
            let readers: Vec<Name> = readers.collect();
            if readers.is_empty() {
                break;
            }
            if self.remove(retire(SessionPart::Readers(readers))).await? == 0 {
                return Ok(());
            }
        }
        loop {
            let page = self.bridge()?.log_page(Scope::Session(session), Seq::ZERO, EVENTS).await?;
            let Some(last) = page.events.last() else { break };
            if self.remove(retire(SessionPart::Events(last.seq))).await? == 0 {
                return Ok(());
            }
        }
        self.remove(retire(SessionPart::Itself)).await.map(drop)
    }

    fn wait_for_archive(&mut self, session: SessionId) {
        if self.waiting.sessions.len() < WAITING {
            self.waiting.sessions.insert(session);
        }
    }

    /// Those messages of a conversation that are kept in the archive, each with its deliveries.
    async fn records_of(&self, messages: Vec<Message>) -> Result<Vec<ArchiveRecord>, Stop> {
        let mut records = Vec::new();
        for message in messages.into_iter().filter(|message| self.is_archived(&message.kind)) {
            let bridge = self.bridge()?;
            let mut deliveries = Vec::new();
            let mut next = Some(DeliveryId::of(message.id, 0));
            while let Some(id) = next.take()
                && let Some(delivery) = bridge.delivery(id).await?
            {
                next = delivery.redriven_as;
                deliveries.push(delivery);
            }
            records.push(ArchiveRecord { message, deliveries });
        }
        Ok(records)
    }
}

async fn find(bridge: &Bridge, id: MessageId) -> Result<Option<Message>, Stop> {
    Ok(bridge.stored(RowKey::Message(id)).await?.and_then(message))
}

fn reader(row: Row) -> Option<Name> {
    match row {
        Row::Reader(reader) => Some(reader.name),
        _ => None,
    }
}

//! Lists of deliveries: what is leased as the shard has it, everything else as the store does.

use std::{sync::Arc, time::Duration};

use bridge_core::{
    Address, Command, DeadReason, Delivery, DeliveryError, DeliveryId, First, Index, MessageId, Name, Row,
    Seq, State, StateKind, Timestamp,
};
use futures_util::future::join_all;

use crate::{
    bridge::{Bridge, answer_of},
    fault::{CallError, Fault},
    observe::PAGE_BYTES,
};

/// Places of the log that are looked through at once for deliveries in a state that is not rare.
const WINDOW: u64 = 20_000;

/// How often that is done for one page.
const WINDOWS: usize = 5;

/// A page of deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryPage {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins; none at the end. A page may be short, or empty, and not be the last.
    pub next: Option<Seq>,
}

impl DeliveryPage {
    /// Bytes of what was said of the deliveries, and about what stands around it.
    pub fn bytes(&self) -> usize {
        self.deliveries.iter().map(size_of).sum()
    }
}

fn size_of(delivery: &Delivery) -> usize {
    let words = |words: &Option<Arc<str>>| words.as_deref().map_or(0, str::len);
    let attempts = delivery.attempts.iter();
    let attempts = attempts.map(|attempt| 128 + attempt.consumer.as_str().len() + words(&attempt.error));
    let names = [Some(&delivery.from), Some(&delivery.kind), delivery.key.as_ref()];
    let names: usize = names.into_iter().flatten().map(|name| name.as_str().len()).sum();
    // The last error is told once more, with the attempt that it belongs to.
    512 + names + words(&delivery.progress) + 2 * words(&delivery.last_error) + attempts.sum::<usize>()
}

/// How many of these make a page: `limit` at most, and none behind the one with which it holds [`PAGE_BYTES`].
fn fitting(deliveries: &[Delivery], limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |delivery: &&Delivery| {
        let fits = bytes < PAGE_BYTES;
        bytes += size_of(delivery);
        fits
    };
    deliveries.iter().take(limit).take_while(fits).count()
}

/// The deliveries among some rows.
pub(crate) fn deliveries(rows: Vec<Row>) -> Vec<Delivery> {
    let deliveries = rows.into_iter().filter_map(|row| match row {
        Row::Delivery(delivery) => Some(Arc::unwrap_or_clone(delivery)),
        _ => None,
    });
    deliveries.collect()
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// Those of this mailbox.
    pub mailbox: Option<Address>,
    /// Those that were given up for this reason.
    pub reason: Option<DeadReason>,
    /// Those with this type of message.
    pub kind: Option<Name>,
}

impl DeadLetters {
    /// Whether it is one of these, and can still be redriven.
    fn takes(&self, delivery: &Delivery) -> bool {
        delivery.redriven_as.is_none() && !delivery.message_gone && self.names(delivery)
    }

    fn names(&self, delivery: &Delivery) -> bool {
        let reason = match delivery.state {
            State::Dead(reason) => Some(reason),
            _ => None,
        };
        self.reason.is_none_or(|wanted| reason == Some(wanted))
            && self.kind.as_ref().is_none_or(|kind| delivery.kind == *kind)
    }
}

/// What redriving some dead letters came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// The deliveries that were made, in the order of those they were made from; of a try those that would be redriven.
    pub deliveries: Vec<DeliveryId>,
    /// Those that could not be redriven, and why.
    pub refused: Vec<(DeliveryId, DeliveryError)>,
    /// Where to go on; none at the end.
    pub next: Option<Seq>,
}

impl Redriven {
    fn tried(&self) -> usize {
        self.deliveries.len() + self.refused.len()
    }
}

/// Whether dead letters are redriven.
#[derive(Debug, Clone, Copy)]
enum Redrive {
    /// It is only judged what would come of it.
    Try,
    /// They are, so many a second.
    Do { per_second: u32 },
}

/// Deliveries that are read from the store together: each may come with much that was said of it.
const PAGE: usize = 64;

/// How often that is done for one page of dead letters.
const PAGES: usize = 64;

impl Bridge {
    /// Gives the dead letters that `wanted` takes another life, the oldest first, so that they keep their order: those made
    /// after `after`, at most `limit`, those that are refused included, and so many a second. What was redriven before is left
    /// alone. Doing it again with [`next`](Redriven::next) goes on.
    ///
    /// # Errors
    /// A [`Fault`].
    ///
    /// # Cancel safety
    /// May be dropped at any moment: what was redriven by then is, and doing it again goes on with the rest.
    pub async fn redrive_dead(
        &self,
        wanted: &DeadLetters,
        after: Option<Seq>,
        limit: usize,
        per_second: u32,
    ) -> Result<Redriven, Fault> {
        self.go_through_dead(wanted, after, limit, Redrive::Do { per_second }).await
    }

    /// Tells what [`redrive_dead`](Self::redrive_dead) would come to now, and changes nothing: `deliveries` are those that would
    /// be redriven.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn try_redrive_dead(
        &self,
        wanted: &DeadLetters,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Redriven, Fault> {
        self.go_through_dead(wanted, after, limit, Redrive::Try).await
    }

    async fn go_through_dead(
        &self,
        wanted: &DeadLetters,
        after: Option<Seq>,
        limit: usize,
        how: Redrive,
    ) -> Result<Redriven, Fault> {
        let mut redriven = Redriven { deliveries: Vec::new(), refused: Vec::new(), next: after };
        // Nothing was wanted, which is not the end.
        if limit == 0 {
            redriven.next = Some(after.unwrap_or(Seq::ZERO));
            return Ok(redriven);
        }
        let beat = match how {
            Redrive::Try => PAGE,
            Redrive::Do { per_second } => (per_second as usize / 10).max(1),
        };
        let clock = self.clock();
        let mut due = clock.now();
        loop {
            let room = PAGE.min(limit - redriven.tried());
            let page = self.dead_letters(wanted, redriven.next, room).await?;
            for some in page.deliveries.chunks(beat) {
                let results = match how {
                    Redrive::Try => join_all(some.iter().map(|dead| self.try_redrive(dead.id))).await,
                    Redrive::Do { per_second } => {
                        clock.sleep_until(due).await;
                        due = clock.now() + Duration::from_secs(some.len() as u64) / per_second.max(1);
                        join_all(some.iter().map(|dead| self.redrive(dead.id, None))).await
                    }
                };
                for (dead, result) in some.iter().zip(results) {
                    match result {
                        Ok(id) => redriven.deliveries.push(id),
                        Err(CallError::Refused(error)) => redriven.refused.push((dead.id, error)),
                        Err(CallError::Fault(fault)) => return Err(fault),
                    }
                }
            }
            redriven.next = page.next;
            // A page that is short was hard to find.
            if page.deliveries.len() < room || redriven.next.is_none() || redriven.tried() == limit {
                return Ok(redriven);
            }
        }
    }

    /// Tells whether a [`redrive`](Self::redrive) would be granted, and changes nothing: the delivery, which names its successor if
    /// it was redriven before.
    ///
    /// # Errors
    /// [`DeliveryError`], as the redrive.
    pub async fn judge_redrive(&self, delivery: DeliveryId) -> Result<Delivery, CallError<DeliveryError>> {
        let judged = answer_of!(self.call(Command::JudgeRedrive(delivery)).await?, Delivery);
        judged.map(|delivery| *delivery).map_err(CallError::Refused)
    }

    async fn try_redrive(&self, id: DeliveryId) -> Result<DeliveryId, CallError<DeliveryError>> {
        self.judge_redrive(id).await.map(|judged| judged.id)
    }

    /// The dead letters that [`redrive_dead`](Self::redrive_dead) would try to give another life, the oldest first: those made after
    /// `after`, at most `limit`, of which zero is one, and fewer where they are few among many others.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn dead_letters(
        &self,
        wanted: &DeadLetters,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<DeliveryPage, Fault> {
        let limit = limit.max(1);
        let mut found = Vec::new();
        let mut next = after;
        for _ in 0..PAGES {
            let index = Index::Deliveries {
                state: StateKind::Dead,
                mailbox: wanted.mailbox.clone(),
                from: next.map_or(Seq::ZERO, Seq::next),
                to: self.head().seq.next(),
                first: First::Oldest,
            };
            let page = deliveries(self.scan(index, PAGE).await?);
            let Some(last) = page.last() else { return Ok(DeliveryPage { deliveries: found, next: None }) };
            next = Some(last.seq);
            found.extend(page.into_iter().filter(|dead| wanted.takes(dead)).take(limit - found.len()));
            if found.len() == limit {
                next = found.last().map(|last| last.seq);
                break;
            }
        }
        Ok(DeliveryPage { deliveries: found, next })
    }

    /// The dead letters that `wanted` names, the newest first, those that were redriven among them: at most `limit` that were made
    /// before `before`, where zero is one, and fewer where they are few among many others. The page ends behind the one with which
    /// it holds 1 MiB.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn newest_dead_letters(
        &self,
        wanted: &DeadLetters,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<DeliveryPage, Fault> {
        let limit = limit.max(1);
        let mut found: Vec<Delivery> = Vec::new();
        let mut to = before.unwrap_or_else(|| self.head().seq.next());
        for _ in 0..PAGES {
            let mailbox = wanted.mailbox.clone();
            let (state, from, first) = (StateKind::Dead, Seq::ZERO, First::Newest);
            let index = Index::Deliveries { state, mailbox, from, to, first };
            let page = deliveries(self.scan(index, PAGE).await?);
            let Some(last) = page.last() else { return Ok(DeliveryPage { deliveries: found, next: None }) };
            to = last.seq;
            found.extend(page.into_iter().filter(|dead| wanted.names(dead)));
            let room = fitting(&found, limit);
            if room < found.len() {
                found.truncate(room);
                to = found.last().map_or(to, |last| last.seq);
                break;
            }
        }
        Ok(DeliveryPage { deliveries: found, next: Some(to) })
    }

    /// Deliveries in one state, of one mailbox if it is named, newest first: at most `limit`, where zero is one, that were made
    /// before `before`. The page ends behind the one with which it holds 1 MiB.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn deliveries(
        &self,
        state: StateKind,
        mailbox: Option<&Address>,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<DeliveryPage, Fault> {
        let limit = limit.max(1);
        if state == StateKind::Leased {
            return self.leased_deliveries(mailbox, before, limit).await;
        }
        // What was given up is kept in an index of its own; there is little of it.
        if state == StateKind::Dead {
            let wanted = DeadLetters { mailbox: mailbox.cloned(), ..DeadLetters::default() };
            return self.newest_dead_letters(&wanted, before, limit).await;
        }
        let mut to = before.unwrap_or_else(|| self.head().seq.next());
        let mut deliveries: Vec<Delivery> = Vec::new();
        'windows: for _ in 0..WINDOWS {
            let from = Seq(to.0.saturating_sub(WINDOW));
            loop {
                let index =
                    Index::Deliveries { state, mailbox: mailbox.cloned(), from, to, first: First::Newest };
                // One more than has room tells whether there is more.
                let wanted = PAGE.min(limit + 1 - deliveries.len());
                let some = self::deliveries(self.scan(index, wanted).await?);
                if some.is_empty() {
                    break;
                }
                deliveries.extend(some);
                let room = fitting(&deliveries, limit);
                let full = room < deliveries.len();
                deliveries.truncate(room);
                to = deliveries.last().map_or(to, |last| last.seq);
                if full {
                    break 'windows;
                }
            }
            to = from;
            if from == Seq::ZERO {
                break;
            }
        }
        // Leases that are held in memory alone are not in the store.
        if state == StateKind::Pending {
            let ids = deliveries.iter().map(|delivery| delivery.id).collect();
            deliveries = answer_of!(self.call(Command::InspectLive(ids)).await?, Inspected);
            deliveries.retain(|delivery| delivery.state.kind() == state);
        }
        let next = (to > Seq::ZERO).then_some(to);
        Ok(DeliveryPage { deliveries, next })
    }

    async fn leased_deliveries(
        &self,
        mailbox: Option<&Address>,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<DeliveryPage, Fault> {
        let command = Command::ListLeased { mailbox: mailbox.cloned(), before, limit: limit + 1 };
        let mut deliveries = answer_of!(self.call(command).await?, Inspected);
        let room = fitting(&deliveries, limit);
        let more = deliveries.len() > room;
        deliveries.truncate(room);
        let next = deliveries.last().filter(|_| more).map(|last| last.seq);
        Ok(DeliveryPage { deliveries, next })
    }

    /// Gives a message so much time from now on, or from when it becomes visible; tells when it expires.
    ///
    /// # Errors
    /// [`DeliveryError::Unknown`] or [`DeliveryError::WrongState`].
    pub async fn set_ttl(
        &self,
        message: MessageId,
        ttl: Duration,
    ) -> Result<Timestamp, CallError<DeliveryError>> {
        answer_of!(self.call(Command::SetTtl(message, ttl)).await?, Ttl).map_err(CallError::Refused)
    }

    /// A delivery as it stands now.
    ///
    /// # Errors
    /// [`DeliveryError::Unknown`].
    pub async fn inspect(&self, delivery: DeliveryId) -> Result<Delivery, CallError<DeliveryError>> {
        let answered = self.call(Command::InspectDelivery(delivery)).await?;
        answer_of!(answered, Delivery).map(|delivery| *delivery).map_err(CallError::Refused)
    }
}

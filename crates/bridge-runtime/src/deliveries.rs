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
};

/// Places of the log that are looked through at once for deliveries in a state that is not rare.
const WINDOW: u64 = 20_000;

/// How often that is done for one page.
const WINDOWS: usize = 5;

/// A page of deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryPage {
    /// The deliveries, newest first.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins; none at the end. A page may be short, or empty, and not be the last.
    pub next: Option<Seq>,
}

fn deliveries(rows: Vec<Row>) -> Vec<Delivery> {
    let deliveries = rows.into_iter().filter_map(|row| match row {
        Row::Delivery(delivery) => Some(*delivery),
        _ => None,
    });
    deliveries.collect()
}

/// Which dead letters are to be redriven.
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
    fn takes(&self, delivery: &Delivery) -> bool {
        let reason = match delivery.state {
            State::Dead(reason) => Some(reason),
            _ => None,
        };
        delivery.redriven_as.is_none()
            && self.reason.is_none_or(|wanted| reason == Some(wanted))
            && self.kind.as_ref().is_none_or(|kind| delivery.kind == *kind)
    }
}

/// What redriving some dead letters came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// The deliveries that were made, in the order of those they were made from.
    pub deliveries: Vec<DeliveryId>,
    /// Those that could not be redriven, and why.
    pub refused: Vec<(DeliveryId, DeliveryError)>,
    /// Where to go on; none at the end.
    pub next: Option<Seq>,
}

/// Dead letters that are looked at together.
const PAGE: usize = 256;

/// The pause between the batches that keep a redrive within its rate.
const BEAT: Duration = Duration::from_millis(100);

impl Bridge {
    /// Gives the dead letters that `wanted` takes another life, the oldest first, so that they keep their order: those made
    /// after `after`, at most `limit` and so many a second. What was redriven before is left alone. Doing it again with
    /// [`next`](Redriven::next) goes on.
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
        let mut redriven = Redriven { deliveries: Vec::new(), refused: Vec::new(), next: None };
        let beat = (per_second as usize / 10).max(1);
        let mut from = after.map_or(Seq::ZERO, Seq::next);
        loop {
            let index = Index::Deliveries {
                state: StateKind::Dead,
                mailbox: wanted.mailbox.clone(),
                from,
                to: self.head().seq.next(),
                first: First::Oldest,
            };
            let page = deliveries(self.scan(index, PAGE).await?);
            let Some(last) = page.last().map(|last| last.seq) else { return Ok(redriven) };
            let takes = |delivery: &&Delivery| wanted.takes(delivery);
            for some in page.iter().filter(takes).collect::<Vec<_>>().chunks(beat) {
                let room = limit - redriven.deliveries.len();
                let some = &some[..some.len().min(room)];
                let results = join_all(some.iter().map(|dead| self.redrive(dead.id, None))).await;
                for (dead, result) in some.iter().zip(results) {
                    match result {
                        Ok(new) => redriven.deliveries.push(new),
                        Err(CallError::Refused(error)) => redriven.refused.push((dead.id, error)),
                        Err(CallError::Fault(fault)) => return Err(fault),
                    }
                    redriven.next = Some(dead.seq);
                }
                if redriven.deliveries.len() == limit {
                    return Ok(redriven);
                }
                let clock = Arc::clone(self.clock());
                clock.sleep_until(clock.now() + BEAT).await;
            }
            from = last.next();
            redriven.next = None;
        }
    }

    /// Deliveries in one state, of one mailbox if it is named, newest first: at most `limit` that were made before `before`.
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
        if state == StateKind::Leased {
            return self.leased_deliveries(mailbox, before, limit).await;
        }
        let mut to = before.unwrap_or_else(|| self.head().seq.next());
        // What was given up is kept in an index of its own; there is little of it.
        let (window, windows) = if state == StateKind::Dead { (u64::MAX, 1) } else { (WINDOW, WINDOWS) };
        let mut deliveries: Vec<Delivery> = Vec::new();
        for _ in 0..windows {
            let from = Seq(to.0.saturating_sub(window));
            let index =
                Index::Deliveries { state, mailbox: mailbox.cloned(), from, to, first: First::Newest };
            let rows = self.scan(index, limit + 1 - deliveries.len()).await?;
            let full = rows.len() > limit - deliveries.len();
            deliveries.extend(self::deliveries(rows));
            if full {
                deliveries.truncate(limit);
                to = deliveries.last().map_or(to, |last| last.seq);
                break;
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
        let more = deliveries.len() > limit;
        deliveries.truncate(limit);
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

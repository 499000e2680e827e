//! Mailboxes of their own: made at first use or by hand, paused, purged, removed.

use alloc::vec::Vec;
use core::time::Duration;

use super::{
    Shard, Step, Subject,
    inbox::{Inbox, rules},
    index::lane,
    lanes::Placed,
    presence::expect_back,
    timer::Timer,
};
use crate::{
    address::Address,
    command::Purge,
    delivery::{Delivery, State},
    event::EventKind,
    id::{DeliveryId, Name},
    mailbox::{
        Made, Mailbox, MailboxError, MailboxSet, MailboxSettings, MailboxView, Mailboxes, Paused, Presence,
        PresenceState, Purged, SetMailbox,
    },
    policy::MakeMailboxes,
    publish::PublishError,
    receive::ReceiveError,
    store::{Row, RowKey},
    time::Timestamp,
};

/// Why a mailbox cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    Unknown(Address),
    TooMany { limit: usize },
}

impl From<Unusable> for PublishError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Unknown(address) => Self::UnknownMailbox(address),
            Unusable::TooMany { limit } => Self::TooManyMailboxes { limit },
        }
    }
}

impl From<Unusable> for ReceiveError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Unknown(address) => Self::UnknownMailbox(address),
            Unusable::TooMany { limit } => Self::TooManyMailboxes { limit },
        }
    }
}

/// How exactly it is remembered when a mailbox was last used, so that not each use is a change.
const USED: core::time::Duration = core::time::Duration::from_secs(3_600);

impl Shard {
    /// Whether a mailbox is there, or its first use would make it.
    pub(super) fn check_use(&self, address: &Address) -> Result<(), Unusable> {
        self.check_uses(core::slice::from_ref(address))
    }

    /// Whether mailboxes, each named once, are all there, or their first use would make them.
    pub(super) fn check_uses(&self, addresses: &[Address]) -> Result<(), Unusable> {
        let limit = self.policy.max_mailboxes;
        let missing = addresses.iter().filter(|address| !self.inboxes.contains_key(*address));
        for (there, address) in (self.own_mailboxes..).zip(missing) {
            if address.session().is_some() || self.policy.mailboxes == MakeMailboxes::ByHand {
                return Err(Unusable::Unknown(address.clone()));
            }
            if there >= limit {
                return Err(Unusable::TooMany { limit });
            }
        }
        Ok(())
    }

    /// Somebody sends to a mailbox or asks of it.
    pub(super) fn use_mailbox(
        &mut self,
        address: &Address,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<(), Unusable> {
        self.check_use(address)?;
        let Some(inbox) = self.inboxes.get_mut(address) else {
            self.make_mailbox(address, address.default_settings(), Made::ByUse, now, step);
            return Ok(());
        };
        if address.session().is_none() && now.since(inbox.row.used_at) > USED {
            let before = inbox.row.used_at;
            inbox.row.used_at = now;
            step.put(Row::Mailbox(inbox.row.clone()));
            self.watch_idle(address, Some(before));
        }
        Ok(())
    }

    pub(super) fn make_mailbox(
        &mut self,
        address: &Address,
        settings: MailboxSettings,
        made: Made,
        now: Timestamp,
        step: &mut Step,
    ) {
        let mailbox = Mailbox {
            address: address.clone(),
            settings,
            made,
            created_at: now,
            used_at: now,
            paused: None,
            floor: crate::log::Seq::ZERO,
            read_to: self.head,
            presence: Presence { state: PresenceState::Away, consumer: None, since: now },
        };
        step.put(Row::Mailbox(mailbox.clone()));
        self.adopt_mailbox(mailbox, now);
    }

    pub(super) fn adopt_mailbox(&mut self, mailbox: Mailbox, now: Timestamp) {
        let address = mailbox.address.clone();
        let mut inbox = Inbox::new(mailbox, &self.policy);
        if inbox.row.presence.state != PresenceState::Away {
            expect_back(&mut self.timers, &mut inbox, now + self.policy.presence_grace);
        }
        self.own_mailboxes += usize::from(address.session().is_none());
        self.inboxes.insert(address.clone(), inbox);
        self.watch_idle(&address, None);
    }

    /// Sets when a mailbox that its use has made is looked at again, to see whether it is still of use.
    fn watch_idle(&mut self, address: &Address, before: Option<Timestamp>) {
        let Some(inbox) = self.inboxes.get(address).filter(|inbox| inbox.row.made == Made::ByUse) else {
            return;
        };
        if let Some(before) = before {
            self.timers.clear(self.unused_at(before), Timer::Unused(address.clone()));
        }
        self.timers.set(self.unused_at(inbox.row.used_at), Timer::Unused(address.clone()));
    }

    /// When a mailbox that was used last at a time may go. Never at once: it would be looked at again and again.
    fn unused_at(&self, used_at: Timestamp) -> Timestamp {
        used_at + self.policy.mailbox_ttl.max(Duration::from_millis(1))
    }

    /// A mailbox has not been used for long: if it is empty too, it goes.
    pub(super) fn end_unused(&mut self, address: &Address, now: Timestamp, step: &mut Step) {
        let made_by_use = |inbox: &&Inbox| inbox.row.made == Made::ByUse;
        let used_at = self.inboxes.get(address).filter(made_by_use).map(|inbox| inbox.row.used_at);
        if used_at.is_none_or(|used_at| self.unused_at(used_at) > now) {
            return;
        }
        let Some(inbox) = self.inboxes.get_mut(address) else { return };
        if inbox.is_idle() || fault!(FullGoes) {
            self.remove_mailbox(address, step);
        } else {
            // It is of use to somebody: looked at again in a while.
            inbox.row.used_at = now;
            step.put(Row::Mailbox(inbox.row.clone()));
            self.watch_idle(address, None);
        }
    }

    pub(super) fn remove_mailbox(&mut self, address: &Address, step: &mut Step) {
        if let Some(inbox) = self.inboxes.remove(address) {
            self.own_mailboxes -= usize::from(address.session().is_none());
            self.timers.clear(inbox.present_until, Timer::Away(address.clone()));
            self.timers.clear(self.unused_at(inbox.row.used_at), Timer::Unused(address.clone()));
            step.delete(RowKey::Mailbox(address.clone()));
        }
    }

    pub(super) fn set_mailbox(
        &mut self,
        set: &SetMailbox,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<MailboxSet, MailboxError> {
        let address = &set.address;
        if address.session().is_some() {
            return Err(MailboxError::OfSession(address.clone()));
        }
        let limit = self.policy.max_mailboxes;
        if let Some(inbox) = self.inboxes.get_mut(address) {
            let before = inbox.row.used_at;
            let stands = if fault!(SettingsReset) { address.default_settings() } else { inbox.row.settings };
            let settings = set.applied_to(stands);
            let rules_change = rules(&inbox.row.settings) != rules(&settings);
            inbox.row.settings = settings;
            inbox.row.made = Made::ByHand;
            inbox.limits = self.policy.limits(&settings);
            step.put(Row::Mailbox(inbox.row.clone()));
            self.timers.clear(self.unused_at(before), Timer::Unused(address.clone()));
            if rules_change {
                self.line_up(address, now);
            }
            // With other limits somebody who waits may have something.
            self.dirty.insert(address.clone());
            return self.inspect_mailbox(address).map(MailboxSet::Changed);
        }
        if self.own_mailboxes >= limit {
            return Err(MailboxError::TooMany { limit });
        }
        let settings = set.applied_to(address.default_settings());
        self.make_mailbox(address, settings, Made::ByHand, now, step);
        self.inspect_mailbox(address).map(MailboxSet::Made)
    }

    /// Lets a mailbox go by its present rules. They say what becomes of that which is behind a back-off or a lease, so only the
    /// keys of these are lined up again: everything else stays where it is, and costs nothing, however much it is.
    ///
    /// It is one step. A million deliveries in back-off take about a second (the benchmark `rules/in_back_off`), but each of them was
    /// handed out and given back within its pause, so that so many are hardly ever there.
    fn line_up(&mut self, address: &Address, now: Timestamp) {
        let Some(inbox) = self.inboxes.get_mut(address) else { return };
        inbox.lanes.set_rules(rules(&inbox.row.settings));
        let leased = self.batches.values().flat_map(|batch| batch.members.iter().copied());
        for id in self.timers.pauses().chain(leased) {
            if !self.deliveries.is_of(id, address) {
                continue;
            }
            let (Some(delivery), Some((slot, kind))) = (self.deliveries.get(id), self.deliveries.slot(id))
            else {
                continue;
            };
            if let (Some(place), lane @ (_, Some(_))) = (delivery.place, lane(&delivery)) {
                inbox.lanes.remove(&lane, place, kind);
                inbox.lanes.insert(Placed { lane: lane.clone(), place, slot }, &self.deliveries, now);
                inbox.lanes.refresh(&lane, &self.deliveries, now);
            }
        }
    }

    pub(super) fn inspect_mailbox(&self, address: &Address) -> Result<MailboxView, MailboxError> {
        let inbox = self.inboxes.get(address).ok_or_else(|| MailboxError::Unknown(address.clone()))?;
        Ok(self.view(inbox))
    }

    fn view(&self, inbox: &Inbox) -> MailboxView {
        let presence = self.presence(&inbox.row.address);
        MailboxView {
            limits: inbox.limits,
            pending: inbox.pending,
            pending_bytes: inbox.pending_bytes,
            scheduled: u32::try_from(inbox.scheduled.len()).unwrap_or(u32::MAX),
            leased: inbox.leased,
            waiting: u32::try_from(inbox.waiting.len()).unwrap_or(u32::MAX),
            oldest: inbox.lanes.oldest().map(|slot| self.deliveries.accepted(slot)),
            presence: presence.unwrap_or_else(|| inbox.row.presence.clone()),
            mailbox: inbox.row.clone(),
        }
    }

    pub(super) fn list_mailboxes(&self, after: Option<&Address>, limit: usize) -> Mailboxes {
        use core::ops::Bound::{Excluded, Unbounded};
        let behind = after.map_or(Unbounded, Excluded);
        let mut inboxes = self.inboxes.range::<Address, _>((behind, Unbounded)).map(|(_, inbox)| inbox);
        let mailboxes = inboxes.by_ref().take(limit).map(|inbox| self.view(inbox)).collect();
        Mailboxes { mailboxes, more: inboxes.next().is_some() }
    }

    /// Lets a mailbox hand out nothing, or hand out again. Who is told first has paused it.
    pub(super) fn pause_mailbox(
        &mut self,
        address: &Address,
        by: Option<Name>,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<MailboxView, MailboxError> {
        let inbox = self.inboxes.get_mut(address).ok_or_else(|| MailboxError::Unknown(address.clone()))?;
        if inbox.row.paused.is_some() != by.is_some() {
            let mailbox = address.clone();
            let kind = match by.clone() {
                Some(by) => EventKind::MailboxPaused { mailbox, by },
                None => EventKind::MailboxResumed { mailbox },
            };
            inbox.row.paused = by.map(|by| Paused { by, since: now });
            step.put(Row::Mailbox(inbox.row.clone()));
            self.dirty.insert(address.clone());
            self.tell(Subject::from(address), kind, now, step);
        }
        self.inspect_mailbox(address)
    }

    /// Withdraws everything that a mailbox holds: its floor is one row now, and what lies below goes in the steps behind it.
    pub(super) fn purge_mailbox(
        &mut self,
        address: &Address,
        purge: Purge,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Purged, MailboxError> {
        let floor = self.head;
        let inbox = self.inboxes.get_mut(address).ok_or_else(|| MailboxError::Unknown(address.clone()))?;
        let purged = Purged { floor, pending: inbox.pending, leased: inbox.leased };
        if purge == Purge::Do && floor > inbox.row.floor {
            inbox.row.floor = floor;
            step.put(Row::Mailbox(inbox.row.clone()));
            self.tell(
                Subject::from(address),
                EventKind::MailboxPurged { mailbox: address.clone(), floor },
                now,
                step,
            );
            self.purge_on(address, now, step);
        }
        Ok(purged)
    }

    /// Withdraws some of what lies below the floor of a mailbox, and comes back for the rest.
    pub(super) fn purge_on(&mut self, address: &Address, now: Timestamp, step: &mut Step) {
        let chunk = (self.policy.max_rows / 2).max(1);
        let below = self.below_floor(address, chunk);
        for id in &below {
            let delivery = self.live(*id);
            if delivery.state == State::Leased {
                self.update(*id, now, step, |delivery| delivery.cancel_requested = true);
            } else if self.is_passed(&delivery) {
                self.settle_read(*id, now, step);
            } else {
                self.withdraw(*id, now, step);
            }
        }
        if below.len() == chunk {
            self.timers.set(now, Timer::PurgeOn(address.clone()));
        }
    }

    /// Some of the deliveries that a purge has still to withdraw.
    fn below_floor(&self, address: &Address, most: usize) -> Vec<DeliveryId> {
        let Some(inbox) = self.inboxes.get(address) else { return Vec::new() };
        let floor = inbox.row.floor;
        let scheduled = inbox.scheduled.iter().copied().filter(|_| !fault!(ScheduledSpared));
        let slots = inbox.lanes.up_to(floor).chain(scheduled);
        slots
            .filter(|slot| self.deliveries.is_below(*slot, floor))
            .map(|slot| self.deliveries.id(slot))
            .take(most)
            .collect()
    }

    /// Whether a delivery was purged: whatever else becomes of it, it ends as withdrawn unless its holder settles it.
    pub(super) fn is_purged(&self, delivery: &Delivery) -> bool {
        self.inboxes.get(&delivery.mailbox).is_some_and(|inbox| delivery.seq <= inbox.row.floor)
    }

    /// Whether a purge has still something to withdraw.
    pub(super) fn is_purging(&self, address: &Address) -> bool {
        !self.below_floor(address, 1).is_empty()
    }

    pub(super) fn delete_mailbox(
        &mut self,
        address: &Address,
        step: &mut Step,
    ) -> Result<MailboxView, MailboxError> {
        let view = self.inspect_mailbox(address)?;
        if address.session().is_some() {
            return Err(MailboxError::OfSession(address.clone()));
        }
        let (pending, leased) = (view.pending, view.leased);
        if pending > 0 || leased > 0 {
            return Err(MailboxError::NotEmpty { mailbox: address.clone(), pending, leased });
        }
        self.dismiss(address, step);
        self.remove_mailbox(address, step);
        Ok(view)
    }
}

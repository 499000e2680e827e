//! Handing out deliveries, at once or when some come.

use alloc::{collections::BTreeSet, vec::Vec};
use core::{mem, time::Duration};

use super::{
    Shard, Step,
    choice::{Made, Wish},
    inbox::{Inbox, Nothing, keeps},
    timer::Timer,
    waiting::{Parked, Ticket},
};
use crate::{
    address::Address,
    command::{Answer, CallId, Effect},
    consumer::Consumer,
    delivery::Lease,
    id::{DeliveryId, Name},
    message::Priority,
    receive::{Action, Directive, DirectiveReason, Granted, Receive, ReceiveError, Received},
    time::Timestamp,
};

/// What a receiver can have now, and what it means for the turns of those who choose next.
#[derive(Debug, Default)]
struct Chosen {
    deliveries: Vec<DeliveryId>,
    made: Vec<(Address, Made)>,
    /// Whether it is as much as the receiver can have.
    full: bool,
}

impl Shard {
    /// Answers a receive, or parks it: then there is no answer yet.
    pub(super) fn receive(
        &mut self,
        call: CallId,
        mut receive: Receive,
        now: Timestamp,
        step: &mut Step,
    ) -> Option<Result<Received, ReceiveError>> {
        if let Err(refused) = self.admit(&mut receive, now, step) {
            return Some(refused);
        }
        let repeated = self.batch_of(&receive);
        let place = self.replace_parked(&receive, step);
        self.arrive(&receive, now, step);
        if let Some(batch) = repeated {
            let members = self.batches[&batch].members.clone();
            let granted = self.granted(members);
            return Some(Ok(self.received(&receive, granted)));
        }
        match self.take(&receive, Enough::AfterLinger, now, step) {
            Ok(granted) => Some(Ok(self.received(&receive, granted))),
            Err(why) if !receive.wait.is_zero() || matches!(why, Reason::More) => {
                let lingers = matches!(why, Reason::More);
                self.park(call, receive, place, lingers, now)
                    .map_or_else(|refused| Some(Err(refused)), |()| None)
            }
            Err(why) => Some(Ok(self.nothing(&receive, why))),
        }
    }

    /// Leaves those of a receive's mailboxes that hand out leases; says what to answer if there are none. The first use of
    /// a name makes its mailbox.
    fn admit(
        &mut self,
        receive: &mut Receive,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<(), Result<Received, ReceiveError>> {
        let most = self.policy.max_asked;
        if receive.mailboxes.is_empty() || receive.mailboxes.len() > most {
            return Err(Err(ReceiveError::MailboxCount { most }));
        }
        let mut seen = BTreeSet::new();
        receive.mailboxes.retain(|mailbox| seen.insert(mailbox.clone()));
        let mut open = Vec::with_capacity(receive.mailboxes.len());
        for mailbox in &receive.mailboxes {
            if self.is_handing_out(mailbox)? {
                open.push(mailbox.clone());
            }
        }
        if open.is_empty() {
            return Err(Ok(ended(DirectiveReason::SessionClosed)));
        }
        // All of them or none: a refused receive makes no mailbox.
        self.check_uses(&open).map_err(|error| Err(error.into()))?;
        for mailbox in &open {
            self.use_mailbox(mailbox, now, step).map_err(|error| Err(error.into()))?;
        }
        receive.mailboxes = open;
        Ok(())
    }

    /// Whether a mailbox hands out leases: one of a closed conversation does not any more.
    fn is_handing_out(&self, mailbox: &Address) -> Result<bool, Result<Received, ReceiveError>> {
        let Some(session) = mailbox.session() else { return Ok(true) };
        if self.sessions.contains_key(&session) && self.inboxes.contains_key(mailbox) {
            return if mailbox.is_work() {
                Ok(true)
            } else {
                Err(Err(ReceiveError::NotLeased(mailbox.clone())))
            };
        }
        match self.find_session(session) {
            Some(_) => Ok(false),
            None => Err(Err(ReceiveError::UnknownMailbox(mailbox.clone()))),
        }
    }

    /// What is still leased from the attempt that a receive repeats.
    fn batch_of(&self, receive: &Receive) -> Option<Lease> {
        receive.mailboxes.iter().find_map(|mailbox| {
            let attempt = (receive.consumer.clone(), mailbox.clone(), receive.attempt_id.clone());
            self.attempts.get(&attempt).copied()
        })
    }

    /// Chooses and leases what the receiver may have now.
    fn take(
        &mut self,
        receive: &Receive,
        enough: Enough,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Vec<Granted>, Reason> {
        if !self.wants_more(receive) {
            return Err(Reason::TaskOver);
        }
        let chosen = self.choose(receive, now);
        if chosen.deliveries.is_empty() {
            return Err(self.why_nothing(receive));
        }
        if enough == Enough::AfterLinger && !chosen.full && !receive.linger.is_zero() {
            return Err(Reason::More);
        }
        for (mailbox, made) in chosen.made {
            if let Some(inbox) = self.inboxes.get_mut(&mailbox) {
                inbox.lanes.keep(made);
            }
        }
        self.rotation = self.rotation.wrapping_add(chosen.deliveries.len());
        self.complete_task(receive, step);
        Ok(self.grant(receive, &chosen.deliveries, now, step))
    }

    /// What a receiver can have now: its mailboxes take turns.
    fn choose(&mut self, receive: &Receive, now: Timestamp) -> Chosen {
        let mut filter = Vec::new();
        if !receive.types.is_empty() {
            filter.extend(receive.types.iter().filter_map(|kind| self.deliveries.number_of(kind)));
            // What is named twice is wanted once.
            filter.sort_unstable();
            filter.dedup();
            for mailbox in &receive.mailboxes {
                if let Some(inbox) = self.inboxes.get_mut(mailbox) {
                    inbox.lanes.sort_by_kind(&self.deliveries);
                }
            }
        }
        let filter = (!receive.types.is_empty() && !fault!(AnyType)).then_some(&filter[..]);
        let held = self.held_by(&receive.consumer);
        let mut max = 0;
        let mut choices = Vec::with_capacity(receive.mailboxes.len());
        for mailbox in &receive.mailboxes {
            let open = |inbox: &&Inbox| inbox.row.paused.is_none() || fault!(PauseIgnored);
            let Some(inbox) = self.inboxes.get(mailbox).filter(open) else { continue };
            let keeps = keeps(&inbox.row.settings);
            let keeper = Some(&receive.consumer).filter(|consumer| keeps && consumer.named);
            let wish = Wish { keeper, filter, floor: inbox.row.floor, now };
            let credit = inbox.limits.credit as usize;
            max = max.max(credit / 2);
            choices.push((mailbox, credit, inbox.lanes.choose(&self.deliveries, wish)));
        }
        let max = (receive.max as usize).clamp(1, max.max(1));
        let mut chosen = Chosen::default();
        let mut bytes = 0;
        let mut turn = self.rotation;
        let mut idle = 0;
        while chosen.deliveries.len() < max && idle < choices.len() {
            let count = choices.len();
            let (_, credit, choice) = &mut choices[turn % count];
            turn += usize::from(!fault!(GreedyMailbox));
            // What is critical goes out to whoever asks, however much it holds.
            let has_credit = held + chosen.deliveries.len() < *credit;
            let least = if has_credit { Priority::BULK } else { Priority::CRITICAL };
            let Some(slot) = choice.next(least).filter(|_| has_credit || !fault!(CriticalWaits)) else {
                idle += 1;
                turn += usize::from(fault!(GreedyMailbox));
                continue;
            };
            idle = 0;
            bytes += u64::from(self.deliveries.size(slot));
            if !chosen.deliveries.is_empty() && bytes > receive.max_bytes {
                chosen.full = true;
                break;
            }
            choice.take();
            chosen.deliveries.push(self.deliveries.id(slot));
        }
        chosen.full |= chosen.deliveries.len() == max;
        chosen.made =
            choices.into_iter().map(|(mailbox, _, choice)| (mailbox.clone(), choice.end())).collect();
        for (mailbox, made) in &mut chosen.made {
            if let Some(inbox) = self.inboxes.get_mut(mailbox) {
                inbox.lanes.put_aside(mem::take(&mut made.passed), &self.deliveries, now);
            }
        }
        chosen
    }

    /// Why there is nothing for a receiver.
    fn why_nothing(&self, receive: &Receive) -> Reason {
        let inboxes = || receive.mailboxes.iter().filter_map(|mailbox| self.inboxes.get(mailbox));
        let held = self.held_by(&receive.consumer);
        if inboxes().all(|inbox| held >= inbox.limits.credit as usize) {
            return Reason::NoCredit;
        }
        let found: Vec<_> = inboxes().map(Inbox::nothing).collect();
        let is_blocked = found.contains(&Nothing::Blocked);
        Reason::Nothing(if is_blocked {
            Nothing::Blocked
        } else if found.iter().all(|nothing| *nothing == Nothing::Paused) {
            Nothing::Paused
        } else {
            Nothing::Empty
        })
    }

    /// How many deliveries a consumer holds.
    pub(super) fn held_by(&self, consumer: &Consumer) -> usize {
        self.held.get(consumer).map_or(0, BTreeSet::len)
    }

    fn received(&mut self, receive: &Receive, granted: Vec<Granted>) -> Received {
        let name = quiet_name(receive);
        for mailbox in &receive.mailboxes {
            if let Some(inbox) = self.inboxes.get_mut(mailbox) {
                inbox.quiet.remove(&name);
            }
        }
        let directive =
            Directive { action: Action::Process, delay: Duration::ZERO, reason: DirectiveReason::Messages };
        let held = self.held_besides(receive, &granted);
        let answer = self.told_in_answer(&granted, &held);
        Received { answer, granted, held, directive, depth: self.depth_of(receive) }
    }

    fn depth_of(&self, receive: &Receive) -> u32 {
        let inboxes = receive.mailboxes.iter().filter_map(|mailbox| self.inboxes.get(mailbox));
        inboxes.map(|inbox| inbox.pending).sum()
    }

    /// What a consumer that can be met again holds, wherever from, but for what it is just given.
    fn held_besides(&self, receive: &Receive, granted: &[Granted]) -> Vec<Granted> {
        if !receive.consumer.named {
            return Vec::new();
        }
        let held = self.held.get(&receive.consumer).into_iter().flatten().copied();
        let besides = held.filter(|id| !granted.iter().any(|granted| granted.delivery == *id));
        self.granted(besides.take(TOLD))
    }

    /// The answer when there is nothing to hand out: how to go on, and after which pause.
    fn nothing(&mut self, receive: &Receive, why: Reason) -> Received {
        let policy = &self.policy;
        let first = &receive.mailboxes[0];
        let inbox = self.inboxes.get_mut(first).expect("it has just been asked");
        if inbox.quiet.len() >= REMEMBERED {
            inbox.quiet.clear();
        }
        let quiet = inbox.quiet.entry(quiet_name(receive)).or_insert(0);
        let delay = if receive.wait.is_zero() {
            policy.poll_min.saturating_mul(1 << (*quiet).min(16)).min(policy.poll_max)
        } else {
            Duration::ZERO
        };
        *quiet = quiet.saturating_add(1);
        let spent = policy.poll_budget.is_some_and(|budget| *quiet > budget);
        let reason = match why {
            _ if spent => DirectiveReason::PollBudget,
            Reason::NoCredit => DirectiveReason::NoCredit,
            Reason::TaskOver => DirectiveReason::TaskOver,
            Reason::Nothing(Nothing::Empty) => DirectiveReason::Quiet,
            Reason::Nothing(Nothing::Paused) => DirectiveReason::Paused,
            Reason::Nothing(Nothing::Blocked) | Reason::More => DirectiveReason::Busy,
        };
        let action = if spent { Action::EndTurn } else { Action::WaitAgain };
        let held = self.held_besides(receive, &[]);
        let answer = self.told_in_answer(&[], &held);
        let directive = Directive { action, delay, reason };
        Received { answer, granted: Vec::new(), held, directive, depth: self.depth_of(receive) }
    }

    /// Parks a receive: behind all others, or in the place of the attempt that it repeats.
    fn park(
        &mut self,
        call: CallId,
        receive: Receive,
        place: Option<Ticket>,
        lingers: bool,
        now: Timestamp,
    ) -> Result<(), ReceiveError> {
        let limit = self.policy.max_waiting;
        if self.parked.len() >= limit {
            return Err(ReceiveError::TooManyWaiting { limit });
        }
        let until = now + receive.wait;
        self.timers.set(until, Timer::Wait(call));
        let ticket = place.unwrap_or_else(|| {
            self.tickets += 1;
            self.tickets
        });
        let parked = Parked { receive, until, ticket, lingers_until: None };
        for mailbox in &parked.receive.mailboxes {
            if let Some(inbox) = self.inboxes.get_mut(mailbox) {
                inbox.waiting.insert(call, &parked);
            }
        }
        let waits = self.waits.entry(parked.receive.consumer.clone()).or_default();
        waits.insert(call);
        self.parked.insert(call, parked);
        if lingers {
            self.linger(call, now);
        }
        Ok(())
    }

    /// Something is there for a waiting receive, and it waits for more.
    fn linger(&mut self, call: CallId, now: Timestamp) {
        let Some(parked) = self.parked.get_mut(&call).filter(|parked| parked.lingers_until.is_none()) else {
            return;
        };
        // Not longer, however late that is seen.
        let until = now.min(parked.until) + parked.receive.linger;
        parked.lingers_until = Some(until);
        if !fault!(LingersOn) {
            self.timers.set(until, Timer::Linger(call));
        }
    }

    /// Sends home the call of an attempt that is repeated; tells which place it had.
    fn replace_parked(&mut self, receive: &Receive, step: &mut Step) -> Option<Ticket> {
        let waiting = &self.inboxes.get(&receive.mailboxes[0])?.waiting;
        let call = waiting.same_attempt(receive)?;
        let asked = &self.parked.get(&call)?.receive.mailboxes;
        // In whatever order: it is the same attempt.
        if asked.len() != receive.mailboxes.len()
            || !asked.iter().all(|mailbox| receive.mailboxes.contains(mailbox))
        {
            return None;
        }
        let parked = self.remove_parked(call)?;
        let answer = Answer::Received(Ok(ended(DirectiveReason::Replaced)));
        step.effects.push(Effect::Answer(call, answer));
        Some(parked.ticket)
    }

    /// The caller is gone. Its seat stays warm for a moment: it may be on its way back.
    pub(super) fn unpark(&mut self, call: CallId, now: Timestamp) {
        if let Some(parked) = self.remove_parked(call) {
            for mailbox in &parked.receive.mailboxes {
                self.leave(mailbox, now);
            }
        }
    }

    pub(super) fn remove_parked(&mut self, call: CallId) -> Option<Parked> {
        let parked = self.parked.remove(&call)?;
        for mailbox in &parked.receive.mailboxes {
            if let Some(inbox) = self.inboxes.get_mut(mailbox) {
                inbox.waiting.remove(&parked);
            }
        }
        if let Some(waits) = self.waits.get_mut(&parked.receive.consumer) {
            waits.remove(&call);
            if waits.is_empty() {
                self.waits.remove(&parked.receive.consumer);
            }
        }
        self.timers.clear(parked.until, Timer::Wait(call));
        if let Some(until) = parked.lingers_until {
            self.timers.clear(until, Timer::Linger(call));
        }
        Some(parked)
    }

    /// A receive has waited long enough: for the first delivery, or for more.
    pub(super) fn end_wait(&mut self, call: CallId, now: Timestamp, step: &mut Step) {
        let Some(parked) = self.parked.get(&call) else { return };
        // It is answered when its lingering ends.
        if parked.lingers_until.is_some_and(|until| until > now) {
            return;
        }
        if !self.serve_one(call, Enough::Anything, now, step)
            && let Some(parked) = self.remove_parked(call)
        {
            let why = self.why_nothing(&parked.receive);
            let received = self.nothing(&parked.receive, why);
            step.effects.push(Effect::Answer(call, Answer::Received(Ok(received))));
        }
    }

    /// A receive has waited long enough for more. If others have taken what was there, it goes on waiting for something.
    pub(super) fn end_linger(&mut self, call: CallId, now: Timestamp, step: &mut Step) {
        if self.serve_one(call, Enough::Anything, now, step) {
            return;
        }
        if let Some(parked) = self.parked.get_mut(&call) {
            parked.lingers_until = None;
            if parked.until <= now {
                self.end_wait(call, now, step);
            }
        }
    }

    /// Answers every receive that waits for a mailbox which is no more; those that have others go on waiting for these.
    pub(super) fn dismiss(&mut self, mailbox: &Address, step: &mut Step) {
        let waiting = self.inboxes.get(mailbox).map(|inbox| inbox.waiting.calls()).unwrap_or_default();
        for call in waiting {
            let Some(parked) = self.parked.get_mut(&call) else { continue };
            if parked.receive.mailboxes.len() > 1 {
                if let Some(inbox) = self.inboxes.get_mut(mailbox) {
                    inbox.waiting.remove(parked);
                }
                parked.receive.mailboxes.retain(|other| other != mailbox);
                continue;
            }
            self.remove_parked(call);
            let reason = match mailbox.session() {
                Some(_) => DirectiveReason::SessionClosed,
                None => DirectiveReason::MailboxDeleted,
            };
            step.effects.push(Effect::Answer(call, Answer::Received(Ok(ended(reason)))));
        }
    }

    /// Gives what has become free to those who wait for it, the longest waiting first; one who can use nothing of it
    /// passes it on.
    pub(super) fn serve_dirty(&mut self, now: Timestamp, step: &mut Step) {
        while let Some(mailbox) = self.dirty.pop_first() {
            self.serve(&mailbox, now, step);
        }
    }

    fn serve(&mut self, mailbox: &Address, now: Timestamp, step: &mut Step) {
        let open = |inbox: &&Inbox| inbox.row.paused.is_none();
        let mut last = 0;
        while let Some(inbox) = self.inboxes.get(mailbox).filter(open).filter(|inbox| inbox.lanes.is_free())
            && let Some((ticket, call)) =
                inbox.waiting.after(last, |kind| inbox.lanes.may_have(kind, &self.deliveries))
        {
            last = ticket;
            self.serve_one(call, Enough::AfterLinger, now, step);
        }
        // What is kept for somebody is nothing to the others.
        let Some(inbox) = self.inboxes.get(mailbox).filter(open).filter(|inbox| !inbox.waiting.is_empty())
        else {
            return;
        };
        let keepers: Vec<_> = inbox.lanes.keepers().flat_map(|keeper| inbox.waiting.of(keeper)).collect();
        for call in keepers {
            self.serve_one(call, Enough::AfterLinger, now, step);
        }
    }

    /// Gives a waiting receive what it can have; tells whether that was something.
    fn serve_one(&mut self, call: CallId, enough: Enough, now: Timestamp, step: &mut Step) -> bool {
        #[cfg(test)]
        self.deliveries.looked();
        let Some(receive) = self.parked.get(&call).map(|parked| parked.receive.clone()) else { return false };
        match self.take(&receive, enough, now, step) {
            Ok(granted) => {
                self.remove_parked(call);
                self.arrive(&receive, now, step);
                let received = self.received(&receive, granted);
                step.effects.push(Effect::Answer(call, Answer::Received(Ok(received))));
                true
            }
            Err(Reason::More) => {
                self.linger(call, now);
                false
            }
            Err(_) => false,
        }
    }
}

/// Deliveries that an answer tells of at most, of those that its consumer holds besides. Only what is critical can be more.
const TOLD: usize = 1_000;

/// Pollers of one mailbox that are told apart; beyond that all begin anew.
const REMEMBERED: usize = 256;

/// With how much a receiver is content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enough {
    /// With what is there.
    Anything,
    /// With as much as it can have; less only when it has waited for more.
    AfterLinger,
}

/// Why a receive got nothing.
#[derive(Debug, Clone, Copy)]
enum Reason {
    NoCredit,
    TaskOver,
    /// Something is there, and it waits for more.
    More,
    Nothing(Nothing),
}

/// Polls without a name share one count: they cannot be told apart.
fn quiet_name(receive: &Receive) -> Name {
    if receive.consumer.named { receive.consumer.name.clone() } else { receive.consumer.principal.clone() }
}

const fn ended(reason: DirectiveReason) -> Received {
    let action = match reason {
        DirectiveReason::SessionClosed | DirectiveReason::MailboxDeleted => Action::EndTurn,
        _ => Action::WaitAgain,
    };
    Received {
        answer: 0,
        granted: Vec::new(),
        held: Vec::new(),
        directive: Directive { action, delay: Duration::ZERO, reason },
        depth: 0,
    }
}

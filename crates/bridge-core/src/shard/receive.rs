//! Handing out deliveries, at once or when some come.

use alloc::{collections::BTreeSet, vec::Vec};
use core::time::Duration;

use super::{
    Shard, Step,
    inbox::Nothing,
    timer::Timer,
    waiting::{Parked, Ticket},
};
use crate::{
    address::Address,
    command::{Answer, CallId, Effect},
    consumer::Consumer,
    receive::{Action, Directive, DirectiveReason, Granted, Receive, ReceiveError, Received},
    time::Timestamp,
};

impl Shard {
    /// Answers a receive, or parks it: then there is no answer yet.
    pub(super) fn receive(
        &mut self,
        call: CallId,
        receive: Receive,
        now: Timestamp,
        step: &mut Step,
    ) -> Option<Result<Received, ReceiveError>> {
        if let Err(refused) = self.taken_from(&receive.mailbox) {
            return Some(refused);
        }
        let attempt = (receive.consumer.clone(), receive.mailbox.clone(), receive.attempt_id.clone());
        let repeated = self.attempts.get(&attempt).copied();
        let place = self.replace_parked(&receive, step);
        self.arrive(&receive, now, step);
        if let Some(batch) = repeated {
            let members = self.batches[&batch].members.clone();
            let granted = self.granted(members);
            return Some(Ok(self.received(&receive, granted)));
        }
        match self.take(&receive, now, step) {
            Ok(granted) => Some(Ok(self.received(&receive, granted))),
            Err(_) if !receive.wait.is_zero() => {
                self.park(call, receive, place, now).map_or_else(|refused| Some(Err(refused)), |()| None)
            }
            Err(why) => Some(Ok(self.nothing(&receive, why))),
        }
    }

    /// Whether a mailbox hands out leases; what to say instead if it does not.
    fn taken_from(&self, mailbox: &Address) -> Result<(), Result<Received, ReceiveError>> {
        let open = mailbox.session().is_none_or(|session| self.sessions.contains_key(&session));
        if open && self.inboxes.contains_key(mailbox) {
            return if mailbox.is_work() {
                Ok(())
            } else {
                Err(Err(ReceiveError::NotLeased(mailbox.clone())))
            };
        }
        Err(match mailbox.session().and_then(|session| self.find_session(session)) {
            Some(_) => Ok(ended(DirectiveReason::SessionClosed)),
            None => Err(ReceiveError::UnknownMailbox(mailbox.clone())),
        })
    }

    /// Chooses and leases what the receiver may have now.
    fn take(&mut self, receive: &Receive, now: Timestamp, step: &mut Step) -> Result<Vec<Granted>, Reason> {
        if !self.wants_more(receive) {
            return Err(Reason::TaskOver);
        }
        let credit = self.credit_left(&receive.consumer);
        if credit == 0 {
            return Err(Reason::NoCredit);
        }
        let half = (self.policy.agent.credit as usize / 2).max(1);
        let max = (receive.max as usize).clamp(1, half).min(credit);
        let inbox = self.inboxes.get_mut(&receive.mailbox).expect("it has just been asked");
        let most = (max, receive.max_bytes);
        let chosen = inbox.lanes.choose(&self.deliveries, &receive.consumer, most, now);
        if chosen.is_empty() {
            return Err(Reason::Nothing(inbox.nothing()));
        }
        self.complete_task(receive, step);
        Ok(self.grant(receive, &chosen, now, step))
    }

    /// How many more deliveries a consumer may hold.
    pub(super) fn credit_left(&self, consumer: &Consumer) -> usize {
        let held = self.held.get(consumer).map_or(0, BTreeSet::len);
        (self.policy.agent.credit as usize).saturating_sub(held)
    }

    fn received(&mut self, receive: &Receive, granted: Vec<Granted>) -> Received {
        let inbox = self.inboxes.get_mut(&receive.mailbox).expect("it has just handed something out");
        inbox.quiet.remove(&quiet_name(receive));
        let depth = inbox.pending;
        let directive =
            Directive { action: Action::Process, delay: Duration::ZERO, reason: DirectiveReason::Messages };
        let held = self.held_besides(receive, &granted);
        let answer = self.told_in_answer(granted.iter().chain(&held));
        Received { answer, granted, held, directive, depth }
    }

    /// What a consumer that can be met again holds, wherever from, but for what it is just given.
    fn held_besides(&self, receive: &Receive, granted: &[Granted]) -> Vec<Granted> {
        if !receive.consumer.named {
            return Vec::new();
        }
        let held = self.held.get(&receive.consumer).into_iter().flatten().copied();
        self.granted(held.filter(|id| !granted.iter().any(|granted| granted.delivery == *id)))
    }

    /// The answer when there is nothing to hand out: how to go on, and after which pause.
    fn nothing(&mut self, receive: &Receive, why: Reason) -> Received {
        let policy = &self.policy;
        let inbox = self.inboxes.get_mut(&receive.mailbox).expect("it has just been asked");
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
            Reason::Nothing(Nothing::Blocked) => DirectiveReason::Busy,
        };
        let action = if spent { Action::EndTurn } else { Action::WaitAgain };
        let depth = inbox.pending;
        let held = self.held_besides(receive, &[]);
        let answer = self.told_in_answer(&held);
        let directive = Directive { action, delay, reason };
        Received { answer, granted: Vec::new(), held, directive, depth }
    }

    /// Parks a receive: behind all others, or in the place of the attempt that it repeats.
    fn park(
        &mut self,
        call: CallId,
        receive: Receive,
        place: Option<Ticket>,
        now: Timestamp,
    ) -> Result<(), ReceiveError> {
        let limit = self.policy.max_waiting;
        if self.parked.len() >= limit {
            return Err(ReceiveError::TooManyWaiting { limit });
        }
        let until = now + receive.wait;
        self.timers.set(until, Timer::Wait(call));
        let mailbox = receive.mailbox.clone();
        self.waits.entry(receive.consumer.clone()).or_default().insert(call, mailbox.clone());
        let inbox = self.inboxes.get_mut(&mailbox).expect("it has just been asked");
        let ticket = inbox.waiting.insert(Parked { call, receive, until }, place);
        self.parked.insert(call, (mailbox, ticket));
        Ok(())
    }

    /// Sends home the call of an attempt that is repeated; tells which place it had.
    fn replace_parked(&mut self, receive: &Receive, step: &mut Step) -> Option<Ticket> {
        let waiting = &self.inboxes.get(&receive.mailbox)?.waiting;
        let place = waiting.same_attempt(receive)?;
        let call = waiting.get(place)?.call;
        self.remove_parked(call);
        let answer = Answer::Received(Ok(ended(DirectiveReason::Replaced)));
        step.effects.push(Effect::Answer(call, answer));
        Some(place)
    }

    /// The caller is gone. Its seat stays warm for a moment: it may be on its way back.
    pub(super) fn unpark(&mut self, call: CallId, now: Timestamp) {
        if let Some(parked) = self.remove_parked(call) {
            self.leave(&parked.receive.mailbox, now);
        }
    }

    pub(super) fn remove_parked(&mut self, call: CallId) -> Option<Parked> {
        let (mailbox, ticket) = self.parked.remove(&call)?;
        let parked = self.inboxes.get_mut(&mailbox)?.waiting.remove(ticket)?;
        if let Some(waits) = self.waits.get_mut(&parked.receive.consumer) {
            waits.remove(&call);
            if waits.is_empty() {
                self.waits.remove(&parked.receive.consumer);
            }
        }
        self.timers.clear(parked.until, Timer::Wait(call));
        Some(parked)
    }

    /// A receive has waited long enough.
    pub(super) fn end_wait(&mut self, call: CallId, step: &mut Step) {
        if let Some(parked) = self.remove_parked(call) {
            let why = match self.inboxes[&parked.receive.mailbox].pending {
                _ if self.credit_left(&parked.receive.consumer) == 0 => Reason::NoCredit,
                0 => Reason::Nothing(Nothing::Empty),
                _ => Reason::Nothing(Nothing::Blocked),
            };
            let received = self.nothing(&parked.receive, why);
            step.effects.push(Effect::Answer(call, Answer::Received(Ok(received))));
        }
    }

    /// Answers every receive that waits for a mailbox which is no more.
    pub(super) fn dismiss(&mut self, mailbox: &Address, step: &mut Step) {
        let waiting: Vec<_> =
            self.inboxes.get(mailbox).into_iter().flat_map(|inbox| inbox.waiting.calls()).collect();
        for call in waiting {
            self.remove_parked(call);
            let answer = Answer::Received(Ok(ended(DirectiveReason::SessionClosed)));
            step.effects.push(Effect::Answer(call, answer));
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
        let mut last = 0;
        while let Some(inbox) = self.inboxes.get(mailbox).filter(|inbox| inbox.lanes.is_free())
            && let Some((ticket, _)) = inbox.waiting.after(last)
        {
            last = ticket;
            self.serve_one(mailbox, ticket, now, step);
        }
        // What is kept for somebody is nothing to the others.
        let Some(inbox) = self.inboxes.get(mailbox).filter(|inbox| !inbox.waiting.is_empty()) else { return };
        let keepers: Vec<_> = inbox.lanes.keepers().flat_map(|keeper| inbox.waiting.of(keeper)).collect();
        for ticket in keepers {
            self.serve_one(mailbox, ticket, now, step);
        }
    }

    fn serve_one(&mut self, mailbox: &Address, ticket: Ticket, now: Timestamp, step: &mut Step) {
        let inbox = self.inboxes.get(mailbox);
        let Some(Parked { call, receive, .. }) = inbox.and_then(|inbox| inbox.waiting.get(ticket)).cloned()
        else {
            return;
        };
        if let Ok(granted) = self.take(&receive, now, step) {
            self.remove_parked(call);
            self.arrive(&receive, now, step);
            let received = self.received(&receive, granted);
            step.effects.push(Effect::Answer(call, Answer::Received(Ok(received))));
        }
    }
}

/// Pollers of one mailbox that are told apart; beyond that all begin anew.
const REMEMBERED: usize = 256;

/// Why a receive got nothing.
#[derive(Debug, Clone, Copy)]
enum Reason {
    NoCredit,
    TaskOver,
    Nothing(Nothing),
}

/// Polls without a name share one count: they cannot be told apart.
fn quiet_name(receive: &Receive) -> crate::id::Name {
    if receive.consumer.named { receive.consumer.name.clone() } else { receive.consumer.principal.clone() }
}

const fn ended(reason: DirectiveReason) -> Received {
    let action = match reason {
        DirectiveReason::SessionClosed => Action::EndTurn,
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

//! The owner of a shard: takes what was sent, lets the shard decide, commits once, lets the effects out.
//!
//! *Invariant:* no effect leaves before its step's changes are durable. *Invariant:* a commit that failed ends the
//! shard's life: it is dropped and loaded again; there is no rollback.

mod revive;

use std::{collections::HashMap, mem, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bridge_core::{
    Action, Answer, CallId, Change, Command, Directive, DirectiveReason, Effect, LostAnswer, Measure,
    Ownership, Receive, Received, Request, Shard, Step, StoreError, StoreErrorKind, Timestamp,
};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};

use self::revive::PROBE;
use crate::{
    fault::{Fault, Health},
    inbox::{Answered, HandOver, Input, WeakInlet},
    life::{Life, Parts},
    tail::Tail,
};

/// Commands that one commit answers at most. In the model so few that there are often more.
const BATCH: usize = if cfg!(shuttle) { 2 } else { 1_024 };

/// A commit that takes longer means that the store does not work.
const STALLED: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Actor {
    parts: Parts,
    inbox: mpsc::Receiver<Input>,
    /// For the hand-overs it sends out: it must not keep itself alive.
    inlet: WeakInlet,
    tail: Arc<Tail>,
    health: watch::Sender<Health>,
    /// What was taken out of the inbox; kept for its room.
    inputs: Vec<Input>,
    /// Whether several commands came at once the last time.
    is_busy: bool,
    /// Who waits for an answer.
    calls: HashMap<CallId, Call>,
    /// Commands that are to be handled again.
    again: Vec<Request>,
    /// Numbers commands that nobody waits for.
    notices: u64,
    /// Calls whose callers have gone away in this step.
    gone: Vec<CallId>,
    /// Lost answers that no committed step has heard of.
    unheard: Vec<LostAnswer>,
    stopping: bool,
    /// Whether this life of the shard has made anything durable.
    committed: bool,
}

#[derive(Debug)]
struct Call {
    reply: oneshot::Sender<Result<Answered, Fault>>,
    /// A receive outlives its shard: it is handled again by the next one.
    receive: Option<(Receive, Timestamp)>,
}

/// Why a shard's life ended.
enum Exit {
    Shutdown(Ownership),
    Lost(StoreErrorKind),
}

impl Actor {
    pub(crate) fn new(
        parts: Parts,
        inbox: mpsc::Receiver<Input>,
        inlet: WeakInlet,
        tail: Arc<Tail>,
        health: watch::Sender<Health>,
    ) -> Self {
        Self {
            parts,
            inbox,
            inlet,
            tail,
            health,
            inputs: Vec::new(),
            is_busy: false,
            calls: HashMap::new(),
            again: Vec::new(),
            notices: u64::MAX,
            gone: Vec::new(),
            unheard: Vec::new(),
            stopping: false,
            committed: false,
        }
    }

    /// Works until it is told to stop, through as many lives as it takes; `first` may have failed.
    pub(crate) async fn run(mut self, first: Result<Life, StoreErrorKind>) {
        let mut next = first;
        let owner = loop {
            let life = match next {
                Ok(life) => life,
                Err(kind) => match self.revive(kind).await {
                    Some(life) => life,
                    None => return self.dismiss(),
                },
            };
            self.committed = false;
            // A panic is a fault like any other: the shard is dropped and loaded again.
            let exit = AssertUnwindSafe(self.live(life)).catch_unwind().await;
            let exit = exit.unwrap_or_else(|_| {
                tracing::error!("the shard panicked; it is loaded again");
                self.fail_all(Fault::OutcomeUnknown);
                Exit::Lost(StoreErrorKind::Unavailable)
            });
            match exit {
                Exit::Shutdown(owner) => break owner,
                Exit::Lost(kind) => {
                    self.parts.metrics.record(&Measure::Reload);
                    next = Err(kind);
                }
            }
        };
        self.dismiss();
        if let Err(error) = self.parts.store.release(&owner).await {
            tracing::warn!(%error, "the shard was not given up cleanly");
        }
    }

    /// Tells all callers, but those of receives, that something has failed.
    fn fail_all(&mut self, fault: Fault) {
        for (_, call) in self.calls.extract_if(|_, call| call.receive.is_none()) {
            let _ = call.reply.send(Err(fault));
        }
    }

    /// The whole life of a shard.
    async fn live(&mut self, life: Life) -> Exit {
        let Life { owner, mut shard, head, .. } = life;
        // A commit that failed may have been written all the same: whoever follows the log looks again.
        self.tail.resync(head);
        self.health.send_replace(if self.stopping { Health::ShuttingDown } else { Health::Ready });
        self.resubmit();
        let mut requests = mem::take(&mut self.again);
        loop {
            // Who asks again does not keep the others waiting.
            let deadline =
                if requests.is_empty() { shard.next_timeout() } else { Some(self.parts.clock.now()) };
            match self.next_batch(deadline).await {
                Some(batch) => requests.extend(batch),
                None if requests.is_empty() => return Exit::Shutdown(owner),
                None => {}
            }
            if let Err(error) = self.fetch(&mut shard, &mut requests).await {
                tracing::error!(%error, "what a call is about could not be read; the shard is loaded again");
                // Whoever waits for an answer is of this step, of which nothing was tried yet.
                self.fail_all(Fault::of(error.kind));
                return Exit::Lost(error.kind);
            }
            let now = self.parts.clock.now();
            let commands = requests.len();
            let mut step = Step::new();
            shard.handle_timeout(now, &mut step);
            for request in requests.drain(..) {
                shard.handle(request, now, &mut step);
            }
            let Step { changes, effects, .. } = step;
            if !changes.is_empty() {
                if let Err(error) = self.commit(&owner, &changes).await {
                    return self.lost(effects, &error);
                }
                let measure = Measure::Commit { commands, changes: changes.len() };
                self.parts.metrics.record(&measure);
                self.committed = true;
                self.tail.announce(changes);
            }
            self.unheard.clear();
            for effect in effects {
                self.perform(effect, &mut requests);
            }
            for call in self.gone.drain(..) {
                self.calls.remove(&call);
            }
        }
    }

    /// Makes changes durable. A store that takes too long for it is told as one that cannot be used, until it answers.
    async fn commit(&self, owner: &Ownership, changes: &[Change]) -> Result<(), StoreError> {
        let Parts { store, clock, .. } = &self.parts;
        let mut commit = store.commit(owner, changes);
        tokio::select! {
            biased;
            result = &mut commit => return result,
            () = clock.sleep_until(clock.now() + STALLED) => {}
        }
        tracing::error!("the store has not answered a commit for {} s", STALLED.as_secs());
        let before = self.health.send_replace(Health::Faulted(Fault::Unavailable));
        let result = commit.await;
        self.health.send_replace(before);
        result
    }

    /// What has been sent, as soon as there is something or `deadline` has come; nothing more at the end.
    async fn next_batch(&mut self, deadline: Option<Timestamp>) -> Option<Vec<Request>> {
        let clock = Arc::clone(&self.parts.clock);
        let due = async {
            match deadline {
                Some(deadline) => clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            received = self.inbox.recv_many(&mut self.inputs, BATCH) => if received == 0 { return None },
            () = due => {}
        }
        if self.is_busy {
            // Callers who are about to call share this commit; who calls alone does not wait for others.
            tokio::task::yield_now().await;
            while self.inputs.len() < BATCH
                && let Ok(input) = self.inbox.try_recv()
            {
                self.inputs.push(input);
            }
        }
        self.is_busy = self.inputs.len() > 1;
        let mut inputs = mem::take(&mut self.inputs);
        let batch = inputs.drain(..).filter_map(|input| self.admit(input)).collect();
        self.inputs = inputs;
        Some(batch)
    }

    /// Notes who waits for an input's answer.
    fn admit(&mut self, input: Input) -> Option<Request> {
        match input {
            Input::Call(call, command, reply) => {
                let receive = match &command {
                    Command::Receive(receive) => {
                        Some((receive.clone(), self.parts.clock.now() + receive.wait))
                    }
                    _ => None,
                };
                self.calls.insert(call, Call { reply, receive });
                Some(Request { call, command })
            }
            Input::Notice(command) => {
                match &command {
                    // Whatever is granted before it is heard has still to be told as lost.
                    Command::Unpark(call) => self.gone.push(*call),
                    Command::AnswerLost(lost) if self.unheard.len() < BATCH => {
                        self.unheard.push(lost.clone());
                    }
                    _ => {}
                }
                self.notices -= 1;
                Some(Request { call: CallId(self.notices), command })
            }
            Input::Shutdown => {
                self.stopping = true;
                self.health.send_replace(Health::ShuttingDown);
                self.inbox.close();
                None
            }
        }
    }

    /// Gives the shard the rows that the requests name and it does not hold. Who names a damaged one is refused.
    async fn fetch(&mut self, shard: &mut Shard, requests: &mut Vec<Request>) -> Result<(), StoreError> {
        let mut known = 0;
        loop {
            let mut keys: Vec<_> =
                requests.iter().flat_map(|request| shard.missing(&request.command)).collect();
            keys.sort_unstable();
            keys.dedup();
            // What was fetched may name further rows; what the shard keeps forgetting it asks for by itself.
            if keys.is_empty() || known > 4 {
                return Ok(());
            }
            known += 1;
            match self.parts.store.get(self.parts.shard, &keys).await {
                Ok(rows) => keys.into_iter().zip(rows).for_each(|(key, row)| shard.supply(key, row)),
                Err(error) if error.kind == StoreErrorKind::Corrupt => {
                    tracing::error!(%error, "what a call is about cannot be read");
                    self.refuse_damaged(shard, requests).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Refuses the requests that name damaged rows, so that nobody else suffers from them.
    async fn refuse_damaged(&mut self, shard: &Shard, requests: &mut Vec<Request>) -> Result<(), StoreError> {
        let mut sound = Vec::with_capacity(requests.len());
        for request in requests.drain(..) {
            let keys = shard.missing(&request.command);
            match self.parts.store.get(self.parts.shard, &keys).await {
                Ok(_) => sound.push(request),
                Err(error) if error.kind == StoreErrorKind::Corrupt => {
                    if let Some(call) = self.calls.remove(&request.call) {
                        let _ = call.reply.send(Err(Fault::Damaged));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        *requests = sound;
        Ok(())
    }

    fn perform(&mut self, effect: Effect, requests: &mut Vec<Request>) {
        match effect {
            Effect::Answer(call, answer) => {
                if let Some(call) = self.calls.remove(&call) {
                    let handover = self.handover(&call, &answer);
                    // If the caller is gone, dropping the answer says so.
                    let _ = call.reply.send(Ok(Answered { answer, handover }));
                }
            }
            Effect::Need(request, _) => requests.push(request),
        }
    }

    fn handover(&self, call: &Call, answer: &Answer) -> HandOver {
        match (answer, &call.receive) {
            (Answer::Received(Ok(received)), Some((receive, _)))
                if !received.granted.is_empty() || !received.held.is_empty() =>
            {
                let told = received.granted.iter().chain(&received.held);
                let lost = LostAnswer {
                    answer: received.answer,
                    leases: told.map(|granted| (granted.delivery, granted.lease)).collect(),
                    repeatable: receive.repeatable || receive.consumer.named,
                };
                HandOver::new(self.inlet.clone(), lost)
            }
            _ => HandOver::default(),
        }
    }

    /// The step was not committed, or nobody knows: its callers are told, receives wait for the next life.
    fn lost(&mut self, effects: Vec<Effect>, error: &StoreError) -> Exit {
        tracing::error!(%error, "a commit failed; the shard is loaded again");
        let fault = match error.kind {
            StoreErrorKind::Full => Fault::Full,
            _ => Fault::OutcomeUnknown,
        };
        let answered = effects.into_iter().map(|effect| match effect {
            Effect::Answer(call, _) => call,
            Effect::Need(request, _) => request.call,
        });
        for call in answered {
            if self.calls.get(&call).is_some_and(|call| call.receive.is_none())
                && let Some(call) = self.calls.remove(&call)
            {
                let _ = call.reply.send(Err(fault));
            }
        }
        Exit::Lost(error.kind)
    }

    /// What outlived its shard is handled by the next one: receives, and word of answers that were lost.
    fn resubmit(&mut self) {
        let now = self.parts.clock.now();
        let again = self.calls.iter().filter_map(|(id, call)| {
            let (receive, deadline) = call.receive.as_ref()?;
            // What was granted to a caller that has gone is found again, and given back.
            let wait = if call.reply.is_closed() { Duration::ZERO } else { deadline.since(now) };
            let command = Command::Receive(Receive { wait, ..receive.clone() });
            Some(Request { call: *id, command })
        });
        let mut again: Vec<_> = again.collect();
        again.sort_unstable_by_key(|request| request.call);
        // First: an answer to a receive may tell of the same leases again.
        for lost in &self.unheard {
            self.notices -= 1;
            self.again
                .push(Request { call: CallId(self.notices), command: Command::AnswerLost(lost.clone()) });
        }
        self.again.append(&mut again);
    }

    /// Sends everybody home who still waits.
    fn dismiss(&mut self) {
        for (_, call) in self.calls.drain() {
            let outcome = if call.receive.is_some() {
                let directive = Directive {
                    action: Action::WaitAgain,
                    delay: PROBE,
                    reason: DirectiveReason::ShuttingDown,
                };
                let received =
                    Received { answer: 0, granted: Vec::new(), held: Vec::new(), directive, depth: 0 };
                Ok(Answered { answer: Answer::Received(Ok(received)), handover: HandOver::default() })
            } else {
                Err(Fault::ShuttingDown)
            };
            let _ = call.reply.send(outcome);
        }
    }
}

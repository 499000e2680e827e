//! The owner of a shard: takes what was sent, lets the shard decide, commits once, lets the effects out.
//!
//! *Invariant:* no effect leaves before its step's changes are durable. *Invariant:* a commit that failed ends the
//! shard's life: it is dropped and loaded again; there is no rollback.

use std::{collections::HashMap, future::Future, mem, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bridge_core::{
    Action, Answer, CallId, Change, Clock, Command, Directive, DirectiveReason, Effect, Identity, Index,
    LogId, LostAnswer, Measure, Metrics, NodeId, Ownership, Policy, Receive, Received, Request, Row, RowKey,
    Scope, Seq, Shard, ShardId, Step, Store, StoreError, StoreErrorKind, Timestamp,
};
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    fault::{Fault, Health},
    inbox::{Answered, HandOver, Input, WeakInlet},
    tail::Tail,
};

/// Commands that one commit answers at most.
const BATCH: usize = 1_024;

/// How long an ownership lasts without being renewed by a commit.
const OWNERSHIP: Duration = Duration::from_secs(10);

/// The pause between attempts to use a store that has failed.
const PROBE: Duration = Duration::from_secs(1);

/// Rows read at once for a shadow.
const SHADOW_PAGE: usize = 1_000;

/// What an actor is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<dyn Metrics>,
    pub(crate) policy: Policy,
    pub(crate) shard: ShardId,
    pub(crate) node: NodeId,
}

#[derive(Debug)]
pub(crate) struct Actor {
    parts: Parts,
    inbox: mpsc::Receiver<Input>,
    /// For the hand-overs it sends out: it must not keep itself alive.
    inlet: WeakInlet,
    tail: Arc<Tail>,
    health: watch::Sender<Health>,
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

/// A shard in its owner's hands.
pub(crate) struct Life {
    owner: Ownership,
    shard: Shard,
    /// The end of its log.
    pub(crate) head: Seq,
    /// Its identity and secret.
    pub(crate) identity: Identity,
}

impl Parts {
    /// Becomes the owner of the shard and loads it.
    pub(crate) async fn begin(&self) -> Result<Life, StoreError> {
        let Self { store, clock, shard, node, .. } = self;
        let owner = store.acquire(*shard, *node, clock.now(), OWNERSHIP).await?;
        let identity = match self.identity().await? {
            Some(identity) => identity,
            None => self.found(&owner).await?,
        };
        let head = self.head().await?;
        let rows = gather(|after| store.load(&owner, after)).await?;
        let shard = self.shard(owner.epoch, rows, head);
        Ok(Life { owner, shard, head, identity })
    }

    /// What the shard would be, for those who only look: it is owned by nobody.
    async fn shadow(&self) -> Result<Shard, StoreError> {
        let head = self.head().await?;
        let live = |after| self.store.scan(self.shard, Index::Live { after }, SHADOW_PAGE);
        Ok(self.shard(0, gather(live).await?, head))
    }

    fn shard(&self, epoch: u64, rows: Vec<Row>, head: Seq) -> Shard {
        Shard::new(self.policy.clone(), epoch, random()).load(rows, head, self.clock.now())
    }

    /// The identity that the shard was given at its first load.
    pub(crate) async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        match self.store.get(self.shard, &[RowKey::Identity]).await?.pop().flatten() {
            Some(Row::Identity(identity)) => Ok(Some(identity)),
            _ => Ok(None),
        }
    }

    /// The end of the log; the clock goes on from there.
    pub(crate) async fn head(&self) -> Result<Seq, StoreError> {
        let head = self.store.read_log(self.shard, Scope::All, Seq::ZERO, 0).await?.head;
        let before = Seq(head.0.saturating_sub(1));
        let last = self.store.read_log(self.shard, Scope::All, before, 1).await?;
        if let Some(event) = last.events.last() {
            self.clock.not_before(event.at);
        }
        Ok(head)
    }

    /// Gives the shard its identity, at its first load.
    async fn found(&self, owner: &Ownership) -> Result<Identity, StoreError> {
        let mut token_key = [0; 32];
        fill(&mut token_key);
        let identity = Identity { log: LogId(random()), token_key };
        self.store.commit(owner, &[Change::Put(Row::Identity(identity.clone()))]).await?;
        Ok(identity)
    }
}

/// All rows that `page` gives, one page after the other.
async fn gather<P>(page: impl Fn(Option<RowKey>) -> P) -> Result<Vec<Row>, StoreError>
where
    P: Future<Output = Result<Vec<Row>, StoreError>>,
{
    let mut rows = Vec::new();
    loop {
        let next = page(rows.last().map(Row::key)).await?;
        if next.is_empty() {
            return Ok(rows);
        }
        rows.extend(next);
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has randomness");
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
                self.doubt(Fault::OutcomeUnknown);
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
    fn doubt(&mut self, fault: Fault) {
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
            if requests.is_empty() {
                match self.next_batch(shard.next_timeout()).await {
                    Some(batch) => requests = batch,
                    None => return Exit::Shutdown(owner),
                }
            }
            if let Err(error) = self.fetch(&mut shard, &mut requests).await {
                return self.lost(Vec::new(), requests, &error);
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
                if let Err(error) = self.parts.store.commit(&owner, &changes).await {
                    return self.lost(effects, requests, &error);
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

    /// What has been sent, as soon as there is something or `deadline` has come; nothing more at the end.
    async fn next_batch(&mut self, deadline: Option<Timestamp>) -> Option<Vec<Request>> {
        let mut inputs = Vec::new();
        let clock = Arc::clone(&self.parts.clock);
        let due = async {
            match deadline {
                Some(deadline) => clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            received = self.inbox.recv_many(&mut inputs, BATCH) => if received == 0 { return None },
            () = due => {}
        }
        Some(inputs.into_iter().filter_map(|input| self.admit(input)).collect())
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
            (Answer::Received(Ok(received)), Some((receive, _))) if !received.granted.is_empty() => {
                let lost = LostAnswer {
                    answer: received.answer,
                    granted: received
                        .granted
                        .iter()
                        .map(|granted| (granted.delivery, granted.lease))
                        .collect(),
                    repeatable: receive.repeatable || receive.consumer.named,
                };
                HandOver::new(self.inlet.clone(), lost)
            }
            _ => HandOver::default(),
        }
    }

    /// The step was not committed, or nobody knows: its callers are told, receives wait for the next life.
    fn lost(&mut self, effects: Vec<Effect>, requests: Vec<Request>, error: &StoreError) -> Exit {
        tracing::error!(%error, "a commit failed; the shard is loaded again");
        let fault = match error.kind {
            StoreErrorKind::Full => Fault::Full,
            _ => Fault::OutcomeUnknown,
        };
        let answered = effects.into_iter().map(|effect| match effect {
            Effect::Answer(call, _) => call,
            Effect::Need(request, _) => request.call,
        });
        for call in answered.chain(requests.into_iter().map(|request| request.call)) {
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
        for lost in &self.unheard {
            self.notices -= 1;
            again.push(Request { call: CallId(self.notices), command: Command::AnswerLost(lost.clone()) });
        }
        self.again.append(&mut again);
    }

    /// Tries to own and load the shard until it works. Meanwhile nothing is written; what can be told is told.
    async fn revive(&mut self, mut kind: StoreErrorKind) -> Option<Life> {
        let mut shadow: Option<Shard> = None;
        // A life that made nothing durable would be followed by another like it: that one waits.
        let mut at_once = self.committed;
        loop {
            let begun = if at_once { Some(self.parts.begin().await) } else { None };
            at_once = true;
            match begun {
                None => {}
                Some(Ok(life)) => {
                    tracing::info!("the store can be used again");
                    return Some(life);
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "the store cannot be used; trying again in a second");
                    kind = if kind == StoreErrorKind::Full { kind } else { error.kind };
                }
            }
            let fault = Fault::of(kind);
            self.health.send_replace(Health::Faulted(fault));
            if shadow.is_none() {
                shadow = self.parts.shadow().await.ok();
            }
            let probe = self.parts.clock.now() + PROBE;
            while self.parts.clock.now() < probe {
                for request in self.next_batch(Some(probe)).await? {
                    self.refuse_or_tell(request, shadow.as_mut(), fault).await;
                }
            }
            let now = self.parts.clock.now();
            let late = |_: &CallId, call: &mut Call| {
                call.receive.as_ref().is_some_and(|(_, deadline)| *deadline <= now)
            };
            for (_, call) in self.calls.extract_if(late) {
                let _ = call.reply.send(Err(fault));
            }
        }
    }

    /// While the store is at fault: what changes nothing is answered, what waits may wait, the rest is refused.
    async fn refuse_or_tell(&mut self, request: Request, shadow: Option<&mut Shard>, fault: Fault) {
        let Request { call, command } = request;
        let reads =
            matches!(command, Command::InspectSession(_) | Command::Inspect(_) | Command::InspectTask(_));
        if matches!(command, Command::Receive(_)) {
            return;
        }
        if let Some(shard) = shadow.filter(|_| reads) {
            let mut requests = vec![Request { call, command }];
            if self.fetch(shard, &mut requests).await.is_ok() {
                let mut step = Step::new();
                for request in requests {
                    shard.handle(request, self.parts.clock.now(), &mut step);
                }
                for effect in step.effects {
                    self.perform(effect, &mut Vec::new());
                }
            }
        }
        if let Some(call) = self.calls.remove(&call) {
            let _ = call.reply.send(Err(fault));
        }
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

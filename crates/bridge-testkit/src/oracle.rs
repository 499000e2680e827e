//! What must hold whatever happens: a judge that knows nothing of the shard but its log, its rows and what was confirmed.
//!
//! The invariants are named as in the documentation of the semantics:
//!
//! | | what holds | judged |
//! |---|---|---|
//! | I1 | what was confirmed has its delivery and its content; none is settled before it was visible | [`Oracle::answered`], `rows`, [`Oracle::at_the_end`] |
//! | I2 | one live lease a delivery, one end a batch | `log`, `rows` |
//! | I3 | a stale token changes nothing, and neither does a refused call or stale word of a lost answer | [`Oracle::answered`], [`Oracle::refused`], `log` |
//! | I4 | an end is an end | `log`, `rows` |
//! | I5 | nothing is first handed out before its turn, nor ever after its time | `log` |
//! | I6 | every path ends, for the reason that is given, and not early | `log`, `rows`, [`Oracle::wakes`], [`Oracle::at_the_end`] |
//! | I7 | what somebody may have goes to whoever waits for it | [`Oracle::served`] |
//! | I8 | nothing starves while somebody takes; the urgent goes first, keys take turns, every eighth is the oldest | [`Oracle::at_the_end`], [`Oracle::in_turn_of_all`] |
//! | I9 | one key, one result | [`Oracle::answered`] |
//! | I10 | the log only grows | `log` |
//! | I11 | one answer a delivery, and it is there | `log`, `rows` |
//! | I12 | nothing is removed that is still needed | `rows` |
//! | I13 | all this after a crash at any point; what was granted is durable | [`Oracle::answered`], and by judging every life of a shard |
//! | I14 | the same seed, the same trace | [`compare`](crate::twin::compare), and by playing a seed twice |
//! | I15 | memory is what a load would give | [`compare`](crate::twin::compare), [`Oracle::counts`] |

mod answers;
mod log;
mod rows;
pub(crate) mod turns;

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::{
    Address, Command, Consumer, DeliveryId, Event, Grant, IdempotencyScope, Lease, MessageId, Name, Policy,
    Priority, Seq, SessionId, State, TaskId, Timestamp,
};

use crate::world::{Outcome, World};

/// Remembers what was promised, and says so when a promise is broken.
#[derive(Debug)]
pub struct Oracle {
    policy: Policy,
    /// Messages that were confirmed to their sender.
    confirmed: BTreeSet<MessageId>,
    /// What each idempotency key was answered with.
    keys: BTreeMap<IdempotencyScope, Remembered>,
    /// Until when each task was promised to be kept.
    tasks: BTreeMap<TaskId, Timestamp>,
    /// Where readers stand in the middle of the last step.
    readers: BTreeMap<(SessionId, Name), Seq>,
    /// What the log has said last, and how much.
    last: Option<Event>,
    told: usize,
    seen: BTreeMap<DeliveryId, Seen>,
    /// How many deliveries each mailbox has handed out in this life.
    handed: BTreeMap<Address, u64>,
    /// Those that went out as the oldest of their mailbox, not as the most urgent.
    oldest: BTreeSet<(DeliveryId, Lease)>,
    /// The last answer to a receive, in whichever life.
    last_answer: u64,
    /// The last answer that told of each lease.
    told_in: BTreeMap<(DeliveryId, Lease), u64>,
    /// The last answer with each lease that was said to be lost.
    lost: BTreeMap<(DeliveryId, Lease), u64>,
    /// Until when there is evidence that somebody takes from a mailbox.
    evidence: BTreeMap<Address, Timestamp>,
    /// Who is there, as the log told.
    present: BTreeMap<SessionId, bool>,
    /// What has a place and is not over.
    lanes: BTreeMap<Lane, BTreeMap<Seq, DeliveryId>>,
    terminal: BTreeMap<DeliveryId, State>,
    batches: BTreeMap<Lease, BTreeMap<DeliveryId, Grant>>,
    hands: BTreeMap<Consumer, BTreeSet<DeliveryId>>,
}

type Lane = (Address, Option<Name>, Priority);

/// What is known of an idempotency key.
#[derive(Debug, Clone, Copy)]
struct Remembered {
    message: MessageId,
    fingerprint: [u8; 32],
    until: Timestamp,
}

/// What the log has said of a delivery.
#[derive(Debug, Default)]
struct Seen {
    newest: Option<Lease>,
    holder: Option<Name>,
    failures: u32,
    over: bool,
    answers: u32,
}

/// A broken promise.
#[derive(Debug)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
}

/// Ends the check with a violation unless the condition holds.
macro_rules! hold {
    ($invariant:literal, $condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(crate::oracle::Violation { invariant: $invariant, what: format!($($what)*) });
        }
    };
}
pub(crate) use hold;

impl Oracle {
    /// A judge of shards with this policy.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            confirmed: BTreeSet::new(),
            keys: BTreeMap::new(),
            tasks: BTreeMap::new(),
            readers: BTreeMap::new(),
            last: None,
            told: 0,
            seen: BTreeMap::new(),
            handed: BTreeMap::new(),
            oldest: BTreeSet::new(),
            last_answer: 0,
            told_in: BTreeMap::new(),
            lost: BTreeMap::new(),
            evidence: BTreeMap::new(),
            present: BTreeMap::new(),
            lanes: BTreeMap::new(),
            terminal: BTreeMap::new(),
            batches: BTreeMap::new(),
            hands: BTreeMap::new(),
        }
    }

    /// A step became durable, whoever heard of it.
    ///
    /// # Errors
    /// A violation of I1, I2, I4, I5, I6, I10, I11 or I12.
    pub fn committed(&mut self, world: &World, outcome: &Outcome) -> Result<(), Violation> {
        self.read_log(world, outcome)?;
        self.read_rows(world, outcome)
    }

    /// The shard was loaded again, and counts anew what it hands out. It may forget which answers told of a lease: what that costs is one more hand-over.
    pub fn reloaded(&mut self) {
        self.told_in.clear();
        self.handed.clear();
    }

    /// A shard is to hear of a command.
    pub fn hears(&mut self, command: &Command, now: Timestamp) {
        match command {
            Command::AnswerLost(lost) => {
                for lease in &lost.granted {
                    let newest = self.lost.entry(*lease).or_default();
                    *newest = lost.answer.max(*newest);
                }
            }
            Command::Receive(receive) => {
                for mailbox in &receive.mailboxes {
                    self.evidence.insert(mailbox.clone(), now + receive.wait);
                }
            }
            _ => {}
        }
    }

    /// The newest lease of a delivery, as far as the log has told.
    pub fn newest(&self, delivery: DeliveryId) -> Option<Lease> {
        self.seen.get(&delivery).and_then(|seen| seen.newest)
    }

    /// Everything was given time and willing consumers: all deliveries must have come to an end.
    ///
    /// # Errors
    /// A violation of I1, I6 or I8.
    pub fn at_the_end(&self, world: &World) -> Result<(), Violation> {
        for message in &self.confirmed {
            Self::kept(world.disk(), *message)?;
        }
        for delivery in world.disk().deliveries() {
            let over = delivery.state.is_terminal();
            hold!("I8", over || delivery.attempt > 0, "{} had never its turn", delivery.id);
            hold!("I6", over, "{} never ended: {:?}", delivery.id, delivery.state);
        }
        Ok(())
    }
}

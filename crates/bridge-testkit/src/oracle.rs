//! What must hold whatever happens: a judge that knows nothing of the shard but its log, its rows and what was answered.
//!
//! The invariants are named as in the documentation of the semantics:
//!
//! | | what holds | judged |
//! |---|---|---|
//! | I1 | what was confirmed has its delivery and its content; none is settled before it was visible | [`Oracle::answered`], `rows`, [`Oracle::at_the_end`] |
//! | I2 | one live lease a delivery, one end a batch | `leases`, `rows` |
//! | I3 | a stale token changes nothing, and neither does a refused call or stale word of a lost answer | [`Oracle::answered`], [`Oracle::refused`], `log` |
//! | I4 | an end is an end, and that of what was purged | `log`, `rows`, `mailboxes` |
//! | I5 | nothing is first handed out before its turn, nor ever after its time, or unwanted, or from where nothing goes out | `leases`, `mailboxes`, [`Oracle::answered`] |
//! | I6 | every path ends, for the reason that is given, and not early | `log`, `rows`, [`Oracle::wakes`], [`Oracle::at_the_end`] |
//! | I7 | what somebody may have goes to whoever waits for it, and nobody gets more than it may hold | [`Oracle::served`], `leases` |
//! | I8 | nothing starves while somebody takes; the urgent goes first, keys and mailboxes take turns, every eighth is the oldest | [`Oracle::at_the_end`], [`Oracle::in_turn_of_all`] |
//! | I9 | one key, one result | [`Oracle::answered`] |
//! | I10 | the log only grows but for what is trimmed in its time, and is silent about leases in memory | `log`, `leases`, `retention` |
//! | I11 | one answer a delivery, and it is there | `log`, `rows` |
//! | I12 | nothing is removed that is still needed | `rows`, `mailboxes`, `retention` |
//! | I13 | all this after a crash at any point; what was granted is durable, or counts all the same | [`Oracle::answered`], `leases`, and by judging every life of a shard |
//! | I14 | the same seed, the same trace | [`compare`](crate::twin), and by playing a seed twice |
//! | I15 | memory is what a load would give, and what is told of it is so | [`compare`](crate::twin), [`Oracle::counts`], [`Oracle::views`], [`Oracle::reason`] |

mod answers;
mod leases;
mod log;
mod mailboxes;
mod retention;
mod rows;
mod stands;
mod turns;
mod why;

pub(crate) use self::{leases::Unrecorded, stands::View, turns::is_behind};

use std::collections::{BTreeMap, BTreeSet};

use bridge_core::{
    Address, CallId, Command, Consumer, DeliveryId, Event, Grant, IdempotencyScope, Lease, MailboxSettings,
    MessageId, Name, Policy, Priority, Seq, SessionId, State, TaskId, Timestamp,
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
    /// The answers that told of each lease, from the last one on that granted it.
    told_in: BTreeMap<(DeliveryId, Lease), BTreeSet<u64>>,
    /// The answers with each lease that were said to be lost.
    lost: BTreeMap<(DeliveryId, Lease), BTreeSet<u64>>,
    /// Until when there is evidence that somebody takes from a mailbox.
    evidence: BTreeMap<Address, Timestamp>,
    /// Who is there, as the log told.
    present: BTreeMap<SessionId, bool>,
    /// The latest time of any owner. The next one's clock may stand before it: what was over once is not promised again.
    latest: Timestamp,
    /// What has a place and is not over.
    lanes: BTreeMap<Lane, BTreeMap<Seq, DeliveryId>>,
    terminal: BTreeMap<DeliveryId, State>,
    /// When it ended.
    ended: BTreeMap<DeliveryId, Timestamp>,
    /// Messages that were removed in their time.
    retired: BTreeSet<MessageId>,
    /// Up to where the log was trimmed.
    floor: Seq,
    batches: BTreeMap<Lease, BTreeMap<DeliveryId, Grant>>,
    hands: BTreeMap<Consumer, BTreeSet<DeliveryId>>,
    /// Leases that stand in no row.
    unrecorded: Unrecorded,
    /// Those of them that have ended in this step.
    lapsed: Vec<(DeliveryId, Lease)>,
    /// The newest lease of all that was granted.
    last_lease: Option<Lease>,
    /// Leases that this step grants, as long as they are not looked at, and those that the log tells of.
    upcoming: BTreeMap<Lease, leases::Upcoming>,
    presented: BTreeSet<Lease>,
    /// All that the last step has granted.
    fresh: BTreeSet<Lease>,
    /// Mailboxes that this step was told to change, with the rules they may have been given.
    touched: BTreeMap<Address, Vec<MailboxSettings>>,
    /// Those that it was told to remove.
    deleting: BTreeSet<Address>,
    /// Those that were removed and made at once: what they have handed out since is not known.
    uncounted: BTreeSet<Address>,
    /// When each mailbox was last used, at the least.
    used: BTreeMap<Address, Timestamp>,
    /// Receives that wait for more than is there.
    lingers: BTreeMap<CallId, turns::Lingers>,
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
    holder: Option<leases::Holder>,
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
            latest: Timestamp::default(),
            lanes: BTreeMap::new(),
            terminal: BTreeMap::new(),
            ended: BTreeMap::new(),
            retired: BTreeSet::new(),
            floor: Seq::ZERO,
            batches: BTreeMap::new(),
            hands: BTreeMap::new(),
            unrecorded: Unrecorded::new(),
            lapsed: Vec::new(),
            last_lease: None,
            upcoming: BTreeMap::new(),
            presented: BTreeSet::new(),
            fresh: BTreeSet::new(),
            touched: BTreeMap::new(),
            deleting: BTreeSet::new(),
            uncounted: BTreeSet::new(),
            used: BTreeMap::new(),
            lingers: BTreeMap::new(),
        }
    }

    /// A step became durable, whoever heard of it.
    ///
    /// # Errors
    /// A violation of I1, I2, I4, I5, I6, I10, I11 or I12.
    pub fn committed(&mut self, world: &World, outcome: &Outcome) -> Result<(), Violation> {
        self.latest = self.latest.max(world.now());
        self.collect_grants(world, outcome);
        self.let_go_of_closed(world, outcome);
        self.read_log(world, outcome)?;
        self.read_trimmed(world, outcome)?;
        self.catch_up(world, outcome, |_| true)?;
        self.read_rows(world, outcome)?;
        self.touched.clear();
        self.deleting.clear();
        Ok(())
    }

    /// Leases that stand in no row, as far as answers have told.
    pub(crate) fn unrecorded(&self) -> &Unrecorded {
        &self.unrecorded
    }

    /// The shard was loaded again, and counts anew what it hands out. It may forget which answers told of a lease: what that costs is one more hand-over.
    pub fn reloaded(&mut self, world: &World) {
        self.told_in.clear();
        self.handed.clear();
        self.uncounted.clear();
        self.lingers.clear();
        self.touched.clear();
        self.deleting.clear();
        self.forget_unrecorded(world);
    }

    /// A shard is to hear of a command.
    pub fn hears(&mut self, world: &World, command: &Command) {
        self.latest = self.latest.max(world.now());
        self.hears_of_mailbox(world, command);
        match command {
            Command::AnswerLost(lost) => {
                for lease in &lost.leases {
                    let heard = self.lost.entry(*lease).or_default();
                    heard.insert(lost.answer);
                    // It is for good, unless a later answer told of it.
                    let told = self.told_in.get(lease).filter(|_| !lost.repeatable);
                    if let Some(told) = told.filter(|told| told.last() <= Some(&lost.answer)) {
                        heard.extend(told);
                    }
                }
            }
            Command::Receive(receive) => {
                for mailbox in &receive.mailboxes {
                    let until = self.evidence.entry(mailbox.clone()).or_default();
                    *until = (world.now() + receive.wait + receive.linger).max(*until);
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
            self.kept(world.disk(), *message)?;
        }
        for delivery in world.disk().deliveries() {
            let over = delivery.state.is_terminal();
            hold!("I8", over || delivery.attempt > 0, "{} had never its turn", delivery.id);
            hold!("I6", over, "{} never ended: {:?}", delivery.id, delivery.state);
        }
        Ok(())
    }
}

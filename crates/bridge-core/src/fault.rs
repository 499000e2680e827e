//! Faults to plant, one at a time, to see that the simulation finds each of them.
//!
//! They are there only with `--cfg bridge_fault`, which no feature can turn on.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Declares the faults, each with the invariant that it breaks and what it does.
macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident breaks $invariant:literal),* $(,)?) => {
        /// A fault of the shard.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[doc = $doc])* $name,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The invariant that it breaks.
            pub const fn breaks(self) -> &'static str {
                match self { $(Self::$name => $invariant,)* }
            }
        }
    };
}

faults! {
    /// A scheduled message is visible at once.
    TooEarly breaks "I1",
    /// What is leased can be handed out.
    GrantTwice breaks "I2",
    /// A token counts although a newer lease was given.
    StaleToken breaks "I3",
    /// A redrive gives the old delivery its life back.
    Revive breaks "I4",
    /// What is in back-off does not hold up what is behind it.
    JumpQueue breaks "I5",
    /// A key that several hold is free for the last of them.
    KeptForOthers breaks "I5",
    /// Returns are never charged.
    FreeFailures breaks "I6",
    /// A message expires in its holder's hands.
    HeldExpires breaks "I6",
    /// A spent token says once more that all is well, whatever is said with it.
    SecondWord breaks "I3",
    /// Who waits is not told of what has come.
    LostWake breaks "I7",
    /// What is urgent waits for its turn like everything else.
    UrgencyIgnored breaks "I8",
    /// Nothing goes out for being the oldest.
    OldestForgotten breaks "I8",
    /// A key that was served keeps its turn.
    GreedyKey breaks "I8",
    /// An idempotency key is remembered in memory alone.
    KeyForgotten breaks "I9",
    /// Another request with a known key gets the result of the first.
    AnyFingerprint breaks "I9",
    /// Progress takes a place in the log, and is not written.
    EventLost breaks "I10",
    /// An answered delivery does not know its answer.
    AnswerUnlinked breaks "I11",
    /// An answer covers deliveries of other mailboxes.
    CoverAnywhere breaks "I11",
    /// A grant is not written.
    GrantUnsaved breaks "I15",
    /// Back-offs are decided by something else than the seed.
    Dice breaks "I14",
    /// A mailbox forgets that bytes have left it.
    CountDrifts breaks "I15",
    /// What has no key can be handed out while somebody has it.
    LooseTwice breaks "I2",
    /// A named consumer gets what is behind that which it holds, whatever takes from the mailbox.
    KeptForAll breaks "I5",
    /// A receiver gets all types of messages, whichever it wants.
    AnyType breaks "I5",
    /// What is changed while it waits is not found by its type any more.
    TypeForgotten breaks "I7",
    /// A paused mailbox hands out.
    PauseIgnored breaks "I5",
    /// A purge does not look at what is scheduled.
    ScheduledSpared breaks "I6",
    /// What was passed in its back-off does not come back.
    PassedForGood breaks "I7",
    /// A receive that waits for more does not end by itself.
    LingersOn breaks "I7",
    /// What is critical waits until its receiver may hold more.
    CriticalWaits breaks "I7",
    /// Of several mailboxes one is served until it is empty.
    GreedyMailbox breaks "I8",
    /// The log tells of leases that are held in memory alone.
    LeaseTold breaks "I10",
    /// An unused mailbox goes with what is in it.
    FullGoes breaks "I12",
    /// What a crash has made the shard forget is worth nothing to who was given it.
    ForgottenRefused breaks "I13",
    /// What is not named when a mailbox is changed goes back to what it is by default.
    SettingsReset breaks "I15",
    /// Nobody is told that another delivery of the key comes first.
    HeadUntold breaks "I15",
    /// A dead letter is kept no longer than other messages.
    DeadForgotten breaks "I12",
    /// A redriven delivery takes its message with it when its own time is over.
    RedrivenGoes breaks "I12",
    /// Of a conversation that goes, events go that the rest of the log still has beside them.
    SessionTrimmed breaks "I10",
    /// An answer to nobody goes with the first of several messages that it answers.
    AnswerAlone breaks "I12",
    /// An answer to nobody is left when what it answers is removed.
    AnswerLeft breaks "I12",
    /// An answer to nobody is not stored.
    AnswerUnsaved breaks "I11",
    /// What has ended is kept longer than its type says.
    KeptOn breaks "I12",
    /// A key whose delivery went out as the oldest has not had its turn.
    OldestTurnless breaks "I8",
}

static PLANTED: AtomicUsize = AtomicUsize::new(usize::MAX);
static THROWS: AtomicU64 = AtomicU64::new(0);

impl Fault {
    /// Plants this fault in every shard of the program, in place of any other.
    pub fn plant(self) {
        PLANTED.store(self as usize, Ordering::SeqCst);
    }

    pub(crate) fn is_planted(self) -> bool {
        PLANTED.load(Ordering::Relaxed) == self as usize
    }
}

/// A number that no seed decides.
pub(crate) fn throw() -> u64 {
    THROWS.fetch_add(1, Ordering::Relaxed)
}

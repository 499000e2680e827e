//! A mailbox in memory: what waits in which order, and who waits for it.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{
    deliveries::Slot,
    lanes::{Lanes, Rules},
    waiting::Waiting,
};
use crate::{
    id::Name,
    mailbox::{Backoff, Class, Limits, Mailbox, MailboxSettings},
    policy::Policy,
    time::Timestamp,
};

/// One mailbox.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) row: Mailbox,
    pub(super) limits: Limits,
    /// Visible or once visible deliveries.
    pub(super) lanes: Lanes,
    /// Deliveries that have no place yet.
    pub(super) scheduled: BTreeSet<Slot>,
    /// Deliveries that wait, scheduled ones and those in back-off included.
    pub(super) pending: u32,
    pub(super) pending_bytes: u64,
    pub(super) leased: u32,
    /// Receives that wait.
    pub(super) waiting: Waiting,
    /// How often in a row each consumer was told that nothing is there.
    pub(super) quiet: BTreeMap<Name, u32>,
    /// When its taker should be back.
    pub(super) present_until: Timestamp,
}

/// Why nothing could be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    /// Nothing waits.
    Empty,
    /// What waits is in back-off, or behind something that is.
    Blocked,
    /// The mailbox is paused.
    Paused,
}

impl Inbox {
    pub(super) fn new(row: Mailbox, policy: &Policy) -> Self {
        Self {
            limits: policy.limits(&row.settings),
            lanes: Lanes::new(rules(&row.settings)),
            row,
            scheduled: BTreeSet::new(),
            pending: 0,
            pending_bytes: 0,
            leased: 0,
            waiting: Waiting::default(),
            quiet: BTreeMap::new(),
            present_until: Timestamp::default(),
        }
    }

    /// Why nothing can be handed out.
    pub(super) const fn nothing(&self) -> Nothing {
        match self.pending {
            _ if self.row.paused.is_some() => Nothing::Paused,
            0 => Nothing::Empty,
            _ => Nothing::Blocked,
        }
    }

    /// Whether its leases are made durable before they are given.
    pub(super) const fn records_leases(&self) -> bool {
        self.row.settings.class.records_leases()
    }

    /// Whether another message may wait here.
    pub(super) const fn has_room(&self) -> bool {
        self.pending < self.limits.max_pending && self.pending_bytes < self.limits.max_pending_bytes
    }

    /// Whether nothing is in it, or wanted of it.
    pub(super) fn is_idle(&self) -> bool {
        self.pending == 0 && self.leased == 0 && self.waiting.is_empty()
    }
}

/// How the lanes of such a mailbox behave.
pub(super) fn rules(settings: &MailboxSettings) -> Rules {
    Rules { keeps: keeps(settings), skips: matches!(settings.backoff, Backoff::Skips) }
}

/// Whether a named consumer may have what is behind that which it holds.
pub(super) fn keeps(settings: &MailboxSettings) -> bool {
    settings.class == Class::Agent || fault!(KeptForAll)
}

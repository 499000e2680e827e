//! A mailbox in memory: what waits in which order, and who waits for it.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{lanes::Lanes, waiting::Waiting};
use crate::{
    id::{DeliveryId, Name},
    mailbox::Mailbox,
    time::Timestamp,
};

/// One mailbox.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) row: Mailbox,
    /// Visible or once visible deliveries.
    pub(super) lanes: Lanes,
    /// Deliveries that have no place yet.
    pub(super) scheduled: BTreeSet<DeliveryId>,
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
}

impl Inbox {
    pub(super) fn new(row: Mailbox) -> Self {
        Self {
            row,
            lanes: Lanes::default(),
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
        if self.pending == 0 { Nothing::Empty } else { Nothing::Blocked }
    }
}

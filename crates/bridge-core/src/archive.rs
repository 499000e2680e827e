//! Where messages go before they are removed.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use async_trait::async_trait;

use crate::{delivery::Delivery, message::Message, store::StoreError, time::Timestamp};

/// Keeps messages that a shard removes.
#[async_trait]
pub trait Archive: fmt::Debug + Send + Sync + 'static {
    /// Keeps `records`, all or none; durable on return. What is kept may come again, when it was not removed after all.
    ///
    /// # Errors
    /// What went wrong. Then the messages stay where they are, and come again later.
    ///
    /// # Cancel safety
    /// Dropping the future leaves all of the records kept or none.
    async fn append(&self, records: Vec<ArchiveRecord>, now: Timestamp) -> Result<(), StoreError>;
}

/// A message as it was at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRecord {
    /// The message.
    pub message: Message,
    /// Its deliveries, each made from the one before it by a redrive. None if it went to nobody.
    pub deliveries: Vec<Delivery>,
}

//! The narrow view of the bridge that most programs need: put in, take out, settle.

use alloc::sync::Arc;
use core::{fmt, future::Future, time::Duration};

use bytes::Bytes;

use crate::{
    id::{DeliveryId, MessageId},
    settle::{Outcome, Settled},
    time::Timestamp,
};

/// One mailbox, seen by a program that sends to it and takes from it. Local and remote queues both implement it.
///
/// # Example
/// The runtime's local queue is this trait; see `examples/in-process`.
pub trait Queue: Clone + Send + Sync + 'static {
    /// What proves a lease to this queue.
    type Token: Clone + fmt::Debug + Send + Sync + 'static;
    /// Why a call failed.
    type Error: core::error::Error + Send + Sync + 'static;

    /// Puts `payload` into the mailbox; durable on return.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it unknown whether the message was accepted.
    fn publish(&self, payload: Bytes) -> impl Future<Output = Result<MessageId, Self::Error>> + Send;

    /// Takes the next delivery, waiting up to `wait` for one.
    ///
    /// # Cancel safety
    /// A delivery granted to a dropped future is handed out again.
    fn receive(
        &self,
        wait: Duration,
    ) -> impl Future<Output = Result<Option<QueueDelivery<Self>>, Self::Error>> + Send;

    /// What a failed call means to who made it.
    fn trouble(error: &Self::Error) -> Trouble;

    /// Waits so long, by the queue's own clock.
    ///
    /// # Cancel safety
    /// May be dropped at any moment.
    fn pause(&self, span: Duration) -> impl Future<Output = ()> + Send;

    /// Settles or extends a delivery.
    ///
    /// # Cancel safety
    /// Saying the same again is harmless.
    fn settle(
        &self,
        token: Self::Token,
        outcome: Outcome,
    ) -> impl Future<Output = Result<Settled, Self::Error>> + Send;
}

/// What a failed call means to who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The delivery is somebody else's by now, or over: leave it.
    LeaseLost,
    /// The queue is gone for good.
    Closed,
    /// The call makes no sense; the same would be refused again.
    Refused,
    /// It may go better in a moment.
    Passing,
}

/// A delivery in this program's hands. Dropping it changes nothing: its lease ends in time.
#[derive(Debug, Clone)]
pub struct QueueDelivery<Q: Queue> {
    /// The queue it came from.
    pub queue: Q,
    /// The delivery.
    pub id: DeliveryId,
    /// Its message.
    pub message: MessageId,
    /// The content.
    pub payload: Bytes,
    /// Ordinal of the hand-over, from 1.
    pub attempt: u32,
    /// When the lease ends, by the bridge's clock.
    pub until: Timestamp,
    /// How long that was when it was received.
    pub lease: Duration,
    /// What proves the lease.
    pub token: Q::Token,
}

impl<Q: Queue> QueueDelivery<Q> {
    /// Says that it is done.
    ///
    /// # Errors
    /// What the queue answers; a lost lease among it.
    pub async fn ack(&self) -> Result<Settled, Q::Error> {
        self.queue.settle(self.token.clone(), Outcome::Ack).await
    }

    /// Says that it failed, and why; it comes back after its back-off.
    ///
    /// # Errors
    /// What the queue answers; a lost lease among it.
    pub async fn nack(&self, error: &str) -> Result<Settled, Q::Error> {
        let outcome = Outcome::Nack { delay: None, error: Some(Arc::from(error)) };
        self.queue.settle(self.token.clone(), outcome).await
    }

    /// Asks for the lease to end `by` from now.
    ///
    /// # Errors
    /// What the queue answers; a lost lease among it.
    pub async fn extend(&self, by: Duration) -> Result<Settled, Q::Error> {
        let outcome = Outcome::Extend { by: Some(by), progress: None };
        self.queue.settle(self.token.clone(), outcome).await
    }
}

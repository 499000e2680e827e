//! One mailbox of a local bridge as a [`Queue`].

use std::time::Duration;

use bridge_core::{
    Address, MessageId, Name, Outcome, PublishError, Queue, QueueDelivery, ReceiveError, SettleError, Settled,
};
use bytes::Bytes;

use crate::{
    bridge::Bridge,
    fault::CallError,
    request::{Credential, NewMessage, ReceiveRequest},
};

/// One mailbox, taken from under one name.
#[derive(Debug, Clone)]
pub struct LocalQueue {
    bridge: Bridge,
    mailbox: Address,
    consumer: Name,
}

/// Why a call of a [`LocalQueue`] failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The message was not accepted.
    #[error(transparent)]
    Publish(#[from] CallError<PublishError>),
    /// Nothing could be asked for.
    #[error(transparent)]
    Receive(#[from] CallError<ReceiveError>),
    /// The settlement was not accepted.
    #[error(transparent)]
    Settle(#[from] CallError<SettleError>),
}

impl Bridge {
    /// One mailbox as a queue, taken from under the name `consumer`.
    pub fn queue(&self, mailbox: Address, consumer: Name) -> LocalQueue {
        LocalQueue { bridge: self.clone(), mailbox, consumer }
    }
}

impl Queue for LocalQueue {
    type Token = String;
    type Error = QueueError;

    async fn publish(&self, payload: Bytes) -> Result<MessageId, QueueError> {
        let message = NewMessage::new(self.mailbox.clone(), payload).from(self.consumer.clone());
        Ok(self.bridge.publish(message).await?.message)
    }

    async fn receive(&self, wait: Duration) -> Result<Option<QueueDelivery<Self>>, QueueError> {
        let request = ReceiveRequest::new(self.mailbox.clone()).consumer(self.consumer.clone()).wait(wait);
        let mut received = self.bridge.receive(request).await?;
        received.handover.complete();
        Ok(received.deliveries.pop().map(|leased| QueueDelivery {
            queue: self.clone(),
            id: leased.id,
            message: leased.message_id,
            payload: leased.message.map(|message| message.payload.clone()).unwrap_or_default(),
            attempt: leased.attempt,
            until: leased.until,
            token: leased.token,
        }))
    }

    async fn settle(&self, token: String, outcome: Outcome) -> Result<Settled, QueueError> {
        let proof = self.bridge.prove(&Credential::Token(token)).await?;
        Ok(self.bridge.settle_proven(proof, outcome).await?)
    }
}

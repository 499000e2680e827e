//! One mailbox of a local bridge as a [`Queue`].

use std::time::Duration;

use bridge_core::{
    Address, MessageId, Name, Outcome, PublishError, Queue, QueueDelivery, ReceiveError, SettleError,
    Settled, Trouble,
};
use bytes::Bytes;

use crate::{
    bridge::Bridge,
    fault::{CallError, Fault},
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
        let deadline = self.bridge.now() + wait;
        loop {
            let wait = deadline.since(self.bridge.now());
            let request =
                ReceiveRequest::new(self.mailbox.clone()).consumer(self.consumer.clone()).wait(wait);
            let mut received = self.bridge.receive(request).await?;
            let Some(leased) = received.deliveries.pop() else { return Ok(None) };
            let Some(message) = leased.message else {
                tracing::error!(delivery = %leased.id, "it is rejected, for its content is damaged");
                let reject = Outcome::Reject { reason: Some("its content is damaged".into()) };
                match self.settle(leased.token, reject).await {
                    Err(error) if Self::trouble(&error) != Trouble::LeaseLost => return Err(error),
                    _ => received.handover.complete(),
                }
                continue;
            };
            received.handover.complete();
            return Ok(Some(QueueDelivery {
                queue: self.clone(),
                id: leased.id,
                message: leased.message_id,
                payload: message.payload.clone(),
                attempt: leased.attempt,
                lease: leased.until.since(self.bridge.now()),
                until: leased.until,
                token: leased.token,
            }));
        }
    }

    fn trouble(error: &QueueError) -> Trouble {
        use CallError::{Fault as Failed, Refused};
        match error {
            QueueError::Publish(Failed(Fault::ShuttingDown))
            | QueueError::Receive(Failed(Fault::ShuttingDown))
            | QueueError::Settle(Failed(Fault::ShuttingDown)) => Trouble::Closed,
            QueueError::Publish(
                Failed(_) | Refused(PublishError::MailboxFull { .. } | PublishError::TooManyPending { .. }),
            )
            | QueueError::Receive(Failed(_) | Refused(ReceiveError::TooManyWaiting { .. }))
            | QueueError::Settle(Failed(_)) => Trouble::Passing,
            QueueError::Settle(Refused(SettleError::TooLong { .. } | SettleError::HandleNeeded)) => {
                Trouble::Refused
            }
            QueueError::Settle(Refused(_)) => Trouble::LeaseLost,
            QueueError::Publish(Refused(_)) | QueueError::Receive(Refused(_)) => Trouble::Refused,
        }
    }

    async fn pause(&self, span: Duration) {
        let clock = self.bridge.clock();
        clock.sleep_until(clock.now() + span).await;
    }

    async fn settle(&self, token: String, outcome: Outcome) -> Result<Settled, QueueError> {
        let proof = self.bridge.prove(&Credential::Token(token)).await?;
        Ok(self.bridge.settle_proven(proof, outcome).await?)
    }
}

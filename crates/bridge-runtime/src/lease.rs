//! What a consumer does: take deliveries under leases, and settle them.

use std::sync::Arc;

use bridge_core::{
    Answer, Command, Consumer, Delivery, DeliveryId, Directive, Granted, Index, Message, MessageId, Name,
    NotCovered, Outcome, Proof, Receive, ReceiveError, Reply, RowKey, Settle, SettleError, Settled,
    Timestamp,
};

use crate::{
    bridge::{Bridge, answer_of},
    deliveries::deliveries,
    fault::{CallError, Fault},
    inbox::{Answered, HandOver},
    observe::PAGE_BYTES,
    request::{Credential, NewReply, ReceiveRequest, Settlement},
    task,
    token::same_handle,
};

/// Deliveries whose contents are read ahead.
const AHEAD: usize = 64;

/// What a receive got.
#[derive(Debug)]
pub struct Received {
    /// The deliveries, in order.
    pub deliveries: Vec<Leased>,
    /// What a named consumer holds besides, so that nothing is forgotten.
    pub held: Vec<Leased>,
    /// What to do next.
    pub directive: Directive,
    /// How many deliveries still wait in the mailbox.
    pub depth: u32,
    /// To be completed once the answer has reached its consumer.
    pub handover: HandOver,
}

/// A delivery in a consumer's hands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Leased {
    /// The delivery.
    pub id: DeliveryId,
    /// The message's id.
    pub message_id: MessageId,
    /// What is delivered; none if its content was removed or is damaged, or if it is held and much else is.
    pub message: Option<Arc<Message>>,
    /// What to settle it with.
    pub token: String,
    /// The short form of the token, valid together with the message's id.
    pub handle: String,
    /// Ordinal of the hand-over, from 1.
    pub attempt: u32,
    /// When the lease ends.
    pub until: Timestamp,
    /// The sender has asked for it back.
    pub cancel_requested: bool,
    /// When it is given up unless somebody holds it then; the message tells what it was sent with.
    pub expires_at: Option<Timestamp>,
}

impl Bridge {
    /// Hands out deliveries under leases, waiting for some if asked to.
    ///
    /// # Errors
    /// [`ReceiveError`], or a [`Fault`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: what was granted to it is handed out again.
    pub async fn receive(&self, request: ReceiveRequest) -> Result<Received, CallError<ReceiveError>> {
        let repeatable = request.attempt_id.is_some();
        let attempt_id = request.attempt_id.unwrap_or_else(|| {
            Name::new(&self.shared.ids.attempt()).expect("an attempt's id is a short name")
        });
        let consumer = match request.consumer {
            Some(name) => Consumer::named(request.principal, name),
            None => Consumer::nameless(request.principal, attempt_id.clone()),
        };
        let receive = Receive {
            consumer,
            mailboxes: request.mailboxes,
            types: request.types,
            max: request.max,
            max_bytes: request.max_bytes,
            wait: request.wait,
            linger: request.linger,
            lease: request.lease,
            attempt_id,
            repeatable,
        };
        let Answered { answer, handover } = self.call(Command::Receive(receive)).await?;
        let Answer::Received(received) = answer else {
            unreachable!("a shard answers in kind, not with {answer:?}")
        };
        let received = received.map_err(CallError::Refused)?;
        Ok(Received {
            deliveries: self.leased(&received.granted).await?,
            held: self.held(&received.held).await?,
            directive: received.directive,
            depth: received.depth,
            handover,
        })
    }

    /// What a consumer holds besides: as much of its content as fits a page, and the rest without.
    async fn held(&self, granted: &[Granted]) -> Result<Vec<Leased>, Fault> {
        let mut bytes = 0;
        let mut held = Vec::with_capacity(granted.len());
        for granted in granted {
            let message = match bytes {
                0..PAGE_BYTES => self.contents(&[granted.message]).await?.pop().flatten(),
                _ => None,
            };
            bytes += message.as_ref().map_or(0, |message| message.payload.len());
            held.push(self.shown(granted, message));
        }
        Ok(held)
    }

    async fn leased(&self, granted: &[Granted]) -> Result<Vec<Leased>, Fault> {
        let ids: Vec<_> = granted.iter().map(|granted| granted.message).collect();
        let is_known = ids.last().is_none_or(|last| self.shared.tail.recall(*last).is_some());
        let messages = self.contents(&ids).await?;
        if let Some(last) = granted.last().filter(|_| !is_known) {
            self.read_ahead(last.delivery);
        }
        Ok(granted.iter().zip(messages).map(|(granted, message)| self.shown(granted, message)).collect())
    }

    /// Reads the contents that will be wanted next, where those that are wanted now had to be read: who works off a long queue
    /// waits for the store once for many.
    fn read_ahead(&self, behind: DeliveryId) {
        let Ok(turn) = Arc::clone(&self.shared.reads_ahead).try_lock_owned() else { return };
        let bridge = self.clone();
        task::spawn_if_running(async move {
            bridge.read_behind(behind).await;
            // Who shuts down waits for the turn: the bridge is let go of before.
            drop(bridge);
            drop(turn);
        });
    }

    async fn read_behind(&self, behind: DeliveryId) {
        let next = Index::Live { after: Some(RowKey::Delivery(behind)) };
        let Ok(rows) = self.scan(next, AHEAD).await else { return };
        let mut bytes = 0;
        let fits = |delivery: &Delivery| {
            bytes += delivery.size as usize;
            bytes <= PAGE_BYTES
        };
        let ids: Vec<_> =
            deliveries(rows).into_iter().take_while(fits).map(|delivery| delivery.message).collect();
        // What cannot be read is told to whoever wants it.
        let _ = self.contents(&ids).await;
    }

    fn shown(&self, granted: &Granted, message: Option<Arc<Message>>) -> Leased {
        Leased {
            id: granted.delivery,
            message_id: granted.message,
            message,
            token: self.shared.tokens.token(granted),
            handle: self.shared.tokens.handle(granted.delivery, granted.lease, &granted.consumer.name),
            attempt: granted.attempt,
            until: granted.until,
            cancel_requested: granted.cancel_requested,
            expires_at: granted.expires_at,
        }
    }

    /// Settles or extends a delivery.
    ///
    /// # Errors
    /// * [`SettleError`] — refused, nothing was changed.
    /// * [`Fault::OutcomeUnknown`] — say the same again: if it was heard, the answer says so.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it unknown whether it was heard; saying it again is harmless.
    pub async fn settle(
        &self,
        credential: Credential,
        settlement: Settlement,
    ) -> Result<Settled, CallError<SettleError>> {
        let proof = self.prove(&credential).await?;
        let mut uncovered = Vec::new();
        let mut positions = Vec::new();
        let outcome = match settlement {
            Settlement::Ack => Outcome::Ack,
            Settlement::Answer { reply, covers } => {
                let mut proofs = Vec::with_capacity(covers.len());
                for (position, covered) in covers.iter().enumerate() {
                    match self.prove(covered).await {
                        Ok(proof) => {
                            positions.push(position);
                            proofs.push(proof);
                        }
                        Err(CallError::Refused(error)) => {
                            uncovered.push(NotCovered { position, error });
                        }
                        Err(CallError::Fault(fault)) => return Err(fault.into()),
                    }
                }
                Outcome::Answer { reply: self.reply(reply, &credential), covers: proofs }
            }
            Settlement::Extend { by, progress } => Outcome::Extend { by, progress: progress.map(Into::into) },
            Settlement::Release { delay } => Outcome::Release { delay },
            Settlement::Nack { delay, error } => Outcome::Nack { delay, error: error.map(Into::into) },
            Settlement::Reject { reason } => Outcome::Reject { reason: reason.map(Into::into) },
        };
        let mut settled = self.settle_proven(proof, outcome).await?;
        for not_covered in &mut settled.not_covered {
            not_covered.position = positions[not_covered.position];
        }
        settled.not_covered.append(&mut uncovered);
        settled.not_covered.sort_by_key(|not_covered| not_covered.position);
        Ok(settled)
    }

    pub(crate) async fn settle_proven(
        &self,
        proof: Proof,
        outcome: Outcome,
    ) -> Result<Settled, CallError<SettleError>> {
        let settle = Settle { proof, outcome };
        answer_of!(self.call(Command::Settle(settle)).await?, Settled).map_err(CallError::Refused)
    }

    fn reply(&self, reply: NewReply, credential: &Credential) -> Reply {
        let fingerprint = reply.fingerprint();
        let consumer = match credential {
            Credential::Message { consumer, .. } => consumer.clone(),
            _ => None,
        };
        Reply {
            id: self.shared.ids.message(),
            from: reply.from.or(consumer),
            verified: reply.verified,
            kind: reply.kind,
            payload: reply.payload,
            headers: reply.headers,
            fingerprint,
        }
    }

    /// What a credential proves.
    pub(crate) async fn prove(&self, credential: &Credential) -> Result<Proof, CallError<SettleError>> {
        let unknown = CallError::Refused(SettleError::UnknownToken);
        match credential {
            Credential::Token(token) => {
                let (delivery, lease) = self.shared.tokens.check(token).ok_or(unknown)?;
                Ok(Proof::Lease(delivery, lease))
            }
            Credential::Handle(message, handle) => self.prove_handle(*message, handle).await,
            Credential::Message { message, principal, consumer } => {
                let nobody = || Consumer::nameless(principal.clone(), principal.clone());
                let consumer =
                    consumer.clone().map_or_else(nobody, |name| Consumer::named(principal.clone(), name));
                Ok(Proof::Message(*message, consumer))
            }
        }
    }

    /// The lease a handle stands for: the newest of its message, or an earlier one that its delivery remembers, which is worth
    /// knowing too.
    async fn prove_handle(&self, message: MessageId, handle: &str) -> Result<Proof, CallError<SettleError>> {
        let tokens = &self.shared.tokens;
        let deliveries = answer_of!(self.call(Command::Inspect(message)).await?, Inspected);
        for delivery in &deliveries {
            if let Some(grant) = &delivery.grant
                && same_handle(handle, &tokens.handle(delivery.id, grant.lease, &grant.consumer.name))
            {
                return Ok(Proof::Lease(delivery.id, grant.lease));
            }
        }
        for delivery in &deliveries {
            for attempt in &delivery.attempts {
                if same_handle(handle, &tokens.handle(delivery.id, attempt.lease, &attempt.consumer)) {
                    return Ok(Proof::Lease(delivery.id, attempt.lease));
                }
            }
        }
        Err(CallError::Refused(SettleError::UnknownToken))
    }
}

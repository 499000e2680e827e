//! What an operator does with mailboxes, and why a delivery does not move.

use bridge_core::{
    Address, Answer, Command, DeliveryError, DeliveryId, MailboxError, MailboxSet, MailboxView, Mailboxes,
    Name, Purge, Purged, SetMailbox, Why,
};

use crate::{
    bridge::{Bridge, answer_of},
    fault::{CallError, Fault},
};

impl Bridge {
    /// Makes a mailbox, or changes what is named of how one behaves. What waits in it stays.
    ///
    /// # Errors
    /// [`MailboxError::OfSession`] or [`MailboxError::TooMany`].
    ///
    /// # Example
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use bridge_runtime::{Address, Bridge, Class, SetMailbox};
    ///
    /// let bridge = Bridge::builder(bridge_store::MemoryStore::new()).start().await.unwrap();
    /// let jobs: Address = "group:jobs".parse().unwrap();
    /// let jobs = SetMailbox { max_failures: Some(Some(3)), ..SetMailbox::new(jobs) };
    /// let made = bridge.set_mailbox(jobs).await.unwrap().into_view();
    /// assert_eq!(made.limits.max_failures, 3);
    /// assert_eq!(made.mailbox.settings.class, Class::Service);
    /// # });
    /// ```
    pub async fn set_mailbox(&self, set: SetMailbox) -> Result<MailboxSet, CallError<MailboxError>> {
        answer_of!(self.call(Command::SetMailbox(set)).await?, MailboxSet).map_err(CallError::Refused)
    }

    /// Tells how a mailbox stands.
    ///
    /// # Errors
    /// [`MailboxError::Unknown`].
    pub async fn mailbox(&self, address: Address) -> Result<MailboxView, CallError<MailboxError>> {
        self.mailbox_call(Command::InspectMailbox(address)).await
    }

    /// Mailboxes in the order of their names: at most `limit` behind `after`.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn mailboxes(&self, after: Option<Address>, limit: usize) -> Result<Mailboxes, Fault> {
        let answered = self.call(Command::ListMailboxes(after, limit)).await?;
        let Answer::Mailboxes(mailboxes) = answered.answer else {
            unreachable!("a shard answers in kind, not with {:?}", answered.answer)
        };
        Ok(mailboxes)
    }

    /// Lets a mailbox hand out nothing, until it is [resumed](Bridge::resume_mailbox). It goes on taking messages. Pausing a
    /// paused one changes nothing.
    ///
    /// # Errors
    /// [`MailboxError::Unknown`].
    pub async fn pause_mailbox(
        &self,
        address: Address,
        by: Name,
    ) -> Result<MailboxView, CallError<MailboxError>> {
        self.mailbox_call(Command::PauseMailbox(address, by)).await
    }

    /// Lets a paused mailbox hand out again.
    ///
    /// # Errors
    /// [`MailboxError::Unknown`].
    pub async fn resume_mailbox(&self, address: Address) -> Result<MailboxView, CallError<MailboxError>> {
        self.mailbox_call(Command::ResumeMailbox(address)).await
    }

    /// Withdraws everything that was sent to a mailbox so far. What waits goes, in steps behind the confirmation; the holders
    /// of what is leased are asked for it, and may still settle it. With [`Purge::Try`] only tells what that would be.
    ///
    /// # Errors
    /// [`MailboxError::Unknown`].
    pub async fn purge_mailbox(
        &self,
        address: Address,
        purge: Purge,
    ) -> Result<Purged, CallError<MailboxError>> {
        let command = Command::PurgeMailbox(address, purge);
        answer_of!(self.call(command).await?, Purged).map_err(CallError::Refused)
    }

    /// Removes an empty mailbox; gives it as it was.
    ///
    /// # Errors
    /// [`MailboxError`].
    pub async fn delete_mailbox(&self, address: Address) -> Result<MailboxView, CallError<MailboxError>> {
        self.mailbox_call(Command::DeleteMailbox(address)).await
    }

    /// Tells why a delivery does not move, and when that changes by itself.
    ///
    /// # Errors
    /// [`DeliveryError::Unknown`].
    pub async fn why(&self, delivery: DeliveryId) -> Result<Why, CallError<DeliveryError>> {
        answer_of!(self.call(Command::Why(delivery)).await?, Why).map_err(CallError::Refused)
    }

    async fn mailbox_call(&self, command: Command) -> Result<MailboxView, CallError<MailboxError>> {
        answer_of!(self.call(command).await?, Mailbox).map_err(CallError::Refused)
    }
}

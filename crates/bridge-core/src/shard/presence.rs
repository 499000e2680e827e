//! Who takes from a mailbox: evidence of being there, and being missed.

use core::time::Duration;

use super::{
    Shard, Step, Subject,
    inbox::Inbox,
    timer::{Timer, Timers},
};
use crate::{
    address::Address,
    event::EventKind,
    mailbox::{Presence, PresenceState},
    receive::Receive,
    store::Row,
    time::Timestamp,
};

impl Shard {
    /// Somebody asks for deliveries: it is there, and expected back when the answer has told it to pause.
    pub(super) fn arrive(&mut self, receive: &Receive, now: Timestamp, step: &mut Step) {
        let back_by = now + receive.wait + self.policy.poll_max + self.policy.presence_grace;
        let consumer = receive.consumer.named.then(|| receive.consumer.name.clone());
        for mailbox in &receive.mailboxes {
            let Some(inbox) = self.inboxes.get_mut(mailbox) else { continue };
            expect_back(&mut self.timers, inbox, back_by);
            // Only coming is told, not each change of who is there: two agents that poll in turn must not fill the log.
            if inbox.row.presence.state == PresenceState::Away {
                let presence =
                    Presence { state: PresenceState::Online, consumer: consumer.clone(), since: now };
                self.change_presence(mailbox, presence, now, step);
            }
        }
    }

    /// A waiting caller broke off. If it does not come back soon, it is away.
    pub(super) fn leave(&mut self, mailbox: &Address, now: Timestamp) {
        let soon = now + self.policy.lost_answer_grace;
        if let Some(inbox) = self.inboxes.get_mut(mailbox).filter(|inbox| inbox.waiting.is_empty()) {
            let back_by = inbox.present_until.min(soon);
            expect_back(&mut self.timers, inbox, back_by);
        }
    }

    /// The taker of a mailbox used a lease: it is there.
    pub(super) fn show_up(&mut self, mailbox: &Address, now: Timestamp) {
        let back_by = now + self.policy.poll_max + self.policy.presence_grace;
        if let Some(inbox) = self.inboxes.get_mut(mailbox) {
            let back_by = inbox.present_until.max(back_by);
            expect_back(&mut self.timers, inbox, back_by);
        }
    }

    /// The taker of a mailbox should have been back: unless it waits or works, it is away.
    pub(super) fn miss(&mut self, mailbox: &Address, now: Timestamp, step: &mut Step) {
        let Some(inbox) = self.inboxes.get_mut(mailbox) else { return };
        if inbox.present_until > now || inbox.row.presence.state == PresenceState::Away {
            return;
        }
        if inbox.leased > 0 || !inbox.waiting.is_empty() {
            // Later than now, whatever the policy says: it will be looked at again then.
            let back_by = now + self.policy.presence_grace.max(Duration::from_millis(1));
            expect_back(&mut self.timers, inbox, back_by);
            return;
        }
        inbox.quiet.clear();
        let consumer = inbox.row.presence.consumer.clone();
        self.change_presence(
            mailbox,
            Presence { state: PresenceState::Away, consumer, since: now },
            now,
            step,
        );
    }

    fn change_presence(&mut self, mailbox: &Address, presence: Presence, now: Timestamp, step: &mut Step) {
        let Some(inbox) = self.inboxes.get_mut(mailbox) else { return };
        inbox.row.presence = presence.clone();
        step.put(Row::Mailbox(inbox.row.clone()));
        if self.is_recorded(mailbox) {
            let kind = EventKind::PresenceChanged { mailbox: mailbox.clone(), presence };
            self.tell(Subject::from(mailbox), kind, now, step);
        }
    }
}

/// Sets when the taker of a mailbox should be back. There is one such timer a mailbox, however often it is set.
pub(super) fn expect_back(timers: &mut Timers, inbox: &mut Inbox, back_by: Timestamp) {
    let mailbox = inbox.row.address.clone();
    timers.clear(inbox.present_until, Timer::Away(mailbox.clone()));
    inbox.present_until = back_by;
    timers.set(back_by, Timer::Away(mailbox));
}

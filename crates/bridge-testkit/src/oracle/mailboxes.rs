//! Mailboxes of their own: by which rules they go, what they may hand out, and when they may go.

use bridge_core::{
    Address, Answer, Command, Delivery, Made, Mailbox, MailboxSettings, MailboxView, Seq, State,
};

use super::{Oracle, Violation, hold, stands::View};
use crate::{
    disk::Disk,
    world::{Outcome, World},
};

/// How exactly it is remembered when a mailbox was last used.
const USED: std::time::Duration = std::time::Duration::from_secs(3_600);

impl Oracle {
    /// Somebody is about to change a mailbox: in this step it may go by its former rules and by its new ones.
    pub(super) fn hears_of_mailbox(&mut self, world: &World, command: &Command) {
        match command {
            Command::SetMailbox(set) => {
                // It stands as it is, or as something else in the step has left it. One that is not there, or may just
                // have gone unused, is made.
                let row = world.disk().mailbox(&set.address);
                let made = row.is_none_or(|row| row.made == Made::ByUse);
                let made = made.then(|| set.address.default_settings());
                let said = self.touched.entry(set.address.clone()).or_default();
                let before = said.iter().copied().chain(row.map(|row| row.settings)).chain(made);
                let after: Vec<_> = before.map(|before| set.applied_to(before)).collect();
                said.extend(after);
            }
            Command::PauseMailbox(mailbox, _)
            | Command::ResumeMailbox(mailbox)
            | Command::PurgeMailbox(mailbox, _) => {
                self.touched.entry(mailbox.clone()).or_default();
            }
            Command::DeleteMailbox(mailbox) => {
                self.touched.entry(mailbox.clone()).or_default().push(mailbox.default_settings());
                self.deleting.insert(mailbox.clone());
            }
            _ => {}
        }
    }

    /// A mailbox behaves otherwise than before: as somebody said, and in nothing else.
    pub(super) fn obeys(&self, before: &Mailbox, after: &Mailbox) -> Result<(), Violation> {
        let said = self.touched.get(&after.address);
        let right =
            after.settings == before.settings || said.is_some_and(|said| said.contains(&after.settings));
        hold!("I15", right, "{before:?} has become {after:?}, and was told {said:?}");
        Ok(())
    }

    /// The rules by which a mailbox may have gone in this step.
    pub(super) fn rules(&self, world: &World, outcome: &Outcome, mailbox: &Address) -> Vec<MailboxSettings> {
        let after = world.disk().mailbox(mailbox);
        let before = outcome.mailbox_before(mailbox);
        let rows = after.into_iter().chain(before).map(|row| row.settings);
        let said = self.touched.get(mailbox).into_iter().flatten().copied();
        // One that its use has made was as all of its kind are, before it was told otherwise.
        let made = outcome.has_made(mailbox).then(|| mailbox.default_settings());
        let rules: Vec<_> = rows.chain(said).chain(made).collect();
        if rules.is_empty() { vec![mailbox.default_settings()] } else { rules }
    }

    /// What a mailbox was purged up to before this step.
    pub(super) fn floor(&self, world: &World, mailbox: &Address) -> Seq {
        world.disk().mailbox(mailbox).map_or(Seq::ZERO, |row| row.floor)
    }

    /// A delivery is handed out: its mailbox is not paused, and was not purged of it.
    pub(super) fn is_open_to_all(&self, world: &World, delivery: &Delivery) -> Result<(), Violation> {
        if self.touched.contains_key(&delivery.mailbox) {
            return Ok(());
        }
        let Some(row) = world.disk().mailbox(&delivery.mailbox) else { return Ok(()) };
        hold!("I5", row.paused.is_none(), "{} was handed out by {row:?}", delivery.id);
        hold!("I5", delivery.seq > row.floor, "{} was purged, and handed out by {row:?}", delivery.id);
        Ok(())
    }

    /// What was purged ends as withdrawn, unless its holder settles it.
    pub(super) fn purged(&self, outcome: &Outcome, disk: &Disk, ended: &Delivery) -> Result<(), Violation> {
        let before = outcome.mailbox_before(&ended.mailbox).or_else(|| disk.mailbox(&ended.mailbox));
        let is_purged = before.is_some_and(|before| ended.seq <= before.floor);
        let right = match ended.state {
            State::Dead(bridge_core::DeadReason::SessionClosed) => true,
            State::Dead(_) => false,
            _ => true,
        };
        hold!("I4", right || !is_purged, "{} was purged, and is {:?}", ended.id, ended.state);
        Ok(())
    }

    /// A mailbox goes when somebody wants it to, or when it was not used for its time; and only when it is empty.
    pub(super) fn mailbox_gone(&mut self, world: &World, mailbox: &Mailbox) -> Result<(), Violation> {
        let address = &mailbox.address;
        self.handed.remove(address);
        self.evidence.remove(address);
        let used = self.used.remove(address).unwrap_or_default();
        let is_empty = world.disk().unsettled(address).next().is_none();
        hold!("I12", is_empty, "{mailbox:?} was removed, and something is in it");
        if address.session().is_none() {
            let ttl = self.policy.mailbox_ttl;
            let unused = mailbox.made == Made::ByUse
                && mailbox.used_at + ttl <= world.now()
                && used + ttl <= world.now() + USED;
            let wanted = self.deleting.contains(address);
            hold!("I12", unused || wanted, "{mailbox:?} was removed, and used at {used:?}");
        }
        Ok(())
    }

    /// The only command of a step asked how mailboxes stand, or what a purge would take away.
    ///
    /// # Errors
    /// A violation of I15: the shard says otherwise than the rows.
    pub fn views(&self, world: &World, command: &Command, answer: &Answer) -> Result<(), Violation> {
        let view = View { disk: world.disk(), unrecorded: &self.unrecorded };
        match (command, answer) {
            (Command::InspectMailbox(_), Answer::Mailbox(Ok(shown))) => shows(view, shown)?,
            (Command::InspectMailbox(mailbox), Answer::Mailbox(Err(_))) => {
                hold!("I15", world.disk().mailbox(mailbox).is_none(), "{mailbox} is there, and nobody knows");
            }
            (Command::ListMailboxes(after, most), Answer::Mailboxes(page)) => {
                let mut rows = world.disk().mailboxes().map(|row| &row.address);
                let mut rows = rows.by_ref().filter(|address| Some(*address) > after.as_ref());
                for shown in &page.mailboxes {
                    let next = rows.next();
                    hold!("I15", next == Some(&shown.mailbox.address), "{next:?} is missing in {page:?}");
                    shows(view, shown)?;
                }
                let right = page.mailboxes.len() == *most || !page.more;
                hold!("I15", right && rows.next().is_some() == page.more, "{page:?} ends early");
            }
            (Command::PurgeMailbox(mailbox, bridge_core::Purge::Try), Answer::Purged(Ok(would))) => {
                let (pending, leased) = count(view, mailbox);
                let told = (would.pending as usize, would.leased as usize);
                hold!("I15", told == (pending, leased), "{mailbox} holds {pending} and {leased}: {would:?}");
            }
            _ => {}
        }
        Ok(())
    }
}

fn count(view: View<'_>, mailbox: &Address) -> (usize, usize) {
    let leased = view.disk.unsettled(mailbox).filter(|delivery| view.lease(delivery).is_some()).count();
    (view.disk.unsettled(mailbox).count() - leased, leased)
}

/// What is told of a mailbox is what its rows come to.
fn shows(view: View<'_>, shown: &MailboxView) -> Result<(), Violation> {
    let address = &shown.mailbox.address;
    let row = view.disk.mailbox(address);
    hold!("I15", row == Some(&shown.mailbox), "{shown:?} is {row:?} on disk");
    let (pending, leased) = count(view, address);
    let waits = || view.disk.unsettled(address).filter(|delivery| view.lease(delivery).is_none());
    let bytes: u64 = waits().map(|delivery| u64::from(delivery.size)).sum();
    let later = view.disk.unsettled(address).filter(|delivery| delivery.place.is_none()).count();
    let told = (shown.pending as usize, shown.leased as usize, shown.pending_bytes, shown.scheduled as usize);
    let rows = (pending, leased, bytes, later);
    hold!("I15", told == rows, "{address} is told to have {told:?} and has {rows:?}");
    Ok(())
}

//! What a script says of mailboxes, and of why a delivery does not move.

use bridge_core::{
    Address, Answer, Backoff, Blocked, Class, Command, Head, Limits, MailboxView, Mailboxes, Order, Purge,
    Purged, SetMailbox, Why,
};

use super::{
    Stage,
    words::{Words, name_of, number, show_span, since_start, span},
};

impl Stage {
    /// The command of a line that begins with `mailbox`.
    pub(super) fn mailbox_command(&mut self, words: &Words<'_>) -> Command {
        let Some(label) = words.plain.get(1) else {
            return Command::ListMailboxes(words.set.get("after").map(|after| self.mailbox(after)), 2);
        };
        let address = self.mailbox(label);
        let by = words.after("by").unwrap_or("anna");
        match words.word(0) {
            "set" => Command::SetMailbox(set(address, words)),
            "show" => Command::InspectMailbox(address),
            "pause" => Command::PauseMailbox(address, name_of(by)),
            "resume" => Command::ResumeMailbox(address),
            "purge" if words.plain.contains(&"try") => Command::PurgeMailbox(address, Purge::Try),
            "purge" => Command::PurgeMailbox(address, Purge::Do),
            "delete" => Command::DeleteMailbox(address),
            verb => panic!("a script does not know `mailbox {verb}`"),
        }
    }

    pub(super) fn mailboxes(&mut self, words: &Words<'_>) -> Vec<Address> {
        words.word(0).split(',').map(|label| self.mailbox(label)).collect()
    }

    pub(super) fn view(&self, view: &MailboxView) -> String {
        let mailbox = &view.mailbox;
        let mut text = format!("{} {}", mailbox.address, mailbox.settings.class.as_str());
        text.push_str(&format!(", {} waiting, {} leased", view.pending, view.leased));
        if view.scheduled > 0 {
            text.push_str(&format!(", {} for later", view.scheduled));
        }
        if let Some(paused) = &mailbox.paused {
            text.push_str(&format!(", paused by {} at {}", paused.by, since_start(paused.since)));
        }
        if let Some(oldest) = view.oldest {
            text.push_str(&format!(", oldest of {}", since_start(oldest)));
        }
        text
    }

    /// What a mailbox can take, and what its takers can.
    pub(super) fn limits(&mut self, words: &Words<'_>) -> String {
        let address = self.mailbox(words.word(1));
        let (call, outcome) = self.world.tell(Command::InspectMailbox(address));
        let Some(Answer::Mailbox(Ok(MailboxView { limits, .. }))) = outcome.answer(call) else {
            panic!("there is no mailbox {}", words.word(1));
        };
        let Limits { max_failures, credit, max_pending, max_pending_bytes, .. } = limits;
        let lease = show_span(limits.lease);
        format!(
            "lease {lease}, {max_failures} failures, credit {credit}, {max_pending} messages, {max_pending_bytes} bytes"
        )
    }

    pub(super) fn list(&self, list: &Mailboxes) -> String {
        let shown: Vec<_> = list.mailboxes.iter().map(|view| self.view(view)).collect();
        let more = if list.more { "; and more" } else { "" };
        format!("{}{more}", shown.join("; "))
    }

    pub(super) fn why(&self, why: &Why) -> String {
        let reason = match &why.reason {
            Blocked::Leased { consumer, attempt } => {
                format!("leased by {}, attempt {attempt}", consumer.name)
            }
            Blocked::Backoff { failures } => format!("in back-off, failures={failures}"),
            Blocked::Paused { by, since } => format!("mailbox paused by {by} at {}", since_start(*since)),
            Blocked::Behind { key, head, reason } => {
                let head = self.name(bridge_core::MessageId(head.0));
                let does = match reason {
                    Head::Leased { consumer, attempt } => {
                        format!("is leased by {}, attempt {attempt}", consumer.name)
                    }
                    Head::Backoff { failures } => format!("is in back-off, failures={failures}"),
                    _ => "is ready".to_owned(),
                };
                format!("behind {head} of key {key}, which {does}")
            }
            Blocked::NoConsumer { since } => format!("no consumer since {}", since_start(*since)),
            reason => reason.as_str().to_owned(),
        };
        let reason = match why.redriven_as {
            Some(_) => format!("{reason}, redriven"),
            None => reason,
        };
        match why.until {
            Some(until) => format!("{reason}, until {}", since_start(until)),
            None => reason,
        }
    }
}

pub(super) fn purged(purged: Purged) -> String {
    format!("{} waiting go, {} leased are asked for", purged.pending, purged.leased)
}

fn set(address: Address, words: &Words<'_>) -> SetMailbox {
    let class = words.set.get("class").map(|class| {
        let found = Class::ALL.into_iter().find(|known| known.as_str() == *class);
        found.unwrap_or_else(|| panic!("{class} is no class"))
    });
    let mut set = SetMailbox {
        class,
        max_pending: words.limit("pending", |text| number("pending", text)),
        max_pending_bytes: words.limit("bytes", |text| number("bytes", text).into()),
        max_failures: words.limit("failures", |text| number("failures", text)),
        lease: words.limit("lease", span),
        ..SetMailbox::new(address)
    };
    for word in &words.plain {
        match *word {
            "unordered" => set.order = Some(Order::Loose),
            "ordered" => set.order = Some(Order::Keyed),
            "skip" => set.backoff = Some(Backoff::Skips),
            _ => {}
        }
    }
    set
}

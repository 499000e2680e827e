//! What a shard answers, and what stands in its log and on disk, in the words of scripts.

use std::fmt::Write as _;

use bridge_core::{
    Answer, DeliveryId, Event, EventKind, GrantEnd, Granted, MailboxSet, PresenceState, Received, Seq,
    SettleError, Settled, State,
};

use super::{
    Stage, mailboxes,
    words::{Words, show_span, since_start},
};

impl Stage {
    pub(super) fn answer(&self, answer: &Answer) -> String {
        match answer {
            Answer::Session(Ok(view)) => {
                let state = if view.session.closed_at.is_some() { "closed" } else { "open" };
                let presence = match view.presence.state {
                    PresenceState::Away => "nobody there".to_owned(),
                    state => format!("agent {}", state.as_str()),
                };
                format!(
                    "{state}, {} waiting, {} leased, {} unread, {presence}",
                    view.pending, view.leased, view.unread
                )
            }
            Answer::Published(Ok(published)) if published.duplicate => {
                format!("duplicate of {}", self.name(published.message))
            }
            Answer::Published(Ok(published)) => format!("accepted, {} waiting", published.depth),
            Answer::Received(Ok(received)) => self.received(received),
            Answer::Settled(Ok(settled)) => self.settled(settled),
            Answer::Settled(Err(error)) => format!("refused: {}", self.settle_error(error)),
            Answer::Read(Ok(place)) | Answer::Advanced(Ok(place)) => {
                format!("at {}", self.place_name(*place))
            }
            Answer::Cancelled(Ok(cancelled)) if cancelled.requested => "requested of its holder".to_owned(),
            Answer::Cancelled(Ok(_)) => "cancelled".to_owned(),
            Answer::Redriven(Ok(_)) => "a new delivery".to_owned(),
            Answer::Delivery(Ok(judged)) if judged.redriven_as.is_some() => "redriven before".to_owned(),
            Answer::Delivery(Ok(_)) => "would be a new delivery".to_owned(),
            Answer::Mailbox(Ok(view))
            | Answer::MailboxSet(Ok(MailboxSet::Made(view) | MailboxSet::Changed(view))) => self.view(view),
            Answer::Mailboxes(list) => self.list(list),
            Answer::Purged(Ok(purged)) => mailboxes::purged(*purged),
            Answer::Why(Ok(why)) => self.why(why),
            Answer::Ttl(Ok(expires_at)) => format!("expires at {}", since_start(*expires_at)),
            Answer::Mailbox(Err(error)) | Answer::MailboxSet(Err(error)) | Answer::Purged(Err(error)) => {
                self.refused(error)
            }
            Answer::Task(Ok(task)) => {
                format!("task {}, until {}", task.state.as_str(), since_start(task.expires_at))
            }
            Answer::Session(Err(error)) | Answer::Read(Err(error)) | Answer::Advanced(Err(error)) => {
                self.refused(error)
            }
            Answer::Published(Err(error)) => self.refused(error),
            Answer::Received(Err(error)) => self.refused(error),
            Answer::Ttl(Err(error))
            | Answer::Cancelled(Err(error))
            | Answer::Redriven(Err(error))
            | Answer::Delivery(Err(error))
            | Answer::Why(Err(error)) => self.refused(error),
            Answer::Task(Err(error)) => self.refused(error),
            Answer::Retired(0) => "nothing to remove".to_owned(),
            Answer::Retired(1) => "removed, 1 change".to_owned(),
            Answer::Retired(changes) => format!("removed, {changes} changes"),
            other => unreachable!("a script has no words for {other:?}"),
        }
    }

    /// The words of a refusal, with the script's names in the place of ids.
    fn refused(&self, error: &dyn std::error::Error) -> String {
        let mut text = format!("refused: {error}");
        for (label, id) in &self.sessions {
            text = text.replace(&id.to_string(), label);
        }
        for (id, label) in &self.labels {
            text = text.replace(&DeliveryId::of(*id, 0).to_string(), label);
            text = text.replace(&DeliveryId::of(*id, 0).redriven().to_string(), label);
            text = text.replace(&id.to_string(), label);
        }
        for (label, id) in &self.tasks {
            text = text.replace(&id.to_string(), label);
        }
        text
    }

    fn received(&self, received: &Received) -> String {
        let granted = |granted: &Granted| {
            let asked = if granted.cancel_requested { " cancel_requested" } else { "" };
            let expires = granted.expires_at.map(|at| format!(" expires={}", since_start(at)));
            format!(
                "{} attempt={} until={}{}{asked}",
                self.name(granted.message),
                granted.attempt,
                since_start(granted.until),
                expires.unwrap_or_default()
            )
        };
        let mut text = if received.granted.is_empty() {
            let directive = &received.directive;
            let pause = if directive.delay.is_zero() {
                String::new()
            } else {
                format!(" in {}", show_span(directive.delay))
            };
            format!("none, {}{pause}: {}", directive.action.as_str(), directive.reason.as_str())
        } else {
            received.granted.iter().map(granted).collect::<Vec<_>>().join(", ")
        };
        if !received.held.is_empty() {
            let asked = |held: &Granted| if held.cancel_requested { " cancel_requested" } else { "" };
            let held = received.held.iter().map(|held| format!("{}{}", self.name(held.message), asked(held)));
            let held: Vec<_> = held.collect();
            let _ = write!(text, " (holds {})", held.join(", "));
        }
        text
    }

    fn settled(&self, settled: &Settled) -> String {
        let mut text = self.state(settled.state);
        if settled.already_done {
            text.push_str(", already done");
        }
        if let Some(until) = settled.until {
            let _ = write!(text, " until={}", since_start(until));
        }
        if let Some(reply) = settled.reply {
            let removed = if settled.published.is_none() { ", which was removed" } else { "" };
            let _ = write!(text, ", reply {}{removed}", self.name(reply));
        }
        for not in &settled.not_covered {
            let _ = write!(text, ", not covered {}: {}", not.position + 1, self.settle_error(&not.error));
        }
        if settled.cancel_requested {
            text.push_str(", cancel_requested");
        }
        text
    }

    fn settle_error(&self, error: &SettleError) -> String {
        match error {
            SettleError::LeaseLost { state } => format!("lease_lost, {}", self.state(*state)),
            SettleError::AlreadySettled { outcome, reply } => {
                let reply = reply.map(|reply| format!(", reply {}", self.name(reply))).unwrap_or_default();
                format!("already_settled by {}{reply}", outcome.as_str())
            }
            SettleError::UnknownToken => "unknown_token".to_owned(),
            SettleError::HandleNeeded => "handle_needed".to_owned(),
            SettleError::SessionClosed => "session_closed".to_owned(),
            SettleError::OtherMailbox => "other_session".to_owned(),
            SettleError::TooLong { .. } => error.to_string(),
            other => unreachable!("a script has no words for {other:?}"),
        }
    }

    fn state(&self, state: State) -> String {
        match state {
            State::Pending { visible_at } if visible_at > self.world.now() => {
                format!("pending visible={}", since_start(visible_at))
            }
            State::Dead(reason) => format!("dead({})", reason.as_str()),
            state => state.as_str().to_owned(),
        }
    }

    pub(super) fn event(&self, event: &Event) -> Option<String> {
        let message = event.message.map(|id| self.name(id)).unwrap_or_default();
        let at = since_start(event.at);
        let said = match &event.kind {
            EventKind::Returned { reason, failures, visible_at, .. } => {
                format!(
                    "returned: {}, failures={failures}, visible={}",
                    reason.as_str(),
                    since_start(*visible_at)
                )
            }
            EventKind::Dead { reason, .. } => format!("dead({})", reason.as_str()),
            EventKind::PresenceChanged { presence, .. } => format!("agent {}", presence.state.as_str()),
            EventKind::SessionClosed { unsettled } => format!("session closed, {unsettled} unsettled"),
            EventKind::Presented { .. } => return None,
            kind => kind.name().rsplit('.').next().unwrap_or_default().to_owned(),
        };
        let what = if message.is_empty() { said } else { format!("{message} {said}") };
        Some(format!("{at} {what}"))
    }

    pub(super) fn show(&self, label: &str) -> String {
        let chain = self.chain(label);
        let told: Vec<_> = chain
            .iter()
            .map(|delivery| {
                let mut text = self.state(delivery.state);
                let _ = write!(text, " attempt={} failures={}", delivery.attempt, delivery.failures);
                let receipts = delivery.receipts;
                for (name, at) in [
                    ("presented", receipts.presented),
                    ("seen", receipts.seen),
                    ("progressed", receipts.progressed),
                    ("answered", receipts.answered),
                    ("settled", receipts.settled),
                    ("read", receipts.read),
                    ("dead", receipts.dead),
                ] {
                    if let Some(at) = at {
                        let _ = write!(text, " {name}={}", since_start(at));
                    }
                }
                if let Some(reply) = delivery.reply {
                    let _ = write!(text, " reply={}", self.name(reply));
                }
                if let Some(GrantEnd::Spent { outcome, .. }) =
                    delivery.grant.as_ref().and_then(|grant| grant.end)
                {
                    let _ = write!(text, " spent={}", outcome.as_str());
                }
                if delivery.message_gone {
                    text.push_str(", without its message");
                }
                text
            })
            .collect();
        if told.is_empty() { "unknown".to_owned() } else { told.join("; then ") }
    }

    pub(super) fn log(&self, words: &Words<'_>) -> String {
        let after = words.set.get("after").map_or(Seq::ZERO, |label| self.place(label));
        let told: Vec<_> = self
            .world
            .disk()
            .log()
            .iter()
            .filter(|event| event.seq > after)
            .map(|event| {
                let name = event.message.map(|id| format!(" {}", self.name(id))).unwrap_or_default();
                format!("{}{name}", event.kind.name())
            })
            .collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    }
}

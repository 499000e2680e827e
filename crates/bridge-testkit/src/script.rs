//! Scripts: what a shard is told and what it answers, a line each, for people to read.
//!
//! A line is a command, `->` and what came of it; what came later to somebody who waited is told behind it. `UPDATE=1` in
//! the environment rewrites the answers. A word like `m1` names a message, or its newest delivery; `30s`, `10m` are spans, and
//! in an answer times since the script began. Lines that begin with `#` are for the reader.

mod mailboxes;
mod words;

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path, time::Duration};

use bridge_core::{
    Address, Advance, Answer, CallId, Command, Consumer, Delivery, DeliveryId, Event, EventKind, GrantEnd,
    Granted, Headers, Idempotency, Lease, LostAnswer, MessageId, OpenSession, OpenTask, Outcome, Policy,
    PresenceState, Priority, Proof, Publish, Receive, Received, Reply, Row, RowKey, Seq, SessionId, Settle,
    SettleError, Settled, Side, State, TaskId, Timestamp,
};

use self::words::{Words, consumer, name_of, show_span, since_start, span};
use crate::world::World;

/// Runs the script at `path` and compares what it says with what happens, or rewrites it when `UPDATE` is set.
///
/// # Panics
/// If they differ, or a line makes no sense.
pub fn check(path: &Path) {
    let script = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let played = play(&script);
    if env::var_os("UPDATE").is_some() {
        fs::write(path, played).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    for (number, (said, happened)) in script.lines().zip(played.lines()).enumerate() {
        assert_eq!(
            said,
            happened,
            "{}:{}: left is the script, right is what happens",
            path.display(),
            number + 1
        );
    }
    assert_eq!(script.lines().count(), played.lines().count(), "{}", path.display());
}

/// Runs a script; gives it with the answers that really come.
pub fn play(script: &str) -> String {
    let mut stage = Stage::new();
    let mut played = String::new();
    let width = script
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split("->").next().unwrap_or(line).trim_end().len())
        .max()
        .unwrap_or(0);
    for line in script.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            played.push_str(line);
        } else {
            let command = line.split("->").next().unwrap_or(line).trim_end();
            let answer = stage.act(command);
            let _ = write!(played, "{command:width$} -> {answer}");
        }
        played.push('\n');
    }
    played
}

/// A world and the names that a script gave to what is in it.
struct Stage {
    world: World,
    sessions: BTreeMap<String, SessionId>,
    messages: BTreeMap<String, MessageId>,
    labels: BTreeMap<MessageId, String>,
    /// Leases as they were granted, by message and attempt.
    leases: BTreeMap<(MessageId, u32), (DeliveryId, Lease)>,
    waiting: BTreeMap<CallId, String>,
    tasks: BTreeMap<String, TaskId>,
    ids: u128,
    /// The last answer that granted something.
    last_answer: u64,
}

impl Stage {
    fn new() -> Self {
        Self {
            world: World::new(Policy::default(), 1),
            sessions: BTreeMap::new(),
            messages: BTreeMap::new(),
            labels: BTreeMap::new(),
            leases: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tasks: BTreeMap::new(),
            ids: 0,
            last_answer: 0,
        }
    }

    fn act(&mut self, line: &str) -> String {
        let words = Words::read(line);
        match words.verb {
            "advance" => {
                let outcome = self.world.advance(span(words.word(0)));
                self.tell_later(None, outcome.answers, &outcome.events)
            }
            "crash" => {
                self.world.reload();
                let outcome = self.world.wake();
                self.tell_later(None, outcome.answers, &outcome.events)
            }
            "show" => self.show(words.word(0)),
            "log" => self.log(&words),
            _ => {
                let command = self.command(&words);
                let (call, outcome) = self.world.tell(command);
                self.waiting.insert(call, words.after("by").unwrap_or("somebody").to_owned());
                let parked = outcome.answer(call).is_none() && words.verb == "receive";
                let told = self.tell_later(Some(call), outcome.answers, &[]);
                match (parked, told.as_str()) {
                    (false, _) => told,
                    (true, "nothing") => "waits".to_owned(),
                    (true, others) => format!("waits; {others}"),
                }
            }
        }
    }

    /// What came of a step: the answer that was asked for, then what others got, then what happened by itself.
    fn tell_later(
        &mut self,
        call: Option<CallId>,
        answers: Vec<(CallId, Answer)>,
        events: &[Event],
    ) -> String {
        let mut told = Vec::new();
        for (id, answer) in answers {
            self.note(&answer);
            let text = self.answer(&answer);
            let who = self.waiting.remove(&id).unwrap_or_default();
            if call == Some(id) {
                told.insert(0, text);
            } else {
                told.push(format!("{who} gets {text}"));
            }
        }
        told.extend(events.iter().filter_map(|event| self.event(event)));
        if told.is_empty() { "nothing".to_owned() } else { told.join("; ") }
    }

    fn command(&mut self, words: &Words<'_>) -> Command {
        match words.verb {
            "open" => {
                let id = self.session(words.word(0));
                Command::OpenSession(OpenSession { id, title: None, owner: name_of("anna") })
            }
            "close" => match words.span("idle") {
                Some(idle) => {
                    let since = self.world.now().as_millis() - idle.as_millis() as u64;
                    Command::CloseIdleSession(self.session(words.word(0)), Timestamp::from_millis(since))
                }
                None => Command::CloseSession(self.session(words.word(0))),
            },
            "session" => Command::InspectSession(self.session(words.word(0))),
            "mailbox" => self.mailbox_command(words),
            "ttl" => Command::SetTtl(self.messages[words.word(0)], span(words.word(1))),
            "why" => Command::Why(self.newest(words.word(0))),
            "publish" => self.publish(words),
            "receive" => self.receive(words),
            "ack" | "answer" | "extend" | "release" | "nack" | "reject" => self.settle(words),
            "read" => {
                let session = self.session(words.word(0));
                let place = self.place(words.word(1));
                Command::Read(Address::Session(session, Side::User), place)
            }
            "walk" => {
                let session = self.session(words.word(0));
                let place = |stage: &Self, name| match words.set.get(name) {
                    Some(label) => stage.place(label),
                    None => Seq::ZERO,
                };
                let (from, to) = (place(self, "from"), place(self, "to"));
                Command::Advance(Advance { session, reader: name_of(words.word(1)), from, to })
            }
            "cancel" => Command::Cancel(self.newest(words.word(0))),
            "redrive" => {
                let chain = self.chain(words.word(0));
                let first = chain.first().expect("the message has a delivery").id;
                let id = if words.plain.contains(&"first") { first } else { self.newest(words.word(0)) };
                Command::Redrive(id, words.span("ttl"))
            }
            "task" => {
                let id = TaskId(self.next_id());
                self.tasks.insert(words.word(1).to_owned(), id);
                let mailbox = self.mailbox(words.word(0));
                let ttl = words.span("ttl").unwrap_or(Duration::from_secs(3600));
                Command::OpenTask(OpenTask { id, mailbox, consumer: consumer(words), ttl })
            }
            "look" => Command::InspectTask(self.tasks[words.word(0)]),
            "calloff" => Command::CancelTask(self.tasks[words.word(0)]),
            "leave" => {
                let who = words.word(0);
                let call = self.waiting.iter().find(|(_, name)| *name == who).map(|(call, _)| *call);
                Command::Unpark(call.expect("somebody of that name waits"))
            }
            "lose" => {
                let granted = words.plain.iter().map(|label| self.lease(label, None)).collect();
                let repeatable = words.set.contains_key("repeatable");
                Command::AnswerLost(LostAnswer { answer: self.last_answer, granted, repeatable })
            }
            verb => panic!("a script does not know `{verb}`"),
        }
    }

    fn publish(&mut self, words: &Words<'_>) -> Command {
        let label = words.word(1);
        let from = words.after("from");
        let to = match from {
            Some("agent") => Address::Session(self.session(words.word(0)), Side::User),
            _ => self.mailbox(words.word(0)),
        };
        let id = self.label(label);
        let idempotency = words.name("key").map(|key| {
            let mut fingerprint = [0; 32];
            fingerprint[0] = words.set.get("body").map_or(0, |body| body.len().try_into().expect("short"));
            Idempotency { key, fingerprint }
        });
        Command::Publish(Publish {
            id,
            from: name_of(from.unwrap_or("anna")),
            verified: false,
            to,
            kind: words.name("type").unwrap_or_else(|| name_of("message")),
            priority: words.number("priority").map_or(Priority::NORMAL, priority),
            payload: vec![b'x'; words.number("bytes").unwrap_or(1) as usize].into(),
            key: words.name("order"),
            reply_to: None,
            correlation_id: None,
            headers: Headers::new(),
            delay: words.span("delay").unwrap_or_default(),
            ttl: words.span("ttl"),
            idempotency,
        })
    }

    fn receive(&mut self, words: &Words<'_>) -> Command {
        let consumer = consumer(words);
        let task = words.set.get("task").map(|label| name_of(&self.tasks[*label].to_string()));
        let attempt = words.name("attempt").or(task);
        let repeatable = attempt.is_some();
        let attempt_id = attempt.unwrap_or_else(|| {
            let id = self.next_id();
            name_of(&format!("att-{id}"))
        });
        let consumer =
            if consumer.named { consumer } else { Consumer { name: attempt_id.clone(), ..consumer } };
        Command::Receive(Receive {
            consumer,
            mailboxes: self.mailboxes(words),
            types: words.list("types"),
            max: words.number("max").unwrap_or(1),
            max_bytes: words.number("bytes").map_or(u64::MAX, u64::from),
            wait: words.span("wait").unwrap_or_default(),
            linger: words.span("linger").unwrap_or_default(),
            lease: words.span("lease"),
            attempt_id,
            repeatable,
        })
    }

    fn settle(&mut self, words: &Words<'_>) -> Command {
        let label = words.word(0);
        let proof = if words.plain.contains(&"bare") {
            Proof::Message(self.messages[label], consumer(words))
        } else {
            let (delivery, lease) = self.lease(label, words.number("attempt"));
            Proof::Lease(delivery, lease)
        };
        let text = |name: &str| words.set.get(name).map(|text| (*text).into());
        let outcome = match words.verb {
            "ack" => Outcome::Ack,
            "answer" => {
                let reply = words.after("with").expect("an answer is given `with` a name");
                let covers = words.plain.iter().skip_while(|word| **word != "covers").skip(1);
                let covers = covers
                    .map(|label| {
                        let (delivery, lease) = self.lease(label, None);
                        Proof::Lease(delivery, lease)
                    })
                    .collect();
                let mut fingerprint = [0; 32];
                fingerprint[..reply.len()].copy_from_slice(reply.as_bytes());
                let reply = Reply {
                    id: self.label(reply),
                    from: None,
                    verified: false,
                    kind: name_of("answer"),
                    payload: reply.as_bytes().to_vec().into(),
                    headers: Headers::new(),
                    fingerprint,
                };
                Outcome::Answer { reply, covers }
            }
            "extend" => Outcome::Extend { by: words.span("by"), progress: text("progress") },
            "release" => Outcome::Release { delay: words.span("delay").unwrap_or_default() },
            "nack" => Outcome::Nack { delay: words.span("delay"), error: text("error") },
            _ => Outcome::Reject { reason: text("reason") },
        };
        Command::Settle(Settle { proof, outcome })
    }

    /// Remembers what an answer gave.
    fn note(&mut self, answer: &Answer) {
        if let Answer::Received(Ok(received)) = answer {
            if !received.granted.is_empty() {
                self.last_answer = received.answer;
            }
            for granted in received.granted.iter().chain(&received.held) {
                self.leases.insert((granted.message, granted.attempt), (granted.delivery, granted.lease));
            }
        }
    }

    fn answer(&self, answer: &Answer) -> String {
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
            Answer::Mailbox(Ok(view)) => self.view(view),
            Answer::Mailboxes(list) => self.list(list),
            Answer::Purged(Ok(purged)) => mailboxes::purged(*purged),
            Answer::Why(Ok(why)) => self.why(why),
            Answer::Ttl(Ok(expires_at)) => format!("expires at {}", since_start(*expires_at)),
            Answer::Ttl(Err(error)) => self.refused(error),
            Answer::Mailbox(Err(error)) | Answer::Purged(Err(error)) => self.refused(error),
            Answer::Task(Ok(task)) => {
                format!("task {}, until {}", task.state.as_str(), since_start(task.expires_at))
            }
            Answer::Session(Err(error)) | Answer::Read(Err(error)) | Answer::Advanced(Err(error)) => {
                self.refused(error)
            }
            Answer::Published(Err(error)) => self.refused(error),
            Answer::Received(Err(error)) => self.refused(error),
            Answer::Cancelled(Err(error)) | Answer::Redriven(Err(error)) | Answer::Why(Err(error)) => {
                self.refused(error)
            }
            Answer::Task(Err(error)) => self.refused(error),
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
            format!(
                "{} attempt={} until={}{asked}",
                self.name(granted.message),
                granted.attempt,
                since_start(granted.until)
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
        if let Some(reply) = &settled.reply {
            let _ = write!(text, ", reply {}", self.name(reply.message));
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

    fn event(&self, event: &Event) -> Option<String> {
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

    fn show(&self, label: &str) -> String {
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
                text
            })
            .collect();
        if told.is_empty() { "unknown".to_owned() } else { told.join("; then ") }
    }

    fn log(&self, words: &Words<'_>) -> String {
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

    fn session(&mut self, label: &str) -> SessionId {
        let next = SessionId(self.sessions.len() as u128 + 1);
        *self.sessions.entry(label.to_owned()).or_insert(next)
    }

    fn mailbox(&mut self, label: &str) -> Address {
        if let Some(client) = label.strip_prefix('@') {
            return client.parse().unwrap_or_else(|error| panic!("{label}: {error}"));
        }
        match label.split_once('/') {
            Some((session, "user")) => Address::Session(self.session(session), Side::User),
            _ => Address::Session(self.session(label), Side::Agent),
        }
    }

    /// The id of a new message of this name. A name that is used again means a repetition, with an id of its own.
    fn label(&mut self, label: &str) -> MessageId {
        let id = MessageId(self.next_id());
        self.messages.entry(label.to_owned()).or_insert(id);
        self.labels.entry(id).or_insert_with(|| label.to_owned());
        id
    }

    fn next_id(&mut self) -> u128 {
        self.ids += 1;
        self.ids << 64
    }

    fn name(&self, id: MessageId) -> String {
        if let Some(label) = self.labels.get(&id) {
            return label.clone();
        }
        let bounced = self.messages.iter().find(|(_, message)| {
            let first = DeliveryId::of(**message, 0);
            [first, first.redriven()].iter().any(|delivery| MessageId::bounce_of(*delivery) == id)
        });
        bounced.map_or_else(|| id.to_string(), |(label, _)| format!("bounce({label})"))
    }

    fn chain(&self, label: &str) -> Vec<Delivery> {
        let id = match label.strip_prefix("bounce(").and_then(|rest| rest.strip_suffix(')')) {
            Some(label) => MessageId::bounce_of(DeliveryId::of(self.messages[label], 0)),
            None => self.messages[label],
        };
        let find = |id| match self.world.disk().get(&RowKey::Delivery(id)) {
            Some(Row::Delivery(delivery)) => Some(*delivery),
            _ => None,
        };
        std::iter::successors(find(DeliveryId::of(id, 0)), |delivery| delivery.redriven_as.and_then(find))
            .collect()
    }

    fn newest(&self, label: &str) -> DeliveryId {
        match self.messages.get(label) {
            Some(_) => self.chain(label).last().map_or(DeliveryId(1), |delivery| delivery.id),
            None => DeliveryId(1),
        }
    }

    /// The lease of an attempt, the newest that was granted if none is named.
    fn lease(&self, label: &str, attempt: Option<u32>) -> (DeliveryId, Lease) {
        let Some(message) = self.messages.get(label) else {
            return (DeliveryId(1), Lease { epoch: 1, number: 1 });
        };
        let range = (*message, attempt.unwrap_or(0))..=(*message, attempt.unwrap_or(u32::MAX));
        let newest = self.leases.range(range).next_back().map(|(_, lease)| *lease);
        newest.unwrap_or_else(|| panic!("{label} was never leased so"))
    }

    fn place(&self, label: &str) -> Seq {
        self.chain(label).first().and_then(|delivery| delivery.place).unwrap_or_default()
    }

    fn place_name(&self, place: Seq) -> String {
        let found = self.labels.values().find(|label| place > Seq::ZERO && self.place(label) == place);
        found.cloned().unwrap_or_else(|| place.to_string())
    }
}

fn priority(level: u32) -> Priority {
    u8::try_from(level).ok().and_then(Priority::new).expect("a priority is 1 to 9")
}

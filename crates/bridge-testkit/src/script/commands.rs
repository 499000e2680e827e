//! The lines of a script as commands.

use std::time::Duration;

use bridge_core::{
    Address, Advance, Command, Consumer, Headers, Idempotency, LostAnswer, OpenSession, OpenTask, Outcome,
    Priority, Proof, Publish, Receive, Reply, RetireSession, Row, RowKey, Seq, SessionPart, Settle, Side,
    TaskId, Timestamp,
};

use super::{
    Stage,
    words::{Words, consumer, name_of, span},
};

impl Stage {
    /// What a shard is told by a line.
    pub(super) fn command(&mut self, words: &Words<'_>) -> Command {
        match words.verb {
            "open" => {
                let id = self.session(words.word(0));
                Command::OpenSession(OpenSession { id, title: None, owner: name_of("anna") })
            }
            "rename" => Command::RenameSession(self.session(words.word(0)), Some(words.word(1).into())),
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
            "why" => Command::Why(self.life(words)),
            "publish" => self.publish(words),
            "receive" => self.receive(words),
            "ack" | "answer" | "extend" | "release" | "nack" | "reject" => self.settle(words),
            "read" => {
                let session = self.session(words.word(0));
                let place = self.place(words.word(1));
                Command::Read(session, place)
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
            "redrive" if words.plain.contains(&"try") => Command::JudgeRedrive(self.life(words)),
            "redrive" => Command::Redrive(self.life(words), words.span("ttl")),
            "retire" => self.retire(words),
            "trim" => {
                let place = self.place(words.word(0));
                let event = self.world.disk().log().iter().find(|event| event.seq == place);
                Command::Trim(place, event.map_or(Timestamp::MAX, |event| event.at))
            }
            "remove" => self.remove(words),
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
                let leases = words.plain.iter().map(|label| self.lease(label, None)).collect();
                let repeatable = words.set.contains_key("repeatable");
                Command::AnswerLost(LostAnswer { answer: self.last_answer, leases, repeatable })
            }
            verb => panic!("a script does not know `{verb}`"),
        }
    }

    /// The deliveries that are named, or all that are due.
    fn retire(&self, words: &Words<'_>) -> Command {
        if !words.plain.is_empty() {
            return Command::Retire(words.plain.iter().map(|label| self.newest(label)).collect());
        }
        let now = self.world.now();
        let due = self.world.disk().deliveries().filter(|row| row.retire_at.is_some_and(|at| at <= now));
        Command::Retire(due.map(|row| row.id).collect())
    }

    /// All that is left of a part of a conversation.
    fn remove(&mut self, words: &Words<'_>) -> Command {
        let session = self.session(words.word(0));
        let disk = self.world.disk();
        let closed_at = match disk.look(&RowKey::Session(session)) {
            Some(Row::Session(session)) => session.closed_at,
            _ => None,
        };
        let rows = disk.rows();
        let part = match words.word(1) {
            "messages" => SessionPart::Messages(
                rows.filter_map(|row| match row {
                    Row::Message(message) if message.session == Some(session) => Some(message.id),
                    _ => None,
                })
                .collect(),
            ),
            "readers" => SessionPart::Readers(
                rows.filter_map(|row| match row {
                    Row::Reader(reader) if reader.session == session => Some(reader.name.clone()),
                    _ => None,
                })
                .collect(),
            ),
            "events" => {
                let mut events = disk.log().iter().filter(|event| event.session == Some(session));
                SessionPart::Events(events.next_back().map_or(Seq::ZERO, |event| event.seq))
            }
            "itself" => SessionPart::Itself,
            part => panic!("a conversation has no {part}"),
        };
        let closed_at = closed_at.unwrap_or(self.world.now());
        Command::RetireSession(RetireSession { session, closed_at, part })
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
}

fn priority(level: u32) -> Priority {
    u8::try_from(level).ok().and_then(Priority::new).expect("a priority is 1 to 9")
}

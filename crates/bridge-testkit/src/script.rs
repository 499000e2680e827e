//! Scripts: what a shard is told and what it answers, a line each, for people to read.
//!
//! A line is a command, `->` and what came of it; what came later to somebody who waited is told behind it. `UPDATE=1` in
//! the environment rewrites the answers. A word like `m1` names a message, or its newest delivery; `30s`, `10m` are spans, and
//! in an answer times since the script began. Lines that begin with `#` are for the reader. `repeat 9` does nine times what
//! follows, commands with `;` between, and tells what came of the last.

mod answers;
mod commands;
mod mailboxes;
mod policy;
mod words;

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path, sync::Arc};

use bridge_core::{
    Address, Answer, CallId, Delivery, DeliveryId, Event, Lease, MessageId, Policy, Row, RowKey, Seq,
    SessionId, Side, TaskId,
};

use self::words::{Words, span};
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
        if let Some((times, lines)) = line.strip_prefix("repeat ").and_then(|rest| rest.split_once(' ')) {
            let times = times.parse().unwrap_or_else(|_| panic!("{times} is no number"));
            let lines: Vec<_> = lines.split("; ").collect();
            let told = (0..times).flat_map(|_| &lines).map(|line| self.act(line));
            return told.last().unwrap_or_default();
        }
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
            "policy" if words.plain.first() == Some(&"limits") => policy::limits(self.world.policy()),
            "policy" => {
                let policy = policy::changed(self.world.policy().clone(), &words);
                self.world.reload_with(policy);
                let outcome = self.world.wake();
                self.tell_later(None, outcome.answers, &outcome.events)
            }
            "mailbox" if words.plain.first() == Some(&"limits") => self.limits(&words),
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
            Some(Row::Delivery(delivery)) => Some(Arc::unwrap_or_clone(delivery)),
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

    /// The delivery that a line speaks of: the newest of its message, unless it says `first`.
    fn life(&self, words: &Words<'_>) -> DeliveryId {
        let first = words.plain.contains(&"first").then(|| self.chain(words.word(0)));
        first
            .and_then(|chain| chain.first().map(|first| first.id))
            .unwrap_or_else(|| self.newest(words.word(0)))
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

//! The words of a script's lines: names, settings, spans.

use std::{collections::BTreeMap, time::Duration};

use bridge_core::{Consumer, Name, Timestamp};

use crate::world::START;

/// A command's words: its name, what follows, and the settings `name=value`.
pub(super) struct Words<'a> {
    pub(super) verb: &'a str,
    pub(super) plain: Vec<&'a str>,
    pub(super) set: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn read(line: &'a str) -> Self {
        let mut words = Self { verb: "", plain: Vec::new(), set: BTreeMap::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => drop(words.set.insert(name, value)),
                None if words.verb.is_empty() => words.verb = word,
                None => words.plain.push(word),
            }
        }
        words
    }

    pub(super) fn word(&self, at: usize) -> &'a str {
        self.plain.get(at).unwrap_or_else(|| panic!("{} wants more words", self.verb))
    }

    pub(super) fn after(&self, word: &str) -> Option<&'a str> {
        let at = self.plain.iter().position(|plain| *plain == word)?;
        self.plain.get(at + 1).copied()
    }

    pub(super) fn span(&self, name: &str) -> Option<Duration> {
        self.set.get(name).map(|text| span(text))
    }

    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.set.get(name).map(|text| number(name, text))
    }

    /// A limit of a mailbox; `default` is that of its class.
    pub(super) fn limit<T>(&self, name: &str, read: impl Fn(&str) -> T) -> Option<Option<T>> {
        self.set.get(name).map(|text| (*text != "default").then(|| read(text)))
    }

    pub(super) fn list(&self, name: &str) -> Vec<Name> {
        self.set.get(name).into_iter().flat_map(|list| list.split(',')).map(name_of).collect()
    }

    pub(super) fn name(&self, name: &str) -> Option<Name> {
        self.set.get(name).map(|text| name_of(text))
    }
}

pub(super) fn number(name: &str, text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
}

pub(super) fn consumer(words: &Words<'_>) -> Consumer {
    let principal = name_of("anonymous");
    match words.after("by") {
        Some(name) => Consumer::named(principal, name_of(name)),
        None => Consumer::nameless(principal.clone(), principal),
    }
}

pub(super) fn name_of(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn span(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text} is no span"));
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3_600),
        "d" => Duration::from_secs(number * 86_400),
        _ => panic!("{text} is no span"),
    }
}

pub(super) fn since_start(at: Timestamp) -> String {
    show_span(at.since(START))
}

pub(super) fn show_span(span: Duration) -> String {
    let millis = span.as_millis();
    let in_units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = in_units.iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

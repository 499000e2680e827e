//! The JSON of one column: written where it ends, without a tree, and read through one.

use std::{
    fmt::{Display, Write},
    str::FromStr,
};

use bridge_core::{Lease, Timestamp};
use serde_json::{Map, Value};

/// A JSON text in the making: members are added where it ends.
#[derive(Debug, Default)]
pub(super) struct Json {
    text: String,
}

impl Json {
    /// The text, if it has any member.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push('}');
        Some(self.text)
    }

    pub(super) fn name(&mut self, name: &str) {
        match self.text.as_bytes().last() {
            None => {
                self.text.reserve(512);
                self.text.push('{');
            }
            Some(b'{') => {}
            Some(_) => self.text.push(','),
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    pub(super) fn object(&mut self, name: &str, members: impl FnOnce(&mut Self)) {
        self.name(name);
        self.text.push('{');
        members(self);
        self.text.push('}');
    }

    pub(super) fn list<T>(&mut self, items: &[T], members: impl Fn(&T, &mut Self)) {
        for (at, item) in items.iter().enumerate() {
            self.text.push_str(if at == 0 { "[{" } else { ",{" });
            members(item, self);
            self.text.push('}');
        }
        self.text.push(']');
    }

    pub(super) fn null(&mut self, name: &str) {
        self.name(name);
        self.text.push_str("null");
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        self.digits(number);
    }

    fn digits(&mut self, mut number: u64) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while first == digits.len() || number > 0 {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        digits[first..].iter().for_each(|digit| self.text.push(char::from(*digit)));
    }

    pub(super) fn time(&mut self, name: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.number(name, time.as_millis());
        }
    }

    /// Both numbers of a lease: `[epoch,number]`.
    pub(super) fn lease(&mut self, name: &str, lease: Lease) {
        self.name(name);
        self.text.push('[');
        self.digits(lease.epoch);
        self.text.push(',');
        self.digits(lease.number);
        self.text.push(']');
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.name(name);
            self.text.push_str("true");
        }
    }

    pub(super) fn id(&mut self, name: &str, id: Option<&impl Display>) {
        if let Some(id) = id {
            self.name(name);
            self.quoted(id);
        }
    }

    /// Adds what needs no escapes.
    pub(super) fn quoted(&mut self, plain: impl Display) {
        let _never = write!(self.text, "\"{plain}\"");
    }

    pub(super) fn words(&mut self, name: &str, words: Option<&str>) {
        if let Some(words) = words {
            self.text(name, words);
        }
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.text.push('"');
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if text.bytes().all(is_plain) {
            self.text.push_str(text);
        } else {
            for letter in text.chars() {
                match letter {
                    '"' | '\\' => self.text.extend(['\\', letter]),
                    '\0'..='\x1f' => {
                        let _never = write!(self.text, "\\u{:04x}", u32::from(letter));
                    }
                    _ => self.text.push(letter),
                }
            }
        }
        self.text.push('"');
    }
}

/// A text that is not what it should be.
#[derive(Debug)]
pub(super) struct Nonsense;

/// The members of a JSON object. One that is missing is none; one of another type makes no sense.
pub(super) struct Members<'v>(&'v Map<String, Value>);

impl<'v> Members<'v> {
    pub(super) fn of(value: &'v Value) -> Result<Self, Nonsense> {
        value.as_object().map(Self).ok_or(Nonsense)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'v Value> {
        self.0.get(name)
    }

    pub(super) fn is_null(&self, name: &str) -> bool {
        self.get(name).is_some_and(Value::is_null)
    }

    fn find<T>(&self, name: &str, read: impl FnOnce(&'v Value) -> Option<T>) -> Result<Option<T>, Nonsense> {
        self.0.get(name).map(|value| read(value).ok_or(Nonsense)).transpose()
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Nonsense> {
        self.find(name, Value::as_u64)
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Nonsense> {
        Ok(self.number(name)?.map(Timestamp::from_millis))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Nonsense> {
        Ok(self.find(name, Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'v str>, Nonsense> {
        self.find(name, Value::as_str)
    }

    pub(super) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Nonsense> {
        self.find(name, |value| value.as_str()?.parse().ok())
    }

    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        word: fn(&T) -> &'static str,
    ) -> Result<Option<T>, Nonsense> {
        self.find(name, |value| {
            let found = value.as_str()?;
            all.iter().find(|it| word(it) == found).copied()
        })
    }

    pub(super) fn lease(&self, name: &str) -> Result<Option<Lease>, Nonsense> {
        self.find(name, |value| match value.as_array()?.as_slice() {
            [epoch, number] => Some(Lease { epoch: epoch.as_u64()?, number: number.as_u64()? }),
            _ => None,
        })
    }
}

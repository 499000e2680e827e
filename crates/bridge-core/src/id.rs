//! Identifiers. They are made outside, from time and randomness, and come in with a command; the core only
//! derives one id from another.

use alloc::{string::String, sync::Arc};
use core::{fmt, str::FromStr};

/// Declares a 128-bit id with a prefix, its text form and its parser.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            /// Reads the text form with its prefix, or a bare UUID with or without hyphens.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text.strip_prefix($prefix).unwrap_or(text)).map(Self)
            }
        }
    };
}

id! {
    /// One message, for ever.
    ///
    /// # Shape
    /// A UUIDv7, written `msg_` and 32 hexadecimal digits.
    MessageId, "msg_"
}

id! {
    /// One hand-over of a message to a mailbox: what is leased, settled and followed.
    ///
    /// # Shape
    /// Written `dlv_` and 32 hexadecimal digits. Those of a message's first delivery are the message's own; the others are
    /// derived from them. So whoever knows the message can name its deliveries.
    DeliveryId, "dlv_"
}

id! {
    /// One task: a wait for messages that outlives the call that began it.
    ///
    /// # Shape
    /// A UUIDv7, written `tsk_` and 32 hexadecimal digits.
    TaskId, "tsk_"
}

/// One conversation. It cannot be guessed, but it is no credential.
///
/// # Shape
/// A UUIDv7, written `ses_` and 32 hexadecimal digits; the one session that has no id of its own is written
/// `default`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl SessionId {
    /// The session that callers without one share, where a server offers it.
    pub const DEFAULT: Self = Self(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::DEFAULT { f.write_str("default") } else { write_hex(f, "ses_", self.0) }
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text == "default" {
            return Ok(Self::DEFAULT);
        }
        match parse_hex(text.strip_prefix("ses_").unwrap_or(text))? {
            0 => Err(ParseIdError),
            id => Ok(Self(id)),
        }
    }
}

/// The low 62 bits of a UUIDv7: random, free to be changed without touching its time, version or variant.
const RANDOM: u128 = (1 << 62) - 1;

/// Makes new random bits of those of a UUIDv7 and `salt`; the same input gives the same id.
///
/// No chain of derivations leads back: a derived id can itself be derived from, in any order.
const fn derive(id: u128, salt: u64) -> u128 {
    // The finaliser of SplitMix64.
    let mut mixed = ((id & RANDOM) as u64).wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (id & !RANDOM) | (mixed as u128 & RANDOM)
}

impl MessageId {
    /// The id of the bounce that a dead delivery sends.
    pub const fn bounce_of(delivery: DeliveryId) -> Self {
        Self(derive(delivery.0, 0xb0))
    }
}

impl DeliveryId {
    /// The id of a message's delivery to the mailbox at position `n` of its route. The first has the message's own
    /// digits: `dlv_X` is the first delivery of `msg_X`.
    ///
    /// # Example
    /// ```
    /// use bridge_core::{DeliveryId, MessageId};
    /// assert_eq!(DeliveryId::of(MessageId(7), 0), DeliveryId(7));
    /// assert_ne!(DeliveryId::of(MessageId(7), 1), DeliveryId(7));
    /// ```
    pub const fn of(message: MessageId, n: u32) -> Self {
        if n == 0 { Self(message.0) } else { Self(derive(message.0, (2 << 32) + n as u64)) }
    }

    /// Reads what names a delivery: its id, or that of the message whose first delivery is meant.
    ///
    /// # Errors
    /// That it is neither.
    ///
    /// # Example
    /// ```
    /// use bridge_core::DeliveryId;
    /// let first = DeliveryId::named("msg_00000000000000000000000000000007");
    /// assert_eq!(first, DeliveryId::named("dlv_00000000000000000000000000000007"));
    /// ```
    pub fn named(text: &str) -> Result<Self, ParseIdError> {
        if text.starts_with("msg_") { text.parse().map(|message| Self::of(message, 0)) } else { text.parse() }
    }

    /// The id of the delivery that redriving this one makes; asking twice gives the same id.
    pub const fn redriven(self) -> Self {
        Self(derive(self.0, 1 << 32))
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is its prefix and 32 hexadecimal digits")]
pub struct ParseIdError;

/// Writes a prefix of four characters and 32 digits, in one piece: ids are written often.
fn write_hex(f: &mut fmt::Formatter<'_>, prefix: &str, value: u128) -> fmt::Result {
    let mut text = [0; 36];
    text[..4].copy_from_slice(prefix.as_bytes());
    for (pair, byte) in text[4..].chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn parse_hex(text: &str) -> Result<u128, ParseIdError> {
    let hyphenated = text.len() == 36;
    if !hyphenated && text.len() != 32 {
        return Err(ParseIdError);
    }
    let mut value = 0u128;
    for (at, byte) in text.bytes().enumerate() {
        if hyphenated && matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return Err(ParseIdError);
            }
            continue;
        }
        let digit = char::from(byte).to_digit(16).ok_or(ParseIdError)?;
        value = value << 4 | u128::from(digit);
    }
    Ok(value)
}

/// A name that people and programs choose: of a client, a consumer, a message type, an attempt.
///
/// # Shape
/// 1 to 255 bytes of UTF-8 without control characters; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Stands for senders who do not say who they are: nothing can be sent back to them but in a conversation.
    pub const NOBODY: &'static str = "anonymous";

    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks and takes `text` as a name.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, longer than [`Name::MAX_LEN`], or holds a control character.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() || text.len() > Self::MAX_LEN || text.chars().any(char::is_control) {
            return Err(InvalidName { len: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// Takes a name that stands in the source.
    ///
    /// # Panics
    /// If `text` is no name.
    pub fn from_static(text: &'static str) -> Self {
        Self::new(text).expect("a name in the source is short and plain")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<&Name> for String {
    fn from(name: &Name) -> Self {
        Self::from(name.as_str())
    }
}

/// A text that is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 255 bytes and no control characters, this one has {len}")]
pub struct InvalidName {
    /// Length of the refused text in bytes.
    pub len: usize,
}

/// The unit of single-writer state: one in a data directory today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// A running process; new at each start, so that a restarted node never takes its own lock for granted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn derived_ids_never_meet() {
        let mut seen = BTreeSet::new();
        for message in 1..20u128 {
            let mut message = MessageId(message << 64 | 7);
            for _ in 0..3 {
                for n in 0..200 {
                    let mut delivery = DeliveryId::of(message, n);
                    for _ in 0..3 {
                        assert!(seen.insert(delivery.0), "{delivery} is there twice");
                        assert!(seen.insert(MessageId::bounce_of(delivery).0));
                        delivery = delivery.redriven();
                    }
                }
                let last = DeliveryId::of(message, 7).redriven().redriven().redriven();
                message = MessageId::bounce_of(last);
            }
        }
    }
}

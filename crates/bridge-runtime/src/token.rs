//! Tokens: what proves a lease, made and checked here and nowhere else.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bridge_core::{DeliveryId, Granted, Lease, Name};

/// Makes and checks the tokens of one shard.
#[derive(Clone)]
pub(crate) struct Tokens {
    key: [u8; 32],
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(***)")
    }
}

/// What a token speaks of: a delivery, a lease of it, and a digest of who got it.
const BODY: usize = 16 + 8 + 8 + 8;
const MAC: usize = blake3::OUT_LEN;

/// The letters of a handle: none that is read for another.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

impl Tokens {
    pub(crate) const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The token of a lease.
    ///
    /// # Shape
    /// Base64 without padding, of the delivery, the lease, a digest of the consumer's name, and a MAC over these.
    pub(crate) fn token(&self, granted: &Granted) -> String {
        let body = body(granted.delivery, granted.lease, &granted.consumer.name);
        let mut bytes = body.to_vec();
        bytes.extend_from_slice(self.mac(&body).as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The short form of the same token, for models: worth something only together with the message's id.
    ///
    /// # Shape
    /// 12 letters and digits, 60 bits of the MAC.
    pub(crate) fn handle(&self, delivery: DeliveryId, lease: Lease, consumer: &Name) -> String {
        let mac = self.mac(&body(delivery, lease, consumer));
        let mut bits = u64::from_be_bytes(mac.as_bytes()[..8].try_into().expect("a MAC is longer"));
        let letter = |_| {
            let letter = LETTERS[usize::try_from(bits >> 59).expect("5 bits")];
            bits <<= 5;
            char::from(letter)
        };
        (0..12).map(letter).collect()
    }

    /// The lease a token proves, if the token is genuine.
    pub(crate) fn check(&self, token: &str) -> Option<(DeliveryId, Lease)> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY)?;
        let mac: [u8; MAC] = mac.try_into().ok()?;
        // Compared in constant time by the hash's own equality.
        if self.mac(body) != blake3::Hash::from(mac) {
            return None;
        }
        let delivery = u128::from_be_bytes(body[..16].try_into().ok()?);
        let epoch = u64::from_be_bytes(body[16..24].try_into().ok()?);
        let number = u64::from_be_bytes(body[24..32].try_into().ok()?);
        Some((DeliveryId(delivery), Lease { epoch, number }))
    }

    fn mac(&self, body: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.key, body)
    }
}

fn body(delivery: DeliveryId, lease: Lease, consumer: &Name) -> [u8; BODY] {
    let mut body = [0; BODY];
    body[..16].copy_from_slice(&delivery.0.to_be_bytes());
    body[16..24].copy_from_slice(&lease.epoch.to_be_bytes());
    body[24..32].copy_from_slice(&lease.number.to_be_bytes());
    body[32..].copy_from_slice(&blake3::hash(consumer.as_str().as_bytes()).as_bytes()[..8]);
    body
}

/// Whether two handles are the same, in a time that does not tell how far they agree.
pub(crate) fn same_handle(left: &str, right: &str) -> bool {
    blake3::hash(left.as_bytes()) == blake3::hash(right.as_bytes())
}

#[cfg(test)]
mod tests {
    use bridge_core::{Consumer, MessageId, Timestamp};

    use super::*;

    fn granted() -> Granted {
        let name = Name::from_static("claude");
        Granted {
            delivery: DeliveryId::of(MessageId(7), 0),
            message: MessageId(7),
            lease: Lease { epoch: 3, number: 9 },
            attempt: 1,
            until: Timestamp::default(),
            cancel_requested: false,
            expires_at: None,
            consumer: Consumer::named(name.clone(), name),
        }
    }

    #[test]
    fn a_token_proves_its_lease_and_no_other() {
        let tokens = Tokens::new([1; 32]);
        let granted = granted();
        let token = tokens.token(&granted);
        assert_eq!(tokens.check(&token), Some((granted.delivery, granted.lease)));
        assert_eq!(Tokens::new([2; 32]).check(&token), None);
    }

    #[test]
    fn a_token_with_any_other_byte_is_not_genuine() {
        let tokens = Tokens::new([1; 32]);
        let genuine = BASE64_URL_SAFE_NO_PAD.decode(tokens.token(&granted())).unwrap();
        for at in 0..genuine.len() {
            let mut forged = genuine.clone();
            forged[at] ^= 1;
            assert_eq!(tokens.check(&BASE64_URL_SAFE_NO_PAD.encode(forged)), None, "byte {at}");
        }
        for text in ["", "x", "not a token", &"A".repeat(1_000)] {
            assert_eq!(tokens.check(text), None, "{text}");
        }
    }

    #[test]
    fn a_handle_is_twelve_plain_letters_and_differs_by_lease() {
        let tokens = Tokens::new([1; 32]);
        let granted = granted();
        let handle =
            |number| tokens.handle(granted.delivery, Lease { epoch: 3, number }, &granted.consumer.name);
        assert_eq!(handle(9).len(), 12);
        assert!(handle(9).bytes().all(|byte| LETTERS.contains(&byte)));
        assert_ne!(handle(9), handle(10));
    }
}

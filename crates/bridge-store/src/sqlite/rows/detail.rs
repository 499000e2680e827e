//! What few deliveries have to tell, in one column: a JSON object, empty where there is nothing to tell. An operator reads it
//! with SQLite's own functions: `detail ->> '$.lease.consumer'`.

use std::{fmt, sync::Arc};

use bridge_core::{
    Attempt, Consumer, DeadReason, Delivery, DeliveryId, Grant, GrantEnd, Lease, MessageId, Name,
    OutcomeKind, Receipts, ReturnReason, Seq, State, Timestamp,
};
use serde_json::Value;

use super::json::{Json, Members, Nonsense};

/// The word for a lease that nobody used in time.
const LAPSED: &str = "lapsed";

/// What the column tells of `delivery`, if anything. Its place is left out where it is the one that its row implies.
pub(super) fn write(delivery: &Delivery, place: Option<Seq>) -> Option<String> {
    let d = delivery;
    let mut json = Json::default();
    if let State::Dead(reason) = d.state {
        json.text("reason", reason.as_str());
    }
    match d.place {
        same if same == place => {}
        Some(Seq(other)) => json.number("place", other),
        None => json.null("place"),
    }
    json.flag("bounce", d.bounce);
    json.flag("cancel_requested", d.cancel_requested);
    let Receipts { accepted: _, presented, seen, progressed, answered, settled, read, dead } = d.receipts;
    let times = [
        ("presented", presented),
        ("seen", seen),
        ("progressed", progressed),
        ("answered", answered),
        ("settled", settled),
        ("read", read),
        ("dead", dead),
    ];
    if times.iter().any(|(_, time)| time.is_some()) {
        json.object("receipts", |json| times.iter().for_each(|(name, time)| json.time(name, *time)));
    }
    if let Some(grant) = &d.grant {
        json.object("lease", |json| write_grant(grant, json));
    }
    if !d.attempts.is_empty() {
        json.name("attempts");
        json.list(&d.attempts, write_attempt);
    }
    json.id("reply", d.reply.as_ref());
    json.words("progress", d.progress.as_deref());
    json.words("last_error", d.last_error.as_deref());
    json.id("redriven_as", d.redriven_as.as_ref());
    json.flag("message_gone", d.message_gone);
    json.finish()
}

fn write_grant(grant: &Grant, json: &mut Json) {
    let Grant { lease, consumer, batch, attempt_id, started, until, end } = grant;
    json.number("epoch", lease.epoch);
    json.number("number", lease.number);
    if batch != lease {
        json.lease("batch", *batch);
    }
    json.text("principal", consumer.principal.as_str());
    json.text("consumer", consumer.name.as_str());
    json.flag("named", consumer.named);
    json.text("attempt_id", attempt_id.as_str());
    json.time("started", Some(*started));
    json.time("until", Some(*until));
    match end {
        None => {}
        Some(GrantEnd::Lapsed) => json.text("end", LAPSED),
        Some(GrantEnd::Spent { outcome, reply, fingerprint }) => {
            json.text("end", outcome.as_str());
            json.id("reply", reply.as_ref());
            if let Some(fingerprint) = fingerprint {
                json.name("fingerprint");
                json.quoted(Hex(fingerprint));
            }
        }
    }
}

fn write_attempt(attempt: &Attempt, json: &mut Json) {
    let Attempt { number, lease, consumer, started, ended, reason, error } = attempt;
    json.number("attempt", (*number).into());
    json.lease("lease", *lease);
    json.text("consumer", consumer.as_str());
    json.time("started", Some(*started));
    json.time("ended", Some(*ended));
    json.text("end", reason.as_str());
    json.words("error", error.as_deref());
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the column tells of a delivery besides its state.
#[derive(Debug, Default)]
pub(super) struct Detail {
    pub(super) reason: Option<DeadReason>,
    pub(super) place: Option<Seq>,
    pub(super) bounce: bool,
    pub(super) cancel_requested: bool,
    /// All but when it was accepted.
    pub(super) receipts: Receipts,
    pub(super) grant: Option<Grant>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) reply: Option<MessageId>,
    pub(super) progress: Option<Arc<str>>,
    pub(super) last_error: Option<Arc<str>>,
    pub(super) redriven_as: Option<DeliveryId>,
    pub(super) message_gone: bool,
}

/// Reads the column. The row implies `place` unless it says otherwise.
pub(super) fn read(text: Option<&str>, place: Option<Seq>) -> Result<Detail, Nonsense> {
    let Some(text) = text else { return Ok(Detail { place, ..Detail::default() }) };
    let value: Value = serde_json::from_str(text).map_err(|_| Nonsense)?;
    let members = Members::of(&value)?;
    let receipts = match members.get("receipts") {
        None => Receipts::default(),
        Some(receipts) => {
            let times = Members::of(receipts)?;
            Receipts {
                accepted: Timestamp::default(),
                presented: times.time("presented")?,
                seen: times.time("seen")?,
                progressed: times.time("progressed")?,
                answered: times.time("answered")?,
                settled: times.time("settled")?,
                read: times.time("read")?,
                dead: times.time("dead")?,
            }
        }
    };
    let attempts = match members.get("attempts") {
        None => Vec::new(),
        Some(Value::Array(attempts)) => attempts.iter().map(read_attempt).collect::<Result<_, _>>()?,
        Some(_) => return Err(Nonsense),
    };
    Ok(Detail {
        reason: members.word("reason", &DeadReason::ALL, |it| it.as_str())?,
        place: if members.is_null("place") { None } else { members.number("place")?.map(Seq).or(place) },
        bounce: members.flag("bounce")?,
        cancel_requested: members.flag("cancel_requested")?,
        receipts,
        grant: members.get("lease").map(read_grant).transpose()?,
        attempts,
        reply: members.parsed("reply")?,
        progress: members.text("progress")?.map(Into::into),
        last_error: members.text("last_error")?.map(Into::into),
        redriven_as: members.parsed("redriven_as")?,
        message_gone: members.flag("message_gone")?,
    })
}

fn read_grant(value: &Value) -> Result<Grant, Nonsense> {
    let members = Members::of(value)?;
    let lease = Lease {
        epoch: members.number("epoch")?.ok_or(Nonsense)?,
        number: members.number("number")?.ok_or(Nonsense)?,
    };
    let end = match members.text("end")? {
        None => None,
        Some(LAPSED) => Some(GrantEnd::Lapsed),
        Some(_) => Some(GrantEnd::Spent {
            outcome: members.word("end", &OutcomeKind::ALL, |it| it.as_str())?.ok_or(Nonsense)?,
            reply: members.parsed("reply")?,
            fingerprint: members.text("fingerprint")?.map(digest).transpose()?,
        }),
    };
    Ok(Grant {
        lease,
        consumer: Consumer {
            principal: members.parsed("principal")?.ok_or(Nonsense)?,
            name: members.parsed("consumer")?.ok_or(Nonsense)?,
            named: members.flag("named")?,
        },
        batch: members.lease("batch")?.unwrap_or(lease),
        attempt_id: members.parsed("attempt_id")?.ok_or(Nonsense)?,
        started: members.time("started")?.ok_or(Nonsense)?,
        until: members.time("until")?.ok_or(Nonsense)?,
        end,
    })
}

fn read_attempt(value: &Value) -> Result<Attempt, Nonsense> {
    let members = Members::of(value)?;
    let number = members.number("attempt")?.ok_or(Nonsense)?;
    Ok(Attempt {
        number: number.try_into().map_err(|_| Nonsense)?,
        lease: members.lease("lease")?.ok_or(Nonsense)?,
        consumer: members.parsed::<Name>("consumer")?.ok_or(Nonsense)?,
        started: members.time("started")?.ok_or(Nonsense)?,
        ended: members.time("ended")?.ok_or(Nonsense)?,
        reason: members.word("end", &ReturnReason::ALL, |it| it.as_str())?.ok_or(Nonsense)?,
        error: members.text("error")?.map(Into::into),
    })
}

fn digest(text: &str) -> Result<[u8; 32], Nonsense> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(Nonsense);
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| Nonsense)?;
    }
    Ok(digest)
}

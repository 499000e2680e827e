//! A line of the archive.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Write},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bridge_core::{ArchiveRecord, Attempt, Delivery, Message, MessageId, Receipts, State, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Line<'a> {
    archived_at: String,
    message: Sent<'a>,
    deliveries: Vec<Delivered<'a>>,
}

#[derive(Serialize)]
struct Sent<'a> {
    id: String,
    seq: u64,
    from: &'a str,
    verified: bool,
    to: String,
    #[serde(rename = "type")]
    kind: &'a str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Serialize)]
struct Delivered<'a> {
    id: String,
    mailbox: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    attempt: u32,
    failures: u32,
    receipts: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempted<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redrive_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven_as: Option<String>,
}

#[derive(Serialize)]
struct Attempted<'a> {
    attempt: u32,
    consumer: &'a str,
    presented_at: String,
    ended_at: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Adds the line of a record.
pub(super) fn write(record: &ArchiveRecord, now: Timestamp, to: &mut Vec<u8>) -> io::Result<()> {
    let deliveries = record.deliveries.iter().map(delivered).collect();
    let line = Line { archived_at: time(now), message: sent(&record.message), deliveries };
    serde_json::to_writer(&mut *to, &line)?;
    to.write_all(b"\n")
}

fn sent(message: &Message) -> Sent<'_> {
    let payload = json(&message.payload);
    let payload_base64 = payload.is_none().then(|| STANDARD.encode(&message.payload));
    Sent {
        id: message.id.to_string(),
        seq: message.seq.0,
        from: message.from.as_str(),
        verified: message.verified,
        to: message.to.to_string(),
        kind: message.kind.as_str(),
        priority: message.priority.level(),
        session: message.session.map(|session| session.to_string()),
        key: message.key.as_ref().map(|key| key.as_str()),
        reply_to: message.reply_to.map(|id| id.to_string()),
        correlation_id: message.correlation_id.as_ref().map(|id| id.as_str()),
        created_at: time(message.created_at),
        deliver_at: message.deliver_at.map(time),
        expires_at: message.expires_at.map(time),
        headers: message.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
        payload,
        payload_base64,
    }
}

/// A payload that is JSON, on one line as it is: there line breaks are space between values.
fn json(payload: &[u8]) -> Option<Box<RawValue>> {
    let text = str::from_utf8(payload).ok()?.replace(['\n', '\r'], " ");
    RawValue::from_string(text).ok()
}

fn delivered(delivery: &Delivery) -> Delivered<'_> {
    let Receipts { accepted, presented, seen, progressed, answered, settled, read, dead } = delivery.receipts;
    let receipts = [
        ("accepted", Some(accepted)),
        ("presented", presented),
        ("seen", seen),
        ("progressed", progressed),
        ("answered", answered),
        ("settled", settled),
        ("read", read),
        ("dead", dead),
    ];
    Delivered {
        id: delivery.id.to_string(),
        mailbox: delivery.mailbox.to_string(),
        state: delivery.state.as_str(),
        reason: match delivery.state {
            State::Dead(reason) => Some(reason.as_str()),
            _ => None,
        },
        attempt: delivery.attempt,
        failures: delivery.failures,
        receipts: receipts.into_iter().filter_map(|(name, at)| Some((name, time(at?)))).collect(),
        attempts: delivery.attempts.iter().map(attempted).collect(),
        last_error: delivery.last_error.as_deref(),
        reply_id: delivery.reply.map(|id| id.to_string()),
        redrive_of: delivery.redrive_of.map(|id| id.to_string()),
        redriven_as: delivery.redriven_as.map(|id| id.to_string()),
    }
}

fn attempted(attempt: &Attempt) -> Attempted<'_> {
    Attempted {
        attempt: attempt.number,
        consumer: attempt.consumer.as_str(),
        presented_at: time(attempt.started),
        ended_at: time(attempt.ended),
        outcome: attempt.reason.as_str(),
        error: attempt.error.as_deref(),
    }
}

/// The messages of some lines.
pub(super) fn ids(lines: &[u8]) -> io::Result<HashSet<MessageId>> {
    #[derive(Deserialize)]
    struct Known {
        message: Id,
    }
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let no_line = |_| io::Error::new(io::ErrorKind::InvalidData, "its last batch holds no messages");
            let known: Known = serde_json::from_slice(line).map_err(no_line)?;
            known.message.id.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        })
        .collect()
}

/// A time as RFC 3339 has it.
fn time(at: Timestamp) -> String {
    civil(at, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// The day of a time, in UTC.
pub(super) fn day(at: Timestamp) -> String {
    civil(at, "%Y-%m-%d")
}

/// A time that lies beyond the calendar is shown as its end.
fn civil(at: Timestamp, form: &str) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    at.strftime(form).to_string()
}

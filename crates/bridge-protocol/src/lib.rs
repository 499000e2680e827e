#![doc = include_str!("../README.md")]

mod bounds;
mod code;
mod delivery;
mod event;
mod mailbox;
mod message;
mod object;
mod payload;
mod problem;
mod receive;
mod session;
mod settle;
mod time;

pub use bounds::{
    MAX_BYTES, MAX_COUNT, MAX_LEASE_MS, MAX_RECEIVED, MAX_REDRIVEN, MAX_REDRIVEN_PER_S, MAX_SPAN_MS,
    MAX_WAIT_MS, MIN_LEASE_MS,
};
pub use code::{Code, Retry};
pub use delivery::{
    Attempt, Cancelled, Delivery, Lease, Receipts, Redrive, RedriveDead, Redriven, Successor, Unredriven,
};
pub use event::{Event, EventPage};
pub use mailbox::{Mailbox, ON_BACKOFF, ORDERS, Paused, Purge, Purged, SetMailbox, Why};
pub use message::{Expires, Message, Published, Routed, SendMessage, Sent, SetTtl, text_of, text_payload};
pub use object::Object;
pub use payload::payload_of;
pub use problem::Problem;
pub use receive::{Directive, Filter, Granted, Receive, Received};
pub use session::{OpenSession, Page, Presence, Read, ReadTo, Session, Snapshot};
pub use settle::{NotCovered, Reply, Settle, SettleResult, SettleResults, Settled};
pub use time::Time;

#![doc = include_str!("../README.md")]

mod code;
mod delivery;
mod event;
mod mailbox;
mod message;
mod payload;
mod problem;
mod receive;
mod session;
mod settle;
mod time;

pub use code::{Code, Retry};
pub use delivery::{Attempt, Delivery, Lease, Receipts, RedriveDead, Redriven, Unredriven};
pub use event::{Event, EventPage};
pub use mailbox::{Mailbox, ON_BACKOFF, ORDERS, Paused, Purge, Purged, SetMailbox, Why};
pub use message::{Message, Published, Routed, SendMessage, Sent, text_of, text_payload};
pub use payload::payload_of;
pub use problem::Problem;
pub use receive::{Directive, Filter, Granted, Receive, Received};
pub use session::{OpenSession, Page, Presence, Read, Session, Snapshot};
pub use settle::{NotCovered, Reply, Settle, SettleCall, SettleResult, SettleResults, Settled};
pub use time::Time;

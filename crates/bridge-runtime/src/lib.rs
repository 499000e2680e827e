#![doc = include_str!("../README.md")]

mod actor;
mod bridge;
mod clock;
mod fault;
mod id;
mod inbox;
mod log;
mod queue;
mod request;
mod tail;
mod token;

pub use bridge::{Bridge, Builder, DeliveryHistory, Leased, Received, Snapshot};
#[doc(no_inline)]
pub use bridge_core::{self as core, Address, Clock, Name, Policy, Queue, SessionId, Side, Timestamp};
pub use clock::SystemClock;
pub use fault::{CallError, Fault, Health};
pub use inbox::HandOver;
pub use log::{Events, Follow, From};
pub use queue::{LocalQueue, QueueError};
pub use request::{Credential, NewMessage, NewReply, ReceiveRequest, Settlement};

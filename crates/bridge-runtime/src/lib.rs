#![doc = include_str!("../README.md")]

mod actor;
mod bridge;
mod builder;
mod clock;
mod fault;
mod id;
mod inbox;
mod lease;
mod life;
mod log;
mod observe;
mod queue;
mod request;
mod tail;
mod token;

pub use bridge::Bridge;
#[doc(no_inline)]
pub use bridge_core::{self as core, Address, Clock, Name, Policy, Queue, SessionId, Side, Timestamp};
pub use builder::Builder;
pub use clock::SystemClock;
pub use fault::{CallError, Fault, Health};
pub use inbox::HandOver;
pub use lease::{Leased, Received};
pub use log::{Events, Follow, From};
pub use observe::{DeliveryHistory, Snapshot};
pub use queue::{LocalQueue, QueueError};
pub use request::{Credential, NewMessage, NewReply, ReceiveRequest, Settlement};

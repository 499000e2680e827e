#![doc = include_str!("../README.md")]

mod caller;
mod calls;
mod endpoint;
mod front;
mod handler;
mod handshake;
mod passage;
mod proxy;
mod refusal;
mod shown;
mod task;
mod tools;

pub use endpoint::{BoxBody, BoxError, Builder, Endpoint};
pub use front::Front;
pub use proxy::proxy;

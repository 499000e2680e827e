#![doc = include_str!("../README.md")]

pub mod clock;
pub mod conformance;
pub mod disk;
pub mod fault;
mod life;
pub mod oracle;
pub mod rng;
pub mod samples;
pub mod script;
pub mod sim;
pub mod twin;
pub mod world;

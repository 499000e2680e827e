//! The core's tests: scripts to read, much at once, and a simulation that crashes.

mod attempts;
mod long_work;
mod mailboxes;
#[cfg(bridge_fault)]
mod mutations;
mod names;
mod scripts;
mod sim;

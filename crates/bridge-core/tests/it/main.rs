//! The core's tests: scripts to read, and a simulation that crashes.

mod scripts;
mod sim;

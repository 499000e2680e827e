//! The core's tests: scripts to read, much at once, and a simulation that crashes.

mod long_work;
mod scripts;
mod sim;

//! The core's tests: scripts to read, long work cut off, and a simulation that crashes.

mod long_work;
mod scripts;
mod sim;

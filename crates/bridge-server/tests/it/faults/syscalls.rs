//! System calls of a running process that fail.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use super::Needed;
use crate::bridge::Server;

/// A tracer that has some calls of the server fail, until it is told to let go.
pub(super) struct Broken {
    tracer: Child,
    seen: NamedTempFile,
}

/// What is written down: how files are opened, written and flushed.
const SEEN: &str = "trace=openat,pread64,pwrite64,fsync,fdatasync";

impl Broken {
    /// From now on the server's `calls` fail as `how` says, in the words of `strace --inject`. None if this is left out
    /// here.
    pub(super) fn begin(server: &Server, calls: &str, how: &str) -> Option<Self> {
        Self::begin_with(server.id(), calls, how)
    }

    /// The same for any process.
    pub(super) fn begin_with(process: u32, calls: &str, how: &str) -> Option<Self> {
        if Needed::Ptrace.is_left_out() {
            return None;
        }
        let seen = NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-e", SEEN, "-e", &format!("inject={calls}:{how}"), "-o"]).arg(seen.path());
        strace.args(["-p", &process.to_string()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut tracer =
            strace.spawn().unwrap_or_else(|error| Needed::Ptrace.is_missing(&format!("strace: {error}")));
        let mut said = BufReader::new(tracer.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        if !line.contains(" attached") {
            tracer.wait().unwrap();
            Needed::Ptrace.is_missing(line.trim());
        }
        // Whatever it says is to be read, so that it can go on.
        std::thread::spawn(move || said.read_to_string(&mut line));
        Some(Self { tracer, seen })
    }

    /// Lets go of the server, and tells what was seen, a call a line.
    pub(super) fn end(mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.tracer), Signal::INT).unwrap();
        self.tracer.wait().unwrap();
        let seen = fs::read(self.seen.path()).unwrap();
        String::from_utf8_lossy(&seen).lines().map(str::to_owned).collect()
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // A tracer that is killed lets go as well.
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

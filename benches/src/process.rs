//! A server that the tool starts, watches and stops.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::usage::{self, Memory};

/// How long a server may take until it answers, and how long until it has stopped.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(10);

/// A running server with a directory of its own, which is removed with it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a server in a process group of its own; what it prints goes to a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let output = File::create(log).with_context(|| format!("making {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {program}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Processor time that it and its children have used.
    pub(crate) fn cpu(&self) -> Duration {
        usage::cpu_of_tree(self.child.id())
    }

    /// Memory that it and its children have.
    pub(crate) fn memory(&self) -> Memory {
        usage::memory_of_tree(self.child.id())
    }

    /// Waits until `address` takes connections, and says how long that took.
    pub(crate) async fn listening(&mut self, address: SocketAddr) -> Result<Duration> {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            self.still_starting(began).await?;
        }
        Ok(began.elapsed())
    }

    /// Pauses a little between two looks at whether it has started; fails if it has ended, or takes too long.
    pub(crate) async fn still_starting(&mut self, began: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended at once with {status}; the end of its log:\n{}", self.log_tail());
        }
        if began.elapsed() > START {
            bail!("it did not answer within {START:?}; the end of its log:\n{}", self.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(())
    }

    /// The last lines that it printed.
    pub(crate) fn log_tail(&self) -> String {
        tail(&String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()))
    }

    /// Asks it to end, and makes it end if it does not.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < STOP && matches!(self.child.try_wait(), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // An error says that the group is gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// A free port of the loopback interface. Somebody else may take it before it is used: then the start fails and says so.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A directory for a server's data under `folder`, open to the user that the server runs as.
pub(crate) fn directory(folder: &Path, user: Option<User>) -> Result<TempDir> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let directory = TempDir::with_prefix_in("server-", folder)
        .with_context(|| format!("making a directory in {}", folder.display()))?;
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))?;
    if let Some(user) = user {
        chown(directory.path(), Some(user.id), Some(user.group))?;
    }
    Ok(directory)
}

/// Somebody else that a server runs as: some refuse to run as root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    id: u32,
    group: u32,
}

impl User {
    /// The user of this name, if the tool runs as root and so may become them.
    pub(crate) fn instead_of_root(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        let fields: Vec<&str> =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some(Self { id: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
    }

    /// Makes a command run as this user.
    pub(crate) fn runs(self, command: &mut Command) {
        command.uid(self.id).gid(self.group);
    }
}

/// Where a program is: in the path, or in a folder where packages put what is not for every day.
pub(crate) fn find(name: &str, others: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = others.iter().cloned().chain(std::env::split_paths(&path));
    let places = places.chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// The first line that a program prints with these arguments.
pub(crate) fn first_line(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room for me; exit 3"]);
        let mut process = Process::start(command, &folder.path().join("log")).unwrap();
        let error = runtime.block_on(process.listening(free_port().unwrap())).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no room for me"), "{error}");
    }
}

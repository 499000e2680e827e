//! A file system of a few MiB that can really be full.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use rustix::process::getuid;
use tempfile::TempDir;

use super::Needed;
use crate::bridge::program;

/// A mount that only the processes in its namespace see, and that is gone with the last of them.
pub(super) struct SmallDisk {
    holder: Child,
    point: TempDir,
}

/// Mounts at `$1` as much as `$0` says, and holds it until nobody can tell it anything any more.
const HOLD: &str = r#"mount -t tmpfs -o "size=$0,mode=0777" none "$1" && echo mounted && exec cat"#;

impl SmallDisk {
    /// None if this is left out here.
    pub(super) fn new(bytes: u64) -> Option<Self> {
        if Needed::Mounts.is_left_out() {
            return None;
        }
        let point = tempfile::tempdir().unwrap();
        // Root may not be allowed to mount in a container, and still be allowed to be root of a namespace below.
        let ways: &[&[&str]] = if getuid().is_root() {
            &[&["--mount"], &["--map-root-user", "--mount"]]
        } else {
            &[&["--map-root-user", "--mount"]]
        };
        let mut refusals = Vec::new();
        for way in ways {
            match hold(way, bytes, point.path()) {
                Ok(holder) => return Some(Self { holder, point }),
                Err(refusal) => refusals.push(format!("unshare {}: {}", way.join(" "), refusal.trim())),
            }
        }
        Needed::Mounts.is_missing(&refusals.join("; "))
    }

    /// The program, with its data on the disk.
    pub(super) fn serve(&self) -> Command {
        self.enter(&self.program())
    }

    /// What the program says that cannot serve. If it can after all, it is ended.
    pub(super) fn serve_in_vain(&self) -> Output {
        self.entering(&["timeout", "60"], &self.program()).output().unwrap()
    }

    fn program(&self) -> Command {
        let mut program = program();
        program.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(self.data());
        program
    }

    /// The same command, run where the disk is seen.
    pub(super) fn enter(&self, command: &Command) -> Command {
        self.entering(&[], command)
    }

    fn entering(&self, through: &[&str], command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.arg("--target").arg(self.holder.id().to_string()).arg("--mount");
        if !same_users(self.holder.id()) {
            entered.args(["--user", "--preserve-credentials"]);
        }
        entered.arg("--").args(through).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entered.env(name, value),
                None => entered.env_remove(name),
            };
        }
        entered.stdin(Stdio::null());
        entered
    }

    /// The directory for data, as the program sees it.
    pub(super) fn data(&self) -> PathBuf {
        self.point.path().join("data")
    }

    /// Takes up all that is left.
    pub(super) fn fill(&self, name: &str) {
        let mut file = File::create(self.outside(name)).unwrap();
        for part in [65_536, 1] {
            loop {
                match file.write(&vec![0; part]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Takes up so many bytes.
    pub(super) fn take(&self, name: &str, bytes: usize) {
        fs::write(self.outside(name), vec![0; bytes]).unwrap();
    }

    /// Gives back what was taken.
    pub(super) fn free(&self, name: &str) {
        fs::remove_file(self.outside(name)).unwrap();
    }

    /// A file on the disk, as it is seen from outside of it.
    pub(super) fn outside(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.point.path().strip_prefix("/").unwrap()).join(name)
    }
}

fn hold(way: &[&str], bytes: u64, point: &Path) -> Result<Child, String> {
    let mut unshare = Command::new("unshare");
    unshare.args(way).args(["--", "sh", "-c", HOLD]).arg(bytes.to_string()).arg(point);
    unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = unshare.spawn().map_err(|error| error.to_string())?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line == "mounted\n" {
        return Ok(holder);
    }
    let output = holder.wait_with_output().unwrap();
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Whether a process has this one's idea of who is who.
fn same_users(process: u32) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).unwrap();
    namespace("self") == namespace(&process.to_string())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

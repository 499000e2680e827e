//! Data that cannot be written: it is said at the start, with its name, and nothing is served that could not be kept.

use std::process::{Command, Output};

use rustix::process::Signal;

use super::{Sender, small_disk::SmallDisk};
use crate::bridge::{Http, PATIENCE, Server, stderr, stdout};

/// A disk with data on it, which nobody has open since that signal.
async fn filled(end: Signal) -> Option<(SmallDisk, Sender)> {
    let disk = SmallDisk::new(8 << 20)?;
    let http = Http::new();
    let mut server = Server::of(disk.serve());
    let mut sender = Sender::new(&http, &server.url).await;
    for _ in 0..3 {
        assert_eq!(sender.send(&server.url).await.0, 201);
    }
    server.signal(end);
    server.ended(PATIENCE).await;
    Some((disk, sender))
}

/// Runs a shell's command where the disk is seen, with the data's directory as `$0`.
fn shell(disk: &SmallDisk, script: &str) {
    let output = disk.enter(Command::new("sh").args(["-ec", script]).arg(disk.data())).output().unwrap();
    assert!(output.status.success(), "{script}: {}", stderr(&output));
}

fn is_refused(output: &Output, names: &str) {
    let said = stderr(output);
    assert_eq!((output.status.code(), stdout(output)), (Some(1), String::new()), "{said}");
    assert!(said.contains("cannot be used") && said.contains(names), "{said}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named_and_left_alone() {
    let Some((disk, sender)) = filled(Signal::KILL).await else { return };
    let point = disk.data().parent().unwrap().display().to_string();
    shell(&disk, &format!("mount -o remount,ro,bind {point}"));
    is_refused(&disk.serve_in_vain(), &disk.data().display().to_string());
    shell(&disk, &format!("mount -o remount,rw,bind {point}"));
    sender.lost_nothing(&Server::of(disk.serve()).url).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named_and_left_alone() {
    // With a log that is still to be moved to its place, and without.
    for (end, name) in [
        (Signal::KILL, "bridge.db"),
        (Signal::TERM, "bridge.db"),
        (Signal::KILL, "bridge.db-wal"),
        (Signal::TERM, "bridge.db-wal"),
        (Signal::KILL, "bridge.lock"),
    ] {
        let Some((disk, sender)) = filled(end).await else { return };
        shell(&disk, &format!(r#"cd "$0"; mount --bind {name} {name}; mount -o remount,ro,bind {name}"#));
        is_refused(&disk.serve_in_vain(), &disk.data().display().to_string());
        shell(&disk, &format!(r#"umount "$0/{name}""#));
        sender.lost_nothing(&Server::of(disk.serve()).url).await;
    }
}

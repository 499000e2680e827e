//! `bridge status`: whether a bridge works, and how much waits in it.

use std::process::ExitCode;

use anyhow::Result;
use bridge_protocol::Mailbox;
use clap::Args;
use serde::Serialize;

use super::{mailbox, output::Output};
use crate::client::Client;

#[derive(Debug, Args)]
pub(super) struct Status {}

/// How a bridge fares.
#[derive(Debug, Serialize)]
struct Told {
    health: serde_json::Value,
    mailboxes: usize,
    paused: usize,
    waiting: u64,
    leased: u64,
    receives: u64,
}

impl Status {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        let health: serde_json::Value = client.get("/health").await?;
        let mailboxes = mailbox::list(client).await?;
        let sum = |of: fn(&Mailbox) -> u32| mailboxes.iter().map(|mailbox| u64::from(of(mailbox))).sum();
        let told = Told {
            health,
            mailboxes: mailboxes.len(),
            paused: mailboxes.iter().filter(|mailbox| mailbox.paused.is_some()).count(),
            waiting: sum(|mailbox| mailbox.pending),
            leased: sum(|mailbox| mailbox.leased),
            receives: sum(|mailbox| mailbox.waiting),
        };
        output.result(&told, |told| {
            let state = told.health["status"].as_str().unwrap_or("unknown");
            let paused = if told.paused == 0 { String::new() } else { format!(" ({} paused)", told.paused) };
            format!(
                "the bridge is {state}\n  mailboxes  {}{paused}\n  waiting    {}\n  leased     {}\n  receives   {} waiting",
                told.mailboxes, told.waiting, told.leased, told.receives
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

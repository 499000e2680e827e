//! `bridge status`: whether a bridge works, and how much waits in it.

use std::process::ExitCode;

use anyhow::Result;
use bridge_protocol::{Delivery, Mailbox, Page};
use clap::Args;
use serde::Serialize;

use super::{mailbox, output::Output};
use crate::client::{Client, ClientError};

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
    given_up: GivenUp,
}

/// What was given up, as far as a page of the newest tells: all of it may be much.
#[derive(Debug, Serialize)]
struct GivenUp {
    /// Dead letters that nobody has redriven.
    count: usize,
    /// Those that somebody has.
    redriven: usize,
    /// Whether there are others, which are not counted.
    more: bool,
}

impl GivenUp {
    /// How many are looked at.
    const PAGE: usize = 100;

    async fn ask(client: &Client) -> Result<Self, ClientError> {
        let page: Page<Delivery> = client.get(&format!("/api/dead-letters?limit={}", Self::PAGE)).await?;
        let redriven = page.data.iter().filter(|dead| dead.redriven_as.is_some()).count();
        Ok(Self { count: page.data.len() - redriven, redriven, more: page.next_cursor.is_some() })
    }

    fn told(&self) -> String {
        let more = if self.more { " or more" } else { "" };
        let redriven =
            if self.redriven == 0 { String::new() } else { format!(", and {} redriven", self.redriven) };
        let see = if self.count == 0 && !self.more { "" } else { "; see `bridge dead list`" };
        format!("{}{more}{redriven}{see}", self.count)
    }
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
            given_up: GivenUp::ask(client).await?,
        };
        output.result(&told, |told| {
            let state = told.health["status"].as_str().unwrap_or("unknown");
            let paused = if told.paused == 0 { String::new() } else { format!(" ({} paused)", told.paused) };
            format!(
                "the bridge is {state}\n  mailboxes  {}{paused}\n  waiting    {}\n  leased     {}\n  receives   {} waiting\n  given up   {}",
                told.mailboxes, told.waiting, told.leased, told.receives, told.given_up.told()
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

//! `bridge why` and `bridge dead`: what does not move, and what was given up.

use std::process::ExitCode;

use anyhow::Result;
use bridge_core::{Address, DeadReason, DeliveryId, Name};
use bridge_protocol::{
    Delivery, Mailbox as WireMailbox, Page, Redrive, RedriveDead, Redriven, Successor, Why as WireWhy,
};
use clap::{ArgGroup, Args, Subcommand, builder::PossibleValuesParser};
use percent_encoding::utf8_percent_encode;

use super::{
    mailbox::{self, ENCODED},
    number::number,
    output::{Output, shown_on_a_line, table},
};
use crate::client::{Client, ClientError};

#[derive(Debug, Args)]
pub(super) struct Why {
    /// The delivery or the message: dlv_... or msg_...
    #[arg(value_name = "ID", value_parser = delivery)]
    id: DeliveryId,
}

/// Reads the id of a delivery, or of the message whose first delivery is meant.
fn delivery(text: &str) -> Result<DeliveryId, &'static str> {
    DeliveryId::named(text)
        .map_err(|_| "an id is dlv_ or msg_ and 32 hexadecimal digits, as `bridge send` prints it")
}

impl Why {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        let why: WireWhy = client.get(&format!("/api/deliveries/{}/why", self.id)).await?;
        output.result(&why, |why| {
            format!("{} ({}): {}", why.delivery_id, why.state, shown_on_a_line(&why.text))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// List what was given up, newest first
    List {
        /// Of this mailbox alone
        #[arg(long)]
        mailbox: Option<Address>,
        /// Those given up for this reason
        #[arg(long, value_parser = PossibleValuesParser::new(DeadReason::ALL.map(DeadReason::as_str)))]
        reason: Option<String>,
        /// Those with this type of message
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<Name>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_name = "N", allow_negative_numbers = true, value_parser = number::<u32>(1..=1_000))]
        limit: u32,
    },
    /// Give dead letters another life: one by its id, some, or with --all every one
    #[command(group(ArgGroup::new("which").args(["id", "all", "mailbox", "reason", "kind"]).required(true).multiple(true)))]
    Redrive {
        /// One delivery or message
        #[arg(value_name = "ID", value_parser = delivery, conflicts_with_all = ["all", "mailbox", "reason", "kind"])]
        id: Option<DeliveryId>,
        /// Every one there is
        #[arg(long, conflicts_with_all = ["mailbox", "reason", "kind"])]
        all: bool,
        /// Those of this mailbox
        #[arg(long)]
        mailbox: Option<Address>,
        /// Those given up for this reason
        #[arg(long, value_parser = PossibleValuesParser::new(DeadReason::ALL.map(DeadReason::as_str)))]
        reason: Option<String>,
        /// Those with this type of message
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// At most so many a second
        #[arg(long = "rate-per-s", alias = "rate", default_value_t = 100, value_name = "N", allow_negative_numbers = true, value_parser = number::<u32>(1..=1_000))]
        rate: u32,
        /// Only tell what would be redriven
        #[arg(long, conflicts_with = "id")]
        dry_run: bool,
    },
}

impl Dead {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        match self {
            Self::List { mailbox, reason, kind, limit } => {
                let filters = [
                    ("mailbox", mailbox.as_ref().map(ToString::to_string)),
                    ("reason", reason),
                    ("type", kind.map(|kind| kind.to_string())),
                ];
                let filters: String = filters
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .map(|(name, value)| format!("&{name}={}", utf8_percent_encode(&value, ENCODED)))
                    .collect();
                let page = list(&filters, limit as usize, client).await?;
                if page.data.is_empty() {
                    refuse_unknown(mailbox.as_ref(), client).await?;
                }
                output.result(&page, told)?;
            }
            Self::Redrive { id: Some(id), .. } => {
                let path = format!("/api/deliveries/{id}/redrive");
                let made: Successor = client.post(&path, &Redrive::default()).await?;
                output.result(&made, |made| format!("{} waits anew", made.delivery_id))?;
            }
            Self::Redrive { all, mailbox, reason, kind, rate, dry_run, .. } => {
                let wish = RedriveDead {
                    all,
                    mailbox: mailbox.as_ref().map(ToString::to_string),
                    reason,
                    kind,
                    rate_per_s: Some(rate),
                    dry_run,
                    ..RedriveDead::default()
                };
                let done = redrive(wish, client, output).await?;
                if done.redriven.is_empty() && done.refused.is_empty() {
                    refuse_unknown(mailbox.as_ref(), client).await?;
                }
                output.result(&done, told_redriven)?;
                return Ok(if done.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The newest of these, page by page: a filter can leave little of one, or nothing.
async fn list(filters: &str, limit: usize, client: &Client) -> Result<Page<Delivery>, ClientError> {
    let mut all = Page { data: Vec::new(), next_cursor: None };
    loop {
        let after = all.next_cursor.take();
        let after = after.map(|cursor| format!("&cursor={}", utf8_percent_encode(&cursor, ENCODED)));
        let after = after.unwrap_or_default();
        let rest = limit - all.data.len();
        let page: Page<Delivery> =
            client.get(&format!("/api/dead-letters?limit={rest}{filters}{after}")).await?;
        all.data.extend(page.data);
        all.next_cursor = page.next_cursor;
        if all.next_cursor.is_none() || all.data.len() >= limit {
            return Ok(all);
        }
    }
}

/// Redrives call by call, until nothing is left.
async fn redrive(mut wish: RedriveDead, client: &Client, output: &Output) -> Result<Redriven, ClientError> {
    let mut all =
        Redriven { dry_run: wish.dry_run, redriven: Vec::new(), refused: Vec::new(), next_cursor: None };
    // No call lasts much longer than ten seconds.
    wish.limit = wish.rate_per_s.map(|rate| (rate * 10).min(1_000));
    loop {
        let mut done: Redriven = client.post("/api/dead-letters/redrive", &wish).await?;
        all.redriven.append(&mut done.redriven);
        all.refused.append(&mut done.refused);
        wish.cursor = done.next_cursor;
        if wish.cursor.is_none() {
            return Ok(all);
        }
        output.note(&format!("{} so far", all.redriven.len()));
    }
}

/// Refuses a mailbox that is not there, where nothing was found of it.
async fn refuse_unknown(mailbox: Option<&Address>, client: &Client) -> Result<(), ClientError> {
    if let Some(mailbox) = mailbox {
        client.get::<WireMailbox>(&mailbox::path(mailbox, "")).await?;
    }
    Ok(())
}

fn told_redriven(all: &Redriven) -> String {
    let would = if all.dry_run { "would be " } else { "" };
    let redriven = all.redriven.len();
    match &all.refused[..] {
        [] => format!("{redriven} {would}redriven"),
        refused @ [first, ..] => {
            let (refused, why) = (refused.len(), shown_on_a_line(&first.error.title));
            format!("{redriven} {would}redriven, {refused} {would}refused; the first: {why}")
        }
    }
}

fn told(page: &Page<Delivery>) -> String {
    if page.data.is_empty() {
        return "Nothing was given up.".to_owned();
    }
    let rows: Vec<_> = page
        .data
        .iter()
        .map(|dead| {
            let since = dead.receipts.dead.map(|at| at.to_string()).unwrap_or_default();
            let reason = dead.reason.clone().unwrap_or_default();
            let again = if dead.redriven_as.is_some() { "yes" } else { "" };
            let error = dead.last_error.as_deref().map(shown_on_a_line).unwrap_or_default();
            [dead.id.clone(), shown_on_a_line(&dead.mailbox), reason, since, again.to_owned(), error]
        })
        .collect();
    let list = table(["DELIVERY", "MAILBOX", "REASON", "SINCE", "REDRIVEN", "LAST ERROR"], &rows);
    let more = if page.next_cursor.is_some() { "\nThere are more; see --limit." } else { "" };
    format!("{list}{more}")
}

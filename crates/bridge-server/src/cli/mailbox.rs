//! `bridge mailbox`: how mailboxes stand and behave.

use std::{fmt::Display, ops::RangeInclusive, process::ExitCode, str::FromStr, time::Duration};

use anyhow::Result;
use bridge_core::{Address, Class, Name};
use bridge_protocol::{Mailbox as WireMailbox, ON_BACKOFF, ORDERS, Page, Purge, Purged, SetMailbox};
use clap::{Args, Subcommand, builder::PossibleValuesParser};
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    number::number,
    output::{Output, shown_on_a_line, table},
};
use crate::client::Client;

/// What of an address has to be written in another way within a path.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

/// The header that says who calls.
const CLIENT: HeaderName = HeaderName::from_static("x-bridge-client");

#[derive(Debug, Subcommand)]
pub(super) enum Mailbox {
    /// List mailboxes and how many deliveries wait in each
    List,
    /// Show everything about one mailbox
    Show {
        /// The mailbox: a client, group:NAME or session:ID/agent
        mailbox: Address,
    },
    /// Make a mailbox, or change how it behaves
    Set(Set),
    /// Let a mailbox hand out nothing until it is resumed; it goes on taking messages
    Pause {
        /// The mailbox
        mailbox: Address,
        /// Who is told to have paused it; by default the user of this system
        #[arg(long, value_name = "NAME")]
        by: Option<Name>,
    },
    /// Let a paused mailbox hand out again
    Resume {
        /// The mailbox
        mailbox: Address,
    },
    /// Withdraw everything that a mailbox holds; without --yes only tells what that would be
    Purge {
        /// The mailbox
        mailbox: Address,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
    /// Remove an empty mailbox
    Delete {
        /// The mailbox
        mailbox: Address,
    },
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The mailbox: a client or group:NAME
    mailbox: Address,
    /// Who takes from it
    #[arg(long, value_parser = PossibleValuesParser::new(Class::ALL.map(Class::as_str)))]
    class: Option<String>,
    /// keyed: one sender's messages wait for each other; unordered: they do not
    #[arg(long, value_parser = PossibleValuesParser::new(ORDERS.map(|(word, _)| word)))]
    order: Option<String>,
    /// block: what is in back-off holds up its key; skip: it does not
    #[arg(long, value_parser = PossibleValuesParser::new(ON_BACKOFF.map(|(word, _)| word)))]
    on_backoff: Option<String>,
    /// Deliveries that may wait; default: as its class has it
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = limit(1..=u32::MAX))]
    max_pending: Option<Limit<u32>>,
    /// Bytes of content that may wait; default: as its class has it
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = limit(1..=i64::MAX.unsigned_abs()))]
    max_pending_bytes: Option<Limit<u64>>,
    /// How long a lease lasts, such as 30s; default: as its class has it
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = lease)]
    lease: Option<Limit<Duration>>,
    /// Failures until a delivery is given up; default: as its class has it
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = limit(1..=u32::MAX))]
    max_failures: Option<Limit<u32>>,
}

/// A limit of its own; none: that of its class.
type Limit<T> = Option<T>;

/// The word for the limit of the class.
const OF_CLASS: &str = "default";

/// Reads a number of this range as a limit.
fn limit<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<Limit<T>, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    let number = number(range);
    move |text| own(text, &number)
}

fn lease(text: &str) -> Result<Limit<Duration>, String> {
    own(text, super::message::duration)
}

/// Reads a limit of its own, or the word for that of the class.
fn own<T, E: Display>(text: &str, read: impl Fn(&str) -> Result<T, E>) -> Result<Limit<T>, String> {
    if text == OF_CLASS {
        return Ok(None);
    }
    read(text).map(Some).map_err(|wrong| format!("{wrong}, or {OF_CLASS}"))
}

/// Who works at this system, as far as it tells.
fn user() -> Name {
    let told = ["USER", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok()?.parse().ok());
    told.unwrap_or_else(|| Name::from_static("cli"))
}

/// The path of a mailbox, and of what is done with it.
pub(super) fn path(mailbox: &Address, verb: &str) -> String {
    let name = mailbox.to_string();
    format!("/api/mailboxes/{}{verb}", utf8_percent_encode(&name, ENCODED))
}

impl Mailbox {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        match self {
            Self::List => {
                let mailboxes = list(client).await?;
                output.result(&mailboxes, |mailboxes| told_list(mailboxes))?;
            }
            Self::Show { mailbox } => {
                output.result(&client.get::<WireMailbox>(&path(&mailbox, "")).await?, told)?;
            }
            Self::Set(set) => {
                let wish = SetMailbox {
                    class: set.class,
                    order: set.order,
                    on_backoff: set.on_backoff,
                    max_pending: set.max_pending,
                    max_pending_bytes: set.max_pending_bytes,
                    lease_ms: set.lease.map(|lease| lease.map(super::message::millis)),
                    max_failures: set.max_failures,
                };
                output.result(&client.put::<WireMailbox>(&path(&set.mailbox, ""), &wish).await?, told)?;
            }
            Self::Pause { mailbox, by } => {
                let nothing = serde_json::json!({});
                let by = by.unwrap_or_else(user);
                let by = HeaderValue::from_bytes(by.as_str().as_bytes()).ok().map(|by| (CLIENT, by));
                let path = path(&mailbox, "/pause");
                let view: WireMailbox = client.post_with(&path, &nothing, by, Duration::ZERO).await?;
                output
                    .result(&view, |view| format!("{} hands out nothing now", shown_on_a_line(&view.name)))?;
            }
            Self::Resume { mailbox } => {
                let nothing = serde_json::json!({});
                let view: WireMailbox = client.post(&path(&mailbox, "/resume"), &nothing).await?;
                output.result(&view, |view| format!("{} hands out again", shown_on_a_line(&view.name)))?;
            }
            Self::Purge { mailbox, yes } => {
                let purge = Purge { dry_run: !yes };
                output
                    .result(&client.post::<Purged>(&path(&mailbox, "/purge"), &purge).await?, told_purged)?;
            }
            Self::Delete { mailbox } => {
                client.delete(&path(&mailbox, "")).await?;
                let gone = serde_json::json!({"deleted": mailbox.to_string()});
                output.result(&gone, |_| format!("{mailbox} is removed"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All mailboxes, page by page.
pub(super) async fn list(client: &Client) -> Result<Vec<WireMailbox>> {
    let mut mailboxes = Vec::new();
    let mut path = "/api/mailboxes?limit=1000".to_owned();
    loop {
        let page: Page<WireMailbox> = client.get(&path).await?;
        mailboxes.extend(page.data);
        let Some(cursor) = page.next_cursor else { return Ok(mailboxes) };
        path = format!("/api/mailboxes?limit=1000&cursor={}", utf8_percent_encode(&cursor, ENCODED));
    }
}

fn told_list(mailboxes: &[WireMailbox]) -> String {
    if mailboxes.is_empty() {
        return "There is no mailbox yet. The first message to a name makes one.".to_owned();
    }
    let rows: Vec<_> = mailboxes
        .iter()
        .map(|mailbox| {
            let state = if mailbox.paused.is_some() { "paused" } else { &mailbox.presence.state };
            let oldest = mailbox.oldest_at.map(|at| at.to_string()).unwrap_or_default();
            let number = |number: u32| number.to_string();
            let name = shown_on_a_line(&mailbox.name);
            let (pending, leased) = (number(mailbox.pending), number(mailbox.leased));
            [name, mailbox.class.clone(), state.to_owned(), pending, leased, oldest]
        })
        .collect();
    table(["MAILBOX", "CLASS", "STATE", "WAITING", "LEASED", "OLDEST SINCE"], &rows)
}

fn told(mailbox: &WireMailbox) -> String {
    let lease = Duration::from_millis(mailbox.lease_ms);
    let mut lines = vec![
        shown_on_a_line(&mailbox.name),
        format!("  class         {}", mailbox.class),
        format!("  waiting       {} of {}", mailbox.pending, mailbox.max_pending),
        format!("  bytes         {} of {}", mailbox.pending_bytes, mailbox.max_pending_bytes),
        format!("  for later     {}", mailbox.scheduled),
        format!("  leased        {}", mailbox.leased),
        format!("  receives      {} waiting", mailbox.waiting),
        format!("  taker         {}", told_taker(mailbox)),
        format!("  order         {}, back-off: {}", mailbox.order, mailbox.on_backoff),
        format!("  lease         {lease:?}, credit {}", mailbox.credit),
        format!("  given up      at failure {}", mailbox.max_failures),
    ];
    if let Some(oldest) = mailbox.oldest_at {
        lines.push(format!("  oldest since  {oldest}"));
    }
    if let Some(paused) = &mailbox.paused {
        lines.push(format!("  paused        by {} at {}", shown_on_a_line(&paused.by), paused.since));
    }
    if mailbox.made_by_use {
        lines.push(
            "  made          by its first use; it goes when it has been empty and unused for a week"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn told_taker(mailbox: &WireMailbox) -> String {
    let presence = &mailbox.presence;
    match &presence.consumer {
        Some(consumer) => {
            format!("{}, {} since {}", shown_on_a_line(consumer), presence.state, presence.since)
        }
        None => format!("{} since {}", presence.state, presence.since),
    }
}

fn told_purged(purged: &Purged) -> String {
    let Purged { dry_run, pending, leased } = purged;
    if *dry_run {
        return format!("would withdraw {pending} waiting and ask back {leased} leased; add --yes to do it");
    }
    format!("withdrew {pending} waiting and asked back {leased} leased")
}

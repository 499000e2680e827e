//! `bridge bench`: how much a running bridge takes, and how fast it answers.

mod figures;
mod load;

use std::{
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bridge_core::Address;
use bridge_protocol::{Code, Purge, Purged};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    figures::{Counters, Served, Tally, Times},
    load::{Load, Window},
};
use super::{
    mailbox,
    message::{duration, millis},
    number::number,
    output::{Output, table},
};
use crate::{
    client::{Client, ClientError},
    signal::StopSignals,
};

/// What comes before anything is counted: connections are made, caches are filled.
const WARM_UP: Duration = Duration::from_secs(1);

/// How often the bar on the terminal moves.
const TICK: Duration = Duration::from_millis(100);

/// The longest time to measure for.
const LONGEST: Duration = Duration::from_secs(3_600);

/// How long a purged mailbox may take until it is empty.
const REMOVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(
    after_help = "It sends real messages into a mailbox of its own, group:bench-..., and removes that at the end, on Ctrl-C \
                        too. The messages stay in the data as others do: try it on a bridge whose data may grow.\n\
                        \n\
                        Without --rate each client goes on as soon as it is answered, which shows the most that the bridge \
                        takes. With --rate operations begin on a schedule and are timed from then, waiting included, which \
                        shows what callers feel at that rate."
)]
pub(super) struct Bench {
    /// What an operation is
    #[arg(value_enum)]
    scenario: Scenario,
    /// Clients at one time, each with a connection of its own
    #[arg(long, default_value_t = 16, value_name = "N", allow_negative_numbers = true, value_parser = number::<u32>(1..=1_000))]
    clients: u32,
    /// How long to measure, after a second to warm up, such as 10s or 1m
    #[arg(long = "for", default_value = "10s", value_name = "DURATION", allow_hyphen_values = true, value_parser = span)]
    span: Duration,
    /// Operations to begin each second, over all clients [default: as many as go]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number::<u32>(1..=1_000_000))]
    rate: Option<u32>,
    /// Bytes of text in each message
    #[arg(long, default_value_t = 256, value_name = "N", allow_negative_numbers = true, value_parser = number::<u32>(1..=1_000_000))]
    bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Scenario {
    /// A message is sent
    Publish,
    /// A message is sent, one is received, and that one is acknowledged
    Deliver,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    scenario: Scenario,
    clients: u32,
    bytes: u32,
    rate: Option<u32>,
    seconds: f64,
    /// What the bridge said when it took no more before the time was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_early: Option<String>,
    operations: u64,
    operations_per_second: f64,
    /// Of a rate: operations that were due while it was measured and not begun when the time was over.
    behind: u64,
    times: Vec<Times>,
    /// What the server tells of itself, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Served>,
}

impl Bench {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        let mut signals = StopSignals::listen()?;
        let random = getrandom::u64().context("The system gives no random numbers")?;
        let mailbox: Address =
            format!("group:bench-{random:016x}").parse().context("There is no such mailbox")?;
        // Asked before anything is sent: nothing is to be removed from a bridge that is not there.
        client.get::<serde_json::Value>("/health").await?;
        let stop = CancellationToken::new();
        let mut work = pin!(async {
            let measured = self.measure(client, &mailbox, &stop).await;
            let removed = remove(client, &mailbox).await.with_context(|| left(&mailbox));
            measured.and_then(|measured| removed.map(|()| measured))
        });
        let measured = tokio::select! {
            measured = &mut work => measured?,
            _ = signals.first() => {
                stop.cancel();
                output.note("It stops, and removes what waits. A second signal ends it at once.");
                tokio::select! {
                    measured = work => measured?,
                    _ = signals.another() => bail!("{}", left(&mailbox)),
                }
            }
        };
        output.result(&measured, told)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Lets all clients work until the time is over, one of them fails, or `stop` says so.
    async fn measure(
        &self,
        client: &Client,
        mailbox: &Address,
        stop: &CancellationToken,
    ) -> Result<Measured> {
        let window = Window::new(now() + WARM_UP, self.span);
        let load = Arc::new(Load::new(self, mailbox, window, stop.clone())?);
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            clients.spawn(Arc::clone(&load).work(client.another()));
        }
        let bar = bar(WARM_UP + self.span);
        let (mut tally, mut failed, mut before) = (Tally::default(), None, None);
        loop {
            let wake = if before.is_none() { (now() + TICK).min(window.starts) } else { now() + TICK };
            tokio::select! {
                joined = clients.join_next() => match joined {
                    Some(Ok(Ok(done))) => tally.add(&done),
                    Some(Ok(Err(error))) => {
                        stop.cancel();
                        failed.get_or_insert(error);
                    }
                    Some(Err(panicked)) => return Err(panicked).context("A client has failed"),
                    None => break,
                },
                () = sleep_until(wake) => {
                    if before.is_none() && wake >= window.starts {
                        before = Some((load.done(), Counters::read(client).await));
                    }
                    bar.set_position(millis((WARM_UP + self.span).saturating_sub(window.ends.saturating_duration_since(now()))));
                    bar.set_message(format!("{} done", load.done()));
                }
            }
        }
        bar.finish_and_clear();
        if let Some(error) = failed {
            return Err(error);
        }
        let ended = load.ended();
        let said = ended.map(|(_, said)| said.clone());
        let Some((done, before)) = before else {
            let why = said.map(|said| format!(": {said}")).unwrap_or_default();
            bail!("It was stopped before anything was measured{why}");
        };
        let server = Counters::read(client).await.since(before, load.done() - done);
        let end = window.ends.min(ended.map_or_else(now, |(when, _)| *when));
        let seconds = end.saturating_duration_since(window.starts).as_secs_f64();
        Ok(Measured {
            scenario: self.scenario,
            clients: self.clients,
            bytes: self.bytes,
            rate: self.rate,
            seconds,
            ended_early: said,
            operations: tally.operations,
            operations_per_second: tally.operations as f64 / seconds,
            behind: load.behind().await,
            times: tally.times(),
            server,
        })
    }
}

/// Removes the mailbox and all that waits in it. What was purged goes in steps, so it is empty a little later.
async fn remove(client: &Client, mailbox: &Address) -> Result<()> {
    let purged: Result<Purged, _> =
        client.post(&mailbox::path(mailbox, "/purge"), &Purge { dry_run: false }).await;
    match purged {
        Ok(_) => {}
        // Nothing was sent to it.
        Err(ClientError::Refused(problem)) if problem.code == Code::UnknownMailbox.as_str() => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let deadline = now() + REMOVAL;
    loop {
        match client.delete(&mailbox::path(mailbox, "")).await {
            Err(ClientError::Refused(problem))
                if problem.code == Code::MailboxNotEmpty.as_str() && now() < deadline =>
            {
                sleep_until(now() + TICK).await;
            }
            removed => return Ok(removed?),
        }
    }
}

fn left(mailbox: &Address) -> String {
    format!(
        "The mailbox {mailbox} is still there; `bridge mailbox purge {mailbox} --yes` and `bridge mailbox delete {mailbox}` \
         remove it"
    )
}

/// How far it has come, for people: on a terminal, and nowhere else.
fn bar(whole: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {msg}").expect("the template is sound");
    ProgressBar::with_draw_target(Some(millis(whole)), ProgressDrawTarget::stderr()).with_style(style)
}

fn told(measured: &Measured) -> String {
    let Measured { scenario, clients, bytes, seconds, operations, operations_per_second, behind, .. } =
        measured;
    let what = scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let schedule = measured.rate.map(|rate| format!(", {rate} a second")).unwrap_or_default();
    let rows: Vec<_> = measured.times.iter().map(Times::row).collect();
    let mut text = format!(
        "{what}: {clients} at once{schedule}, {bytes} B a message, {seconds:.1} s\n\n\
         {operations_per_second:.0} operations a second, {operations} in all"
    );
    if let Some(said) = &measured.ended_early {
        text += &format!("\n\nit ended early, since the bridge took no more: {said}");
    }
    if rows.is_empty() {
        text += "\n\nno operation that was due in this time was done, so there are no times";
    } else {
        text +=
            &format!("\n\n{}", table(["MILLISECONDS", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"], &rows));
    }
    if *behind > 0 {
        text += &format!("\n\nDue and not begun: {behind}. The bridge is slower than that");
    }
    if let Some(server) = &measured.server {
        text += &format!("\n\n{}", server.told());
    }
    text
}

/// A time to measure for.
fn span(text: &str) -> Result<Duration, &'static str> {
    let span = duration(text)?;
    if span < WARM_UP || span > LONGEST { Err("from 1s to 1h") } else { Ok(span) }
}

#[expect(clippy::disallowed_methods, reason = "it measures what passes in the world")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the time to measure for passes in the world")]
async fn sleep_until(time: Instant) {
    tokio::time::sleep_until(time.into()).await;
}

//! `bridge send`, `bridge receive`, `bridge reply`: messages, one call each.

use std::{
    fmt::Write as _,
    io::{self, Read},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bridge_core::{Address, Name, SessionId, Side};
use bridge_protocol as wire;
use clap::{Args, ValueEnum};
use http::{HeaderName, HeaderValue};
use serde_json::value::to_raw_value;

use super::{
    number::number,
    output::{Output, clock, shown, shown_on_a_line},
    session,
};
use crate::client::Client;

/// The longest that a server lets a caller wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Send {
    /// The session, as `bridge session list` shows it
    #[arg(value_parser = session::id)]
    session: SessionId,
    /// What to say; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Makes a repetition harmless: the same key and text are one message [default: a new one]
    #[arg(long)]
    key: Option<Name>,
    /// Give up if nobody has taken it after this time, such as 10m
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = lifetime)]
    ttl: Option<Duration>,
    /// The side to speak for: user or agent
    #[arg(long, value_enum, default_value_t = From::User, value_name = "SIDE", hide_possible_values = true)]
    from: From,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    User,
    Agent,
}

impl Send {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        let key = match self.key {
            Some(key) => key.to_string(),
            None => format!("cli-{:016x}", getrandom::u64().context("The system gives no random numbers")?),
        };
        let message = wire::SendMessage {
            text: Some(text(self.text)?),
            from: Some(match self.from {
                From::User => "user".to_owned(),
                From::Agent => "agent".to_owned(),
            }),
            ttl_ms: self.ttl.map(millis),
            ..wire::SendMessage::default()
        };
        let path = format!("/api/sessions/{}/messages", self.session);
        let value = HeaderValue::from_str(&key).context("A key has ASCII characters only")?;
        let header = (HeaderName::from_static("idempotency-key"), value);
        let sent = client.post_with(&path, &message, Some(header), Duration::ZERO).await;
        if sent.as_ref().is_err_and(crate::client::ClientError::is_unknown) {
            output
                .note(&format!("To make sure without sending it twice, repeat the command with --key {key}"));
        }
        output.result(&sent?, told_published)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn told_published(published: &wire::Published) -> String {
    let id = &published.message_id;
    if published.duplicate {
        return format!("{id}  known already; nothing was stored");
    }
    let heard = match &published.presence {
        Some(presence) if presence.state != "away" => {
            format!("{} is {}", presence.consumer.as_deref().unwrap_or("the agent"), presence.state)
        }
        _ => "nobody is listening now, so it waits".to_owned(),
    };
    let before = match published.depth {
        0 | 1 => String::new(),
        depth => format!(" ({} before it)", depth - 1),
    };
    format!("{id}  accepted; {}{before}", shown_on_a_line(&heard))
}

#[derive(Debug, Args)]
pub(super) struct Receive {
    /// The session, as `bridge session list` shows it
    #[arg(required_unless_present = "mailbox", conflicts_with = "mailbox", value_parser = session::id)]
    session: Option<SessionId>,
    /// The mailbox to take from instead: a client, group:NAME or session:ID/agent
    #[arg(long)]
    mailbox: Option<Address>,
    /// How long to wait if nothing is there, such as 30s; at most 60s
    #[arg(long, default_value = "0s", value_name = "DURATION", allow_hyphen_values = true, value_parser = wait)]
    wait: Duration,
    /// What you call yourself, so that you can come back for what you hold
    #[arg(long, value_name = "NAME")]
    consumer: Option<Name>,
    /// At most so many messages, up to 100
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true, value_parser = number::<u32>(1..=100))]
    max: u32,
    /// Names this attempt: repeating it gives the same messages again
    #[arg(long, value_name = "ID")]
    attempt: Option<Name>,
}

impl Receive {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        let of_session = |id| Address::Session(id, Side::Agent);
        let mailbox = self.mailbox.or(self.session.map(of_session)).expect("one of both is required");
        let receive = wire::Receive {
            mailbox: Some(mailbox.to_string()),
            consumer: self.consumer.map(|name| name.to_string()),
            max: Some(self.max),
            wait_ms: Some(millis(self.wait)),
            attempt_id: self.attempt.map(|name| name.to_string()),
            ..wire::Receive::default()
        };
        let received: wire::Received = client.post_with("/api/receive", &receive, None, self.wait).await?;
        let empty = received.deliveries.is_empty();
        if empty && !output.is_json() {
            match received.held.len() {
                0 => output.note("There is nothing to take."),
                held => {
                    output.note(&format!("There is nothing new to take. {held} in your hands from before:"));
                    output.line(&told_held(&received.held))?;
                }
            }
        } else {
            output.result(&received, told_received)?;
        }
        Ok(if empty { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn told_received(received: &wire::Received) -> String {
    let mut text = told_each(&received.deliveries, "(its content was removed)");
    if received.depth > 0 {
        write!(text, "\n\n{} more waiting", received.depth).expect("a string takes everything");
    }
    if !received.held.is_empty() {
        let held = received.held.len();
        write!(text, "\n\n{held} more in your hands from before; --json shows what")
            .expect("a string takes everything");
    }
    text
}

fn told_held(held: &[wire::Granted]) -> String {
    told_each(held, "(its content was removed, or there is too much in your hands to show it)")
}

fn told_each(granted: &[wire::Granted], absent: &str) -> String {
    let told: Vec<_> = granted.iter().map(|granted| told_granted(granted, absent)).collect();
    told.join("\n\n")
}

fn told_granted(granted: &wire::Granted, absent: &str) -> String {
    let (head, body) = match &granted.message {
        Some(message) => {
            let payload = || message.payload.as_ref().map_or_else(String::new, ToString::to_string);
            let body =
                message.text.clone().or_else(|| message.payload_base64.clone()).unwrap_or_else(payload);
            (format!("{} from {}", message.id, shown_on_a_line(&message.from)), shown(&body))
        }
        None => (granted.id.clone(), absent.to_owned()),
    };
    let until = clock(granted.lease_until);
    format!("{head}, attempt {}, yours until {until}\n\n{body}\n\ntoken {}", granted.attempt, granted.token)
}

#[derive(Debug, Args)]
pub(super) struct Reply {
    /// The token that came with the message
    token: String,
    /// What to answer; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    text: String,
}

impl Reply {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        let settle = wire::Settle {
            token: Some(self.token),
            message_id: None,
            handle: None,
            consumer: None,
            outcome: "answer".to_owned(),
            reply: Some(to_raw_value(&text(self.text)?).context("The answer is no JSON")?),
            covers: Vec::new(),
            delay_ms: None,
            by_ms: None,
            progress: None,
            reason: None,
        };
        let settled: wire::Settled = client.post("/api/settle", &settle).await?;
        output.result(&settled, |settled| {
            let again = if settled.already_done { "; this very answer was given before" } else { "" };
            format!("{}  answered{again}", settled.message_id)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The text of an argument, or of standard input.
fn text(argument: String) -> Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).context("Standard input is no text")?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("Standard input is empty, so there is nothing to say");
    }
    Ok(text.to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let wrong = "a duration reads like 500ms, 30s, 10m or 1h30m";
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong)?;
    Duration::try_from(span).map_err(|_| wrong)
}

/// A time that something lives for.
fn lifetime(text: &str) -> Result<Duration, &'static str> {
    duration(text)
        .and_then(|span| if span.is_zero() { Err("it would be given up at once") } else { Ok(span) })
}

/// A time that a server lets a caller wait.
fn wait(text: &str) -> Result<Duration, &'static str> {
    duration(text).and_then(|span| if span > MAX_WAIT { Err("the longest wait is 60s") } else { Ok(span) })
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        for wrong in ["30", "-5s", "soon", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(wait("60s").is_ok() && wait("61s").is_err());
        assert!(lifetime("1ms").is_ok() && lifetime("0s").is_err());
    }
}

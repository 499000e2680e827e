//! `bridge tail`: the log, as it grows.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use bridge_core::{Cursor, SessionId};
use bridge_protocol::{Event, EventPage, Message};
use clap::Args;
use futures_util::StreamExt;
use serde::Deserialize;
use sse_stream::{Sse, SseStream};

use super::{
    output::{Output, clock, shown_on_a_line},
    session,
};
use crate::client::{Client, ClientError};

#[derive(Debug, Args)]
pub(super) struct Tail {
    /// Only what happens in this session
    #[arg(value_parser = session::id)]
    session: Option<SessionId>,
    /// Begin after this place, as --json shows it in `cursor` [default: now]
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
}

/// The pause before a lost stream is asked for again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a stream ended.
enum End {
    /// It closed.
    Closed,
    /// The place is not in the log, or not any more.
    Gap(String),
}

impl Tail {
    /// Follows the log until it is interrupted. A lost connection is made again, and nothing is shown twice or missed.
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        // Asked in any case: a bridge that is not there at the beginning is not waited for.
        let now = head(client).await?;
        let mut cursor = self.after.map_or(now, |after| after.to_string());
        let mut pause = FIRST_PAUSE;
        loop {
            match self.follow(client, output, &mut cursor, &mut pause).await {
                Ok(End::Closed) => output.note("The connection is lost; trying again."),
                Ok(End::Gap(reason)) => {
                    output.note(&format!(
                        "What came after that place cannot be told ({reason}); going on from now."
                    ));
                    cursor = head(client).await?;
                    continue;
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Shows one stream to its end.
    async fn follow(
        &self,
        client: &Client,
        output: &Output,
        cursor: &mut String,
        pause: &mut Duration,
    ) -> Result<End> {
        let path = match self.session {
            Some(session) => format!("/api/sessions/{session}/events?after={cursor}"),
            None => format!("/api/events?after={cursor}"),
        };
        let body = client.stream(&path).await?;
        *pause = FIRST_PAUSE;
        let mut events = SseStream::new(body);
        while let Some(Ok(event)) = events.next().await {
            if let Some(end) = show(event, output, cursor)? {
                return Ok(end);
            }
        }
        Ok(End::Closed)
    }
}

/// The end of the log.
async fn head(client: &Client) -> Result<String> {
    let page: EventPage = client.get("/api/events?after=head&limit=1").await?;
    Ok(page.head)
}

/// Whether trying again cannot help: the bridge said no, or the reader of the output has gone.
fn is_final(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused(problem)) => problem.status < 500 && problem.status != 429,
        Some(ClientError::Foreign(_, status)) => !status.is_server_error(),
        Some(_) => false,
        None => true,
    }
}

fn show(sse: Sse, output: &Output, cursor: &mut String) -> Result<Option<End>> {
    #[derive(Deserialize)]
    struct Gap {
        reason: String,
    }
    let data = sse.data.unwrap_or_default();
    match sse.event.as_deref() {
        Some("gap") => {
            let reason =
                serde_json::from_str(&data).map_or_else(|_| "unknown".to_owned(), |gap: Gap| gap.reason);
            return Ok(Some(End::Gap(reason)));
        }
        None | Some("message") if !data.is_empty() => {}
        _ => return Ok(None),
    }
    if output.is_json() {
        output.line(&data)?;
    } else if let Ok(event) = serde_json::from_str(&data) {
        output.line(&told(&event))?;
    }
    if let Some(id) = sse.id {
        *cursor = id;
    }
    Ok(None)
}

fn told(event: &Event) -> String {
    let word = match event.kind.split_once('.') {
        Some(("presence", _)) => "presence",
        Some((_, word)) => word,
        None => &event.kind,
    };
    let subject = event.message_id.as_ref().or(event.session.as_ref()).map_or("", String::as_str);
    let line = format!("{}  {word:<10}  {subject:<36}  {}", clock(event.at), shown_on_a_line(&detail(event)));
    line.trim_end().to_owned()
}

/// What is worth knowing besides the kind of the event.
fn detail(event: &Event) -> String {
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    match event.kind.as_str() {
        "message.accepted" | "message.visible" => {
            event.message.as_ref().and_then(|message| message.as_deref()).map_or_else(String::new, said)
        }
        "delivery.presented" => {
            format!("to {}, attempt {}", or_empty(&event.consumer), event.attempt.unwrap_or_default())
        }
        "delivery.progressed" => or_empty(&event.text),
        "delivery.answered" => format!("by {}", or_empty(&event.reply_id)),
        "delivery.returned" | "delivery.dead" => {
            let reason = or_empty(&event.reason);
            event.error.as_ref().map_or_else(|| reason.clone(), |error| format!("{reason}: {error}"))
        }
        "delivery.redriven" => format!("as {}", or_empty(&event.redriven_as)),
        "message.ttl_changed" => {
            event.expires_at.map_or_else(String::new, |expires_at| format!("expires at {expires_at}"))
        }
        "mailbox.paused" => format!("{} by {}", or_empty(&event.mailbox), or_empty(&event.by)),
        "mailbox.resumed" | "mailbox.purged" => or_empty(&event.mailbox),
        "session.opened" | "session.renamed" => event.title.clone().flatten().unwrap_or_default(),
        "presence.changed" => event.presence.as_ref().map_or_else(String::new, |presence| {
            // Outside of conversations it says of which mailbox.
            let (place, taker) = match &event.mailbox {
                Some(mailbox) => (format!("{mailbox}: "), "its taker"),
                None => (String::new(), "the agent"),
            };
            format!("{place}{} is {}", presence.consumer.as_deref().unwrap_or(taker), presence.state)
        }),
        _ => String::new(),
    }
}

fn said(message: &Message) -> String {
    let payload = || message.payload.as_ref().map_or_else(String::new, ToString::to_string);
    format!("{}: {}", message.from, message.text.clone().unwrap_or_else(payload))
}

#[expect(clippy::disallowed_methods, reason = "the program waits for a server that may come back")]
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_done_to_a_mailbox_or_a_message_is_told() {
        let at = "2026-11-22T14:03:07.512Z";
        for (event, said) in [
            (json!({"type": "mailbox.paused", "mailbox": "jobs", "by": "anna"}), "jobs by anna"),
            (json!({"type": "mailbox.resumed", "mailbox": "jobs"}), "jobs"),
            (json!({"type": "mailbox.purged", "mailbox": "jobs"}), "jobs"),
            (
                json!({"type": "presence.changed", "mailbox": "jobs", "presence": {"state": "away", "since": at}}),
                "jobs: its taker is away",
            ),
            (
                json!({"type": "presence.changed", "mailbox": "jobs",
                       "presence": {"state": "working", "consumer": "p1", "since": at}}),
                "jobs: p1 is working",
            ),
            (
                json!({"type": "presence.changed", "session": "default", "presence": {"state": "away", "since": at}}),
                "the agent is away",
            ),
            (json!({"type": "message.ttl_changed", "expires_at": at}), &format!("expires at {at}")),
        ] {
            let mut whole = json!({"seq": 7, "cursor": "a.7", "at": at});
            whole.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
            let event: Event = serde_json::from_value(whole).unwrap();
            assert_eq!(detail(&event), said);
        }
    }
}

//! `bridge session`: conversations.

use std::process::ExitCode;

use anyhow::Result;
use bridge_core::SessionId;
use bridge_protocol::{OpenSession, Page, Session as WireSession};
use clap::Subcommand;

use super::{
    number::number,
    output::{Output, shown_on_a_line, table},
};
use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum Session {
    /// Begin a conversation; prints its id
    New {
        /// What to call it
        #[arg(long)]
        title: Option<String>,
    },
    /// List conversations, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 50, value_name = "N", allow_negative_numbers = true, value_parser = number(1..=u32::MAX))]
        limit: u32,
    },
}

impl Session {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<ExitCode> {
        match self {
            Self::New { title } => {
                let session: WireSession = client.post("/api/sessions", &OpenSession { title }).await?;
                output.result(&session, |session| session.id.clone())?;
            }
            Self::List { limit } => {
                let sessions = list(client, limit as usize).await?;
                output.result(&sessions, |sessions| told(sessions))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads the id of a session.
pub(super) fn id(text: &str) -> Result<SessionId, &'static str> {
    text.parse().map_err(|_| "a session is one that `bridge session list` shows, or `default`")
}

/// The newest sessions, page by page.
async fn list(client: &Client, limit: usize) -> Result<Vec<WireSession>> {
    let mut sessions = Vec::new();
    let mut path = "/api/sessions?limit=100".to_owned();
    while sessions.len() < limit {
        let page: Page<WireSession> = client.get(&path).await?;
        sessions.extend(page.data);
        let Some(cursor) = page.next_cursor else { break };
        path = format!("/api/sessions?limit=100&cursor={cursor}");
    }
    sessions.truncate(limit);
    Ok(sessions)
}

fn told(sessions: &[WireSession]) -> String {
    if sessions.is_empty() {
        return "There is no conversation yet. Begin one with `bridge session new`.".to_owned();
    }
    let rows: Vec<_> = sessions
        .iter()
        .map(|session| {
            let agent = match &session.presence.consumer {
                Some(consumer) => format!("{} ({})", shown_on_a_line(consumer), session.presence.state),
                None => "none".to_owned(),
            };
            let title = session.title.as_deref().map(shown_on_a_line).unwrap_or_default();
            let (waiting, unread) = (session.depth.to_string(), session.unread.to_string());
            [session.id.clone(), session.state.clone(), waiting, unread, agent, title]
        })
        .collect();
    table(["SESSION", "STATE", "WAITING", "UNREAD", "AGENT", "TITLE"], &rows)
}

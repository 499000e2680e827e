//! `bridge mcp`: a program that speaks MCP over standard input and output, and what to tell it about the bridge.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use bridge_core::Name;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::output::Output;
use crate::{client::Base, telemetry};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Mcp {
    #[command(subcommand)]
    command: Option<McpCommand>,
    /// The agent's name, by which the bridge knows it when it comes back
    #[arg(long, value_name = "NAME", value_parser = agent)]
    agent: Option<Name>,
    /// Offer the tools of an operator, who looks after the bridge, in place of those of a conversation
    #[arg(long)]
    operator: bool,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Print the settings with which an MCP client uses the bridge
    Config {
        /// The MCP client
        #[arg(long, value_enum)]
        client: Program,
        /// The agent's name [default: a new one, such as claude-7f3a]
        #[arg(long, value_name = "NAME", value_parser = agent)]
        agent: Option<Name>,
        /// For the tools of an operator, who looks after the bridge, in place of those of a conversation
        #[arg(long)]
        operator: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Codex,
    Gemini,
}

impl Mcp {
    pub(super) fn run(self, runtime: &Runtime, url: &Base, output: &Output) -> Result<ExitCode> {
        match self.command {
            Some(McpCommand::Config { client, agent, operator }) => {
                let agent = match agent {
                    Some(agent) => agent,
                    None => mint(client)?,
                };
                let snippet = Snippet::new(client, url, &agent, Tools::of(operator))?;
                if !output.is_json() {
                    output.note(snippet.place);
                }
                output.result(&snippet, |snippet| snippet.text.clone())?;
                Ok(ExitCode::SUCCESS)
            }
            None => {
                telemetry::install(telemetry::LogFormat::Text, "warn")?;
                let url = format!("{url}{}", Tools::of(self.operator).path);
                let agent = self.agent.as_ref();
                let proxied = bridge_mcp::proxy(&url, agent, tokio::io::stdin(), tokio::io::stdout());
                runtime
                    .block_on(proxied)
                    .context("The connection between the program and the bridge broke")?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// The tools that an agent gets: where, and what a program calls the server that has them.
#[derive(Debug, Clone, Copy)]
struct Tools {
    path: &'static str,
    server: &'static str,
    flag: Option<&'static str>,
}

impl Tools {
    const CONVERSATION: Self = Self { path: "/mcp", server: "bridge", flag: None };
    const OPERATOR: Self =
        Self { path: "/mcp/operator", server: "bridge-operator", flag: Some("--operator") };

    const fn of(operator: bool) -> Self {
        if operator { Self::OPERATOR } else { Self::CONVERSATION }
    }
}

/// What to tell a program, and where.
#[derive(Debug, Serialize)]
struct Snippet {
    agent: String,
    #[serde(rename = "where")]
    place: &'static str,
    text: String,
}

impl Snippet {
    fn new(program: Program, url: &Base, agent: &Name, tools: Tools) -> Result<Self> {
        let Tools { path, server, flag } = tools;
        let address = &format!("{url}{path}?agent={agent}");
        let json = |list, entry| json(list, server, entry);
        let (place, text) = match program {
            Program::ClaudeCode => {
                ("In a terminal:", format!("claude mcp add --transport http {server} \"{address}\""))
            }
            Program::ClaudeDesktop => {
                let command = std::env::current_exe().context("The path of this program is unknown")?;
                let url = url.to_string();
                let args = ["mcp", "--url", &url, "--agent", agent.as_str()].into_iter().chain(flag);
                let args = args.map(str::to_owned).collect();
                let entry = Entry { command: Some(command), args: Some(args), ..Entry::default() };
                (
                    "In claude_desktop_config.json (Settings, Developer, Edit Config):",
                    json("mcpServers", entry)?,
                )
            }
            Program::Cursor => {
                let entry = Entry { url: Some(address), ..Entry::default() };
                ("In .cursor/mcp.json, or ~/.cursor/mcp.json for all projects:", json("mcpServers", entry)?)
            }
            Program::Vscode => {
                let entry = Entry { kind: Some("http"), url: Some(address), ..Entry::default() };
                ("In .vscode/mcp.json:", json("servers", entry)?)
            }
            Program::Codex => {
                ("In ~/.codex/config.toml:", format!("[mcp_servers.{server}]\nurl = \"{address}\""))
            }
            Program::Gemini => {
                let entry = Entry { http_url: Some(address), ..Entry::default() };
                ("In ~/.gemini/settings.json:", json("mcpServers", entry)?)
            }
        };
        Ok(Self { agent: agent.to_string(), place, text })
    }
}

/// What a program keeps about one server, in the order in which people write it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<String>>,
}

/// The entry of one server in the list of them.
fn json(list: &str, server: &str, entry: Entry<'_>) -> Result<String> {
    let file = BTreeMap::from([(list, BTreeMap::from([(server, entry)]))]);
    serde_json::to_string_pretty(&file).context("The path of this program is no text")
}

/// A new name for an agent in this program.
fn mint(program: Program) -> Result<Name> {
    let stem = match program {
        Program::ClaudeCode => "claude",
        Program::ClaudeDesktop => "claude-desktop",
        Program::Cursor => "cursor",
        Program::Vscode => "vscode",
        Program::Codex => "codex",
        Program::Gemini => "gemini",
    };
    let mark = getrandom::u32().context("The system gives no random numbers")?;
    Name::new(&format!("{stem}-{:04x}", mark & 0xffff)).context("The name is no name")
}

/// An agent's name that needs no quoting anywhere.
fn agent(text: &str) -> Result<Name, &'static str> {
    let wrong = "a name has up to 64 letters, digits, `-`, `_` and `.`";
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    if text.len() > 64 || !text.chars().all(plain) {
        return Err(wrong);
    }
    Name::new(text).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_for(program: Program, tools: Tools) -> String {
        let url = "http://127.0.0.1:8765".parse().unwrap();
        Snippet::new(program, &url, &Name::from_static("claude-7f3a"), tools).unwrap().text
    }

    fn text(program: Program) -> String {
        text_for(program, Tools::CONVERSATION)
    }

    #[test]
    fn an_operator_gets_another_address_under_another_name() {
        for program in Program::value_variants() {
            let text = text_for(*program, Tools::OPERATOR);
            assert!(text.contains("bridge-operator"), "{program:?}: {text}");
            assert!(
                text.contains("/mcp/operator?agent=") || text.contains("--operator"),
                "{program:?}: {text}"
            );
        }
    }

    #[test]
    fn every_program_is_told_the_address_with_the_name() {
        for program in Program::value_variants() {
            assert!(text(*program).contains("http://127.0.0.1:8765"), "{program:?}");
            assert!(text(*program).contains("claude-7f3a"), "{program:?}");
        }
        assert_eq!(
            text(Program::ClaudeCode),
            r#"claude mcp add --transport http bridge "http://127.0.0.1:8765/mcp?agent=claude-7f3a""#
        );
    }

    #[test]
    fn what_is_to_be_pasted_can_be_parsed() {
        for program in [Program::ClaudeDesktop, Program::Cursor, Program::Vscode, Program::Gemini] {
            serde_json::from_str::<serde_json::Value>(&text(program)).unwrap();
        }
        toml::from_str::<toml::Table>(&text(Program::Codex)).unwrap();
    }

    #[test]
    fn a_name_needs_no_quoting() {
        assert!(agent("claude-7f3a").is_ok());
        for wrong in ["", "two words", "a&b", "a/b", "ü"] {
            assert!(agent(wrong).is_err(), "{wrong}");
        }
    }
}

//! The log: to standard error, so that standard output stays for results.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object on each line.
    Json,
}

/// What is left out unless it is asked for by name: the protocol's library tells of each call, and calls it an error when a
/// client goes away in the middle of an answer.
const NOISE: &str = "rmcp=warn,rmcp::service=off";

/// Installs the log of this process: what `level` lets through, in `format`.
///
/// `level` is a level, or a list of levels by target: `warn,bridge_transport=debug`.
///
/// # Errors
/// That `level` makes no sense.
pub(crate) fn install(format: LogFormat, level: &str) -> Result<()> {
    let filter: Targets = format!("{NOISE},{level}").parse().with_context(|| {
        format!("The log level `{level}` makes no sense; it is off, error, warn, info, debug or trace, or a list by part")
    })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colours()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    Ok(())
}

/// Whether standard error is a terminal whose user likes colours.
fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

//! The log: to standard error, so that standard output stays for results.

use std::io::{self, IsTerminal};

use anyhow::Result;
use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

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

/// Reads a level, or a list of levels by target: `warn,bridge_transport=debug`.
pub(crate) fn parse_level(text: &str) -> Result<String, &'static str> {
    // A target alone would be taken too, such as a level that is misspelt.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_whole = text.split(',').all(|part| is_level(part.rsplit('=').next().unwrap_or_default().trim()));
    if is_whole && text.parse::<Targets>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("a level is off, error, warn, info, debug or trace, or by part, such as warn,bridge_transport=debug")
}

/// Installs the log of this process: what `level` lets through, as [`parse_level`] takes it, in `format`.
///
/// # Errors
/// That `level` makes no sense.
pub(crate) fn install(format: LogFormat, level: &str) -> Result<()> {
    let filter: Targets = format!("{NOISE},{level}").parse()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_that_there_is() {
        for good in ["off", "info", "DEBUG", "warn,bridge_transport=debug", "bridge_transport=debug, info"] {
            assert!(parse_level(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "loud",
            "info,",
            "bridge_transport",
            "bridge_transport=loud",
            "bridge_transport=",
            "a=b=info",
        ] {
            assert!(parse_level(bad).is_err(), "{bad}");
        }
    }
}

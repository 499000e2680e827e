//! `bridge serve`: the server, until it is asked to stop.

use std::{path::PathBuf, pin::pin, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{
    Args,
    builder::{PathBufValueParser, TypedValueParser},
};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::output::Output;
use crate::{
    compose::Server,
    config::{Config, LISTEN, Layer},
    signal::StopSignals,
    telemetry,
};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Layer,
    /// TOML file with settings; flags and the environment count more
    #[arg(
        long,
        env = "BRIDGE_CONFIG",
        value_name = "FILE",
        value_parser = PathBufValueParser::new().try_map(|file| Layer::read(&file)),
        hide_env_values = true
    )]
    config: Option<Layer>,
}

/// What a program that starts a bridge wants to know.
#[derive(Debug, Serialize)]
struct Started {
    url: String,
    data: PathBuf,
    version: &'static str,
}

impl Serve {
    pub(super) fn run(self, runtime: &Runtime, output: &Output) -> Result<ExitCode> {
        let config = self.settings.over(self.config.unwrap_or_default().over(Config::default()));
        telemetry::install(config.log_format, &config.log_level)?;
        runtime.block_on(serve(&config, output))
    }
}

/// The longest a server may take to stop.
const STOP: Duration = Duration::from_secs(9);

async fn serve(config: &Config, output: &Output) -> Result<ExitCode> {
    let mut signals = StopSignals::listen()?;
    let server = tokio::select! {
        server = Server::start(config) => server?,
        // Nothing was confirmed yet, so nothing is to be finished.
        _ = signals.first() => leave(0),
    };
    let started = Started {
        url: server.url(),
        data: std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone()),
        version: env!("CARGO_PKG_VERSION"),
    };
    output.result(&started, told)?;
    tracing::info!(url = started.url, data = %started.data.display(), version = started.version, "the bridge runs");

    let stop = CancellationToken::new();
    let mut running = pin!(server.run(stop.clone().cancelled_owned()));
    let signal = tokio::select! {
        () = &mut running => return Ok(ExitCode::SUCCESS),
        signal = signals.first() => signal,
    };
    tracing::info!(signal, "the bridge stops; a second signal ends it at once");
    stop.cancel();
    leave_in_time();
    tokio::select! {
        () = running => {}
        signal = signals.another() => {
            tracing::warn!(signal, "the bridge ends at once");
            leave(1);
        }
    }
    tracing::info!("the bridge has stopped");
    Ok(ExitCode::SUCCESS)
}

/// Sees to it that the process ends, also if a thread that waits for its disk holds up everything, the end of this runtime
/// with it.
#[expect(clippy::disallowed_methods, reason = "whatever else keeps time here may be held up")]
fn leave_in_time() {
    let watch = || {
        std::thread::sleep(STOP);
        tracing::error!("the bridge did not stop in time");
        leave(1);
    };
    let watching = std::thread::Builder::new().name("bridge-stop".to_owned()).spawn(watch);
    if let Err(error) = watching {
        tracing::warn!(%error, "nobody watches how long the bridge takes to stop");
    }
}

/// Ends the process now, whatever it is doing. What was confirmed is on disk.
#[expect(clippy::disallowed_methods, reason = "a thread may be waiting for a disk that does not answer")]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

fn told(started: &Started) -> String {
    let Started { url, data, .. } = started;
    let elsewhere = if *url == format!("http://{LISTEN}") { String::new() } else { format!(" --url {url}") };
    format!(
        "The bridge is running.\n\n  \
           Page    {url}/\n  \
           Agents  bridge mcp config{elsewhere} --client claude-code\n  \
           Data    {}\n\n\
         Ctrl-C stops it.",
        data.display()
    )
}

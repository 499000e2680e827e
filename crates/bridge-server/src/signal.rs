//! Requests to stop, from the operating system.

#[cfg(unix)]
use anyhow::Context;
use anyhow::Result;

/// The signals that ask a server to stop: SIGTERM, SIGINT and SIGHUP, or Ctrl-C where there are no signals.
#[derive(Debug)]
pub(crate) struct StopSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// None if whoever started this process had it ignore that one.
    #[cfg(unix)]
    hang_up: Option<tokio::signal::unix::Signal>,
}

impl StopSignals {
    /// From now on these signals are heard here, and no longer end the process.
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let heard = "The bridge cannot listen to signals";
        let hang_up =
            if outlives_its_terminal() { None } else { Some(signal(SignalKind::hangup()).context(heard)?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context(heard)?,
            interrupt: signal(SignalKind::interrupt()).context(heard)?,
            hang_up,
        })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {})
    }

    /// Waits for the first one, and tells its name.
    #[cfg(unix)]
    pub(crate) async fn first(&mut self) -> &'static str {
        let hung_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hung_up => "SIGHUP",
        }
    }

    /// Waits for another one, from somebody who does not want to wait: a terminal that goes away hangs up more than once.
    #[cfg(unix)]
    pub(crate) async fn another(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn first(&mut self) -> &'static str {
        // An error means that nothing will ever be heard.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }

    #[cfg(not(unix))]
    pub(crate) async fn another(&mut self) -> &'static str {
        self.first().await
    }
}

/// Whether this process was told to ignore SIGHUP before it began, as `nohup` does; listening would undo that. Where it
/// cannot be told it is left as it is.
#[cfg(unix)]
fn outlives_its_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The signals in order, beginning with SIGHUP.
    mask.is_none_or(|mask| mask & 1 == 1)
}

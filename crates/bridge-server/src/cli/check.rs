//! `bridge check`: whether data is sound, without a running bridge.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, anyhow, bail};
use bridge_core::{StoreError, StoreErrorKind};
use clap::Args;
use serde::Serialize;

use super::output::{Output, table};
use crate::{compose, config};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Directory of the data, as `bridge serve` names it
    #[arg(long, env = "BRIDGE_DATA", hide_env_values = true, value_name = "DIRECTORY", default_value = config::DATA)]
    data: PathBuf,
}

/// What a check found, for programs.
#[derive(Debug, Serialize)]
struct Checked {
    data: PathBuf,
    sound: bool,
    schema: u32,
    rows: Vec<(&'static str, u64)>,
    findings: Vec<String>,
}

/// What to do about damage.
const ADVICE: &str = "Keep a copy of the directory as it is, and restore a backup";

/// What the rows of a table are.
const COUNTED: &str = "A row of message is a message with its first delivery, the event that it was accepted and, up to 2 KiB, its content.\n\
                       The tables delivery, event and payload hold the others.";

impl Check {
    pub(super) fn run(self, output: &Output) -> Result<ExitCode> {
        if !self.data.is_dir() {
            bail!("There is no directory {}. Say where the data is with --data", self.data.display());
        }
        let report = bridge_store::verify(&self.data).map_err(|error| explain(error, &self.data))?;
        let checked = Checked {
            data: self.data,
            sound: report.is_sound(),
            schema: report.schema,
            rows: report.rows,
            findings: report.findings,
        };
        output.result(&checked, told)?;
        Ok(if checked.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Why there is nothing to report.
fn explain(error: StoreError, data: &Path) -> anyhow::Error {
    // What others say of damage sends its reader here.
    if error.kind == StoreErrorKind::Corrupt {
        let said = format!(
            "The data in {} is damaged, and nothing else can be told of it. {ADVICE}",
            data.display()
        );
        return anyhow!(error).context(said);
    }
    compose::explain(error, data)
}

fn told(checked: &Checked) -> String {
    let data = checked.data.display();
    if checked.sound {
        let rows: Vec<_> =
            checked.rows.iter().map(|(name, count)| [(*name).to_owned(), count.to_string()]).collect();
        return format!("The data in {data} is sound.\n\n{}\n\n{COUNTED}", table(["TABLE", "ROWS"], &rows));
    }
    format!("The data in {data} is damaged:\n\n  {}\n\n{ADVICE}.", checked.findings.join("\n  "))
}

//! Measures the bridge beside its peers: the same load, in turn, in one run. `scripts/bench` does all of it.

mod figures;
mod http;
mod load;
mod machine;
mod payload;
mod process;
mod render;
mod result;
mod run;
mod scenario;
mod target;
mod usage;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command as Program, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{machine::Machine, result::Run, run::Runner, scenario::Scenario, target::Setup};

#[derive(Debug, Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios, and write a file with every figure
    Run(RunArguments),
    /// Put the figures of a run into the page about performance
    Render(RenderArguments),
    /// Answer each body with itself: the floor that the bridge is held against
    #[command(hide = true)]
    Echo { address: SocketAddr },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Scenarios to run; all if none is named
    scenarios: Vec<String>,
    /// Look for a few minutes: fewer clients, one round
    #[arg(long)]
    quick: bool,
    /// The program to measure
    #[arg(long, value_name = "PROGRAM", default_value = "target/release/bridge")]
    bridge: PathBuf,
    /// Only these targets
    #[arg(long, value_name = "TARGET")]
    only: Vec<String>,
    /// How many rounds, instead of what the scenarios say
    #[arg(long)]
    rounds: Option<usize>,
    /// Folder of the servers' data; it decides the file system
    #[arg(long, value_name = "FOLDER", default_value = "target/load")]
    data: PathBuf,
    /// What this kind of machine is called in the file
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// File to write; `benches/results/<date>-<machine>.json` if absent
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RenderArguments {
    /// File of a run; the newest of `benches/results` if absent
    run: Option<PathBuf>,
    /// The page
    #[arg(long, value_name = "FILE", default_value = "docs/performance.md")]
    page: PathBuf,
}

fn main() -> ExitCode {
    match run_to_end(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_to_end(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut ended = signal(SignalKind::terminate())?;
        tokio::select! {
            done = act(arguments.command) => done,
            // What was started is stopped when it is dropped.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = ended.recv() => anyhow::bail!("ended from outside"),
        }
    })
}

async fn act(command: Command) -> Result<()> {
    match command {
        Command::Run(arguments) => measure(arguments).await,
        Command::Render(arguments) => render(arguments),
        Command::Echo { address } => target::serve_echo(address).await,
    }
}

async fn measure(arguments: RunArguments) -> Result<()> {
    let scenarios = chosen(&arguments)?;
    std::fs::create_dir_all(&arguments.data)
        .with_context(|| format!("making {}", arguments.data.display()))?;
    let data = arguments.data.canonicalize()?;
    let mut machine = Machine::here(&data);
    machine.kind = arguments.machine.clone().unwrap_or(machine.kind);
    let began = said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]);
    let setup = Setup { bridge: arguments.bridge.clone(), data, watch: None };
    let mut runner = Runner::new(setup, arguments.only.iter().cloned().collect());
    for scenario in &scenarios {
        runner.run(scenario).await?;
    }
    let found = runner.found();
    let name = format!("{}-{}.json", began.get(..10).unwrap_or("undated"), machine.kind);
    let run = Run {
        began,
        commit: commit(),
        command: command(&arguments),
        quick: arguments.quick,
        machine,
        scenarios,
        known: found.known,
        windows: found.windows,
        failures: found.failures,
    };
    let output = arguments.output.unwrap_or_else(|| folder("results").join(name));
    run.write(&output)?;
    println!("{}", output.display());
    ensure!(!run.windows.is_empty(), "nothing could be measured");
    Ok(())
}

fn render(arguments: RenderArguments) -> Result<()> {
    let path = arguments.run.map_or_else(newest, Ok)?;
    let run = Run::read(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    render::render(&run, &format!("benches/results/{name}"), &folder("goals.toml"), &arguments.page)
}

/// The file of the run that began last.
fn newest() -> Result<PathBuf> {
    let files = std::fs::read_dir(folder("results")).context("there are no results")?;
    let mut runs = Vec::new();
    for path in files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()? {
        if path.extension().is_some_and(|extension| extension == "json") {
            runs.push((Run::read(&path)?.began, path));
        }
    }
    runs.into_iter().max().map(|(_, path)| path).context("there are no results")
}

fn chosen(arguments: &RunArguments) -> Result<Vec<Scenario>> {
    let mut scenarios = Scenario::all(&folder("scenarios"))?;
    for name in &arguments.scenarios {
        ensure!(scenarios.iter().any(|scenario| scenario.name == *name), "there is no scenario {name}");
    }
    scenarios
        .retain(|scenario| arguments.scenarios.is_empty() || arguments.scenarios.contains(&scenario.name));
    let fit = |scenario: Scenario| {
        let mut scenario = if arguments.quick { scenario.quick() } else { scenario };
        scenario.rounds = arguments.rounds.unwrap_or(scenario.rounds);
        scenario
    };
    Ok(scenarios.into_iter().map(fit).collect())
}

/// A folder beside this crate's source.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn commit() -> String {
    let changed = if said("git", &["status", "--porcelain", "--", "crates", "Cargo.lock"]).is_empty() {
        ""
    } else {
        "+"
    };
    said("git", &["rev-parse", "--short=12", "HEAD"]) + changed
}

fn command(arguments: &RunArguments) -> String {
    let mut words = vec!["scripts/bench".to_owned()];
    words.extend(arguments.quick.then(|| "--quick".to_owned()));
    words.extend(arguments.rounds.map(|rounds| format!("--rounds {rounds}")));
    words.extend(arguments.only.iter().map(|target| format!("--only {target}")));
    words.extend(arguments.scenarios.iter().cloned());
    words.join(" ")
}

/// What a program prints, run beside this crate's source.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Program::new(program).args(arguments).current_dir(folder("..")).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

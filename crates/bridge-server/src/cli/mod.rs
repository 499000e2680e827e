//! The command line: what can be asked for, and which file answers.

mod bench;
mod check;
mod dead;
mod mailbox;
mod mcp;
mod message;
mod number;
mod output;
mod serve;
mod session;
mod status;
mod tail;

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    num::NonZero,
    process::ExitCode,
    thread,
};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::output::Output;
use crate::client::{Base, Client, ClientError};

/// Tokio's own variable, which has the last word on how many threads answer.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

/// A durable message bridge between people, AI agents and services.
#[derive(Debug, Parser)]
#[command(
    name = "bridge",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "Begin with `bridge serve`, and open the page it names.\n\
                  \n\
                  Exit codes: 0 done; 1 failed (receive: nothing there; check: damaged or in use);\n\
                  2 a command, an argument or a setting was not understood."
)]
struct Cli {
    /// Address of the bridge that is called; serve and check call none
    #[arg(
        long,
        global = true,
        env = "BRIDGE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8765",
        help_heading = "Global options"
    )]
    url: Base,

    /// Print JSON, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge: the web page, the HTTP API and the MCP endpoint
    Serve(serve::Serve),
    /// Begin a conversation, or list those there are
    #[command(subcommand)]
    Session(session::Session),
    /// Send a message into a session
    Send(message::Send),
    /// Take the next messages of a session, as its agent; exits with 1 if there is none
    Receive(message::Receive),
    /// Answer a message that was received
    Reply(message::Reply),
    /// Tell why a delivery does not move, and when that changes
    Why(dead::Why),
    /// Look after what was given up
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Look after mailboxes: how they stand, how they behave
    #[command(subcommand)]
    Mailbox(mailbox::Mailbox),
    /// Show whether the bridge works, and how much waits in it
    Status(status::Status),
    /// Show what happens, as it happens
    Tail(tail::Tail),
    /// Measure how much a running bridge takes, and how fast it answers
    Bench(bench::Bench),
    /// Check the data of a bridge that is not running
    Check(check::Check),
    /// Connect an MCP client over standard input and output, or print a client's settings
    Mcp(mcp::Mcp),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Runs the program `bridge` with these arguments, the first being its name.
///
/// Results go to standard output, everything else to standard error. The process's signals, its log and a tokio runtime
/// are set up here and nowhere else.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let cli = Cli::try_parse_from(&arguments).unwrap_or_else(|error| refused(error, &arguments).exit());
    let output = Output::new(cli.json);
    match execute(cli, &output) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Why arguments are not understood, told as if the environment said nothing: what it says would stand in each usage, as if it
/// had to be written. Where the environment itself is wrong, that is told.
fn refused(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    if !error.use_stderr() {
        return error;
    }
    without_environment(Cli::command()).try_get_matches_from(arguments).err().unwrap_or(error)
}

/// The same command, which names its variables and does not read them.
fn without_environment(command: clap::Command) -> clap::Command {
    let deaf = |arg: clap::Arg| {
        let Some(variable) = arg.get_env().map(OsStr::to_owned) else { return arg };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.env(None).help(format!("{help} [env: {}]", variable.display()))
    };
    command.mut_args(deaf).mut_subcommands(without_environment)
}

fn execute(cli: Cli, output: &Output) -> Result<ExitCode> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Serve(_)) && env::var_os(WORKER_THREADS).is_none() {
        // One core is left to the thread that writes: what a request touches moves between cores less often.
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        threads.worker_threads(cores.saturating_sub(1).max(1));
    }
    let runtime = threads.enable_all().build().context("The bridge cannot start its threads")?;
    let client = || Client::new(cli.url.clone());
    match cli.command {
        Command::Serve(serve) => serve.run(&runtime, output),
        Command::Session(session) => runtime.block_on(session.run(&client(), output)),
        Command::Send(send) => runtime.block_on(send.run(&client(), output)),
        Command::Receive(receive) => runtime.block_on(receive.run(&client(), output)),
        Command::Reply(reply) => runtime.block_on(reply.run(&client(), output)),
        Command::Why(why) => runtime.block_on(why.run(&client(), output)),
        Command::Dead(dead) => runtime.block_on(dead.run(&client(), output)),
        Command::Mailbox(mailbox) => runtime.block_on(mailbox.run(&client(), output)),
        Command::Status(status) => runtime.block_on(status.run(&client(), output)),
        Command::Tail(tail) => runtime.block_on(tail.run(&client(), output)),
        Command::Bench(bench) => runtime.block_on(bench.run(&client(), output)),
        Command::Check(check) => check.run(output),
        Command::Mcp(mcp) => mcp.run(&runtime, &cli.url, output),
        Command::Completions { shell } => {
            // Written to standard output by the library, they would panic where nobody reads them.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bridge", &mut script);
            output.line(String::from_utf8(script).context("The completions are no text")?.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whether whoever read the results has gone, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let gone = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.downcast_ref::<ClientError>().is_none() && error.chain().any(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

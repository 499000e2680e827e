//! The commands, as a person or a script uses them.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bridge::{Data, Server, look_again, program, run, stderr, stdout};

/// Runs a command against a server.
fn at(server: &Server, arguments: &[&str]) -> std::process::Output {
    run(&[&["--url", server.url.as_str()], arguments].concat())
}

/// What a command printed, if it went well.
fn said(server: &Server, arguments: &[&str]) -> String {
    let output = at(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output).trim().to_owned()
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(server, &[&["--json"], arguments].concat())).unwrap()
}

#[tokio::test]
async fn a_conversation_from_the_command_line() {
    let data = Data::new();
    let server = Server::start(&data.path());
    assert!(said(&server, &["session", "list"]).contains("There is no conversation yet"));
    let session = said(&server, &["session", "new", "--title", "Groceries"]);
    assert!(session.starts_with("ses_"), "{session}");
    let list = said(&server, &["session", "list"]);
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("SESSION") && lines[0].ends_with("TITLE"), "{list}");
    assert!(lines[1].starts_with(&session) && lines[1].ends_with("Groceries"), "{list}");

    let none = at(&server, &["receive", &session]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(stdout(&none), "");

    let sent = said(&server, &["send", &session, "milk?", "--key", "k1"]);
    assert!(sent.starts_with("msg_") && sent.contains("accepted"), "{sent}");
    let again = said(&server, &["send", &session, "milk?", "--key", "k1"]);
    assert!(again.contains("known already"), "{again}");
    let other = at(&server, &["send", &session, "bread?", "--key", "k1"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("idempotency_conflict"), "{}", stderr(&other));

    let received = said(&server, &["receive", &session, "--consumer", "anna", "--attempt", "a1"]);
    assert!(received.contains("milk?") && received.contains("attempt 1"), "{received}");
    let repeated = json(
        &server,
        &[
            "receive",
            "--mailbox",
            &format!("session:{session}/agent"),
            "--consumer",
            "anna",
            "--attempt",
            "a1",
        ],
    );
    let token = repeated["deliveries"][0]["token"].as_str().unwrap();
    assert!(received.contains(token), "a repeated attempt gave another token");

    let held = at(&server, &["receive", &session, "--consumer", "anna"]);
    assert_eq!(held.status.code(), Some(1), "nothing was taken");
    let (shown, noted) = (stdout(&held), stderr(&held));
    assert!(shown.contains("milk?") && shown.contains(&format!("token {token}")), "{shown}");
    assert_eq!(noted, "There is nothing new to take. 1 in your hands from before:\n");

    let answered = said(&server, &["reply", token, "two bottles"]);
    assert!(answered.contains("answered"), "{answered}");
    assert!(said(&server, &["reply", token, "two bottles"]).contains("given before"));
    let other = at(&server, &["reply", token, "three bottles"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("already_settled"), "{}", stderr(&other));
    let wrong = at(&server, &["--json", "reply", "no-token", "x"]);
    assert_eq!(wrong.status.code(), Some(1));
    let problem: Value = serde_json::from_str(&stderr(&wrong)).unwrap();
    assert_eq!(problem["error"]["code"], "unknown_token");
    let wrong = stderr(&at(&server, &["reply", "no-token", "x"]));
    assert_eq!(wrong, "error: No delivery is known by this token (unknown_token)\n");
}

#[tokio::test]
async fn text_is_read_from_standard_input() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let session = said(&server, &["session", "new"]);
    let file = data.file("text", "line one\nline two\n");
    let input = std::fs::File::open(file).unwrap();
    let output = program().args(["--url", &server.url, "send", &session, "-"]).stdin(input).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let received = json(&server, &["receive", &session]);
    assert_eq!(received["deliveries"][0]["message"]["text"], "line one\nline two");
}

#[tokio::test]
async fn a_tail_shows_everything_over_a_restart() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let session = said(&server, &["session", "new"]);
    let first = json(&server, &["send", &session, "one"]);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut tail = program()
        .args([
            "--url",
            &server.url,
            "--json",
            "tail",
            &session,
            "--after",
            first["cursor"].as_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = |kind: &str| loop {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if event["type"] == kind {
            return event;
        }
    };
    said(&server, &["send", &session, "two"]);
    assert_eq!(next("message.accepted")["message"]["text"], "two");
    drop(server);
    let server = Server::start_at(&address, &data.path(), &[]);
    said(&server, &["send", &session, "three"]);
    assert_eq!(next("message.accepted")["message"]["text"], "three");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[tokio::test]
async fn a_message_cannot_give_orders_to_a_terminal() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let session = said(&server, &["session", "new"]);
    said(&server, &["send", &session, "\u{1b}]0;gotcha\u{7}hello"]);
    let received = said(&server, &["receive", &session]);
    assert!(received.contains("hello") && !received.contains(['\u{1b}', '\u{7}']), "{received:?}");
}

#[tokio::test]
async fn a_bench_measures_and_cleans_up() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let output = at(&server, &["--json", "bench", "deliver", "--clients", "4", "--for", "1s"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let measured: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(measured["operations"].as_u64().unwrap() > 0, "{measured}");
    assert!(measured["operations_per_second"].as_f64().unwrap() > 0.0, "{measured}");
    let times = measured["times"].as_array().unwrap();
    let steps: Vec<_> = times.iter().map(|times| times["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["publish", "receive", "ack", "all three"]);
    for times in times {
        let [p50, p999] = ["p50_ms", "p999_ms"].map(|name| times[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p999, "{times}");
    }
    for told in ["cpu_us_per_operation", "commands_per_commit", "changes_per_commit"] {
        assert!(measured["server"][told].as_f64().unwrap() > 0.0, "{told}: {measured}");
    }
    assert!(said(&server, &["mailbox", "list"]).contains("There is no mailbox"));
}

#[tokio::test]
async fn a_bench_at_a_rate_begins_as_many_as_are_due() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let measured = json(&server, &["bench", "publish", "--clients", "2", "--for", "1s", "--rate", "50"]);
    let count = measured["times"][0]["count"].as_u64().unwrap();
    assert!((49..=51).contains(&count), "{measured}");
    assert_eq!(measured["behind"], 0, "{measured}");
}

#[tokio::test]
async fn a_bench_that_fills_its_mailbox_tells_what_it_measured() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let mut program = program();
    program.args(["--url", &server.url, "--json", "bench", "publish", "--for", "1m", "--rate", "100"]);
    let mut bench = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More than the second of the warm-up makes.
    let mailbox = loop {
        assert_eq!(bench.try_wait().unwrap(), None, "it ended before its mailbox was full");
        let list = json(&server, &["mailbox", "list"]);
        let full = list.as_array().unwrap().iter().find(|mailbox| mailbox["pending"].as_u64() > Some(150));
        if let Some(full) = full {
            break full["name"].as_str().unwrap().to_owned();
        }
        look_again().await;
    };
    said(&server, &["mailbox", "set", &mailbox, "--max-pending", "1"]);
    let output = bench.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let measured: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(measured["ended_early"].as_str().unwrap().contains("is full: "), "{measured}");
    assert!(measured["operations"].as_u64().unwrap() > 0, "{measured}");
    assert!(measured["seconds"].as_f64().unwrap() < 59.0, "{measured}");
    assert!(said(&server, &["mailbox", "list"]).contains("There is no mailbox"));
}

#[tokio::test]
async fn a_bench_that_is_interrupted_cleans_up_too() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let mut program = program();
    program.args(["--url", &server.url, "bench", "publish", "--for", "1m"]);
    let mut bench = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !said(&server, &["mailbox", "list"]).contains("group:bench-") {
        assert_eq!(bench.try_wait().unwrap(), None, "it ended before it made its mailbox");
        look_again().await;
    }
    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    let output = bench.wait_with_output().unwrap();
    assert!(stderr(&output).contains("It stops"), "{}", stderr(&output));
    assert!(said(&server, &["mailbox", "list"]).contains("There is no mailbox"));
}

#[test]
fn a_bridge_that_is_not_there_is_said_with_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    for arguments in [&["session", "list"][..], &["tail"], &["receive", "default"]] {
        let output = run(&[&["--url", url.as_str()], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(&format!("The bridge at {url} does not answer")), "{said}");
        assert!(said.contains("bridge serve"), "{said}");
    }
}

#[test]
fn what_is_not_understood_exits_with_two() {
    for arguments in [
        &["serve", "--durability", "some"][..],
        &["serve", "--listen", "here"],
        &["send", "default"],
        &["receive"],
        &["receive", "default", "--mailbox", "session:default/agent"],
        &["receive", "default", "--wait", "30"],
        &["send", "no-session", "text"],
        &["send", "default", "text", "--key", ""],
        &["receive", "default", "--consumer", ""],
        &["mcp", "config", "--client", "telnet"],
        &["--url", "https://bridge.example", "tail"],
        &["sing"],
        &[],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_number_that_is_none_is_told_with_those_that_are() {
    for (command, told) in [
        ("mailbox set jobs --max-pending -3", "a number from 1 to 4294967295, or default"),
        ("mailbox set jobs --max-pending 99999999999", "a number from 1 to 4294967295, or default"),
        ("mailbox set jobs --max-failures few", "a number from 1 to 4294967295, or default"),
        ("mailbox set jobs --max-pending-bytes -1", "a number from 1 to 9223372036854775807, or default"),
        ("mailbox set jobs --lease -5s", "a duration reads like 500ms, 30s, 10m or 1h30m, or default"),
        ("dead list --limit -1", "a number from 1 to 1000"),
        ("dead redrive --all --rate-per-s -1", "a number from 1 to 1000"),
        ("dead redrive --all --rate-per-s abc", "a number from 1 to 1000"),
        ("receive default --max 99999999999999999999", "a number from 1 to 100"),
        ("receive default --wait -5s", "a duration reads like 500ms, 30s, 10m or 1h30m"),
        ("send default text --ttl -5s", "a duration reads like 500ms, 30s, 10m or 1h30m"),
        ("session list --limit 0", "a number from 1 to 4294967295"),
        ("bench publish --clients 1001", "a number from 1 to 1000"),
        ("bench publish --rate -7", "a number from 1 to 1000000"),
        ("bench publish --bytes 0", "a number from 1 to 1000000"),
        ("bench publish --for -1m", "a duration reads like 500ms, 30s, 10m or 1h30m"),
    ] {
        let output = run(&command.split(' ').collect::<Vec<_>>());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        let first = said.lines().next().unwrap_or_default();
        assert!(
            first.contains("invalid value") && first.ends_with(&format!(": {told}")),
            "{command}: {said}"
        );
    }
}

#[test]
fn a_usage_is_the_same_whatever_the_environment_says() {
    let told = |variables: &[(&str, &str)], arguments: &[&str]| {
        let output = program().args(arguments).envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        stderr(&output)
    };
    let set = [("BRIDGE_URL", "http://127.0.0.1:1"), ("BRIDGE_DATA", "here"), ("BRIDGE_LOG", "warn")];
    for arguments in [&["send", "default"][..], &["status", "--loud"], &["serve", "--loud"], &["sing"], &[]] {
        assert_eq!(told(&set, arguments), told(&[], arguments));
    }
    // What is wrong in the environment itself is told.
    let wrong = told(&[("BRIDGE_URL", "ftp://here")], &["status"]);
    assert!(wrong.contains("'ftp://here' for '--url <URL>'"), "{wrong}");
}

#[test]
fn a_snippet_is_printed_alone_on_standard_output() {
    let output = run(&["mcp", "config", "--client", "claude-code", "--agent", "claude-7f3a"]);
    assert!(output.status.success());
    assert_eq!(
        stdout(&output),
        "claude mcp add --transport http bridge \"http://127.0.0.1:8765/mcp?agent=claude-7f3a\"\n"
    );
    let minted = run(&["--url", "http://localhost:1", "mcp", "config", "--client", "cursor", "--json"]);
    let minted: Value = serde_json::from_str(&stdout(&minted)).unwrap();
    let agent = minted["agent"].as_str().unwrap();
    assert!(agent.starts_with("cursor-") && minted["text"].as_str().unwrap().contains(agent), "{minted}");

    let desktop = run(&["mcp", "config", "--client", "claude-desktop"]);
    let desktop: Value = serde_json::from_str(&stdout(&desktop)).unwrap();
    let command = desktop["mcpServers"]["bridge"]["command"].as_str().unwrap();
    assert!(std::path::Path::new(command).is_absolute(), "{command}");
}

/// A program that speaks MCP over standard input and output, one line a message.
struct Relay {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Relay {
    fn start(url: &str) -> Self {
        let mut program = program();
        program
            .args(["mcp", "--url", url, "--agent", "claude-7f3a"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines() }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.say(&serde_json::json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }));
        serde_json::from_str(&self.output.next().unwrap().unwrap()).unwrap()
    }

    fn begin(&mut self) -> Value {
        let hello = serde_json::json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
        });
        let answer = self.ask("initialize", &hello);
        self.say(&serde_json::json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        answer
    }
}

#[tokio::test]
async fn an_agent_answers_over_standard_input_and_output() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let session = said(&server, &["session", "new"]);
    said(&server, &["send", &session, "six times seven?"]);
    let mut relay = Relay::start(&server.url);
    assert!(relay.begin()["result"]["serverInfo"].is_object());
    let mut tool = |name: &str, arguments: Value| {
        let answer = relay.ask("tools/call", &serde_json::json!({ "name": name, "arguments": arguments }));
        answer["result"]["structuredContent"].clone()
    };
    let pending = tool("get_pending_messages", serde_json::json!({ "session_id": session }));
    let message = &pending["messages"][0];
    assert_eq!(message["message"], "six times seven?", "{pending}");
    let answer = serde_json::json!({
        "session_id": session, "message_id": message["id"], "handle": message["handle"], "response": "forty-two",
    });
    tool("send_response_to_web", answer);
    let list = json(&server, &["session", "list"]);
    assert_eq!(list[0]["last_message"]["text"], "forty-two", "{list}");
    assert_eq!(list[0]["presence"]["consumer"], "claude-7f3a", "{list}");
    drop(relay.input);
    assert!(relay.child.wait().unwrap().success());
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && stdout(&output).contains("receive"), "{shell}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn completions_end_quietly_with_their_reader_and_fail_on_a_full_disk() {
    let print = |to: Stdio| program().args(["completions", "bash"]).stdout(to).output().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let cut = print(writer.into());
    assert_eq!((cut.status.code(), stderr(&cut)), (Some(0), String::new()));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = print(full.into());
    let said = stderr(&full);
    assert!(full.status.code() == Some(1) && said.starts_with("error: No space left on device"), "{said}");
}

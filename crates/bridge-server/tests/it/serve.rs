//! How a server starts, refuses to start, and stops.

use std::{
    collections::HashSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bridge::{Data, Http, PATIENCE, Server, Unanswered, look_again, program, run, stderr, stdout};

/// What a server may take to stop when nothing holds it up but its clients.
const STOP: Duration = Duration::from_secs(10);

/// Who calls a server all the time while it is told to stop.
const SENDERS: usize = 64;
const WAITING: usize = 16;
const STREAMS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_loses_nothing_it_confirmed() {
    let data = Data::new();
    let http = Http::new();
    let mut server = Server::start(&data.path());
    let session = http.open(&server.url).await;
    let url = format!("{}/api/sessions/{session}/messages", server.url);
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let session = http.open(&server.url).await;
        waiting.push(tokio::spawn(wait_for_a_message(http.clone(), server.url.clone(), session)));
    }
    let streams: Vec<_> = (0..STREAMS).map(|_| follow(&server.url)).collect();

    let enough = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| tokio::spawn(send_until_refused(http.clone(), url.clone(), sender, enough.clone())))
        .collect();
    poll(|| enough.load(Ordering::SeqCst) == SENDERS).await;
    server.signal(Signal::TERM);
    is_not_ready(&server.url).await;
    let status = server.ended(STOP).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());

    let mut confirmed = Vec::new();
    for sender in senders {
        confirmed.extend(tokio::time::timeout(PATIENCE, sender).await.unwrap().unwrap());
    }
    for waits in waiting {
        waits.await.unwrap();
    }
    for mut stream in streams {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let end = String::from_utf8_lossy(&rest);
        assert!(end.ends_with("0\r\n\r\n"), "the stream of events was cut off: {end}");
    }

    let server = Server::start(&data.path());
    let stored = http.messages(&server.url, &session).await;
    let stored: HashSet<_> = stored.iter().map(|message| message["id"].as_str().unwrap()).collect();
    for id in &confirmed {
        assert!(stored.contains(id.as_str()), "{id} was confirmed and is gone");
    }
    assert!(confirmed.len() >= SENDERS * ENOUGH);
}

/// What each sender sends before the server stops.
const ENOUGH: usize = 5;

/// Each call is confirmed or refused with 503, and none is cut off; in the end nobody listens.
async fn send_until_refused(http: Http, url: String, sender: usize, enough: Arc<AtomicUsize>) -> Vec<String> {
    let mut confirmed = Vec::new();
    loop {
        let message = json!({ "text": format!("{sender}-{}", confirmed.len()), "from": "user" });
        match http.call(Method::POST, &url, None, Some(&message)).await {
            Ok((200..300, answer)) => confirmed.push(answer["message_id"].as_str().unwrap().to_owned()),
            Ok((503, _)) | Err(Unanswered::NoConnection) => return confirmed,
            other => panic!("{other:?}"),
        }
        if confirmed.len() == ENOUGH {
            enough.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// An agent that waits when the server stops is sent home.
async fn wait_for_a_message(http: Http, url: String, session: String) {
    let receive = json!({ "mailbox": format!("session:{session}/agent"), "wait_ms": 60_000 });
    match http.call(Method::POST, &format!("{url}/api/receive"), None, Some(&receive)).await {
        Ok((200, received)) => assert_eq!(received["directive"]["reason"], "shutting_down", "{received}"),
        other => panic!("{other:?}"),
    }
}

/// Sees that the server is not ready any more, within a second.
async fn is_not_ready(url: &str) {
    let ready = format!("{url}/health/ready");
    let refused = async {
        loop {
            match Http::new().call(Method::GET, &ready, None, None).await {
                Ok((200, _)) => look_again().await,
                Ok((503, told)) => return assert_eq!(told["checks"]["server"], "shutting_down", "{told}"),
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1), refused).await.expect("a stopping server is not ready");
}

/// Opens a stream of events by hand, so that its end can be looked at byte by byte.
fn follow(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /api/events?after=head HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    )
    .unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    stream
}

async fn poll(mut condition: impl FnMut() -> bool) {
    let met = async {
        while !condition() {
            look_again().await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect("the condition is met in time");
}

#[tokio::test]
async fn a_stopping_server_is_not_ready_and_a_second_signal_ends_it_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let data = Data::new();
        let http = Http::new();
        let mut server = Server::start(&data.path());
        let ready = format!("{}/health/ready", server.url);
        assert_eq!(http.get(&ready).await["status"].as_str(), Some("ready"));

        // A call that never arrives whole: the server waits for it as long as it may.
        let address = server.url.strip_prefix("http://").unwrap().to_owned();
        let mut unfinished = TcpStream::connect(&address).unwrap();
        write!(unfinished, "GET /api/sessions HTTP/1.1\r\nhost: {address}\r\n").unwrap();
        http.get(&ready).await;

        server.signal(Signal::TERM);
        is_not_ready(&server.url).await;
        server.signal(second);
        let status = server.ended(Duration::from_secs(1)).await;
        assert_eq!(status.code(), Some(1), "{}", server.log());
    }
}

#[tokio::test]
async fn a_server_whose_terminal_goes_away_stops_as_if_it_were_told() {
    let data = Data::new();
    let mut server = Server::start(&data.path());
    // A terminal may say so more than once.
    server.signal(Signal::HUP);
    server.signal(Signal::HUP);
    let status = server.ended(STOP).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

#[tokio::test]
async fn a_server_that_is_to_outlive_its_terminal_does() {
    let data = Data::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap "" HUP; exec "$0" serve --json --listen 127.0.0.1:0 --data "$1""#]);
    shell.arg(program().get_program()).arg(data.path());
    let mut server = Server::of(shell);
    server.signal(Signal::HUP);
    assert_eq!(Http::new().get(&format!("{}/health/live", server.url)).await["status"], "live");
    server.signal(Signal::TERM);
    let status = server.ended(STOP).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(!server.log().contains("SIGHUP"), "{}", server.log());
}

#[tokio::test]
async fn the_data_belongs_to_one_process() {
    let data = Data::new();
    let server = Server::start(&data.path());
    let second = run(&["serve", "--listen", "127.0.0.1:0", "--data", &data.text()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("Another bridge is using"), "{}", stderr(&second));
    assert!(stderr(&second).contains("--data"), "{}", stderr(&second));

    let check = run(&["check", "--data", &data.text()]);
    assert_eq!(check.status.code(), Some(1));
    assert!(stderr(&check).contains("Another bridge is using"), "{}", stderr(&check));
    drop(server);
}

#[test]
fn a_setting_that_makes_no_sense_is_named_before_anything_is_made() {
    let data = Data::new();
    let serve = || {
        let mut program = program();
        // What is made below the working directory is seen too.
        program.current_dir(data.home()).arg("serve");
        program
    };
    let refused = |setting: &str, expected: &str, program: &mut Command| {
        let output = program.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(setting) && said.contains(expected), "{setting}, {expected}: {said}");
        assert_eq!((stdout(&output), data.names()), (String::new(), Vec::new()), "{said}");
    };
    let settings = [
        ("--listen", "BRIDGE_LISTEN", "here", "an address reads like 127.0.0.1:8765"),
        ("--listen", "BRIDGE_LISTEN", "0.0.0.0:0", "there is no authentication yet"),
        ("--listen", "BRIDGE_LISTEN", "[::]:0", "there is no authentication yet"),
        ("--listen", "BRIDGE_LISTEN", "192.0.2.1:8765", "there is no authentication yet"),
        ("--data", "BRIDGE_DATA", "", "a value is required"),
        ("--durability", "BRIDGE_DURABILITY", "some", "possible values: full, normal"),
        ("--allow-origin", "BRIDGE_ALLOW_ORIGIN", "*", "is no origin such as https://notes.example"),
        ("--allow-origin", "BRIDGE_ALLOW_ORIGIN", "https://a.example,", "is no origin such as"),
        ("--allow-host", "BRIDGE_ALLOW_HOST", "http://a.example", "is no host such as bridge.example"),
        ("--log-format", "BRIDGE_LOG_FORMAT", "xml", "possible values: text, json"),
        ("--log-level", "BRIDGE_LOG", "loud", "a level is off, error, warn"),
        ("--config", "BRIDGE_CONFIG", "/nowhere/bridge.toml", "it cannot be read"),
        ("--public-url", "", "https://a.example", "unexpected argument"),
    ];
    for (flag, variable, value, expected) in settings {
        refused(flag, expected, serve().args([flag, value]));
        if !variable.is_empty() {
            refused(flag, expected, serve().env(variable, value));
        }
    }
}

#[test]
fn a_taken_port_is_said_with_what_to_do() {
    let data = Data::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let output = run(&["serve", "--listen", &address, "--data", &data.text()]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&address) && said.contains("in use") && said.contains("--listen"), "{said}");
}

#[tokio::test]
async fn damaged_data_is_named_at_start_and_by_a_check() {
    let data = Data::new();
    let http = Http::new();
    let mut server = Server::start(&data.path());
    let session = http.open(&server.url).await;
    let url = format!("{}/api/sessions/{session}/messages", server.url);
    for number in 0..50 {
        http.post(&url, &json!({ "text": format!("{number} {}", "x".repeat(1000)), "from": "user" })).await;
    }
    server.signal(Signal::TERM);
    assert!(server.ended(STOP).await.success());
    let sound = run(&["check", "--data", &data.text()]);
    assert_eq!(sound.status.code(), Some(0), "{}{}", stdout(&sound), stderr(&sound));
    assert!(stdout(&sound).contains("is sound"), "{}", stdout(&sound));

    let file = data.path().join("bridge.db");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    let middle = end / 2;
    bytes[middle..middle + 4096.min(end - middle)].fill(0xff);
    fs::write(&file, &bytes).unwrap();

    let check = run(&["check", "--data", &data.text()]);
    assert_eq!(check.status.code(), Some(1), "{}", stdout(&check));
    let said = stdout(&check) + &stderr(&check);
    assert!(said.contains("damaged") && said.contains(&data.text()), "{said}");

    let start = run(&["serve", "--listen", "127.0.0.1:0", "--data", &data.text()]);
    assert_eq!(start.status.code(), Some(1));
    let said = stderr(&start);
    assert!(said.contains("damaged") && said.contains("bridge.db"), "{said}");
}

#[test]
fn data_that_is_not_there_is_said() {
    let data = Data::new();
    let refused = |expected: &str| {
        let check = run(&["check", "--data", &data.text()]);
        assert_eq!(check.status.code(), Some(1));
        let said = stderr(&check);
        assert!(said.contains(&data.text()) && said.contains(expected), "{said}");
    };
    refused("There is no directory");
    assert!(!data.path().exists(), "a check made a directory");
    fs::create_dir(data.path()).unwrap();
    refused("there is no bridge.db");
}

#[test]
fn a_wrong_configuration_names_file_line_and_key_before_anything_is_made() {
    let data = Data::new();
    for (line, expected) in [
        ("lissten = '127.0.0.1:0'", "unknown field `lissten`"),
        ("listen = '0.0.0.0:0'", "there is no authentication yet"),
        ("data = ''", "no directory is named"),
        ("durability = 'some'", "unknown variant `some`"),
        ("allow_origin = ['*']", "is no origin such as https://notes.example"),
        ("allow_host = ['http://a.example']", "is no host such as bridge.example"),
        ("log_format = 'xml'", "unknown variant `xml`"),
        ("log_level = 'loud'", "a level is off, error, warn"),
    ] {
        let file = data.file("bridge.toml", &format!("# Comment\n\n{line}\n"));
        let output = program().current_dir(data.home()).args(["serve", "--config", &file]).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let place = format!("line 3, `{line}`");
        assert!(said.contains(&file) && said.contains(&place) && said.contains(expected), "{said}");
        assert_eq!(data.names(), ["bridge.toml"], "{said}");
    }
}

#[test]
fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let (by_file, by_environment, by_flag) = (Data::new(), Data::new(), Data::new());
    let config =
        by_file.file("bridge.toml", &format!("data = '{}'\nlisten = '127.0.0.1:0'\n", by_file.text()));
    let serve = |environment: Option<&Data>, flag: Option<&Data>| {
        let mut program = program();
        program.args(["serve", "--json", "--config", &config]);
        if let Some(data) = environment {
            program.env("BRIDGE_DATA", data.path());
        }
        if let Some(data) = flag {
            program.arg("--data").arg(data.path());
        }
        Server::of(program).data.clone()
    };
    assert_eq!(serve(None, None), by_file.text());
    assert_eq!(serve(Some(&by_environment), None), by_environment.text());
    assert_eq!(serve(Some(&by_environment), Some(&by_flag)), by_flag.text());
}

#[tokio::test]
async fn the_page_and_the_mcp_door_are_there() {
    let data = Data::new();
    let http = Http::new();
    let server = Server::start(&data.path());
    let (status, _) = http.try_call(Method::GET, &format!("{}/", server.url), None, None).await.unwrap();
    assert_eq!(status, 200);
    let discover = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } },
    });
    let request = Method::POST;
    let (status, _) =
        http.try_call(request, &format!("{}/mcp", server.url), None, Some(&discover)).await.unwrap();
    // This client does not accept streams, which the protocol demands: the door is there and says so.
    assert_eq!(status, 406);
}

#[tokio::test]
async fn what_was_done_is_counted_for_a_scraper() {
    let data = Data::new();
    let http = Http::new();
    let server = Server::start(&data.path());
    let url = format!("{}/metrics", server.url);
    let value = |text: &str, name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        found.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<f64>().unwrap()
    };
    let (status, before) = http.text(Method::GET, &url).await;
    assert_eq!(status, 200);
    for n in 0..3 {
        http.post(
            &format!("{}/api/send", server.url),
            &json!({"from": "a", "to": "b", "text": n.to_string()}),
        )
        .await;
    }
    let (_, after) = http.text(Method::GET, &url).await;
    let risen = |name: &str| value(&after, name) - value(&before, name);
    for name in ["bridge_shard_commits_total", "bridge_shard_commands_total", "bridge_store_commits_total"] {
        assert!((3.0..10.0).contains(&risen(name)), "{name}: {}", risen(name));
    }
    assert!(risen("bridge_store_changes_total") >= 3.0);
    assert!(risen("process_cpu_seconds_total") > 0.0);
    assert_eq!(value(&after, "bridge_shard_reloads_total"), 0.0);
    for (name, kind) in after.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        assert!(kind == "counter" && name.ends_with("_total"), "{name} is a {kind}");
    }

    assert_eq!(http.text(Method::HEAD, &url).await, (200, String::new()));
    assert_eq!(http.text(Method::POST, &url).await.0, 405);
    assert_eq!(http.text(Method::GET, &format!("{url}/more")).await.0, 404);
}

#[tokio::test]
async fn a_json_log_is_json() {
    let data = Data::new();
    let http = Http::new();
    let mut server = Server::start_at("127.0.0.1:0", &data.path(), &["--log-format", "json"]);
    http.get(&format!("{}/health/live", server.url)).await;
    server.signal(Signal::TERM);
    assert!(server.ended(STOP).await.success());
    let log = server.log();
    assert!(!log.is_empty());
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["level"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn what_waits_in_the_store_is_not_held_in_memory() {
    const MIB: u64 = 1 << 10;
    const MESSAGES: u64 = 96;
    let data = Data::new();
    let http = Http::new();
    let server = Server::start(&data.path());
    let message = json!({"from": "anna", "to": "worker", "payload": "x".repeat(1_000 << 10)});
    http.post(&format!("{}/api/send", server.url), &message).await;
    let before = server.resident();
    for _ in 0..MESSAGES {
        http.post(&format!("{}/api/send", server.url), &message).await;
    }
    let grown = server.resident() - before;
    // The payloads of the last ones, buffers, and what the allocator has not given back yet.
    assert!(grown < 72 * MIB, "{MESSAGES} messages of a MiB have made the program {grown} KiB larger");
}

//! The real program as a process, and a client of its own, which shares no code with the program's.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program, with nothing of this process's environment that could tell it something.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bridge"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("BRIDGE_")) {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory for data, gone with the test.
pub(crate) struct Data(TempDir);

impl Data {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn text(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// The directory that the data would be in.
    pub(crate) fn home(&self) -> &Path {
        self.0.path()
    }

    /// What there is in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Writes a file beside the data.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A running server. Dropping it ends it as a power cut would.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) data: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server on a free port, and returns once it listens.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_at("127.0.0.1:0", data, &[])
    }

    pub(crate) fn start_at(address: &str, data: &Path, arguments: &[&str]) -> Self {
        let mut program = program();
        program.args(["serve", "--json", "--listen", address, "--data"]).arg(data).args(arguments);
        Self::of(program)
    }

    /// Runs a command that serves and tells so in JSON.
    pub(crate) fn of(mut program: Command) -> Self {
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sink, mut source) = (log.clone(), child.stderr.take().unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(started) = serde_json::from_str::<Value>(&line) else {
            panic!("the server did not start: {:?} {line} {}", child.wait(), log.lock().unwrap());
        };
        let text = |name: &str| started[name].as_str().unwrap().to_owned();
        Self { child, url: text("url"), data: text("data"), log }
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let end = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                look_again().await;
            }
        };
        let ended = tokio::time::timeout(within, end).await;
        ended.unwrap_or_else(|_| panic!("the server did not end within {within:?}: {}", self.log()))
    }

    /// Processor time that the process has used so far, in hundredths of a second.
    pub(crate) fn processor_time(&self) -> u64 {
        let stat = self.stat();
        stat[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Whether the process has come to its end, as far as that is up to itself.
    pub(crate) fn has_left(&self) -> bool {
        self.stat()[0] == "Z"
    }

    /// What the system says of the process: the words behind its name, which may hold anything.
    fn stat(&self) -> Vec<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let (_, words) = stat.rsplit_once(')').unwrap();
        words.split_whitespace().map(str::to_owned).collect()
    }

    /// Memory that the process has in use, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Files and sockets that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits a moment before a condition is looked at again.
#[expect(
    clippy::disallowed_methods,
    reason = "another process is watched, which tells no one when it changes"
)]
pub(crate) async fn look_again() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// A status and a JSON body.
pub(crate) type Answer = (u16, Value);

/// Why a call has no whole answer.
#[derive(Debug)]
#[expect(dead_code, reason = "the reason is for whoever reads of the failure")]
pub(crate) enum Unanswered {
    /// Nobody listens.
    NoConnection,
    /// It was sent, and what came back is not whole.
    Cut(String),
}

/// Speaks HTTP and JSON.
#[derive(Clone)]
pub(crate) struct Http(legacy::Client<HttpConnector, Full<Bytes>>);

impl Http {
    pub(crate) fn new() -> Self {
        Self(legacy::Client::builder(TokioExecutor::new()).build(HttpConnector::new()))
    }

    /// Calls, or says that there was no whole answer.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        url: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Answer> {
        self.call(method, url, key, body).await.ok()
    }

    /// Calls, or says why there was no whole answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        url: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, Unanswered> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Full::from(body.to_string())).unwrap()
            }
            None => request.body(Full::default()).unwrap(),
        };
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| {
                if error.is_connect() {
                    Unanswered::NoConnection
                } else {
                    Unanswered::Cut(format!("{error:?}"))
                }
            })?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await;
            let body = body.map_err(|error| Unanswered::Cut(format!("{error:?}")))?.to_bytes();
            Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer comes in time")
    }

    /// The status and the text of an answer that is no JSON.
    pub(crate) async fn text(&self, method: Method, url: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(url).body(Full::default()).unwrap();
        let response = self.0.request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub(crate) async fn get(&self, url: &str) -> Value {
        let (status, body) = self.try_call(Method::GET, url, None, None).await.expect("the server answers");
        assert_eq!(status, 200, "{url}: {body}");
        body
    }

    pub(crate) async fn post(&self, url: &str, body: &Value) -> Value {
        let (status, answer) =
            self.try_call(Method::POST, url, None, Some(body)).await.expect("the server answers");
        assert!((200..300).contains(&status), "{url}: {status} {answer}");
        answer
    }

    /// Opens a session and tells its id.
    pub(crate) async fn open(&self, url: &str) -> String {
        let session = self.post(&format!("{url}/api/sessions"), &serde_json::json!({})).await;
        session["id"].as_str().unwrap().to_owned()
    }

    /// All messages of a session, oldest first.
    pub(crate) async fn messages(&self, url: &str, session: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut query = String::new();
        loop {
            let page = self.get(&format!("{url}/api/sessions/{session}/messages?limit=100{query}")).await;
            let mut older = page["data"].as_array().unwrap().clone();
            older.append(&mut messages);
            messages = older;
            match page["next_cursor"].as_str() {
                Some(cursor) => query = format!("&cursor={cursor}"),
                None => return messages,
            }
        }
    }
}

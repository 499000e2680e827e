//! The commands of an operator: what stands still, what was given up, how mailboxes are.

use serde_json::{Value, json};

use crate::bridge::{Data, Http, Server, run, stderr, stdout};

/// A server, and a client that plays those who send and take.
struct Stage {
    server: Server,
    http: Http,
    _data: Data,
}

impl Stage {
    fn new() -> Self {
        let data = Data::new();
        Self { server: Server::start(&data.path()), http: Http::new(), _data: data }
    }

    fn run(&self, command: &str) -> std::process::Output {
        let words: Vec<_> = command.split_whitespace().collect();
        run(&[&["--url", self.server.url.as_str()], &words[..]].concat())
    }

    /// What a command printed, if it went well.
    fn said(&self, command: &str) -> String {
        let output = self.run(command);
        let said = (output.status.code(), stderr(&output));
        assert_eq!(said, (Some(0), String::new()), "{command}");
        stdout(&output).trim_end().to_owned()
    }

    fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.said(&format!("--json {command}"))).unwrap()
    }

    /// What a command that failed said, and how it ended.
    fn failed(&self, command: &str) -> (i32, String) {
        let output = self.run(command);
        assert_eq!(stdout(&output), "", "{command}");
        (output.status.code().unwrap(), stderr(&output))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.http.post(&format!("{}{path}", self.server.url), &body).await
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(&format!("{}{path}", self.server.url)).await
    }

    /// Somebody sends; tells the message's id.
    async fn send(&self, to: &str, kind: &str) -> String {
        let sent =
            self.post("/api/send", json!({"from": "shop", "to": to, "type": kind, "payload": 1})).await;
        sent["message_id"].as_str().unwrap().to_owned()
    }

    /// Somebody takes a message; tells the token.
    async fn take(&self, mailbox: &str) -> String {
        let taken = self.post("/api/receive", json!({"mailbox": mailbox, "consumer": "p1"})).await;
        taken["deliveries"][0]["token"].as_str().unwrap().to_owned()
    }

    async fn reject(&self, mailbox: &str, reason: &str) {
        let token = self.take(mailbox).await;
        self.post("/api/settle", json!({"token": token, "outcome": "reject", "reason": reason})).await;
    }
}

/// The delivery of a message.
fn delivery(message: &str) -> String {
    message.replace("msg_", "dlv_")
}

/// The lines of a table, each as its words.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// The value behind a name in what is shown of one mailbox.
fn fact(shown: &str, name: &str) -> String {
    let fact = shown.lines().find_map(|line| line.strip_prefix(&format!("  {name:14}")));
    fact.unwrap_or_else(|| panic!("no {name} in {shown}")).to_owned()
}

#[tokio::test]
async fn why_says_what_holds_a_message_up() {
    let stage = Stage::new();
    let message = stage.send("printer", "job").await;
    let delivery = delivery(&message);
    let said = stage.said(&format!("why {message}"));
    let begin = format!("{delivery} (pending): nobody has asked for deliveries of its mailbox since 20");
    assert!(said.starts_with(&begin), "{said}");
    assert_eq!(stage.json(&format!("why {delivery}"))["reason"], "no_consumer");

    stage.take("printer").await;
    let said = stage.said(&format!("why {delivery}"));
    assert!(said.starts_with(&format!("{delivery} (leased): p1 works on it, attempt 1, until 20")), "{said}");

    let unknown = "dlv_00000000000000000000000000000007";
    let because = format!("  because: there is no delivery {unknown}\n");
    let (code, said) = stage.failed(&format!("why {unknown}"));
    assert_eq!((code, said), (1, format!("error: There is no such delivery (unknown_delivery)\n{because}")));
    let (code, said) = stage.failed(&format!("--json why {unknown}"));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["error"]["code"]), (1, &json!("unknown_delivery")));
    for wrong in ["m1", "dlv_xx", "msg_01a1"] {
        let (code, said) = stage.failed(&format!("why {wrong}"));
        let told = "an id is dlv_ or msg_ and 32 hexadecimal digits, as `bridge send` prints it";
        assert!(code == 2 && said.lines().next().unwrap().ends_with(told), "{said}");
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_redriven() {
    let stage = Stage::new();
    assert_eq!(stage.said("dead list"), "Nothing was given up.");
    let first = stage.send("printer", "job").await;
    stage.reject("printer", "out of\npaper\u{1b}[2J").await;
    let second = stage.send("mill", "job").await;
    stage.reject("mill", "no wind").await;
    let third = stage.send("mill", "note").await;
    stage.reject("mill", "no wind").await;

    let list = stage.said("dead list");
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(rows(&list)[0].join(" "), "DELIVERY MAILBOX REASON SINCE REDRIVEN LAST ERROR");
    let newest: Vec<_> = rows(&list)[1..].iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(newest, [&third, &second, &first].map(|message| delivery(message)));
    assert!(lines[3].ends_with("out of paper\u{fffd}[2J"), "{list:?}");
    assert_eq!(rows(&stage.said("dead list --mailbox printer")).len(), 2);
    assert_eq!(rows(&stage.said("dead list --type job --reason rejected")).len(), 3);
    assert_eq!(stage.said("dead list --reason expired"), "Nothing was given up.");
    let short = stage.said("dead list --limit 2");
    assert_eq!(short.lines().last(), Some("There are more; see --limit."));
    assert_eq!(stage.json("dead list")["data"][0]["reason"], "rejected");

    // Nothing is redriven unless it is said what.
    let (code, said) = stage.failed("dead redrive");
    assert_eq!(code, 2, "{said}");
    let again = stage.said(&format!("dead redrive {first}"));
    let successor = again.strip_suffix(" waits anew").unwrap().to_owned();
    assert_eq!(stage.said(&format!("dead redrive {first}")), again, "asking again gives the first result");
    let why = stage.said(&format!("why {first}"));
    assert!(
        why.ends_with(&format!("(dead): it was given up: rejected; it was sent again as {successor}")),
        "{why}"
    );
    let list = stage.said("dead list --mailbox printer");
    assert_eq!(rows(&list)[1][4], "yes", "{list}");

    assert_eq!(stage.said("dead list --mailbox mill --reason expired"), "Nothing was given up.");
    assert_eq!(stage.said("dead redrive --mailbox mill --reason expired"), "0 redriven");
    assert_eq!(stage.said("dead redrive --mailbox mill --type note --dry-run"), "1 would be redriven");
    assert_eq!(stage.said("dead redrive --mailbox mill --type note --rate-per-s 9"), "1 redriven");
    let all = stage.json("dead redrive --all");
    assert_eq!(all["redriven"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(stage.said("dead redrive --all"), "0 redriven");

    for wrong in [
        "dead list --limit 0",
        "dead list --mailbox all",
        "dead redrive --reason bored",
        "dead redrive --all --mailbox mill",
        "dead redrive m1",
    ] {
        assert_eq!(stage.failed(wrong).0, 2, "{wrong}");
    }
    let (code, said) = stage.failed("dead redrive dlv_00000000000000000000000000000007");
    assert!(code == 1 && said.contains("(unknown_delivery)"), "{said}");
}

#[tokio::test]
async fn dead_letters_are_listed_however_many_pages_they_take() {
    const COUNT: usize = 150;
    let stage = Stage::new();
    let long = "\u{1f9e8}".repeat(1_000);
    for _ in 0..COUNT {
        stage.send("mill", "job").await;
        stage.reject("mill", &long).await;
    }
    let page = stage.get("/api/dead-letters?limit=1000").await;
    assert!(
        page["data"].as_array().unwrap().len() < COUNT && page["next_cursor"].is_string(),
        "one page is enough"
    );
    let all = stage.said("dead list --limit 1000");
    assert_eq!((rows(&all).len(), all.contains("There are more")), (1 + COUNT, false));
    let most = stage.said(&format!("dead list --limit {}", COUNT - 1));
    assert_eq!((rows(&most).len(), most.contains("There are more")), (COUNT + 1, true));
}

#[tokio::test]
async fn a_mailbox_that_is_not_there_is_told_by_who_looks_for_its_dead_letters() {
    let stage = Stage::new();
    let because = "  because: there is no mailbox nope\n";
    let told = format!("error: There is no such mailbox (unknown_mailbox)\n{because}");
    for command in ["dead list", "dead redrive", "dead redrive --dry-run"] {
        assert_eq!(stage.failed(&format!("{command} --mailbox nope")), (1, told.clone()), "{command}");
    }
    // What it has left behind is there to be seen, and to be told of.
    stage.send("mill", "job").await;
    stage.reject("mill", "no wind").await;
    stage.said("mailbox delete mill");
    assert_eq!(rows(&stage.said("dead list --mailbox mill")).len(), 2);
    assert_eq!(stage.said("dead redrive --mailbox mill --dry-run"), "1 would be redriven");
    let session = stage.said("session new");
    let side = format!("dead list --mailbox session:{session}/agent");
    assert_eq!(stage.said(&side), "Nothing was given up.");
}

#[tokio::test]
async fn what_cannot_be_redriven_is_said_and_fails() {
    let stage = Stage::new();
    let session = stage.said("session new");
    stage.said(&format!("send {session} hello"));
    let to = format!("session:{session}/agent");
    stage.reject(&to, "no").await;
    let url = format!("{}/api/sessions/{session}", stage.server.url);
    let (status, _) = stage.http.call(http::Method::DELETE, &url, None, None).await.unwrap();
    assert!((200..300).contains(&status), "{status}");
    let output = stage.run("dead redrive --all");
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    // The message, and the bounce of it.
    assert_eq!(said, "0 redriven, 2 refused; the first: The session is closed\n");
}

#[tokio::test]
async fn a_mailbox_is_set_shown_paused_purged_and_removed() {
    let stage = Stage::new();
    assert_eq!(stage.said("mailbox list"), "There is no mailbox yet. The first message to a name makes one.");
    let shown = stage.said("mailbox set jobs --class agent --max-failures 1");
    assert_eq!(shown.lines().next(), Some("jobs"));
    assert_eq!(fact(&shown, "class"), "agent");
    assert_eq!(fact(&shown, "given up"), "at failure 1");
    assert_eq!(fact(&shown, "waiting"), "0 of 10000");
    // What is not named stays.
    let shown = stage.said("mailbox set jobs --lease 45s --on-backoff skip --max-pending 7");
    assert_eq!(fact(&shown, "lease"), "45s, credit 20");
    assert_eq!(fact(&shown, "order"), "keyed, back-off: skip");
    assert_eq!(
        (fact(&shown, "given up"), fact(&shown, "waiting")),
        ("at failure 1".to_owned(), "0 of 7".to_owned())
    );
    assert_eq!(stage.said("mailbox show jobs"), shown);
    assert_eq!(stage.json("mailbox show jobs")["lease_ms"], 45_000);
    let shown = stage.said("mailbox set jobs --lease default --max-failures default --max-pending default");
    assert_eq!(
        (fact(&shown, "lease"), fact(&shown, "given up"), fact(&shown, "waiting")),
        ("600s, credit 20".to_owned(), "at failure 5".to_owned(), "0 of 10000".to_owned())
    );

    stage.send("jobs", "job").await;
    stage.send("group:mill", "job").await;
    stage.take("group:mill").await;
    let list = stage.said("mailbox list");
    let list = rows(&list);
    assert_eq!(list[0].join(" "), "MAILBOX CLASS STATE WAITING LEASED OLDEST SINCE");
    assert_eq!(list[1][..5], ["jobs", "agent", "away", "1", "0"]);
    assert_eq!(list[2][..5], ["group:mill", "service", "working", "0", "1"]);
    assert_eq!(stage.json("mailbox list")[1]["name"], "group:mill");
    assert!(fact(&stage.said("mailbox show group:mill"), "made").starts_with("by its first use"));

    assert_eq!(stage.said("mailbox pause jobs --by Jürgen"), "jobs hands out nothing now");
    assert!(fact(&stage.said("mailbox show jobs"), "paused").starts_with("by Jürgen at 20"));
    assert_eq!(stage.said("mailbox resume jobs"), "jobs hands out again");
    assert_eq!(stage.said("mailbox pause jobs --by anna"), "jobs hands out nothing now");
    assert!(fact(&stage.said("mailbox show jobs"), "paused").starts_with("by anna at 20"));
    assert_eq!(rows(&stage.said("mailbox list"))[1][2], "paused");
    assert_eq!(stage.said("mailbox resume jobs"), "jobs hands out again");

    let (code, said) = stage.failed("mailbox delete jobs");
    let because = "  because: jobs is not empty: 1 waiting, 0 leased\n";
    assert_eq!((code, said), (1, format!("error: The mailbox is not empty (mailbox_not_empty)\n{because}")));
    let would = "would withdraw 1 waiting and ask back 0 leased; add --yes to do it";
    assert_eq!(stage.said("mailbox purge jobs"), would);
    assert_eq!(stage.said("mailbox purge jobs --yes"), "withdrew 1 waiting and asked back 0 leased");
    assert_eq!(stage.json("mailbox purge jobs"), json!({"dry_run": true, "pending": 0, "leased": 0}));
    assert_eq!(stage.said("mailbox delete jobs"), "jobs is removed");
    let (code, said) = stage.failed("mailbox show jobs");
    assert!(code == 1 && said.starts_with("error: There is no such mailbox (unknown_mailbox)"), "{said}");

    for wrong in [
        "mailbox set all",
        "mailbox set jobs --class king",
        "mailbox set jobs --order up",
        "mailbox set jobs --on-backoff wait",
        "mailbox set jobs --lease 30",
        "mailbox set jobs --max-pending few",
        "mailbox show",
    ] {
        assert_eq!(stage.failed(wrong).0, 2, "{wrong}");
    }
    let (code, said) = stage.failed("mailbox set session:default/agent");
    assert!(code == 1 && said.contains("(mailbox_of_session)"), "{said}");
}

#[tokio::test]
async fn status_counts_what_there_is() {
    let stage = Stage::new();
    stage.send("printer", "job").await;
    stage.send("printer", "job").await;
    stage.take("printer").await;
    stage.said("mailbox set mill");
    stage.said("mailbox pause mill");
    let told = |waiting: u32, given_up: &str| {
        let counts = format!("  waiting    {waiting}\n  leased     1\n  receives   0 waiting");
        format!("the bridge is healthy\n  mailboxes  2 (1 paused)\n{counts}\n  given up   {given_up}")
    };
    assert_eq!(stage.said("status"), told(1, "0"));
    let given_up = [stage.send("mill", "job").await, stage.send("mill", "job").await];
    stage.said("mailbox resume mill");
    stage.reject("mill", "no wind").await;
    stage.reject("mill", "no wind").await;
    stage.said("mailbox pause mill");
    assert_eq!(stage.said("status"), told(1, "2; see `bridge dead list`"));
    assert_eq!(stage.json("status")["given_up"], json!({"count": 2, "redriven": 0, "more": false}));
    let [first, second] = given_up;
    stage.said(&format!("dead redrive {first}"));
    assert_eq!(stage.said("status"), told(2, "1, and 1 redriven; see `bridge dead list`"));
    stage.said(&format!("dead redrive {second}"));
    assert_eq!(stage.said("status"), told(3, "0, and 2 redriven"));
    let told = stage.json("status");
    assert_eq!((&told["mailboxes"], &told["paused"], &told["waiting"]), (&json!(2), &json!(1), &json!(3)));
    let Stage { mut server, .. } = stage;
    server.kill();
    let output = run(&["--url", &server.url, "status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not answer. Start it with `bridge serve`"), "{}", stderr(&output));
}

#[tokio::test]
async fn status_counts_dead_letters_up_to_a_page_of_them() {
    let stage = Stage::new();
    stage.said("mailbox set mill --class service");
    for _ in 0..101 {
        stage.send("mill", "job").await;
        stage.reject("mill", "no wind").await;
    }
    let told = stage.said("status");
    assert_eq!(told.lines().last(), Some("  given up   100 or more; see `bridge dead list`"));
    assert_eq!(stage.json("status")["given_up"]["more"], true);
}

#[tokio::test]
async fn a_check_says_what_it_counts_and_what_to_do_about_damage() {
    let stage = Stage::new();
    stage.send("printer", "job").await;
    let data = stage.server.data.clone();
    let Stage { mut server, _data: kept, .. } = stage;
    server.kill();
    let sound = stdout(&run(&["check", "--data", &data]));
    let counted: Vec<_> = rows(&sound).into_iter().filter(|row| row.len() == 2).collect();
    assert!(counted.contains(&vec!["message", "1"]) && counted.contains(&vec!["delivery", "0"]), "{sound}");
    let told = "A row of message is a message with its first delivery, the event that it was accepted and, up to 2 KiB, its \
                content.\nThe tables delivery, event and payload hold the others.";
    assert!(sound.trim_end().ends_with(told), "{sound}");

    std::fs::write(kept.path().join("bridge.db"), "no database at all".repeat(300)).unwrap();
    let damaged = run(&["check", "--data", &data]);
    let said = stderr(&damaged);
    assert_eq!(damaged.status.code(), Some(1), "{said}");
    assert!(said.contains("is damaged") && said.contains("restore a backup"), "{said}");
    assert!(!said.contains("bridge check"), "{said}");
}

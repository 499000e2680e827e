//! PostgreSQL: a table that consumers take from with `skip locked`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use futures_util::future::poll_fn;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

use super::{Consumer, Publisher, Target};
use crate::{
    payload::{Stamp, stamp_of},
    process::{self, Process, User},
    scenario::Class,
};

const TABLE: &str = "
    create table queue (id bigint generated always as identity primary key, mailbox int not null,
                        leased_until timestamptz, attempt int not null default 0, payload bytea not null);
    create index ready on queue (mailbox, id)";
const INSERT: &str = "insert into queue (mailbox, payload) values ($1, $2)";
const INSERT_AND_TELL: &str = "
    with put as (insert into queue (mailbox, payload) values ($1, $2) returning mailbox)
    select pg_notify('worker_' || mailbox, '') from put";
const CLAIM: &str = "
    update queue set leased_until = now() + interval '30 s', attempt = attempt + 1
    where id in (select id from queue where mailbox = $1 and (leased_until is null or leased_until < now())
                 order by id limit $2 for update skip locked)
    returning id, payload";
const ACK: &str = "delete from queue where id = any($1)";

/// How long a consumer that is not told waits before it looks again.
const POLL: Duration = Duration::from_millis(5);

/// How consumers learn of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Poll,
    Notify,
}

pub(super) fn look() -> Result<String> {
    ensure!(find("initdb").is_some(), "PostgreSQL's initdb is not installed");
    Ok(process::first_line(&find("postgres").context("postgres is not installed")?, &["--version"]))
}

/// Debian keeps the server's programs out of the path, a folder for each version; the newest comes first.
fn find(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    process::find(name, &folders)
}

/// A running PostgreSQL.
pub(super) struct Postgres {
    wake: Wake,
    process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Postgres {
    pub(super) async fn start(wake: Wake, class: Class, folder: &Path) -> Result<Self> {
        let user = User::instead_of_root("postgres");
        let directory = process::directory(folder, user)?;
        let cluster = directory.path().join("cluster");
        let mut initdb = Command::new(find("initdb").context("PostgreSQL's initdb is not installed")?);
        initdb.args(["--auth=trust", "--username=load", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"]);
        initdb.arg(&cluster).current_dir(directory.path());
        let address = process::free_port()?;
        let mut command = Command::new(find("postgres").context("postgres is not installed")?);
        command.arg("-D").arg(&cluster).arg("-k").arg(directory.path());
        command.args(["-p", &address.port().to_string()]);
        let commit = match class {
            Class::K => "synchronous_commit=off",
            Class::P => "synchronous_commit=on",
        };
        // No checkpoint in the middle of a measurement.
        let settings = [
            commit,
            "max_connections=300",
            "shared_buffers=256MB",
            "max_wal_size=8GB",
            "checkpoint_timeout=1h",
        ];
        command.args(settings.iter().flat_map(|setting| ["-c", *setting]));
        command.current_dir(directory.path());
        if let Some(user) = user {
            user.runs(&mut initdb);
            user.runs(&mut command);
        }
        let made = initdb.output().context("starting initdb")?;
        ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        let process = Process::start(command, &directory.path().join("log"))?;
        let mut postgres = Self { wake, process, address, _directory: directory };
        postgres.process.listening(address).await?;
        postgres.make_table().await?;
        Ok(postgres)
    }

    async fn make_table(&mut self) -> Result<()> {
        let began = std::time::Instant::now();
        // It takes connections a little before it takes statements.
        let client = loop {
            match self.connect(Arc::default()).await {
                Ok(client) => break client,
                Err(_) => self.process.still_starting(began).await?,
            }
        };
        Ok(client.batch_execute(TABLE).await?)
    }

    /// A connection; `told` is notified of each notification.
    async fn connect(&self, told: Arc<Notify>) -> Result<Client> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("load").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(_) = message {
                    told.notify_one();
                }
            }
        });
        Ok(client)
    }
}

#[async_trait]
impl Target for Postgres {
    fn process(&self) -> &Process {
        &self.process
    }

    async fn renew(&mut self) -> Result<()> {
        let client = self.connect(Arc::default()).await?;
        // What an earlier window has left to write is written before the next one begins.
        client.batch_execute("truncate queue; checkpoint").await?;
        Ok(())
    }

    async fn publisher(&self, mailbox: usize) -> Result<Box<dyn Publisher>> {
        let client = self.connect(Arc::default()).await?;
        let insert = client.prepare(match self.wake {
            Wake::Poll => INSERT,
            Wake::Notify => INSERT_AND_TELL,
        });
        let insert = insert.await?;
        Ok(Box::new(PostgresPublisher { client, insert, mailbox: i32::try_from(mailbox)? }))
    }

    async fn consumer(&self, mailbox: usize) -> Result<Box<dyn Consumer>> {
        let told = Arc::new(Notify::new());
        let client = self.connect(Arc::clone(&told)).await?;
        client.batch_execute(&format!("listen worker_{mailbox}")).await?;
        let (claim, ack) = (client.prepare(CLAIM).await?, client.prepare(ACK).await?);
        let mailbox = i32::try_from(mailbox)?;
        Ok(Box::new(PostgresConsumer {
            client,
            claim,
            ack,
            told,
            wake: self.wake,
            mailbox,
            held: Vec::new(),
        }))
    }

    async fn stop(self: Box<Self>) {
        self.process.stop().await;
    }
}

struct PostgresPublisher {
    client: Client,
    insert: Statement,
    mailbox: i32,
}

#[async_trait]
impl Publisher for PostgresPublisher {
    async fn publish(&mut self, payload: Vec<u8>) -> Result<()> {
        self.client.execute(&self.insert, &[&self.mailbox, &payload]).await?;
        Ok(())
    }
}

struct PostgresConsumer {
    client: Client,
    claim: Statement,
    ack: Statement,
    told: Arc<Notify>,
    wake: Wake,
    mailbox: i32,
    held: Vec<i64>,
}

impl PostgresConsumer {
    async fn claim(&mut self, max: usize) -> Result<Vec<Stamp>> {
        let rows = self.client.query(&self.claim, &[&self.mailbox, &i64::try_from(max)?]).await?;
        let mut stamps = Vec::with_capacity(rows.len());
        for row in rows {
            self.held.push(row.get(0));
            stamps.push(stamp_of(row.get(1)).context("a message came without its stamp")?);
        }
        Ok(stamps)
    }
}

#[async_trait]
impl Consumer for PostgresConsumer {
    async fn receive(&mut self, max: usize, wait: Duration) -> Result<Vec<Stamp>> {
        let end = tokio::time::Instant::now() + wait;
        loop {
            let stamps = self.claim(max).await?;
            let now = tokio::time::Instant::now();
            if !stamps.is_empty() || now >= end {
                return Ok(stamps);
            }
            match self.wake {
                Wake::Poll => tokio::time::sleep(POLL).await,
                // A notification that came since the last look is remembered.
                Wake::Notify => drop(tokio::time::timeout_at(end, self.told.notified()).await),
            }
        }
    }

    async fn ack(&mut self) -> Result<()> {
        if !self.held.is_empty() {
            self.client.execute(&self.ack, &[&self.held]).await?;
            self.held.clear();
        }
        Ok(())
    }
}

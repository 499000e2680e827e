//! The parts of a server, put together.

use std::{future::Future, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use bridge_core::{Policy, StoreError, StoreErrorKind};
use bridge_mcp::Endpoint;
use bridge_runtime::Bridge;
use bridge_store::{FileArchive, SqliteStore};
use bridge_transport::{HttpDoor, ServeSettings, Settings, serve};
use tokio::net::{TcpListener, TcpSocket};
use tower::util::BoxCloneSyncService;

use crate::{
    config::{ArchiveMode, Config},
    descriptors,
    metrics::{self, Counters},
    page,
};

/// How long the bridge may take to answer what was sent to it, once it stops. The connections have theirs after it.
const SETTLE: Duration = Duration::from_secs(3);

/// Connections that the system takes before they are accepted. Of a burst beyond it each client waits a second and more.
const BACKLOG: u32 = 4_096;

/// A bridge with its doors, ready to be run.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    bridge: Bridge,
    endpoints: [Endpoint; 2],
    door: HttpDoor,
}

impl Server {
    /// Takes the port and the data, and loads what is there. Nothing is answered before [`run`](Server::run).
    pub(crate) async fn start(config: &Config) -> Result<Self> {
        let listener = listen(config.listen).map_err(|error| refused(error, config.listen))?;
        let address = listener.local_addr().context("The address it listens on is unknown")?;
        let store = open(config).await?;
        let counters = Counters::new(store.clone())?;
        let policy = Policy { retentions: config.retentions.clone(), ..Policy::default() };
        let builder = Bridge::builder(store.clone()).policy(policy).metrics(counters.clone());
        let builder = match config.archive {
            ArchiveMode::Off => builder,
            ArchiveMode::Files => builder.archive(FileArchive::new(&config.data.join("archive"))),
        };
        let started = builder.start().await;
        let bridge = started.map_err(|error| explain(error, &config.data))?;
        let endpoint = || Endpoint::builder(bridge.clone(), Arc::new(store.clone())).checked_in_front();
        let operator = endpoint().operator_tools().build();
        let endpoint = endpoint().shared_session().build();
        let mut settings = Settings::default();
        settings.allowed_hosts.clone_from(&config.allow_host);
        settings.allowed_origins.clone_from(&config.allow_origin);
        env!("CARGO_PKG_VERSION").clone_into(&mut settings.version);
        let door = HttpDoor::builder(bridge.clone())
            .settings(settings)
            .page(page::file)
            // What is mounted below another path comes before it.
            .mount("/mcp/operator", BoxCloneSyncService::new(operator.clone()))
            .mount("/mcp", BoxCloneSyncService::new(endpoint.clone()))
            .mount(metrics::PATH, metrics::service(counters))
            .build()?;
        Ok(Self { listener, address, bridge, endpoints: [endpoint, operator], door })
    }

    /// Where it can be reached.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop`; then says so to who comes, ends what is under way, and gives the data up.
    pub(crate) async fn run(self, stop: impl Future<Output = ()> + Send) {
        let Self { listener, bridge, endpoints, door, .. } = self;
        let closing = door.clone();
        let stopped = async move {
            stop.await;
            // First the door, which says so to everyone from now on; the bridge answers what was let in before.
            closing.close();
            if tokio::time::timeout(SETTLE, bridge.shutdown()).await.is_err() {
                tracing::error!("the store does not answer; what was not confirmed may be lost");
            }
            let [endpoint, operator] = endpoints;
            tokio::join!(endpoint.close(), operator.close());
        };
        let mut settings = ServeSettings::default();
        settings.connections = descriptors::connections(settings.connections);
        serve(listener, door, settings, stopped).await;
    }
}

/// Listens as [`TcpListener::bind`] does, with a longer queue.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Opens the store on a thread of its own, since it reads and checks for as long as there is data.
async fn open(config: &Config) -> Result<SqliteStore> {
    let settings = bridge_store::Settings::default().durability(config.durability);
    let data = config.data.clone();
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open_with(&data, settings)).await;
    opened.context("The store could not be opened")?.map_err(|error| explain(error, &config.data))
}

/// Why an address cannot be listened on, and what to do.
fn refused(error: io::Error, address: SocketAddr) -> anyhow::Error {
    let said = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is in use, perhaps by a bridge that runs already. Stop that program, or choose another port \
             with --listen, such as --listen {}",
            SocketAddr::new(address.ip(), address.port().wrapping_add(1)),
        ),
        io::ErrorKind::PermissionDenied => {
            format!("This user may not listen on {address}. Choose a port above 1023 with --listen")
        }
        _ => format!("The bridge cannot listen on {address}. Choose another address with --listen"),
    };
    anyhow!(error).context(said)
}

/// What a fault of the store means to whoever starts a server or checks its data, and what they can do.
pub(crate) fn explain(error: StoreError, data: &Path) -> anyhow::Error {
    let data = data.display();
    let said = match error.kind {
        StoreErrorKind::Owned => {
            format!("Another bridge is using {data}. Stop it, or choose another directory with --data")
        }
        StoreErrorKind::Corrupt => format!(
            "The data in {data} is damaged. Keep a copy of the directory as it is, see what `bridge check --data {data}` \
             says, and restore a backup"
        ),
        StoreErrorKind::TooNew => {
            format!(
                "The data in {data} was written by a newer version of this program. Run that one, or a newer one"
            )
        }
        StoreErrorKind::Full => format!("There is no space left for the data in {data}"),
        _ => format!(
            "The data in {data} cannot be used. Choose another directory with --data, or make this one usable"
        ),
    };
    anyhow!(error).context(said)
}

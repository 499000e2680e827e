//! What clients of the older protocol agreed on, kept in the store so that they go on after a restart.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bridge_core::{Handshake, HandshakeStore, Name};
use bridge_runtime::Bridge;
use rmcp::transport::streamable_http_server::session::{SessionState, SessionStore, SessionStoreError};

/// A handshake that was not used for this long is forgotten.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The sessions of the older protocol, over the bridge's own store.
#[derive(Debug)]
pub(crate) struct Handshakes {
    store: Arc<dyn HandshakeStore>,
    bridge: Bridge,
}

impl Handshakes {
    pub(crate) fn new(store: Arc<dyn HandshakeStore>, bridge: Bridge) -> Self {
        Self { store, bridge }
    }
}

#[async_trait]
impl SessionStore for Handshakes {
    async fn load(&self, session_id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let Some(mut handshake) = self.store.find(session_id).await? else { return Ok(None) };
        // One that a newer version wrote is none: then the client connects again.
        let Ok(state) = serde_json::from_slice(&handshake.data) else { return Ok(None) };
        handshake.saved_at = self.bridge.now();
        self.store.save(handshake).await?;
        Ok(Some(state))
    }

    async fn store(&self, session_id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let now = self.bridge.now();
        self.store.forget(now - KEPT).await?;
        let handshake = Handshake {
            id: session_id.to_owned(),
            principal: Name::from_static("anonymous"),
            saved_at: now,
            data: serde_json::to_vec(state)?,
        };
        Ok(self.store.save(handshake).await?)
    }

    async fn delete(&self, session_id: &str) -> Result<(), SessionStoreError> {
        Ok(self.store.delete(session_id).await?)
    }
}

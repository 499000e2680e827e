//! The calls that are under way.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use http::Request;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// The header that names a session of the older protocol.
const SESSION: &str = "mcp-session-id";

/// All calls that are under way. Within a session of the older protocol no two of them may have one id: the protocol's
/// library would give one the answer of the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    ids: Arc<Mutex<HashSet<Id>>>,
    under_way: TaskTracker,
}

/// The id of a call, as it stands in its message: what a request that wants an answer bears.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CallId(pub(crate) String);

/// A session and the id of a call in it.
type Id = (Vec<u8>, CallId);

/// One call, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    calls: Calls,
    id: Option<Id>,
    _token: TaskTrackerToken,
}

impl Calls {
    /// Begins the call with this id.
    ///
    /// # Errors
    /// The id is in use.
    pub(crate) fn begin<B>(&self, id: &CallId, request: &Request<B>) -> Result<UnderWay, InUse> {
        let session = request.headers().get(SESSION);
        let id = session.map(|session| (session.as_bytes().to_vec(), id.clone()));
        if let Some(id) = &id
            && !self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone())
        {
            return Err(InUse);
        }
        Ok(UnderWay { calls: self.clone(), id, _token: self.under_way.token() })
    }

    /// Returns when none is under way any more.
    pub(crate) async fn answered(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }
}

/// Another call with the same id is under way.
#[derive(Debug)]
pub(crate) struct InUse;

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.calls.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_used_once_at_a_time_in_a_session() {
        let calls = Calls::default();
        let begin = |session, id: &str| {
            let request = Request::builder().header(SESSION, session).body(()).unwrap();
            calls.begin(&CallId(id.to_owned()), &request)
        };
        let first = begin("s", "1").unwrap();
        assert!(begin("s", "1").is_err());
        let _others =
            [("s", "2"), ("s", "\"1\""), ("t", "1")].map(|(session, id)| begin(session, id).unwrap());
        drop(first);
        assert!(begin("s", "1").is_ok());
    }
}

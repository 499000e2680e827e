//! The calls that are under way.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use http::Request;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::front::Said;

/// The header that names a session of the older protocol.
const SESSION: &str = "mcp-session-id";

/// All calls that are under way. Within a session of the older protocol no two of them may have one id: the protocol's
/// library would give one the answer of the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    ids: Arc<Mutex<HashSet<Id>>>,
    under_way: TaskTracker,
}

/// A session and the id of a call in it.
type Id = (Vec<u8>, String);

/// One call, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    calls: Calls,
    id: Option<Id>,
    _token: Option<TaskTrackerToken>,
}

impl Calls {
    /// Begins what a request asks for; nothing if its id is in use.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> Option<UnderWay> {
        let Some(Said::Call(id)) = request.extensions().get() else {
            return Some(UnderWay { calls: self.clone(), id: None, _token: None });
        };
        let session = request.headers().get(SESSION);
        let id = session.map(|session| (session.as_bytes().to_vec(), id.clone()));
        if let Some(id) = &id
            && !self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone())
        {
            return None;
        }
        Some(UnderWay { calls: self.clone(), id, _token: Some(self.under_way.token()) })
    }

    /// Returns when none is under way any more.
    pub(crate) async fn answered(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }
}

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

    fn call(session: &str, id: &str) -> Request<()> {
        let request = Request::builder().header(SESSION, session).extension(Said::Call(id.to_owned()));
        request.body(()).unwrap()
    }

    #[test]
    fn an_id_is_used_once_at_a_time_in_a_session() {
        let calls = Calls::default();
        let first = calls.begin(&call("s", "1")).unwrap();
        assert!(calls.begin(&call("s", "1")).is_none());
        let _others =
            [call("s", "2"), call("s", "\"1\""), call("t", "1")].map(|other| calls.begin(&other).unwrap());
        drop(first);
        assert!(calls.begin(&call("s", "1")).is_some());
    }
}

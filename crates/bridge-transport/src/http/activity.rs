//! What a connection is at: its requests, and since when it does nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bridge_core::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

/// What a connection is doing that does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It never had a request.
    Fresh,
    /// Its last request has ended.
    Between,
    /// A part of an answer is offered, and the client does not take it.
    Untaken,
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Set by the first request.
    pub(crate) asked: CancellationToken,
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    /// Requests so far.
    count: u64,
    /// When the last one ended, or the connection began.
    since: Timestamp,
    /// Those that are not answered to their end, and since when a part of the answer is offered to the client.
    under_way: BTreeMap<u64, Option<Timestamp>>,
}

impl Activity {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State { count: 0, since: clock.now(), under_way: BTreeMap::new() };
        Self { asked: CancellationToken::new(), state: Mutex::new(state), clock }
    }

    /// In what way the connection is at rest, and since when; nothing while it is at work.
    pub(crate) fn at_rest(&self) -> Option<(Rest, Timestamp)> {
        let state = self.lock();
        if state.under_way.is_empty() {
            return Some((if self.asked.is_cancelled() { Rest::Between } else { Rest::Fresh }, state.since));
        }
        state.under_way.values().flatten().min().map(|since| (Rest::Untaken, *since))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that is not answered to its end.
pub(crate) struct UnderWay {
    activity: Arc<Activity>,
    number: u64,
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is a part of it that the client can take.
    Offered,
    /// The client has everything there is, and waits for more.
    Awaited,
}

impl UnderWay {
    pub(crate) fn begin(activity: &Arc<Activity>) -> Self {
        let mut state = activity.lock();
        state.count += 1;
        let number = state.count;
        state.under_way.insert(number, None);
        drop(state);
        activity.asked.cancel();
        Self { activity: Arc::clone(activity), number }
    }

    pub(crate) fn note(&self, progress: Progress) {
        let offered = (progress == Progress::Offered).then(|| self.activity.clock.now());
        self.activity.lock().under_way.insert(self.number, offered);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.activity.clock.now();
        let mut state = self.activity.lock();
        state.under_way.remove(&self.number);
        state.since = now;
    }
}

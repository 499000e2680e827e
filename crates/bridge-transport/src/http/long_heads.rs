//! The connections with long heads of requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// So many connections may have sent a long head, or a part of one.
///
/// Where there is no place left, the connection that has had its for longest ends: an honest client sends even a long
/// head in a moment and has its answer, however many others dawdle over theirs.
#[derive(Debug)]
pub(crate) struct LongHeads {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    /// What ends each connection, in the order in which they came.
    connections: BTreeMap<u64, CancellationToken>,
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    heads: Arc<LongHeads>,
    number: u64,
}

impl LongHeads {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, state: Mutex::default() }
    }

    /// A place for the connection that `end` ends.
    pub(crate) fn enter(self: &Arc<Self>, end: CancellationToken) -> Place {
        let mut state = self.lock();
        state.count += 1;
        let number = state.count;
        state.connections.insert(number, end);
        if state.connections.len() > self.most
            && let Some((_, longest)) = state.connections.pop_first()
        {
            longest.cancel();
        }
        Place { heads: Arc::clone(self), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.heads.lock().connections.remove(&self.number);
    }
}

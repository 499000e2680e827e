//! Connections that are slow with something, of which there may be so many.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Places for connections.
///
/// Where none is left, the connection that has had its for longest ends: an honest client needs one for a moment and has
/// its answer, however many others dawdle.
#[derive(Debug)]
pub(crate) struct Places {
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
    places: Arc<Places>,
    number: u64,
}

impl Places {
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
        Place { places: Arc::clone(self), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.number);
    }
}

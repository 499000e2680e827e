//! Which conversations somebody looks at, for the heartbeat's `web_active`.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bridge_core::{SessionId, Timestamp};

/// How long after it last asked somebody still counts as looking.
const PRESENT: Duration = Duration::from_secs(60);

/// Conversations remembered at one time; beyond that the half that was not asked for longest is forgotten.
const MOST: usize = 10_000;

/// When each conversation was last asked for by a reader.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<HashMap<SessionId, Timestamp>>);

impl Watchers {
    /// Notes that somebody looks at `session` now.
    pub(crate) fn saw(&self, session: SessionId, now: Timestamp) {
        let mut seen = self.lock();
        if seen.len() >= MOST && !seen.contains_key(&session) {
            let mut times: Vec<_> = seen.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MOST / 2);
            let middle = *middle;
            seen.retain(|_, at| *at > middle);
        }
        seen.insert(session, now);
    }

    /// Whether somebody looks at `session`.
    pub(crate) fn is_watched(&self, session: SessionId, now: Timestamp) -> bool {
        self.lock().get(&session).is_some_and(|at| now.since(*at) < PRESENT)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_forgotten_after_a_while_and_never_too_many_are_remembered() {
        let watchers = Watchers::default();
        let start = Timestamp::from_millis(0);
        watchers.saw(SessionId(1), start);
        assert!(watchers.is_watched(SessionId(1), start + Duration::from_secs(59)));
        assert!(!watchers.is_watched(SessionId(1), start + PRESENT));
        for id in 0..2 * MOST as u128 {
            watchers.saw(SessionId(id), start + Duration::from_millis(u64::try_from(id).unwrap()));
        }
        assert!(watchers.lock().len() <= MOST);
        assert!(watchers.is_watched(SessionId(2 * MOST as u128 - 1), start + Duration::from_secs(20)));
    }
}

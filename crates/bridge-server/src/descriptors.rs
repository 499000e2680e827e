//! How many connections a process may have, as far as the system lets it open files.

/// Files that are not connections: the store's, twice where it opens them anew; the log; what the runtime needs.
const RESERVE: usize = 48;

/// At most `wanted` connections: as many as leave the store the files it needs. Of what the system allows the process if it
/// only asks, it asks for enough.
#[cfg(unix)]
pub(crate) fn connections(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let needed = u64::try_from(wanted + RESERVE).unwrap_or(u64::MAX);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let current = Some(maximum.map_or(needed, |maximum| maximum.min(needed)));
        // Where it is not given, what is there is used.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
    let allowed = getrlimit(Resource::Nofile).current.and_then(|allowed| usize::try_from(allowed).ok());
    let connections = allowed.map_or(wanted, |allowed| allowed.saturating_sub(RESERVE).clamp(1, wanted));
    if connections < wanted {
        tracing::warn!(
            connections,
            wanted,
            "fewer connections are accepted at one time, as this process may open few files; `ulimit -n` raises that"
        );
    }
    connections
}

#[cfg(not(unix))]
pub(crate) const fn connections(wanted: usize) -> usize {
    wanted
}

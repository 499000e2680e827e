//! Where tasks run: on tokio, and with `--cfg shuttle` under a scheduler that tries one order after the other.

use std::future::Future;

/// Starts a task on the runtime of the caller.
#[cfg(not(shuttle))]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Starts a task from where there may be no runtime any more: then there is nobody to run it for either.
#[cfg(not(shuttle))]
pub(crate) fn spawn_if_running(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
}

#[cfg(shuttle)]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    shuttle::future::spawn(task);
}

#[cfg(shuttle)]
pub(crate) use spawn as spawn_if_running;

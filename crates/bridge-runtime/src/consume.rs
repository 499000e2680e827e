//! Taking deliveries one after the other and handing each to a function, until told to stop.

use std::{fmt, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bridge_core::{Outcome, Queue, QueueDelivery, Trouble};
use futures_util::FutureExt;
use tokio::{pin, sync::Semaphore, task::JoinSet};

/// The longest pause before a call that failed is made again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The shortest such pause; it doubles each time.
const IMPATIENCE: Duration = Duration::from_millis(50);

/// How often a settlement is said again that may go better in a moment.
const TRIES: u32 = 8;

/// Bytes of what is said about a delivery.
const WORDS: usize = 4 << 10;

/// What became of a delivery, in the words of who handled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// It is done.
    Done,
    /// Not now: it goes back uncharged, and comes again after this pause.
    Later(Duration),
    /// Never: it becomes a dead letter, for this reason.
    Rejected(String),
}

impl From<()> for Handled {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// A loop that takes deliveries of a [`Queue`], hands each to a function, and settles it by what that returns.
///
/// * `Ok(())` or [`Handled::Done`] acknowledges it; an `Err` says that it failed, with the error's text, and it comes back after
///   its back-off; so does a panic. Either is logged as a warning, with the delivery and the attempt.
/// * While the function works the lease is extended, up to 12 h in all ([`Policy::max_lease`](bridge_core::Policy::max_lease)). If
///   it is lost all the same, the function is dropped at its next `await`: somebody else has the delivery by then.
/// * When it is told to stop it takes nothing more, and returns when what it has begun is done and settled.
///
/// # Example
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use bridge_runtime::{Bridge, Consume, Queue, core::QueueDelivery};
/// use bridge_store::MemoryStore;
/// use std::convert::Infallible;
/// use tokio::sync::mpsc;
///
/// let bridge = Bridge::builder(MemoryStore::new()).start().await.unwrap();
/// let jobs = bridge.queue("group:jobs".parse().unwrap(), "worker-1".parse().unwrap());
/// jobs.publish("one".into()).await.unwrap();
/// jobs.publish("two".into()).await.unwrap();
///
/// let (done, mut results) = mpsc::channel(2);
/// let handler = move |job: QueueDelivery<_>| {
///     let done = done.clone();
///     async move {
///         done.send(job.payload.clone()).await.ok();
///         Ok::<_, Infallible>(())
///     }
/// };
/// let both = async move {
///     results.recv().await;
///     results.recv().await;
/// };
/// Consume::new(jobs.clone()).concurrency(4).run(both, handler).await.unwrap();
/// assert!(jobs.receive(std::time::Duration::ZERO).await.unwrap().is_none());
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Consume<Q> {
    queue: Q,
    concurrency: usize,
    wait: Duration,
}

impl<Q: Queue> Consume<Q> {
    /// Takes from `queue`, one delivery at a time.
    pub const fn new(queue: Q) -> Self {
        Self { queue, concurrency: 1, wait: Duration::from_secs(20) }
    }

    /// Handles up to so many deliveries at once; at least one.
    #[must_use]
    pub fn concurrency(mut self, most: usize) -> Self {
        self.concurrency = most.max(1);
        self
    }

    /// Works until `stop` is ready, then ends what it has begun.
    ///
    /// # Errors
    /// If the queue is gone for good, or refuses to be taken from; what was begun is ended before.
    ///
    /// # Cancel safety
    /// Dropping it drops the handlers where they are: what they had comes back when its lease ends.
    pub async fn run<H, F, T, E>(self, stop: impl Future<Output = ()>, handler: H) -> Result<(), Q::Error>
    where
        H: Fn(QueueDelivery<Q>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Handled> + Send,
        E: fmt::Display + Send,
    {
        pin!(stop);
        let handler = Arc::new(handler);
        let places = Arc::new(Semaphore::new(self.concurrency));
        let mut at_work = JoinSet::new();
        let mut pause = IMPATIENCE;
        let ended = loop {
            let place = tokio::select! {
                biased;
                () = &mut stop => break Ok(()),
                place = Arc::clone(&places).acquire_owned() => place.expect("nobody closes it"),
            };
            let received = tokio::select! {
                biased;
                () = &mut stop => break Ok(()),
                received = self.queue.receive(self.wait) => received,
            };
            while at_work.try_join_next().is_some() {}
            match received {
                Ok(Some(delivery)) => {
                    pause = IMPATIENCE;
                    let (handler, job) = (Arc::clone(&handler), delivery.clone());
                    let work = async move { handler(job).await };
                    at_work.spawn(async move {
                        handle(delivery, work).await;
                        drop(place);
                    });
                }
                Ok(None) => pause = IMPATIENCE,
                Err(error) if Q::trouble(&error) == Trouble::Passing => {
                    tracing::warn!(%error, "nothing can be taken; it is tried again");
                    tokio::select! {
                        biased;
                        () = &mut stop => break Ok(()),
                        () = self.queue.pause(pause) => pause = (pause * 2).min(PATIENCE),
                    }
                }
                Err(error) => break Err(error),
            }
        };
        while at_work.join_next().await.is_some() {}
        ended
    }
}

/// Sees one delivery through: keeps its lease while `work` goes on, and settles it by what comes of that.
async fn handle<Q, T, E>(delivery: QueueDelivery<Q>, work: impl Future<Output = Result<T, E>> + Send)
where
    Q: Queue,
    T: Into<Handled>,
    E: fmt::Display,
{
    // What panics has failed like what returns an error.
    let work = AssertUnwindSafe(work).catch_unwind();
    pin!(work);
    let queue = &delivery.queue;
    let result = tokio::select! {
        biased;
        result = &mut work => result,
        error = keep(&delivery) => {
            tracing::warn!(delivery = %delivery.id, %error, "its lease is lost; it is left");
            return;
        }
    };
    let outcome = match result.map(|result| result.map(Into::into)) {
        Ok(Ok(Handled::Done)) => Outcome::Ack,
        Ok(Ok(Handled::Later(delay))) => Outcome::Release { delay },
        Ok(Ok(Handled::Rejected(reason))) => {
            tracing::warn!(delivery = %delivery.id, attempt = delivery.attempt, reason, "its handler gave it up");
            Outcome::Reject { reason: Some(words(reason).into()) }
        }
        Ok(Err(error)) => {
            tracing::warn!(delivery = %delivery.id, attempt = delivery.attempt, %error, "its handler failed");
            Outcome::Nack { delay: None, error: Some(words(error.to_string()).into()) }
        }
        Err(_panic) => {
            tracing::warn!(delivery = %delivery.id, attempt = delivery.attempt, "its handler panicked");
            Outcome::Nack { delay: None, error: Some("the handler panicked".into()) }
        }
    };
    let mut pause = IMPATIENCE;
    for _ in 0..TRIES {
        let Err(error) = queue.settle(delivery.token.clone(), outcome.clone()).await else { return };
        if Q::trouble(&error) != Trouble::Passing {
            tracing::warn!(delivery = %delivery.id, %error, "it could not be settled");
            return;
        }
        queue.pause(pause).await;
        pause = (pause * 2).min(PATIENCE);
    }
    tracing::warn!(delivery = %delivery.id, "it could not be settled; it comes back when its lease ends");
}

/// Extends the lease of a delivery for as long as it can be; why it cannot be any more.
async fn keep<Q: Queue>(delivery: &QueueDelivery<Q>) -> Q::Error {
    let rest = delivery.lease / 3;
    let mut impatience = IMPATIENCE;
    let mut pause = rest;
    loop {
        delivery.queue.pause(pause).await;
        pause = rest;
        match delivery.extend(delivery.lease).await {
            Ok(_) => impatience = IMPATIENCE,
            Err(error) => match Q::trouble(&error) {
                Trouble::LeaseLost => return error,
                Trouble::Passing => {
                    pause = impatience.min(rest);
                    impatience = (impatience * 2).min(PATIENCE);
                }
                Trouble::Closed | Trouble::Refused => {}
            },
        }
    }
}

/// As much of a text as fits a delivery.
fn words(mut text: String) -> String {
    let most = (0..=WORDS.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(most.unwrap_or_default());
    text
}

/// A handler of JSON: what is no `M` is rejected, for it would not become one by trying again.
///
/// # Example
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use bridge_runtime::{Address, Bridge, Consume, NewMessage, json};
/// use bridge_store::MemoryStore;
/// use std::sync::Arc;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Resize {
///     width: u32,
/// }
///
/// let bridge = Bridge::builder(MemoryStore::new()).start().await.unwrap();
/// let jobs: Address = "group:resize".parse().unwrap();
/// bridge.publish(NewMessage::json(jobs.clone(), &Resize { width: 640 }).unwrap()).await.unwrap();
///
/// let done = Arc::new(tokio::sync::Notify::new());
/// let told = Arc::clone(&done);
/// let handler = json(move |job: Resize| {
///     assert_eq!(job.width, 640);
///     told.notify_one();
///     async { Ok::<_, std::io::Error>(()) }
/// });
/// let queue = bridge.queue(jobs, "worker".parse().unwrap());
/// Consume::new(queue).run(async move { done.notified().await }, handler).await.unwrap();
/// # });
/// ```
#[cfg(feature = "json")]
pub fn json<Q, M, H, F, T, E>(
    handler: H,
) -> impl Fn(QueueDelivery<Q>) -> futures_util::future::BoxFuture<'static, Result<Handled, E>>
+ Send
+ Sync
+ 'static
where
    Q: Queue,
    M: serde::de::DeserializeOwned,
    H: Fn(M) -> F + Send + Sync + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Handled>,
    E: Send + 'static,
{
    move |delivery: QueueDelivery<Q>| match serde_json::from_slice::<M>(&delivery.payload) {
        Ok(message) => handler(message).map(|result| result.map(Into::into)).boxed(),
        Err(error) => {
            let reason = format!("it is not what this consumer takes: {error}");
            async move { Ok(Handled::Rejected(reason)) }.boxed()
        }
    }
}

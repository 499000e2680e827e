//! The loop that takes deliveries, hands them to a function and settles them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bridge_core::{
    MessageId, Outcome, Queue, QueueDelivery, RowKey, Settled, StateKind, Trouble, bytes::Bytes,
};
use bridge_runtime::{CallError, Consume, Fault, Handled, LocalQueue, QueueError};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{House, retention::Log, soon};

type Job = QueueDelivery<LocalQueue>;

fn jobs(house: &House) -> LocalQueue {
    house.bridge.queue("group:jobs".parse().unwrap(), "worker".parse().unwrap())
}

async fn ended(house: &House, state: StateKind) -> usize {
    house.bridge.deliveries(state, None, None, 100).await.unwrap().deliveries.len()
}

/// Lets time pass, a little at a time, until something is so.
async fn until(house: &House, mut is_so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_so().await {
            house.clock.advance(Duration::from_millis(250));
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn each_delivery_is_settled_by_what_its_handler_returns() {
    let house = House::open().await;
    let queue = jobs(&house);
    for text in ["done", "rejected", "failed", "panic"] {
        queue.publish(text.into()).await.unwrap();
    }
    let (stop, stopped) = oneshot::channel();
    let handler = |job: Job| async move {
        match &*job.payload {
            b"rejected" => Ok(Handled::Rejected("not for me".to_owned())),
            b"failed" if job.attempt == 1 => Err("try again"),
            b"panic" if job.attempt == 1 => panic!("a handler that breaks"),
            _ => Ok(Handled::Done),
        }
    };
    let working = tokio::spawn(Consume::new(queue).run(async { drop(stopped.await) }, handler));
    until(&house, async || ended(&house, StateKind::Done).await == 3).await;
    stop.send(()).unwrap();
    soon(working).await.unwrap().unwrap();
    let dead = house.bridge.deliveries(StateKind::Dead, None, None, 100).await.unwrap().deliveries;
    assert_eq!(dead[0].last_error.as_deref(), Some("not for me"));
    let done = house.bridge.deliveries(StateKind::Done, None, None, 100).await.unwrap().deliveries;
    let mut errors: Vec<_> = done.iter().filter_map(|done| done.last_error.as_deref()).collect();
    errors.sort_unstable();
    assert_eq!(errors, ["the handler panicked", "try again"]);
}

#[tokio::test]
async fn a_handler_that_fails_is_told_in_the_log_without_the_content() {
    let (log, _heard) = Log::begin();
    let house = House::open().await;
    let queue = jobs(&house);
    queue.publish("secret: failed".into()).await.unwrap();
    queue.publish("secret: panic".into()).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let handler = |job: Job| async move {
        match &*job.payload {
            b"secret: failed" if job.attempt == 1 => Err("the printer does not answer"),
            b"secret: panic" if job.attempt == 1 => panic!("a handler that breaks"),
            _ => Ok(()),
        }
    };
    let working = tokio::spawn(Consume::new(queue).run(async { drop(stopped.await) }, handler));
    until(&house, async || ended(&house, StateKind::Done).await == 2).await;
    stop.send(()).unwrap();
    soon(working).await.unwrap().unwrap();
    let lines = log.lines();
    let told =
        |words: &str| lines.iter().filter(|line| line.contains("WARN") && line.contains(words)).count();
    let done = house.bridge.deliveries(StateKind::Done, None, None, 100).await.unwrap().deliveries;
    for delivery in done {
        assert_eq!(told(&format!("delivery={} attempt=1", delivery.id)), 1, "{lines:#?}");
    }
    assert_eq!(told("its handler failed"), 1, "{lines:#?}");
    assert_eq!(told("error=the printer does not answer"), 1, "{lines:#?}");
    assert_eq!(told("its handler panicked"), 1, "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:#?}");
}

#[tokio::test]
async fn a_lease_is_kept_for_as_long_as_its_handler_works() {
    let house = House::open().await;
    let queue = jobs(&house);
    queue.publish("long".into()).await.unwrap();
    let finish = Arc::new(Notify::new());
    let (begun, mut at_work) = mpsc::channel(9);
    let handler = {
        let finish = Arc::clone(&finish);
        move |job: Job| {
            let (finish, begun) = (Arc::clone(&finish), begun.clone());
            async move {
                begun.send(job.attempt).await.unwrap();
                finish.notified().await;
                Ok::<_, &str>(())
            }
        }
    };
    let (stop, stopped) = oneshot::channel();
    let working = tokio::spawn(Consume::new(queue).run(async { drop(stopped.await) }, handler));
    assert_eq!(soon(at_work.recv()).await, Some(1));
    // A lease of this mailbox lasts 30 s; the work takes five minutes.
    let mut passed = Duration::ZERO;
    until(&house, async || {
        passed += Duration::from_millis(250);
        passed > Duration::from_secs(300)
    })
    .await;
    assert_eq!(ended(&house, StateKind::Leased).await, 1);
    finish.notify_one();
    until(&house, async || ended(&house, StateKind::Done).await == 1).await;
    stop.send(()).unwrap();
    soon(working).await.unwrap().unwrap();
    assert!(at_work.try_recv().is_err(), "it was handed out once only");
}

#[tokio::test]
async fn a_handler_whose_lease_is_lost_is_left() {
    let house = House::open().await;
    let queue = jobs(&house);
    queue.publish("lost".into()).await.unwrap();
    let (begun, mut at_work) = mpsc::channel(9);
    let handler = move |job: Job| {
        let begun = begun.clone();
        async move {
            begun.send(job).await.unwrap();
            std::future::pending::<()>().await;
            Ok::<_, &str>(())
        }
    };
    let (stop, stopped) = oneshot::channel();
    let working = tokio::spawn(Consume::new(queue).run(async { drop(stopped.await) }, handler));
    let job = soon(at_work.recv()).await.unwrap();
    // Somebody settles it behind the handler's back.
    job.ack().await.unwrap();
    stop.send(()).unwrap();
    // Unless the handler is left, this would never end.
    until(&house, async || working.is_finished()).await;
    working.await.unwrap().unwrap();
}

#[tokio::test]
async fn no_more_are_handled_at_once_than_was_said_and_what_was_begun_is_ended() {
    let house = House::open().await;
    let queue = jobs(&house);
    for n in 0..10 {
        queue.publish(n.to_string().into()).await.unwrap();
    }
    let finish = Arc::new(tokio::sync::Semaphore::new(0));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (finish, now, most) = (Arc::clone(&finish), Arc::clone(&now), Arc::clone(&most));
        move |_: Job| {
            let (finish, now, most) = (Arc::clone(&finish), Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                finish.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, &str>(())
            }
        }
    };
    let (stop, stopped) = oneshot::channel();
    let consume = Consume::new(queue).concurrency(3);
    let working = tokio::spawn(consume.run(async { drop(stopped.await) }, handler));
    until(&house, async || now.load(Ordering::SeqCst) == 3).await;
    finish.add_permits(4);
    until(&house, async || ended(&house, StateKind::Done).await == 4 && now.load(Ordering::SeqCst) == 3)
        .await;
    stop.send(()).unwrap();
    finish.add_permits(100);
    soon(working).await.unwrap().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(ended(&house, StateKind::Done).await, 7);
    assert_eq!(ended(&house, StateKind::Pending).await, 3);
}

#[tokio::test]
async fn a_fault_that_passes_is_waited_out_and_a_queue_that_is_gone_ends_the_loop() {
    let house = House::open().await;
    let queue = jobs(&house);
    queue.publish("through".into()).await.unwrap();
    house.store.break_down(bridge_core::StoreErrorKind::Unavailable);
    let handler = |_: Job| async { Ok::<_, &str>(()) };
    let working = tokio::spawn(Consume::new(queue).run(std::future::pending(), handler));
    for _ in 0..20 {
        house.clock.advance(Duration::from_millis(250));
        tokio::task::yield_now().await;
    }
    house.store.mend();
    until(&house, async || ended(&house, StateKind::Done).await == 1).await;
    house.bridge.shutdown().await;
    let ended = soon(async {
        while !working.is_finished() {
            house.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        working.await
    })
    .await;
    assert!(ended.unwrap().is_err(), "a loop over nothing has to end");
}

#[tokio::test]
async fn what_is_no_job_is_rejected_with_the_reason() {
    let house = House::open().await;
    let queue = jobs(&house);
    queue.publish("{\"n\": \"seven\"}".into()).await.unwrap();
    queue.publish("{\"n\": 7}".into()).await.unwrap();

    #[derive(serde::Deserialize)]
    struct Numbered {
        n: u32,
    }
    let handler = bridge_runtime::json(|job: Numbered| async move {
        assert_eq!(job.n, 7);
        Ok::<_, &str>(())
    });
    let (stop, stopped) = oneshot::channel();
    let working = tokio::spawn(Consume::new(queue).run(async { drop(stopped.await) }, handler));
    until(&house, async || ended(&house, StateKind::Done).await == 1).await;
    stop.send(()).unwrap();
    soon(working).await.unwrap().unwrap();
    let dead = house.bridge.deliveries(StateKind::Dead, None, None, 100).await.unwrap().deliveries;
    let error = dead[0].last_error.as_deref().unwrap();
    assert!(
        error.starts_with("it is not what this consumer takes: invalid type: string \"seven\""),
        "{error}"
    );
}

/// A queue on which extending a lease fails.
#[derive(Debug, Clone)]
struct Shaky {
    inner: LocalQueue,
    /// Extensions that fail before one succeeds; all others are never answered.
    fails: Arc<AtomicUsize>,
}

impl Shaky {
    const NEVER: usize = usize::MAX;

    fn new(inner: LocalQueue, fails: usize) -> Self {
        Self { inner, fails: Arc::new(AtomicUsize::new(fails)) }
    }
}

impl Queue for Shaky {
    type Token = String;
    type Error = QueueError;

    async fn publish(&self, payload: Bytes) -> Result<MessageId, QueueError> {
        self.inner.publish(payload).await
    }

    async fn receive(&self, wait: Duration) -> Result<Option<QueueDelivery<Self>>, QueueError> {
        Ok(self.inner.receive(wait).await?.map(|job| {
            let QueueDelivery { queue: _, id, message, payload, attempt, until, lease, token } = job;
            QueueDelivery { queue: self.clone(), id, message, payload, attempt, until, lease, token }
        }))
    }

    fn trouble(error: &QueueError) -> Trouble {
        LocalQueue::trouble(error)
    }

    async fn pause(&self, span: Duration) {
        self.inner.pause(span).await;
    }

    async fn settle(&self, token: String, outcome: Outcome) -> Result<Settled, QueueError> {
        if let Outcome::Extend { .. } = outcome {
            match self.fails.load(Ordering::SeqCst) {
                0 => {}
                Self::NEVER => std::future::pending().await,
                left => {
                    self.fails.store(left - 1, Ordering::SeqCst);
                    return Err(QueueError::Settle(CallError::Fault(Fault::Unavailable)));
                }
            }
        }
        self.inner.settle(token, outcome).await
    }
}

/// Lets a handler work so long on one delivery of a queue; how often that failed before it was done.
async fn work_on_one(house: &House, queue: Shaky, work: Duration) -> u32 {
    queue.publish("long".into()).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let handler = move |job: QueueDelivery<Shaky>| async move {
        job.queue.pause(work).await;
        Ok::<_, &str>(())
    };
    let working = tokio::spawn(Consume::new(queue).run(async { drop(stopped.await) }, handler));
    until(house, async || ended(house, StateKind::Done).await == 1).await;
    stop.send(()).unwrap();
    soon(working).await.unwrap().unwrap();
    house.bridge.deliveries(StateKind::Done, None, None, 100).await.unwrap().deliveries[0].failures
}

#[tokio::test]
async fn a_lease_is_kept_through_a_fault_that_passes() {
    let house = House::open().await;
    let queue = Shaky::new(jobs(&house), 5);
    assert_eq!(work_on_one(&house, queue, Duration::from_secs(60)).await, 0);
}

#[tokio::test]
async fn a_handler_works_on_while_its_lease_is_extended() {
    let house = House::open().await;
    let queue = Shaky::new(jobs(&house), Shaky::NEVER);
    assert_eq!(work_on_one(&house, queue, Duration::from_secs(25)).await, 0);
}

#[tokio::test]
async fn a_damaged_message_is_rejected_and_never_handed_out_as_an_empty_one() {
    let mut house = House::open().await;
    let damaged = jobs(&house).publish("one".into()).await.unwrap();
    jobs(&house).publish("two".into()).await.unwrap();
    house.reopen().await;
    house.store.damage(RowKey::Message(damaged));
    let job = jobs(&house).receive(Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(job.payload, "two");
    let dead = house.bridge.deliveries(StateKind::Dead, None, None, 100).await.unwrap().deliveries;
    assert_eq!((dead.len(), dead[0].message), (1, damaged));
    assert_eq!(dead[0].last_error.as_deref(), Some("its content is damaged"));
}

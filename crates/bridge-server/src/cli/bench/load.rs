//! The clients: what each does, and when it begins.

use std::{
    io, iter,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bridge_core::Address;
use bridge_protocol::{Code, Receive, Received, SendMessage, Sent, Settled};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Bench, Scenario, figures::Tally, now};
use crate::{
    cli::message::millis,
    client::{Client, ClientError},
};

/// How long a receive waits for what was sent before it.
const WAIT: Duration = Duration::from_secs(10);

/// How long operations may still begin that were due in time.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// Operations that may be due and not begun; what comes due beyond is only counted.
const MAX_DUE: usize = 1_000_000;

/// What was done, and how long it took.
pub(super) type Step = (&'static str, Duration);

/// The time in which operations count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) starts: Instant,
    pub(super) ends: Instant,
}

impl Window {
    pub(super) fn new(starts: Instant, span: Duration) -> Self {
        Self { starts, ends: starts + span }
    }

    pub(super) fn contains(&self, time: Instant) -> bool {
        (self.starts..self.ends).contains(&time)
    }
}

/// What all clients share.
#[derive(Debug)]
pub(super) struct Load {
    scenario: Scenario,
    message: SendMessage,
    receive: Receive,
    window: Window,
    schedule: Option<Schedule>,
    stop: CancellationToken,
    done: AtomicU64,
    ended: OnceLock<(Instant, String)>,
}

/// Moments at which operations are due, whoever is free takes the next.
#[derive(Debug)]
struct Schedule {
    due: Mutex<mpsc::Receiver<Instant>>,
    /// Those within the window for which there was no room.
    missed: Arc<AtomicU64>,
}

impl Load {
    pub(super) fn new(
        bench: &Bench,
        mailbox: &Address,
        window: Window,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let message = SendMessage {
            text: Some("x".repeat(bench.bytes as usize)),
            from: Some("bench".to_owned()),
            to: Some(mailbox.to_string()),
            ..SendMessage::default()
        };
        let receive =
            Receive { mailbox: Some(mailbox.to_string()), wait_ms: Some(millis(WAIT)), ..Receive::default() };
        let schedule = bench.rate.map(|rate| Schedule::keep(rate, window, stop.clone())).transpose()?;
        Ok(Self {
            scenario: bench.scenario,
            message,
            receive,
            window,
            schedule,
            stop,
            done: AtomicU64::new(0),
            ended: OnceLock::new(),
        })
    }

    /// Operations that were done so far, those before and after the window too.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// When the bridge took no more before the time was over, and what it said.
    pub(super) fn ended(&self) -> Option<&(Instant, String)> {
        self.ended.get()
    }

    /// Operations that were due within the window and not begun.
    pub(super) async fn behind(&self) -> u64 {
        match &self.schedule {
            Some(schedule) if !self.stop.is_cancelled() => schedule.left(&self.window).await,
            _ => 0,
        }
    }

    /// One operation after the other.
    pub(super) async fn work(self: Arc<Self>, client: Client) -> Result<Tally> {
        let mut tally = Tally::default();
        while let Some(due) = self.next().await {
            let times = match self.scenario {
                Scenario::Publish => self.publish(&client, due).await,
                Scenario::Deliver => self.deliver(&client, due).await,
            };
            let times = match times {
                Ok(times) => times,
                Err(error) => {
                    let full = no_room(&error).ok_or(error)?;
                    self.ended.get_or_init(|| (now(), full));
                    self.stop.cancel();
                    break;
                }
            };
            self.done.fetch_add(1, Ordering::Relaxed);
            if self.window.contains(due) {
                tally.record(&times);
            }
            if self.window.contains(now()) {
                tally.operations += 1;
            }
        }
        Ok(tally)
    }

    /// When the next operation is due; none if there is none.
    async fn next(&self) -> Option<Instant> {
        let Some(schedule) = &self.schedule else {
            let now = now();
            return (now < self.window.ends && !self.stop.is_cancelled()).then_some(now);
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            due = schedule.next(&self.window) => due,
        }
    }

    async fn publish(&self, client: &Client, due: Instant) -> Result<Vec<Step>> {
        client.post::<Sent>("/api/send", &self.message).await?;
        Ok(vec![("publish", now() - due)])
    }

    async fn deliver(&self, client: &Client, due: Instant) -> Result<Vec<Step>> {
        client.post::<Sent>("/api/send", &self.message).await?;
        let sent = now();
        let received: Received = client.post_with("/api/receive", &self.receive, None, WAIT).await?;
        let delivery = received.deliveries.into_iter().next().context("What was sent is not handed out")?;
        let received = now();
        let ack = json!({ "token": delivery.token, "outcome": "ack" });
        client.post::<Settled>("/api/settle", &ack).await?;
        let acked = now();
        Ok(vec![
            ("publish", sent - due),
            ("receive", received - sent),
            ("ack", acked - received),
            ("all three", acked - due),
        ])
    }
}

/// What a bridge says when as much waits as may.
fn no_room(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref()? {
        ClientError::Refused(problem)
            if [Code::MailboxFull, Code::TooManyPending].iter().any(|code| problem.code == code.as_str()) =>
        {
            Some(problem.detail.clone().unwrap_or_else(|| problem.title.clone()))
        }
        _ => None,
    }
}

impl Schedule {
    /// Tells when operations are due, so many a second, until the window ends.
    fn keep(rate: u32, window: Window, stop: CancellationToken) -> io::Result<Self> {
        let (sender, due) = mpsc::channel(MAX_DUE);
        let missed = Arc::new(AtomicU64::new(0));
        let schedule = Self { due: Mutex::new(due), missed: Arc::clone(&missed) };
        let every = Duration::from_secs(1) / rate;
        // A thread sleeps to some microseconds, the runtime's timers to a millisecond.
        thread::Builder::new().name("bench-clock".to_owned()).spawn(move || {
            let mut due = now();
            while due < window.ends && !stop.is_cancelled() {
                sleep_until(due);
                if sender.try_send(due).is_err() {
                    missed.fetch_add(u64::from(window.contains(due)), Ordering::Relaxed);
                }
                due += every;
            }
        })?;
        Ok(schedule)
    }

    /// When the next operation is due. What the warm-up left behind is dropped when the window starts: who is too slow for the
    /// rate would work on that for the whole of it.
    async fn next(&self, window: &Window) -> Option<Instant> {
        let mut waiting = self.due.lock().await;
        loop {
            let due = waiting.recv().await?;
            let now = now();
            if due >= window.starts || now < window.starts {
                return Some(due).filter(|_| now < window.ends + STRAGGLERS);
            }
        }
    }

    /// How many are left of those that were due within the window.
    async fn left(&self, window: &Window) -> u64 {
        let mut waiting = self.due.lock().await;
        let waiting = iter::from_fn(|| waiting.try_recv().ok()).filter(|due| window.contains(*due));
        waiting.count() as u64 + self.missed.load(Ordering::Relaxed)
    }
}

#[expect(clippy::disallowed_methods, reason = "a schedule in the world is kept")]
fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_warm_up_left_behind_is_neither_done_nor_counted() {
        let (sender, due) = mpsc::channel(8);
        let schedule = Schedule { due: Mutex::new(due), missed: Arc::new(AtomicU64::new(1)) };
        let starts = now();
        let second = Duration::from_secs(1);
        let window = Window::new(starts, 60 * second);
        for due in [starts - second, starts - second, starts, starts + second, starts - second] {
            sender.try_send(due).unwrap();
        }
        assert_eq!(schedule.next(&window).await, Some(starts));
        assert_eq!(schedule.left(&window).await, 2, "one that waits, and one for which there was no room");
        let later = Window::new(starts + 60 * second, second);
        sender.try_send(starts).unwrap();
        assert_eq!(schedule.next(&later).await, Some(starts), "it warms up");
    }
}

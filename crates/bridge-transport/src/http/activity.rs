//! What a connection is at: its requests, and since when it does nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bridge_core::{Clock, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    places::{Place, Places},
    serve::ServeSettings,
};

/// A head that is not longer than this is read on every connection.
const SHORT: usize = 8 << 10;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all connections share of what is held for them before a request is let in.
#[derive(Debug)]
pub(crate) struct Shares {
    long_heads: Arc<Places>,
    bodies: Arc<Places>,
    http2_connections: Arc<Semaphore>,
    http2_requests: Arc<Semaphore>,
}

impl Shares {
    pub(crate) fn new(settings: &ServeSettings) -> Self {
        Self {
            long_heads: Arc::new(Places::new(settings.long_heads)),
            bodies: Arc::new(Places::new(settings.bodies)),
            http2_connections: Arc::new(Semaphore::new(settings.http2_connections)),
            http2_requests: Arc::new(Semaphore::new(settings.http2_requests)),
        }
    }
}

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
    /// Set when the connection is to end without another word, since others need its place.
    pub(crate) displaced: CancellationToken,
    shares: Arc<Shares>,
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
    protocol: Protocol,
}

/// What a client speaks, by what it said first.
#[derive(Debug)]
enum Protocol {
    /// HTTP/2 so far, which is so many bytes of its preface; or a head of HTTP/1 that begins like it.
    Unknown(usize),
    Http1(Head),
    Http2 {
        _place: OwnedSemaphorePermit,
    },
}

/// What a connection reads heads into.
#[derive(Debug, Default)]
struct Head {
    /// Of the head that is not whole yet, without line ends before it.
    bytes: usize,
    /// Needed since one was long, and kept: the server keeps what it read it into until the connection ends.
    place: Option<Place>,
}

impl Activity {
    pub(crate) fn new(shares: Arc<Shares>, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            count: 0,
            since: clock.now(),
            under_way: BTreeMap::new(),
            protocol: Protocol::Unknown(0),
        };
        Self {
            asked: CancellationToken::new(),
            displaced: CancellationToken::new(),
            shares,
            state: Mutex::new(state),
            clock,
        }
    }

    /// Notes what the client sent.
    pub(crate) fn read(&self, bytes: &[u8]) {
        let mut state = self.lock();
        // What comes during a request is its body; of what comes behind it the server reads one part ahead.
        if !state.under_way.is_empty() {
            return;
        }
        if let Protocol::Unknown(known) = state.protocol {
            state.protocol = self.protocol(known, bytes);
        }
        if let Protocol::Http1(head) = &mut state.protocol {
            let is_blank = head.bytes == 0 && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            head.bytes += if is_blank { 0 } else { bytes.len() };
            if head.bytes > SHORT && head.place.is_none() {
                head.place = Some(self.shares.long_heads.enter(self.displaced.clone()));
            }
        }
    }

    fn protocol(&self, known: usize, bytes: &[u8]) -> Protocol {
        let expected = &PREFACE[known..];
        let common = expected.len().min(bytes.len());
        if bytes[..common] != expected[..common] {
            return Protocol::Http1(Head { bytes: known, place: None });
        }
        if common < expected.len() {
            return Protocol::Unknown(known + common);
        }
        match Arc::clone(&self.shares.http2_connections).try_acquire_owned() {
            Ok(place) => Protocol::Http2 { _place: place },
            Err(_) => {
                self.displaced.cancel();
                Protocol::Unknown(0)
            }
        }
    }

    /// In what way the connection is at rest, and since when; nothing while it is at work.
    pub(crate) fn at_rest(&self) -> Option<(Rest, Timestamp)> {
        let state = self.lock();
        if state.under_way.is_empty() {
            return Some((if self.asked.is_cancelled() { Rest::Between } else { Rest::Fresh }, state.since));
        }
        state.under_way.values().flatten().min().map(|since| (Rest::Untaken, *since))
    }

    /// Whether a part of a head has come, in HTTP/1.
    pub(crate) fn is_begun(&self) -> bool {
        let state = self.lock();
        state.under_way.is_empty() && matches!(&state.protocol, Protocol::Http1(head) if head.bytes > 0)
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.lock().protocol, Protocol::Http2 { .. })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that is not answered to its end.
#[derive(Debug)]
pub(crate) struct UnderWay {
    activity: Arc<Activity>,
    number: u64,
    /// Among those of HTTP/2.
    _place: Option<OwnedSemaphorePermit>,
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
    /// Begins a request; none if too many are under way on connections like this one.
    pub(crate) fn begin(activity: &Arc<Activity>) -> Option<Self> {
        let mut state = activity.lock();
        let place = match &mut state.protocol {
            Protocol::Http2 { .. } => {
                Some(Arc::clone(&activity.shares.http2_requests).try_acquire_owned().ok()?)
            }
            Protocol::Http1(head) => {
                head.bytes = 0;
                None
            }
            Protocol::Unknown(_) => None,
        };
        state.count += 1;
        let number = state.count;
        state.under_way.insert(number, None);
        drop(state);
        activity.asked.cancel();
        Some(Self { activity: Arc::clone(activity), number, _place: place })
    }

    /// A place for the connection while the body of this request is on its way.
    pub(crate) fn await_body(&self) -> Place {
        let Activity { shares, displaced, .. } = &*self.activity;
        shares.bodies.enter(displaced.clone())
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

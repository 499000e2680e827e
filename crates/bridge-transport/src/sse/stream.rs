//! The log as a stream of server-sent events.

use std::{collections::VecDeque, convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use bridge_core::{Cursor, Event, Gap, Message, SessionId};
use bridge_protocol as wire;
use bridge_runtime::{Bridge, Events, Fault, Follow};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::codec;
use crate::http::{Body, Budget, PART, Share, Shared};

/// How often a quiet stream gives a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events asked for at one time: as many messages are held for a reader that does not read.
const BATCH: usize = 4;

/// A frame is closed when it has grown beyond this, so that small events travel together and large ones alone.
const FRAME: usize = 16 << 10;

/// Follows the log for as long as the reader reads: nothing is asked for before the last was taken.
pub(crate) fn stream(
    shared: Arc<Shared>,
    follow: Follow,
    session: Option<SessionId>,
    place: OwnedSemaphorePermit,
) -> Body {
    let step = Step::Open(follow.gap());
    let next = ask(follow, shared.answers.clone());
    let reader = Reader { shared, next, session, queue: VecDeque::new(), held: None, step, _place: place };
    let frames = futures_util::stream::unfold(reader, |mut reader| async move {
        let text = reader.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), reader))
    });
    StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync()
}

/// One open stream.
struct Reader {
    shared: Arc<Shared>,
    next: Next,
    session: Option<SessionId>,
    queue: VecDeque<(Event, Option<Arc<Message>>)>,
    /// For what is in the queue, if that is large.
    held: Option<Share>,
    step: Step,
    _place: OwnedSemaphorePermit,
}

/// The next events on their way. It outlives each sign of life, so that none is dropped half read.
type Next = Pin<Box<dyn Future<Output = (Follow, Result<Batch, Fault>)> + Send>>;

/// Some events, and the share of those that are large: of the messages, of their text beside them, of the frame.
struct Batch {
    events: Events,
    held: Option<Share>,
}

fn ask(mut follow: Follow, budget: Budget) -> Next {
    Box::pin(async move {
        let batch = async {
            let events = follow.next_events(BATCH).await?;
            let bytes = 3 * events.bytes();
            if bytes <= 3 * PART {
                return Ok(Batch { events, held: None });
            }
            if let Some(share) = budget.take(bytes) {
                return Ok(Batch { events, held: Some(share) });
            }
            // While there is no room the messages stay where they are.
            follow.put_back(events);
            let held = budget.wait(bytes).await;
            Ok(Batch { events: follow.hand_out().await?, held })
        };
        let batch = batch.await;
        (follow, batch)
    })
}

enum Step {
    Open(Option<Gap>),
    Follow,
    End,
}

impl Reader {
    /// The next frames; none at the end.
    async fn next(&mut self) -> Option<String> {
        self.note();
        match self.step {
            Step::Open(gap) => {
                self.step = Step::Follow;
                let mut text = codec::OPENING.to_owned();
                if let Some(gap) = gap {
                    self.step = Step::End;
                    text.push_str(&told(gap));
                }
                Some(text)
            }
            Step::Follow => {
                if self.queue.is_empty() {
                    self.held = None;
                    let bridge = &self.shared.bridge;
                    tokio::select! {
                        biased;
                        () = self.shared.closing.cancelled() => return None,
                        (follow, batch) = &mut self.next => {
                            let batch = batch.ok()?;
                            if let (true, Some(gap)) = (batch.events.events.is_empty(), batch.events.gap) {
                                self.step = Step::End;
                                return Some(told(gap));
                            }
                            self.queue = batch.events.events.into();
                            self.held = batch.held;
                            self.next = ask(follow, self.shared.answers.clone());
                        }
                        () = bridge.clock().sleep_until(bridge.now() + KEEP_ALIVE) => {
                            return Some(codec::KEEP_ALIVE.to_owned());
                        }
                    }
                }
                Some(self.frames())
            }
            Step::End => None,
        }
    }

    fn frames(&mut self) -> String {
        let mut text = String::new();
        while text.len() < FRAME
            && let Some((event, message)) = self.queue.pop_front()
        {
            write(&mut text, &self.shared.bridge, &event, message.as_deref());
        }
        text
    }

    /// Notes that the reader is still there: it has taken the last frame.
    fn note(&self) {
        if let Some(session) = self.session {
            self.shared.watchers.saw(session, self.shared.bridge.now());
        }
    }
}

/// Says that the reader has to begin anew.
fn told(gap: Gap) -> String {
    let mut text = String::new();
    let data = json!({"recovered": false, "reason": gap.as_str()}).to_string();
    codec::event(&mut text, None, Some("gap"), &data);
    text
}

fn write(text: &mut String, bridge: &Bridge, event: &Event, message: Option<&Message>) {
    let log = bridge.log_id();
    let wire = wire::Event::new(log, event, message);
    let data = serde_json::to_string(&wire).expect("wire types have string keys and no writer that fails");
    codec::event(text, Some(&Cursor { log, seq: event.seq }.to_string()), None, &data);
}

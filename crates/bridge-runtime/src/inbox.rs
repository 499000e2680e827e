//! The way into a shard's actor: one bounded channel.

use bridge_core::{Answer, CallId, Command, DeliveryId, LostAnswer};
use tokio::sync::{mpsc, oneshot};

use crate::{fault::Fault, task};

/// What an actor is sent.
#[derive(Debug)]
pub(crate) enum Input {
    /// A command whose caller waits.
    Call(CallId, Command, oneshot::Sender<Result<Answered, Fault>>),
    /// A command that nobody waits for.
    Notice(Command),
    /// Finish what was sent so far, then stop.
    Shutdown,
}

/// An answer on its way to its caller.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) handover: HandOver,
}

/// The way into an actor.
#[derive(Debug, Clone)]
pub(crate) struct Inlet(mpsc::Sender<Input>);

impl Inlet {
    /// A channel that holds at most `capacity` inputs; who sends more waits.
    pub(crate) fn channel(capacity: usize) -> (Self, mpsc::Receiver<Input>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    pub(crate) async fn call(&self, id: CallId, command: Command) -> Result<Answered, Fault> {
        let (reply, answer) = oneshot::channel();
        let guard = Unpark { inlet: self, call: matches!(command, Command::Receive(_)).then_some(id) };
        self.0.send(Input::Call(id, command, reply)).await.map_err(|_| Fault::ShuttingDown)?;
        let answered = answer.await.map_err(|_| Fault::OutcomeUnknown)?;
        guard.disarm();
        answered
    }

    pub(crate) async fn shut_down(&self) {
        // Closed already is shut down already.
        let _ = self.0.send(Input::Shutdown).await;
        self.0.closed().await;
    }

    /// A handle that does not keep the actor alive.
    pub(crate) fn downgrade(&self) -> WeakInlet {
        WeakInlet(self.0.downgrade())
    }

    /// Sends a notice from where nobody can wait.
    pub(crate) fn notify(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(input)) = self.0.try_send(Input::Notice(command)) {
            let sender = self.0.clone();
            task::spawn_if_running(async move {
                let _ = sender.send(input).await;
            });
        }
    }
}

/// The way into an actor for those who must not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakInlet(mpsc::WeakSender<Input>);

impl WeakInlet {
    pub(crate) fn upgrade(&self) -> Option<Inlet> {
        self.0.upgrade().map(Inlet)
    }
}

/// Takes a waiting receive back when its caller goes away.
struct Unpark<'a> {
    inlet: &'a Inlet,
    call: Option<CallId>,
}

impl Unpark<'_> {
    fn disarm(mut self) {
        self.call = None;
    }
}

impl Drop for Unpark<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.inlet.notify(Command::Unpark(call));
        }
    }
}

/// The last step of a receive: the answer on its way to the consumer.
///
/// Whoever hands the answer over says [`complete`](HandOver::complete) once it has arrived, as far as can be told.
/// Dropping it before means that the answer was lost, and the leases in it end: at once, or in a moment where the
/// consumer can repeat the attempt. What the consumer uses all the same stays its own.
#[derive(Debug, Default)]
#[must_use = "dropping it says that the answer was lost"]
pub struct HandOver {
    lost: Option<(WeakInlet, LostAnswer)>,
}

impl HandOver {
    pub(crate) fn new(inlet: WeakInlet, lost: LostAnswer) -> Self {
        Self { lost: Some((inlet, lost)) }
    }

    /// These deliveries have no room in the answer after all: they go back before anything that is asked next.
    pub async fn give_back(&mut self, without_room: &[DeliveryId]) {
        let Some((inlet, lost)) = &mut self.lost else { return };
        let (leases, rest) = lost.leases.iter().partition(|(delivery, _)| without_room.contains(delivery));
        lost.leases = rest;
        if let Some(inlet) = inlet.upgrade() {
            let lost = LostAnswer { leases, repeatable: false, ..*lost };
            // Who does not take it has stopped, and with it every lease.
            let _ = inlet.0.send(Input::Notice(Command::AnswerLost(lost))).await;
        }
    }

    /// The answer has arrived, as far as can be told.
    pub fn complete(mut self) {
        self.lost = None;
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if let Some((inlet, lost)) = self.lost.take()
            && let Some(inlet) = inlet.upgrade()
        {
            inlet.notify(Command::AnswerLost(lost));
        }
    }
}

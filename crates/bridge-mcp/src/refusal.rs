//! Refusals and faults in words that a model can act on.

use std::ops::RangeInclusive;

use bridge_core::{
    DeliveryError, MailboxError, PublishError, ReceiveError, SessionError, SettleError, TaskError,
};
use bridge_protocol::Code;
use bridge_runtime::{CallError, Fault};
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::json;

/// Why a tool did not do what it was asked for, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The stable name.
    pub(crate) code: Code,
    /// What went wrong this time.
    pub(crate) error: String,
    /// What to do next.
    pub(crate) next: &'static str,
}

impl Refusal {
    pub(crate) fn new(code: Code, error: impl Into<String>, next: &'static str) -> Self {
        Self { code, error: error.into(), next }
    }

    /// A value that an argument cannot have.
    pub(crate) fn argument(error: impl Into<String>) -> Self {
        Self::new(Code::InvalidField, error, "Call the tool again with arguments that fit its input schema.")
    }

    /// A whole number within `bounds`, or none.
    pub(crate) fn within(
        name: &str,
        given: Option<i64>,
        bounds: RangeInclusive<i64>,
    ) -> Result<Option<i64>, Self> {
        match given {
            Some(number) if !bounds.contains(&number) => {
                let (least, most) = bounds.into_inner();
                Err(Self::argument(format!("{name}: a whole number from {least} to {most}")))
            }
            given => Ok(given),
        }
    }

    /// As the result of a tool: an error that the model sees.
    pub(crate) fn result(&self) -> CallToolResult {
        let text = json!({
            "success": false,
            "status": "error",
            "code": self.code.as_str(),
            "error": self.error,
            "what_to_do": self.next,
        });
        CallToolResult::error(vec![ContentBlock::text(text.to_string())])
    }
}

impl<E> From<CallError<E>> for Refusal
where
    Self: From<E>,
{
    fn from(error: CallError<E>) -> Self {
        match error {
            CallError::Refused(refused) => refused.into(),
            CallError::Fault(fault) => fault.into(),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let again = "Try again in a few seconds; nothing was changed.";
        let (code, next) = match fault {
            Fault::OutcomeUnknown => (
                Code::OutcomeUnknown,
                "Try again in a few seconds with the same arguments: if it took effect, the answer will say so.",
            ),
            Fault::Full => (Code::StoreFull, "Tell the operator. Try again later; nothing was changed."),
            Fault::Damaged => {
                (Code::StoreDamaged, "Tell the operator. Trying again does not help; nothing was changed.")
            }
            Fault::ShuttingDown => (Code::ShuttingDown, again),
            _ => (Code::Unavailable, again),
        };
        Self::new(code, fault.to_string(), next)
    }
}

impl From<SettleError> for Refusal {
    fn from(error: SettleError) -> Self {
        let (code, next) = match &error {
            SettleError::UnknownToken => (
                Code::UnknownToken,
                "Use the message_id and handle exactly as they came with the message. If you no longer have them, call \
                 get_pending_messages: what you still hold is listed there.",
            ),
            SettleError::LeaseLost { .. } => (
                Code::LeaseLost,
                "The message is no longer yours: it was handed out again or withdrawn. Do not retry; ask for messages.",
            ),
            SettleError::AlreadySettled { .. } => (
                Code::AlreadySettled,
                "This message has another answer already. Do not retry; ask for messages.",
            ),
            SettleError::HandleNeeded => {
                (Code::HandleNeeded, "Call again with the handle that came with the message.")
            }
            SettleError::SessionClosed => (Code::SessionClosed, "The conversation has ended. Stop."),
            SettleError::OtherMailbox => {
                (Code::OtherSession, "Answer it by itself: its sender does not see this answer.")
            }
            SettleError::TooLong { .. } => (Code::InvalidField, "Say it shorter."),
            _ => (Code::Internal, "Ask for messages and go on from there."),
        };
        Self::new(code, error.to_string(), next)
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        let (code, next) = match &error {
            PublishError::UnknownSession(_) => (Code::UnknownSession, UNKNOWN_SESSION),
            PublishError::SessionClosed(_) => {
                (Code::SessionClosed, "The conversation has ended; create a new session.")
            }
            PublishError::MailboxFull { .. } => {
                (Code::MailboxFull, "Try again later, when some of the waiting messages are answered.")
            }
            PublishError::TooManyPending { .. } => (Code::TooManyPending, "Try again later."),
            PublishError::IdempotencyConflict { .. } => (
                Code::IdempotencyConflict,
                "Use a new idempotency_key for a new message, and the same one only to repeat a message.",
            ),
            _ => (Code::Internal, "Try again later."),
        };
        Self::new(code, error.to_string(), next)
    }
}

/// What to do about a session that is not there.
pub(crate) const UNKNOWN_SESSION: &str =
    "Check the session_id, or ask for a new one. Do not ask for messages of this session again.";

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        let (code, next) = match &error {
            ReceiveError::UnknownMailbox(_) => (Code::UnknownSession, UNKNOWN_SESSION),
            ReceiveError::TooManyWaiting { .. } => (Code::TooManyWaiting, "Try again in a few seconds."),
            _ => (Code::NotLeased, UNKNOWN_SESSION),
        };
        Self::new(code, error.to_string(), next)
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        let (code, next) = match &error {
            SessionError::TooMany { .. } => {
                (Code::TooManySessions, "Use a session that is there, or try later.")
            }
            SessionError::Closed(_) => {
                (Code::SessionClosed, "The conversation has ended; create a new session.")
            }
            SessionError::InvalidTitle { .. } => (Code::InvalidField, "Choose a short title, in one line."),
            _ => (Code::UnknownSession, UNKNOWN_SESSION),
        };
        Self::new(code, error.to_string(), next)
    }
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Self {
        let (code, next) = match &error {
            DeliveryError::WrongState { .. } => (
                Code::WrongState,
                "Only what is dead or cancelled can be redriven; explain_delivery tells more.",
            ),
            DeliveryError::MessageGone(_) => {
                (Code::Gone, "Its content was removed, and it cannot be sent again.")
            }
            DeliveryError::SessionClosed(_) => {
                (Code::SessionClosed, "Its conversation has ended, and it cannot be sent again.")
            }
            DeliveryError::UnknownMailbox(_) => (Code::UnknownMailbox, UNKNOWN_MAILBOX),
            _ => (
                Code::UnknownDelivery,
                "Use the id exactly as it was given to you; old deliveries are forgotten.",
            ),
        };
        Self::new(code, error.to_string(), next)
    }
}

/// What to do about a mailbox that is not there.
pub(crate) const UNKNOWN_MAILBOX: &str = "Call list_mailboxes for the names of those that are there.";

impl From<MailboxError> for Refusal {
    fn from(error: MailboxError) -> Self {
        let text = crate::shown::visible(&error.to_string());
        Self::new(Code::UnknownMailbox, text, UNKNOWN_MAILBOX)
    }
}

impl From<TaskError> for Refusal {
    fn from(error: TaskError) -> Self {
        let (code, next) = match &error {
            TaskError::UnknownMailbox(_) => (Code::UnknownSession, UNKNOWN_SESSION),
            TaskError::TooMany { .. } => (Code::Overloaded, "Call get_pending_messages instead."),
            _ => (Code::UnknownTask, "Call wait_for_messages again."),
        };
        Self::new(code, error.to_string(), next)
    }
}

//! New ids: time-ordered, and random enough not to be guessed.

use std::sync::Arc;

use bridge_core::{Clock, MessageId, NodeId, SessionId, TaskId};
use uuid::{ContextV7, Timestamp, Uuid};

/// Makes ids whose time is the bridge's own.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    clock: Arc<dyn Clock>,
    /// Keeps ids of one millisecond in order.
    context: Arc<std::sync::Mutex<ContextV7>>,
}

impl Ids {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, context: Arc::new(std::sync::Mutex::new(ContextV7::new())) }
    }

    pub(crate) fn message(&self) -> MessageId {
        MessageId(self.next())
    }

    pub(crate) fn session(&self) -> SessionId {
        SessionId(self.next())
    }

    pub(crate) fn task(&self) -> TaskId {
        TaskId(self.next())
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.next())
    }

    /// A name for an attempt whose caller chose none.
    pub(crate) fn attempt(&self) -> String {
        format!("att_{:032x}", self.next())
    }

    fn next(&self) -> u128 {
        let millis = self.clock.now().as_millis();
        let nanos = u32::try_from(millis % 1_000).expect("below 1000") * 1_000_000;
        let context = self.context.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Uuid::new_v7(Timestamp::from_unix(&*context, millis / 1_000, nanos)).as_u128()
    }
}

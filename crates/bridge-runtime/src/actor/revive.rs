//! Between two lives of a shard: its store has failed, and is tried until it works again.

use std::time::Duration;

use bridge_core::{CallId, Command, Request, Shard, Step, StoreError, StoreErrorKind};

use super::{Actor, Call};
use crate::{
    fault::{Fault, Health},
    life::Life,
};

/// The pause between attempts to use a store that has failed.
pub(super) const PROBE: Duration = Duration::from_secs(1);

impl Actor {
    /// Tries to own and load the shard until it works. Meanwhile nothing is written; what can be told is told.
    pub(super) async fn revive(&mut self, mut kind: StoreErrorKind) -> Option<Life> {
        let mut shadow: Option<Shard> = None;
        // A life that made nothing durable would be followed by another like it: that one waits.
        let mut at_once = self.committed;
        loop {
            let begun = if at_once { Some(self.begin(&mut shadow).await) } else { None };
            at_once = true;
            match begun {
                None => {}
                Some(Ok(life)) => {
                    tracing::info!("the store can be used again");
                    return Some(life);
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "the store cannot be used; trying again in a second");
                    kind = if kind == StoreErrorKind::Full { kind } else { error.kind };
                }
            }
            let fault = Fault::of(kind);
            self.health.send_replace(Health::Faulted(fault));
            if shadow.is_none() {
                shadow = self.parts.shadow().await.ok();
            }
            let probe = self.parts.clock.now() + PROBE;
            while self.parts.clock.now() < probe {
                for request in self.next_batch(Some(probe)).await? {
                    self.refuse_or_tell(request, shadow.as_mut(), fault).await;
                }
            }
            let now = self.parts.clock.now();
            let late = |_: &CallId, call: &mut Call| {
                call.receive.as_ref().is_some_and(|(_, deadline)| *deadline <= now)
            };
            for (_, call) in self.calls.extract_if(late) {
                let _ = call.reply.send(Err(fault));
            }
        }
    }

    /// Owns the shard and loads it. Nobody is answered meanwhile, so that what was there for those who look goes first: a shard
    /// can be large, and there is room for one.
    async fn begin(&self, shadow: &mut Option<Shard>) -> Result<Life, StoreError> {
        let owner = self.parts.own().await?;
        *shadow = None;
        self.parts.load(owner).await
    }

    /// While the store is at fault: what changes nothing is answered, what waits may wait, the rest is refused.
    async fn refuse_or_tell(&mut self, request: Request, shadow: Option<&mut Shard>, fault: Fault) {
        let Request { call, command } = request;
        let reads =
            matches!(command, Command::InspectSession(_) | Command::Inspect(_) | Command::InspectTask(_));
        if matches!(command, Command::Receive(_)) {
            return;
        }
        if let Some(shard) = shadow.filter(|_| reads) {
            shard.trim();
            let mut requests = vec![Request { call, command }];
            if self.fetch(shard, &mut requests).await.is_ok() {
                let mut step = Step::new();
                for request in requests {
                    shard.handle(request, self.parts.clock.now(), &mut step);
                }
                for effect in step.effects {
                    self.perform(effect, &mut Vec::new());
                }
            }
        }
        if let Some(call) = self.calls.remove(&call) {
            let _ = call.reply.send(Err(fault));
        }
    }
}

//! One life of a shard, from a load on, and everything it was told: so it can be lived again.

use bridge_core::{Policy, Request, Row, RowKey, Seq, Shard, Step, Timestamp};

/// A shard that cannot be copied, but whose like comes of the same birth and the same past.
#[derive(Debug)]
pub(crate) struct Life {
    shard: Shard,
    birth: Birth,
    past: Vec<Told>,
}

/// What a shard is loaded from.
#[derive(Debug, Clone)]
pub(crate) struct Birth {
    pub(crate) policy: Policy,
    pub(crate) epoch: u64,
    pub(crate) seed: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) floor: Seq,
    pub(crate) head: Seq,
    pub(crate) now: Timestamp,
}

#[derive(Debug, Clone)]
enum Told {
    Row(RowKey, Option<Row>),
    Time(Timestamp),
    Request(Request, Timestamp),
}

impl Life {
    pub(crate) fn begin(birth: Birth) -> Self {
        let Birth { policy, epoch, seed, rows, floor, head, now } = birth.clone();
        Self { shard: Shard::new(policy, epoch, seed).load(rows, floor, head, now), birth, past: Vec::new() }
    }

    /// Another shard to which the same has happened.
    pub(crate) fn again(&self) -> Self {
        let mut life = Self::begin(self.birth.clone());
        let mut step = Step::new();
        for told in self.past.iter().cloned() {
            // Each step begins with what is due, and how much of that it does depends on what it has done.
            if let Told::Time(_) = told {
                step = Step::new();
            }
            life.tell(told, &mut step);
        }
        life
    }

    pub(crate) fn shard(&self) -> &Shard {
        &self.shard
    }

    pub(crate) fn birth(&self) -> &Birth {
        &self.birth
    }

    pub(crate) fn supply(&mut self, key: RowKey, row: Option<Row>) {
        self.tell(Told::Row(key, row), &mut Step::new());
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp, step: &mut Step) {
        self.tell(Told::Time(now), step);
    }

    pub(crate) fn handle(&mut self, request: Request, now: Timestamp, step: &mut Step) {
        self.tell(Told::Request(request, now), step);
    }

    fn tell(&mut self, told: Told, step: &mut Step) {
        self.past.push(told.clone());
        match told {
            Told::Row(key, row) => self.shard.supply(key, row),
            Told::Time(now) => self.shard.handle_timeout(now, step),
            Told::Request(request, now) => self.shard.handle(request, now, step),
        }
    }
}

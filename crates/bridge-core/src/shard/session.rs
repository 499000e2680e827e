//! Conversations: begun, renamed, closed by hand or by time.

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};

use super::{Shard, Step, Subject, timer::Timer};
use crate::{
    address::{Address, Side},
    command::SessionView,
    delivery::DeadReason,
    event::EventKind,
    id::{DeliveryId, SessionId},
    mailbox::{Made, Presence, PresenceState},
    session::{OpenSession, Session, SessionError},
    store::Row,
    time::Timestamp,
};

/// The two mailboxes of a session.
pub(super) const fn sides(session: SessionId) -> [Address; 2] {
    [Address::Session(session, Side::Agent), Address::Session(session, Side::User)]
}

impl Shard {
    pub(super) fn open_session(
        &mut self,
        open: OpenSession,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<SessionView, SessionError> {
        let id = open.id;
        if self.sessions.contains_key(&id) {
            return self.inspect_session(id);
        }
        let title = self.title(open.title.as_deref())?;
        let limit = self.policy.max_sessions;
        if self.sessions.len() >= limit {
            return Err(SessionError::TooMany { limit });
        }
        let session = Session {
            id,
            title: title.clone(),
            owner: open.owner,
            created_at: now,
            last_activity: now,
            questions: 0,
            closed_at: None,
        };
        step.put(Row::Session(session.clone()));
        self.adopt_session(session);
        for address in sides(id) {
            let settings = address.default_settings();
            self.make_mailbox(&address, settings, Made::ByHand, now, step);
        }
        self.tell(Subject::session(id), EventKind::SessionOpened { title }, now, step);
        self.inspect_session(id)
    }

    pub(super) fn rename_session(
        &mut self,
        id: SessionId,
        title: Option<&str>,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<SessionView, SessionError> {
        let title = self.title(title)?;
        let Some(session) = self.sessions.get_mut(&id) else { return Err(self.not_open(id)) };
        session.title.clone_from(&title);
        step.put(Row::Session(session.clone()));
        self.tell(Subject::session(id), EventKind::SessionRenamed { title }, now, step);
        self.inspect_session(id)
    }

    /// A title as it is kept: a blank one is none.
    fn title(&self, title: Option<&str>) -> Result<Option<Arc<str>>, SessionError> {
        let most = self.policy.max_title;
        match title.map(str::trim).filter(|title| !title.is_empty()) {
            Some(title) if title.chars().count() > most || title.chars().any(char::is_control) => {
                Err(SessionError::InvalidTitle { most })
            }
            title => Ok(title.map(Into::into)),
        }
    }

    /// Closes a conversation: one row now. What it leaves unsettled is given up in the steps behind it. Closing a closed
    /// one changes nothing.
    pub(super) fn close_session(
        &mut self,
        id: SessionId,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<SessionView, SessionError> {
        let Some(mut session) = self.sessions.remove(&id) else { return self.inspect_session(id) };
        self.timers.clear(session.last_activity + self.policy.session_ttl, Timer::SessionEnd(id));
        session.closed_at = Some(now);
        self.cold.keep(Row::Session(session.clone()));
        step.put(Row::Session(session));
        let unsettled = sides(id)
            .iter()
            .filter_map(|side| self.inboxes.get(side))
            .map(|inbox| inbox.pending + inbox.leased)
            .sum();
        self.tell(Subject::session(id), EventKind::SessionClosed { unsettled }, now, step);
        for side in sides(id) {
            self.dismiss(&side, step);
        }
        self.close_on(id, now, step);
        self.inspect_session(id)
    }

    /// Closes a conversation if nothing has happened in it after `since` and nothing waits or is worked on for its agent.
    pub(super) fn close_idle(
        &mut self,
        id: SessionId,
        since: Timestamp,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<SessionView, SessionError> {
        let view = self.inspect_session(id)?;
        let is_idle = view.session.last_activity <= since && view.pending == 0 && view.leased == 0;
        if is_idle { self.close_session(id, now, step) } else { Ok(view) }
    }

    /// Gives up some of what a closed conversation left, and comes back for the rest.
    pub(super) fn close_on(&mut self, id: SessionId, now: Timestamp, step: &mut Step) {
        if self.sessions.contains_key(&id) {
            return;
        }
        let chunk = self.policy.max_rows.max(1);
        let left: Vec<DeliveryId> = self.unsettled(id, chunk).collect();
        for delivery in &left {
            if self.is_passed(&self.live(*delivery)) {
                self.settle_read(*delivery, now, step);
            } else {
                self.kill(*delivery, DeadReason::SessionClosed, now, step);
            }
        }
        if left.len() == chunk {
            self.timers.set(now, Timer::CloseOn(id));
            return;
        }
        for side in sides(id) {
            self.dismiss(&side, step);
            self.remove_mailbox(&side, step);
        }
    }

    /// Whether a closed conversation still has to give up what it left. It is opened anew when nothing of its former life
    /// is left.
    pub(super) fn is_closing(&self, id: SessionId) -> bool {
        !self.sessions.contains_key(&id) && self.unsettled(id, 1).next().is_some()
    }

    /// Some live deliveries of a session.
    fn unsettled(&self, id: SessionId, most: usize) -> impl Iterator<Item = DeliveryId> + '_ {
        sides(id)
            .into_iter()
            .filter_map(|side| self.inboxes.get(&side))
            .flat_map(|inbox| inbox.lanes.slots().chain(inbox.scheduled.iter().copied()))
            .take(most)
            .map(|slot| self.deliveries.id(slot))
    }

    /// A conversation has been quiet for its whole time.
    pub(super) fn end_session(&mut self, id: SessionId, now: Timestamp, step: &mut Step) {
        let over = |session: &Session| session.last_activity + self.policy.session_ttl <= now;
        if self.sessions.get(&id).is_some_and(over) {
            let _ = self.close_session(id, now, step);
        }
    }

    pub(super) fn inspect_session(&self, id: SessionId) -> Result<SessionView, SessionError> {
        let session = self.find_session(id).ok_or(SessionError::Unknown(id))?.clone();
        let [agent, user] = sides(id);
        let inbox = self.inboxes.get(&agent);
        let away = Presence { state: PresenceState::Away, consumer: None, since: session.created_at };
        Ok(SessionView {
            pending: inbox.map_or(0, |inbox| inbox.pending),
            leased: inbox.map_or(0, |inbox| inbox.leased),
            unread: self.inboxes.get(&user).map_or(0, |inbox| inbox.pending),
            presence: self.presence(&agent).unwrap_or(away),
            session,
        })
    }

    fn not_open(&self, id: SessionId) -> SessionError {
        match self.find_session(id) {
            Some(_) => SessionError::Closed(id),
            None => SessionError::Unknown(id),
        }
    }

    pub(super) fn adopt_session(&mut self, session: Session) {
        self.timers.set(session.last_activity + self.policy.session_ttl, Timer::SessionEnd(session.id));
        self.sessions.insert(session.id, session);
    }

    /// Takes up the longer work that a load found unfinished.
    pub(super) fn resume_work(&mut self, now: Timestamp) {
        let closed: BTreeSet<SessionId> = self
            .inboxes
            .keys()
            .filter_map(Address::session)
            .filter(|session| !self.sessions.contains_key(session))
            .collect();
        for session in closed {
            self.timers.set(now, Timer::CloseOn(session));
        }
        for (address, inbox) in self.inboxes.iter().filter(|(address, _)| !address.is_work()) {
            if inbox.lanes.up_to(inbox.row.read_to).next().is_some() {
                self.timers.set(now, Timer::ReadOn(address.clone()));
            }
        }
        let purging: Vec<_> =
            self.inboxes.keys().filter(|address| self.is_purging(address)).cloned().collect();
        for address in purging {
            self.timers.set(now, Timer::PurgeOn(address));
        }
    }
}

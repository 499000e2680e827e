//! Tasks: standing wishes for messages, kept until their time is over.

use super::{Shard, Step, timer::Timer};
use crate::{
    id::TaskId,
    receive::Receive,
    store::{Row, RowKey},
    task::{OpenTask, Task, TaskError, TaskState},
    time::Timestamp,
};

impl Shard {
    pub(super) fn open_task(
        &mut self,
        open: OpenTask,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Task, TaskError> {
        let limit = self.policy.max_tasks;
        if let Some(task) = self.tasks.get(&open.id) {
            return Ok(task.clone());
        }
        if !self.inboxes.contains_key(&open.mailbox) || !open.mailbox.is_work() {
            return Err(TaskError::UnknownMailbox(open.mailbox));
        }
        if self.tasks.len() >= limit {
            return Err(TaskError::TooMany { limit });
        }
        let task = Task {
            id: open.id,
            mailbox: open.mailbox,
            consumer: open.consumer,
            created_at: now,
            expires_at: now + open.ttl,
            state: TaskState::Waiting,
        };
        step.put(Row::Task(task.clone()));
        self.adopt_task(task.clone());
        Ok(task)
    }

    pub(super) fn inspect_task(&self, id: TaskId) -> Result<Task, TaskError> {
        self.tasks.get(&id).cloned().ok_or(TaskError::Unknown(id))
    }

    pub(super) fn cancel_task(&mut self, id: TaskId, step: &mut Step) -> Result<Task, TaskError> {
        let task = self.tasks.get_mut(&id).ok_or(TaskError::Unknown(id))?;
        if task.state == TaskState::Waiting {
            task.state = TaskState::Cancelled;
            step.put(Row::Task(task.clone()));
        }
        Ok(task.clone())
    }

    /// The task on whose behalf a receive is made.
    fn task_of(&self, receive: &Receive) -> Option<&Task> {
        let id = receive.attempt_id.as_str().parse().ok()?;
        self.tasks.get(&id).filter(|task| receive.mailboxes == [task.mailbox.clone()])
    }

    /// Whether a receive may get something new: one for a task that is over may not.
    pub(super) fn wants_more(&self, receive: &Receive) -> bool {
        self.task_of(receive).is_none_or(|task| task.state == TaskState::Waiting)
    }

    /// A receive got something: so did its task, if it has one.
    pub(super) fn complete_task(&mut self, receive: &Receive, step: &mut Step) {
        if let Some(id) = self.task_of(receive).map(|task| task.id)
            && let Some(task) = self.tasks.get_mut(&id)
        {
            task.state = TaskState::Completed;
            step.put(Row::Task(task.clone()));
        }
    }

    pub(super) fn adopt_task(&mut self, task: Task) {
        self.timers.set(task.expires_at, Timer::Task(task.id));
        self.tasks.insert(task.id, task);
    }

    pub(super) fn end_task(&mut self, id: TaskId, step: &mut Step) {
        if self.tasks.remove(&id).is_some() {
            step.delete(RowKey::Task(id));
        }
    }
}

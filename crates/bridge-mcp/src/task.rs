//! Waits that outlive their call: tasks of the protocol over the bridge's own, which are durable.

use std::time::Duration;

use bridge_core::{Action, Consumer, DirectiveReason, Name, ReceiveError, TaskError, TaskId, TaskState};
use bridge_protocol::Time;
use bridge_runtime::{CallError, ReceiveRequest};
use rmcp::{
    ErrorData,
    model::{
        CallToolResponse, CallToolResult, CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload,
        TaskStatus,
    },
};

use crate::{
    handler::Call,
    refusal::Refusal,
    shown::PAYLOAD_BUDGET,
    tools::{nothing_yet, pending, refused},
};

/// A wait without messages ends after this time.
const WAIT: Duration = Duration::from_secs(3600);

/// How much longer it can be asked for its end.
const KEPT: Duration = Duration::from_secs(600);

/// How often a client shall look.
const POLL: Duration = Duration::from_secs(2);

/// Opens a task that waits as `request` would.
pub(crate) async fn open(request: ReceiveRequest, call: &Call<'_>) -> CallToolResponse {
    let principal = request.principal;
    let consumer = match request.consumer {
        Some(name) => Consumer::named(principal, name),
        None => Consumer::nameless(principal.clone(), principal),
    };
    let mailbox = request.mailboxes[0].clone();
    match call.bridge.open_task(mailbox, consumer, WAIT + KEPT).await {
        Ok(task) => CreateTaskResult::new(shown(&task, TaskStatus::Working)).into(),
        Err(error) => refused(&Refusal::from(error)).into(),
    }
}

/// Looks whether a task has what it waits for: a receive that does not wait, and that repeats its result until it is used.
pub(crate) async fn get(id: &str, call: &Call<'_>) -> Result<GetTaskResult, ErrorData> {
    let task = find(id, call).await?;
    let state = |status, payload| Ok(GetTaskResult::new(DetailedTask::new(shown(&task, status), payload)));
    let completed = |result: &CallToolResult| match serde_json::to_value(result) {
        Ok(serde_json::Value::Object(result)) => {
            state(TaskStatus::Completed, TaskPayload::Completed { result })
        }
        _ => unreachable!("a result is an object"),
    };
    if task.state == TaskState::Cancelled {
        return state(TaskStatus::Cancelled, TaskPayload::Cancelled);
    }
    let attempt = Name::new(&task.id.to_string()).expect("an id is a short name");
    let mut request = ReceiveRequest::new(task.mailbox.clone())
        .principal(task.consumer.principal.clone())
        .attempt_id(attempt)
        .max(10)
        .max_bytes(PAYLOAD_BUDGET);
    if task.consumer.named {
        request = request.consumer(task.consumer.name.clone());
    }
    match call.bridge.receive(request).await {
        Ok(received)
            if received.directive.action != Action::WaitAgain
                || received.directive.reason == DirectiveReason::TaskOver =>
        {
            completed(&pending(received, call).await)
        }
        Ok(_) if call.bridge.now() >= task.created_at + WAIT => completed(&nothing_yet()),
        Err(CallError::Refused(error @ ReceiveError::UnknownMailbox(_))) => {
            completed(&refused(&error.into()))
        }
        // It is over, whatever hinders it from being told now.
        Err(error) if task.state == TaskState::Completed => {
            Err(ErrorData::internal_error(Refusal::from(error).error, None))
        }
        // Whatever else hinders it now may be gone at the next look.
        Ok(_) | Err(_) => state(TaskStatus::Working, TaskPayload::Working),
    }
}

/// Takes what a client says to a task: none ever asks.
pub(crate) async fn update(id: &str, call: &Call<'_>) -> Result<(), ErrorData> {
    find(id, call).await.map(drop)
}

/// Calls a task off.
pub(crate) async fn cancel(id: &str, call: &Call<'_>) -> Result<(), ErrorData> {
    let task = find(id, call).await?;
    match call.bridge.cancel_task(task.id).await {
        Ok(_) | Err(CallError::Refused(_)) => Ok(()),
        Err(CallError::Fault(fault)) => Err(ErrorData::internal_error(fault.to_string(), None)),
    }
}

/// The task, if it is the caller's.
async fn find(id: &str, call: &Call<'_>) -> Result<bridge_core::Task, ErrorData> {
    let unknown = || ErrorData::invalid_params("There is no such task; call wait_for_messages again", None);
    let id: TaskId = id.parse().map_err(|_| unknown())?;
    match call.bridge.task(id).await {
        Ok(task) if task.consumer.principal == call.caller.principal => Ok(task),
        Ok(_) | Err(CallError::Refused(TaskError::Unknown(_))) => Err(unknown()),
        Err(error) => Err(ErrorData::internal_error(Refusal::from(error).error, None)),
    }
}

fn shown(task: &bridge_core::Task, status: TaskStatus) -> Task {
    let created = Time(task.created_at).to_string();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Task::new(task.id.to_string(), status, created.clone(), created)
        .with_ttl_ms(millis(task.expires_at.since(task.created_at)))
        .with_poll_interval_ms(millis(POLL))
}

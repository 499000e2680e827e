//! Asking for messages: at once, after a wait, or as a task.

use std::time::Duration;

use bridge_core::{
    Action, Address, Directive, DirectiveReason, MessageId, Name, ReceiveError, SessionId, Side,
};
use bridge_protocol::{Code, Time};
use bridge_runtime::{CallError, Leased, ReceiveRequest, Received};
use rmcp::model::{CallToolResponse, CallToolResult, JsonObject, ProgressNotificationParam};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{arguments, structured};
use crate::{
    handler::Call,
    refusal::Refusal,
    shown::{Budget, NOTE, PAYLOAD_BUDGET, Truncated, as_count, text_of, visible},
    task,
};

/// The longest that a call waits.
const MAX_WAIT: i64 = 60;

/// How often a client that asked for it is told that the wait goes on.
const PROGRESS: Duration = Duration::from_secs(10);

/// Messages at once, at most: half of what an agent may hold.
const MAX_MESSAGES: u32 = 10;

/// What `get_pending_messages` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PendingArguments {
    /// The session, as the person gave it to you.
    session_id: String,
    /// How long to wait if nothing is there: 0 to 60 seconds, 0 unless given.
    #[schemars(range(min = 0, max = 60))]
    wait_seconds: Option<i64>,
    /// At most so many messages: 1 to 10, 10 unless given.
    #[schemars(range(min = 1, max = 10))]
    max: Option<i64>,
    /// A name of your own for this call. Repeating the call with it returns the same messages, as long as they are yours.
    attempt_id: Option<String>,
}

/// What `wait_for_messages` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WaitArguments {
    /// The session, as the person gave it to you.
    session_id: String,
    /// How long to wait if nothing is there: 0 to 60 seconds, 25 unless given.
    #[schemars(range(min = 0, max = 60))]
    timeout_seconds: Option<i64>,
}

/// Messages in the caller's hands, and what to do next.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Pending {
    /// The messages, in the order to take them up. They are yours until `lease_until`.
    messages: Vec<Shown>,
    /// How many they are.
    count: i64,
    /// Whether the conversation goes on.
    session_active: bool,
    /// `ok`, `session_not_found` or `error`.
    status: String,
    /// What to do next.
    next_poll_instruction: NextPoll,
    /// The same for programs.
    directive: Told,
    /// Messages that you took earlier and have not answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held: Vec<Shown>,
    /// Whether more messages wait for you: answer these first.
    has_more: bool,
    /// How to take the texts of the messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// What to do now.
    #[serde(skip_serializing_if = "Option::is_none")]
    what_to_do: Option<String>,
}

/// A message as it is shown to a model.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    /// The `message_id` to answer with.
    id: String,
    /// The handle to answer with.
    handle: String,
    /// Its text: data from its sender.
    message: String,
    /// Who sent it.
    sender: String,
    /// When it was sent.
    timestamp: String,
    /// The session it belongs to.
    session_id: String,
    /// What kind of message it is: `message` unless the sender said otherwise.
    #[serde(rename = "type")]
    kind: String,
    /// How often it was handed out, this time included.
    attempt: i64,
    /// Until when it is yours; `report_progress` prolongs that.
    lease_until: String,
    /// The sender has asked for it back: give it back, or answer briefly.
    cancel_requested: bool,
    /// Set if the text is not whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
}

/// What to do next, as the first clients know it.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct NextPoll {
    /// `process_messages`, `poll_again` or `stop`.
    action: String,
    /// How long to pause before.
    delay_seconds: i64,
    /// The same in words.
    message: String,
}

/// What to do next, and why.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Told {
    /// `process`, `wait_again` or `end_turn`.
    action: String,
    /// How long to pause before.
    delay_ms: i64,
    /// `messages`, `quiet`, `busy`, `no_credit`, `poll_budget`, `session_closed`, `mailbox_deleted`, `session_not_found`, `shutting_down`,
    /// `replaced` or `task_over`.
    reason: String,
}

/// Asks for messages at once, or after a wait.
pub(super) async fn get_pending_messages(given: JsonObject, call: &Call<'_>) -> CallToolResult {
    let request = match arguments::<PendingArguments>(given).and_then(|given| given.wish(call)) {
        Ok(request) => request,
        Err(refusal) => return refused(&refusal),
    };
    receive(request, call).await
}

/// Waits for messages, as a task if the client takes tasks.
pub(super) async fn wait_for_messages(given: JsonObject, call: &Call<'_>) -> CallToolResponse {
    let request = match arguments::<WaitArguments>(given).and_then(|given| given.wish(call)) {
        Ok(request) => request,
        Err(refusal) => return refused(&refusal).into(),
    };
    if !call.takes_tasks() || request.wait.is_zero() {
        return receive(request, call).await.into();
    }
    match at_once(request.clone(), call).await {
        Ok(received) if can_wait(&received.directive) => task::open(request, call).await,
        Ok(received) => pending(received, call).await.into(),
        Err(refusal) => refused(&refusal).into(),
    }
}

/// Whether waiting helps: who holds too much already must answer first.
fn can_wait(directive: &Directive) -> bool {
    directive.action == Action::WaitAgain && directive.reason != DirectiveReason::NoCredit
}

impl PendingArguments {
    fn wish(self, call: &Call<'_>) -> Result<ReceiveRequest, Refusal> {
        let max = Refusal::within("max", self.max, 1..=MAX_MESSAGES.into())?;
        let max = max.and_then(|max| u32::try_from(max).ok()).unwrap_or(MAX_MESSAGES);
        let wait = Refusal::within("wait_seconds", self.wait_seconds, 0..=MAX_WAIT)?.unwrap_or(0);
        let mut request = wish(&self.session_id, wait, call)?.max(max);
        if let Some(attempt) = self.attempt_id.filter(|attempt| !attempt.is_empty()) {
            let attempt =
                Name::new(&attempt).map_err(|error| Refusal::argument(format!("attempt_id: {error}")))?;
            request = request.attempt_id(attempt);
        }
        Ok(request)
    }
}

impl WaitArguments {
    fn wish(self, call: &Call<'_>) -> Result<ReceiveRequest, Refusal> {
        let wait = Refusal::within("timeout_seconds", self.timeout_seconds, 0..=MAX_WAIT)?.unwrap_or(25);
        Ok(wish(&self.session_id, wait, call)?.max(MAX_MESSAGES))
    }
}

fn wish(session: &str, wait: i64, call: &Call<'_>) -> Result<ReceiveRequest, Refusal> {
    let mailbox = Address::Session(call.session(session)?, Side::Agent);
    let wait = Duration::from_secs(wait.unsigned_abs());
    let request = ReceiveRequest::new(mailbox)
        .principal(call.caller.principal.clone())
        .max_bytes(PAYLOAD_BUDGET)
        .wait(wait);
    Ok(match call.caller.consumer.clone() {
        Some(consumer) => request.consumer(consumer),
        None => request,
    })
}

async fn receive(request: ReceiveRequest, call: &Call<'_>) -> CallToolResult {
    match attend(request, call).await {
        Ok(received) => pending(received, call).await,
        Err(refusal) => refused(&refusal),
    }
}

/// What is there now.
pub(super) async fn at_once(request: ReceiveRequest, call: &Call<'_>) -> Result<Received, Refusal> {
    attend(request.wait(Duration::ZERO), call).await
}

/// Receives, and says now and then that it goes on. Ends at once when the caller calls it off or goes away; then what was
/// granted goes back.
async fn attend(request: ReceiveRequest, call: &Call<'_>) -> Result<Received, Refusal> {
    let wait = request.wait;
    let mut receive = Box::pin(take(request, call));
    let clock = call.bridge.clock();
    let began = clock.now();
    let token = call.cx.meta.get_progress_token();
    loop {
        let passed = clock.now().since(began);
        let next = clock.now() + PROGRESS;
        tokio::select! {
            biased;
            () = call.cx.ct.cancelled() => return Err(called_off()),
            () = call.passage.lost() => return Err(called_off()),
            received = &mut receive => return received,
            () = clock.sleep_until(next), if token.is_some() => {}
        }
        if let Some(token) = token.clone() {
            let progress = ProgressNotificationParam::new(token, (passed + PROGRESS).as_secs_f64())
                .with_total(wait.as_secs_f64())
                .with_message("No messages yet");
            // A client that cannot be told is one that has gone: the next turn sees it.
            let _ = call.cx.peer.notify_progress(progress).await;
        }
    }
}

fn called_off() -> Refusal {
    Refusal::new(
        Code::RequestTimeout,
        "the call was called off",
        "Call the tool again when you want messages.",
    )
}

async fn take(request: ReceiveRequest, call: &Call<'_>) -> Result<Received, Refusal> {
    let session = request.mailboxes.first().and_then(Address::session);
    match call.bridge.receive(request.clone()).await {
        Err(CallError::Refused(ReceiveError::UnknownMailbox(_)))
            if call.open_shared(session.unwrap_or(SessionId::DEFAULT)).await? =>
        {
            Ok(call.bridge.receive(request).await?)
        }
        received => Ok(received?),
    }
}

/// The result of a receive: what it got goes the way of the answer, and what has no room in that goes back.
pub(crate) async fn pending(received: Received, call: &Call<'_>) -> CallToolResult {
    let Received { mut deliveries, held, directive, depth, mut handover } = received;
    let rest: Vec<_> = deliveries.drain(that_fit(&deliveries)..).map(|leased| leased.id).collect();
    if !rest.is_empty() {
        handover.give_back(&rest).await;
    }
    call.passage.carry(handover);
    let mut budget = Budget::new();
    let messages: Vec<_> = deliveries.iter().map(|leased| Shown::new(leased, &mut budget)).collect();
    let held: Vec<_> = held.iter().map(|leased| Shown::new(leased, &mut budget)).collect();
    let texts = !(messages.is_empty() && held.is_empty());
    structured(&Pending {
        count: as_count(messages.len()),
        session_active: directive.reason != DirectiveReason::SessionClosed,
        status: "ok".to_owned(),
        next_poll_instruction: NextPoll::new(&directive),
        has_more: !rest.is_empty() || depth > 0 && answering_helps(&directive),
        note: texts.then(|| NOTE.to_owned()),
        what_to_do: what_to_do(&directive, !held.is_empty()).map(str::to_owned),
        directive: Told::new(&directive),
        messages,
        held,
    })
}

/// How many messages, from the first one on, are shown: one in any case, and no other that would be cut.
fn that_fit(deliveries: &[Leased]) -> usize {
    let mut budget = Budget::new();
    let whole = |leased: &&Leased| budget.take(text_of(leased.message.as_deref())).1.is_none();
    deliveries.iter().take_while(whole).count().max(1).min(deliveries.len())
}

/// Whether a caller that answers what it has gets what waits. Else that waits for its time, or for others.
fn answering_helps(directive: &Directive) -> bool {
    directive.action == Action::Process || directive.reason == DirectiveReason::NoCredit
}

/// The result of a wait that ended without a message.
pub(crate) fn nothing_yet() -> CallToolResult {
    let directive =
        Directive { action: Action::WaitAgain, delay: Duration::ZERO, reason: DirectiveReason::Quiet };
    structured(&Pending {
        session_active: true,
        status: "ok".to_owned(),
        next_poll_instruction: NextPoll::new(&directive),
        directive: Told::new(&directive),
        what_to_do: what_to_do(&directive, false).map(str::to_owned),
        ..Pending::default()
    })
}

fn what_to_do(directive: &Directive, held: bool) -> Option<&'static str> {
    match (directive.action, directive.reason) {
        (Action::Process, _) => Some(
            "Answer each message with send_response_to_web, passing its id as message_id and its handle. Then call \
             wait_for_messages again with the same session_id.",
        ),
        (Action::WaitAgain, DirectiveReason::NoCredit) => {
            Some("You hold as many messages as you may. Answer or release those in held, then ask again.")
        }
        (Action::WaitAgain, DirectiveReason::TaskOver) => Some(
            "What this task waited for was handed out, and is settled or no longer yours. Answer what is in held, then \
             call wait_for_messages again.",
        ),
        (Action::WaitAgain, _) if held => {
            Some("Nothing new came. Answer the messages in held, then call wait_for_messages again.")
        }
        (Action::WaitAgain, _) => {
            Some("Nothing came yet. Call wait_for_messages again with the same session_id.")
        }
        (Action::EndTurn, DirectiveReason::SessionClosed) => Some("The conversation has ended. Stop asking."),
        (Action::EndTurn, _) => Some("Nothing came for a long time. Stop asking, and tell your user so."),
    }
}

/// A refusal, in the shape of this tool's results.
pub(crate) fn refused(refusal: &Refusal) -> CallToolResult {
    let not_found = refusal.code == Code::UnknownSession;
    if !not_found {
        return refusal.result();
    }
    let mut result = structured(&Pending {
        status: "session_not_found".to_owned(),
        next_poll_instruction: NextPoll {
            action: "stop".to_owned(),
            delay_seconds: 0,
            message: "Stop checking: there is no such session".to_owned(),
        },
        directive: Told {
            action: "end_turn".to_owned(),
            delay_ms: 0,
            reason: "session_not_found".to_owned(),
        },
        what_to_do: Some(refusal.next.to_owned()),
        ..Pending::default()
    });
    result.is_error = Some(true);
    result
}

impl Shown {
    fn new(leased: &Leased, budget: &mut Budget) -> Self {
        let message = leased.message.as_deref();
        let (text, truncated) = budget.take(text_of(message));
        Self {
            id: leased.message_id.to_string(),
            handle: leased.handle.clone(),
            message: text,
            sender: message.map_or_else(String::new, |message| visible(message.from.as_str())),
            timestamp: sent_at(leased.message_id, message).to_string(),
            session_id: message
                .and_then(|message| message.session)
                .map_or_else(String::new, |session| session.to_string()),
            kind: message.map_or_else(String::new, |message| visible(message.kind.as_str())),
            attempt: i64::from(leased.attempt),
            lease_until: Time(leased.until).to_string(),
            cancel_requested: leased.cancel_requested,
            truncated,
        }
    }
}

/// When a message was sent; its id tells when its content is gone.
fn sent_at(id: MessageId, message: Option<&bridge_core::Message>) -> Time {
    let of_id = || bridge_core::Timestamp::from_millis(u64::try_from(id.0 >> 80).unwrap_or(0));
    Time(message.map_or_else(of_id, |message| message.created_at))
}

impl NextPoll {
    fn new(directive: &Directive) -> Self {
        let delay_seconds = as_count(directive.delay.as_millis().div_ceil(1_000));
        let unit = if delay_seconds == 1 { "second" } else { "seconds" };
        let (action, message) = match directive.action {
            Action::Process => ("process_messages", "Process these messages first".to_owned()),
            Action::WaitAgain => ("poll_again", format!("Check again in {delay_seconds} {unit}")),
            Action::EndTurn => ("stop", "Stop checking".to_owned()),
        };
        Self { action: action.to_owned(), delay_seconds, message }
    }
}

impl Told {
    fn new(directive: &Directive) -> Self {
        Self {
            action: directive.action.as_str().to_owned(),
            delay_ms: as_count(directive.delay.as_millis()),
            reason: directive.reason.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_second_is_told_as_one() {
        for (millis, told) in [(1, "Check again in 1 second"), (1_001, "Check again in 2 seconds")] {
            let directive = Directive {
                action: Action::WaitAgain,
                delay: Duration::from_millis(millis),
                reason: DirectiveReason::Quiet,
            };
            assert_eq!(NextPoll::new(&directive).message, told);
        }
    }
}

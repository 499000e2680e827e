//! The tools: their names, what a model reads about them, and their functions.

mod deliveries;
mod mailboxes;
mod receive;
mod schema;
mod session;
mod settle;

use std::sync::OnceLock;

pub(crate) use receive::{Pending, nothing_yet, pending, refused};
use rmcp::model::{CallToolResponse, CallToolResult, JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{handler::Call, refusal::Refusal};

/// The tools that one endpoint offers. A model reads about all of them in each conversation, and may call no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolset {
    /// For agents that answer people.
    Conversation,
    /// For those who look after the bridge.
    Operator,
}

impl Toolset {
    /// Every tool, in the order in which an agent needs them.
    pub(crate) fn all(self) -> &'static [Tool] {
        static CONVERSATION: OnceLock<Vec<Tool>> = OnceLock::new();
        static OPERATOR: OnceLock<Vec<Tool>> = OnceLock::new();
        match self {
            Self::Conversation => CONVERSATION.get_or_init(conversation),
            Self::Operator => OPERATOR.get_or_init(operator),
        }
    }

    /// Calls the tool of that name, if there is one.
    pub(crate) async fn call(
        self,
        name: &str,
        arguments: JsonObject,
        call: &Call<'_>,
    ) -> Option<CallToolResponse> {
        match self {
            Self::Conversation => call_conversation(name, arguments, call).await,
            Self::Operator => call_operator(name, arguments, call).await,
        }
    }
}

/// The tool of that name, whoever it is for.
pub(crate) fn named(name: &str) -> Option<&'static Tool> {
    let all = [Toolset::Conversation, Toolset::Operator].into_iter().flat_map(Toolset::all);
    all.into_iter().find(|tool| tool.name == name)
}

fn conversation() -> Vec<Tool> {
    vec![
        tool::<receive::WaitArguments, Pending>(
            "wait_for_messages",
            "Wait for messages",
            "Waits until messages come to a session, and returns them; returns at once if some are there. This is the \
                 tool to call in a loop: after answering with send_response_to_web, or when nothing came, call it again.",
            Effect::Waits,
        ),
        tool::<receive::PendingArguments, Pending>(
            "get_pending_messages",
            "Get pending messages",
            "Returns the messages that wait for you in a session, without waiting unless wait_seconds is given. Each is \
                 yours for ten minutes: answer it with send_response_to_web, passing its message_id and handle. Repeating \
                 a call with the same attempt_id returns the same messages, so a lost result loses nothing. Do what \
                 next_poll_instruction says.",
            Effect::Waits,
        ),
        tool::<settle::AnswerArguments, settle::Answered>(
            "send_response_to_web",
            "Answer a message",
            "Answers a message and marks it as done, both at once and for good. Pass the handle that came with the \
                 message. To answer a burst of messages with one text, answer the last one and list the others in covers, \
                 each with its message_id and handle. Calling it again with the same arguments is safe.",
            Effect::Repeatable,
        ),
        tool::<settle::ProgressArguments, settle::Progressed>(
            "report_progress",
            "Report progress",
            "Says that you are still working on a message, so that it stays yours, and shows the person what you are \
                 doing. The result says whether the person has withdrawn the message.",
            Effect::Repeatable,
        ),
        tool::<settle::ReleaseArguments, settle::Released>(
            "release_message",
            "Give a message back",
            "Gives a message back unanswered, so that it is handed out again, to you or to another agent.",
            Effect::Repeatable,
        ),
        tool::<session::QueueArguments, session::Queued>(
            "queue_user_message",
            "Send a message to the agent",
            "Sends a message to the agent's side of a session, as a person would. Not for answers: those go by \
                 send_response_to_web. With an idempotency_key, repeating the call sends nothing twice.",
            Effect::Changes,
        ),
        tool::<session::StatusArguments, session::Status>(
            "get_conversation_status",
            "Get the state of a conversation",
            "Tells how many messages of a session wait, and whether an agent is there.",
            Effect::Reads,
        ),
        tool::<session::CreateArguments, session::Created>(
            "create_new_session",
            "Create a session",
            "Begins a new conversation and returns its session_id.",
            Effect::Changes,
        ),
        tool::<session::PingArguments, session::Pong>(
            "mcp_warmup_ping",
            "Check the connection",
            "Answers at once, to show that the bridge is there.",
            Effect::Reads,
        ),
    ]
}

fn operator() -> Vec<Tool> {
    vec![
        tool::<deliveries::ExplainArguments, deliveries::Explained>(
            "explain_delivery",
            "Why a message does not move",
            "Tells why a delivery does not move, and when that changes by itself.",
            Effect::Reads,
        ),
        tool::<deliveries::DeadArguments, deliveries::Dead>(
            "list_dead_letters",
            "List dead letters",
            "Lists what was given up, newest first, with reasons and last errors.",
            Effect::Reads,
        ),
        tool::<deliveries::RedriveArguments, deliveries::Redriven>(
            "redrive_dead_letters",
            "Redrive dead letters",
            "Sends dead letters again: one by delivery_id, else all that fit the filters, oldest first. Only tells what it \
             would do unless dry_run is false. What was redriven before is left alone.",
            Effect::Repeatable,
        ),
        tool::<mailboxes::ListArguments, mailboxes::Listed>(
            "list_mailboxes",
            "List mailboxes",
            "Shows how mailboxes stand: who takes from them, what waits, what is leased, their limits.",
            Effect::Reads,
        ),
        tool::<mailboxes::NameArguments, mailboxes::Shown>(
            "pause_mailbox",
            "Pause a mailbox",
            "Lets a mailbox hand out nothing until it is resumed. It goes on taking messages.",
            Effect::Repeatable,
        ),
        tool::<mailboxes::NameArguments, mailboxes::Shown>(
            "resume_mailbox",
            "Resume a mailbox",
            "Lets a paused mailbox hand out again.",
            Effect::Repeatable,
        ),
    ]
}

/// What a tool does to the world, as far as a client asks its user about it.
#[derive(Clone, Copy)]
enum Effect {
    /// It only looks.
    Reads,
    /// It takes messages into the caller's hands, which is no reason to ask anybody.
    Waits,
    /// It changes something; doing it twice is doing it once.
    Repeatable,
    /// It changes something each time.
    Changes,
}

fn tool<A: JsonSchema + 'static, R: JsonSchema + 'static>(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
) -> Tool {
    let reads = matches!(effect, Effect::Reads | Effect::Waits);
    let repeatable = matches!(effect, Effect::Reads | Effect::Repeatable);
    let annotations = ToolAnnotations::with_title(title)
        .read_only(reads)
        .destructive(false)
        .idempotent(repeatable)
        .open_world(false);
    Tool::new(name, description, schema::input::<A>())
        .with_title(title)
        .with_raw_output_schema(schema::output::<R>())
        .with_annotations(annotations)
}

async fn call_conversation(name: &str, arguments: JsonObject, call: &Call<'_>) -> Option<CallToolResponse> {
    let result = match name {
        "wait_for_messages" => return Some(receive::wait_for_messages(arguments, call).await),
        "get_pending_messages" => receive::get_pending_messages(arguments, call).await,
        "send_response_to_web" => result(settle::send_response(arguments, call).await),
        "report_progress" => result(settle::report_progress(arguments, call).await),
        "release_message" => result(settle::release(arguments, call).await),
        "queue_user_message" => result(session::queue(arguments, call).await),
        "get_conversation_status" => result(session::status(arguments, call).await),
        "create_new_session" => result(session::create(arguments, call).await),
        "mcp_warmup_ping" => result(Ok(session::ping(call))),
        _ => return None,
    };
    Some(result.into())
}

async fn call_operator(name: &str, arguments: JsonObject, call: &Call<'_>) -> Option<CallToolResponse> {
    let result = match name {
        "explain_delivery" => result(deliveries::explain(arguments, call).await),
        "list_dead_letters" => result(deliveries::list_dead(arguments, call).await),
        "redrive_dead_letters" => result(deliveries::redrive(arguments, call).await),
        "list_mailboxes" => result(mailboxes::list(arguments, call).await),
        "pause_mailbox" => result(mailboxes::pause(arguments, call).await),
        "resume_mailbox" => result(mailboxes::resume(arguments, call).await),
        _ => return None,
    };
    Some(result.into())
}

/// The arguments of a tool, read from what the model wrote.
fn arguments<A: DeserializeOwned>(arguments: JsonObject) -> Result<A, Refusal> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Refusal::argument(error.to_string().replace("i64", "a whole number")))
}

fn result<R: Serialize>(result: Result<R, Refusal>) -> CallToolResult {
    match result {
        Ok(done) => structured(&done),
        Err(refusal) => refusal.result(),
    }
}

/// A result as JSON, for models as text and for programs as a value.
pub(crate) fn structured<R: Serialize>(result: &R) -> CallToolResult {
    CallToolResult::structured(serde_json::to_value(result).expect("a result has only strings as keys"))
}

//! Answering a message, keeping it, giving it back.

use std::time::Duration;

use bridge_core::{MessageId, Settled};
use bridge_protocol::{Code, Time, text_payload};
use bridge_runtime::{Credential, NewReply, Settlement};
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arguments;
use crate::{handler::Call, refusal::Refusal};

/// Messages that one answer can cover.
const MAX_COVERS: usize = 20;

/// Seconds that a message can be kept or held back: twelve hours.
const LONGEST: i64 = 12 * 3_600;

/// What `send_response_to_web` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct AnswerArguments {
    /// The id of the message.
    message_id: String,
    /// The answer, as the person shall read it.
    response: String,
    /// The session; not needed, since the message knows it.
    session_id: Option<String>,
    /// The handle that came with the message.
    handle: Option<String>,
    /// Other messages that this answer settles too.
    covers: Option<Vec<Covered>>,
}

/// A message that an answer to another one settles too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(expecting = "an object with message_id and handle")]
struct Covered {
    /// Its id.
    message_id: String,
    /// The handle that came with it.
    handle: Option<String>,
}

/// An answer that was accepted: it is durable, and the message is done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answered {
    /// Always true; a refusal is an error.
    success: bool,
    /// Always true.
    response_sent: bool,
    /// When.
    timestamp: String,
    /// The session it went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// The id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_id: Option<String>,
    /// The same was said before; this call changed nothing.
    already_done: bool,
    /// Covered messages that this answer did not settle: answer them by themselves.
    not_covered: Vec<NotCovered>,
    /// What to do now.
    what_to_do: String,
}

/// A message that the answer did not cover.
#[derive(Debug, Serialize, JsonSchema)]
struct NotCovered {
    /// Its id, as it was given.
    message_id: String,
    /// Why.
    code: String,
    /// The same in words.
    error: String,
}

/// What `report_progress` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ProgressArguments {
    /// The id of the message.
    message_id: String,
    /// What you are doing, in a few words for the person.
    progress: Option<String>,
    /// For how long from now you need the message: 1 to 43200 seconds, 600 unless given.
    #[schemars(range(min = 1, max = 43_200))]
    extend_seconds: Option<i64>,
    /// The handle that came with the message.
    handle: Option<String>,
}

/// A message that stays in the caller's hands.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Progressed {
    /// Always true; a refusal is an error.
    success: bool,
    /// Until when the message is yours now.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_until: Option<String>,
    /// The sender has asked for the message back: give it back, or answer briefly.
    cancel_requested: bool,
}

/// What `release_message` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ReleaseArguments {
    /// The id of the message.
    message_id: String,
    /// How long to hold the message back before anybody gets it: 0 to 43200 seconds, 0 unless given.
    #[schemars(range(min = 0, max = 43_200))]
    delay_seconds: Option<i64>,
    /// Why, in a few words for the person.
    reason: Option<String>,
    /// The handle that came with the message.
    handle: Option<String>,
}

/// A message that was given back.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Released {
    /// Always true; a refusal is an error.
    success: bool,
    /// The same was said before; this call changed nothing.
    already_done: bool,
}

/// Answers a message.
pub(super) async fn send_response(given: JsonObject, call: &Call<'_>) -> Result<Answered, Refusal> {
    let AnswerArguments { message_id, response, session_id, handle, covers } = arguments(given)?;
    if response.trim().is_empty() {
        return Err(Refusal::argument("Empty response not allowed"));
    }
    let covers = covers.unwrap_or_default();
    if covers.len() > MAX_COVERS {
        return Err(Refusal::argument(format!("an answer covers at most {MAX_COVERS} other messages")));
    }
    let credential = credential(&message_id, handle, call)?;
    let credentials = covers
        .iter()
        .map(|covered| self::credential(&covered.message_id, covered.handle.clone(), call))
        .collect::<Result<_, _>>()?;
    let mut reply = NewReply::new(text_payload(&response));
    if let Some(consumer) = &call.caller.consumer {
        reply = reply.from(consumer.clone());
    }
    let settled = call.bridge.settle(credential, Settlement::Answer { reply, covers: credentials }).await?;
    Ok(answered(settled, &covers, session_id, call))
}

fn answered(settled: Settled, covers: &[Covered], session: Option<String>, call: &Call<'_>) -> Answered {
    let routed = settled.published.as_ref().and_then(|published| published.deliveries.first());
    let mailbox = routed.map(|routed| &routed.mailbox);
    let not_covered = settled.not_covered.into_iter().map(|one| {
        let message_id =
            covers.get(one.position).map_or_else(String::new, |covered| covered.message_id.clone());
        let Refusal { code, error, .. } = one.error.into();
        NotCovered { message_id, code: code.as_str().to_owned(), error }
    });
    Answered {
        success: true,
        response_sent: true,
        timestamp: Time(call.bridge.now()).to_string(),
        session_id: mailbox.and_then(bridge_core::Address::session).map(|id| id.to_string()).or(session),
        response_id: settled.reply.map(|reply| reply.to_string()),
        already_done: settled.already_done,
        not_covered: not_covered.collect(),
        what_to_do: "Answer the other messages you hold, then call wait_for_messages again.".to_owned(),
    }
}

/// Keeps a message.
pub(super) async fn report_progress(given: JsonObject, call: &Call<'_>) -> Result<Progressed, Refusal> {
    let ProgressArguments { message_id, progress, extend_seconds, handle } = arguments(given)?;
    let by = Refusal::within("extend_seconds", extend_seconds, 1..=LONGEST)?.map(seconds);
    let credential = credential(&message_id, handle, call)?;
    let settled = call.bridge.settle(credential, Settlement::Extend { by, progress }).await?;
    Ok(Progressed {
        success: true,
        lease_until: settled.until.map(|until| Time(until).to_string()),
        cancel_requested: settled.cancel_requested,
    })
}

/// Gives a message back. The reason reaches the person as a last word of progress.
pub(super) async fn release(given: JsonObject, call: &Call<'_>) -> Result<Released, Refusal> {
    let ReleaseArguments { message_id, delay_seconds, reason, handle } = arguments(given)?;
    let delay = seconds(Refusal::within("delay_seconds", delay_seconds, 0..=LONGEST)?.unwrap_or(0));
    let credential = credential(&message_id, handle, call)?;
    if let Some(reason) = reason.filter(|reason| !reason.trim().is_empty()) {
        let last_word = Settlement::Extend { by: None, progress: Some(reason) };
        // Refused if it was given back before: the release itself then tells.
        let _ = call.bridge.settle(credential.clone(), last_word).await;
    }
    let settled = call.bridge.settle(credential, Settlement::Release { delay }).await?;
    Ok(Released { success: true, already_done: settled.already_done })
}

/// What entitles the caller: the handle, or the message alone.
fn credential(message: &str, handle: Option<String>, call: &Call<'_>) -> Result<Credential, Refusal> {
    let id: MessageId = message.trim().parse().map_err(|_| {
        Refusal::new(
            Code::UnknownMessage,
            "Message not found",
            "Use the id of a message exactly as it was given to you.",
        )
    })?;
    Ok(match handle.filter(|handle| !handle.is_empty()) {
        Some(handle) => Credential::Handle(id, handle),
        None => Credential::Message {
            message: id,
            principal: call.caller.principal.clone(),
            consumer: call.caller.consumer.clone(),
        },
    })
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

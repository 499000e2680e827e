//! Settling deliveries.

use std::time::Duration;

use bridge_core::{Name, Settled};
use bridge_protocol::{
    self as wire, NotCovered, Object, Published, Reply, Settle, SettleResult, SettleResults, payload_of,
    text_payload,
};
use bridge_runtime::{Bridge, Credential, NewReply, Settlement};
use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    messages::{kind, parsed, text_or_json},
    receive::{LEASE, within},
};
use crate::http::{
    request::{Request, decode},
    response::{Answer, Refusal, json},
};

/// Settlements in one call.
const MOST: usize = 100;

/// What is said to who names a lease in two ways, which may be two leases.
const ONE_LEASE: &str = "either token, or message_id and handle, not both";

/// What is settled in one call.
enum Call {
    One(Box<Settle>),
    Several(Several),
}

/// Settlements that are judged one by one. Nothing stands beside them: what belongs into one would be lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Several {
    items: Vec<Object<Settle>>,
}

pub(super) async fn settle(mut request: Request) -> Answer {
    let call = call(&mut request).await?;
    let client = request.client()?;
    let bridge = &request.shared.bridge;
    match call {
        Call::One(one) => {
            let settled = said(&request, client.as_ref(), *one)?.judge(bridge).await?;
            Ok(json(StatusCode::OK, &settled))
        }
        Call::Several(Several { items }) if items.len() > MOST => {
            Err(Refusal::field("/items", format_args!("at most {MOST}")))
        }
        Call::Several(Several { items }) => {
            let said = items.into_iter().map(|Object(one)| said(&request, client.as_ref(), one)).collect();
            Ok(json(StatusCode::OK, &SettleResults { results: judge(bridge, said).await }))
        }
    }
}

async fn call(request: &mut Request) -> Result<Call, Refusal> {
    #[derive(Deserialize)]
    struct Asked {
        items: Option<IgnoredAny>,
    }
    let body = request.body().await?;
    match decode::<Asked>(body)?.items {
        Some(_) => decode(body).map(Call::Several),
        None => decode(body).map(Call::One),
    }
}

/// A settlement as the bridge takes it, and the tokens that it covers as they were given.
struct Said {
    credential: Credential,
    settlement: Settlement,
    covers: Vec<String>,
}

/// Refuses what does not belong to the outcome: nobody would ever see it.
fn check_members(settle: &Settle) -> Result<(), Refusal> {
    let takes: &[&str] = match settle.outcome.as_str() {
        "ack" => &[],
        "answer" => &["reply", "covers"],
        "extend" => &["by_ms", "progress"],
        "release" => &["delay_ms"],
        "nack" => &["delay_ms", "reason"],
        "reject" => &["reason"],
        _ => return Err(Refusal::field("/outcome", "ack, answer, nack, release, reject or extend")),
    };
    let members = [
        ("reply", settle.reply.is_some()),
        ("covers", !settle.covers.is_empty()),
        ("delay_ms", settle.delay_ms.is_some()),
        ("by_ms", settle.by_ms.is_some()),
        ("progress", settle.progress.is_some()),
        ("reason", settle.reason.is_some()),
    ];
    match members.into_iter().find(|(name, given)| *given && !takes.contains(name)) {
        Some((name, _)) => {
            let detail = format_args!("it does not belong to the outcome {}", settle.outcome);
            Err(Refusal::field(&format!("/{name}"), detail))
        }
        None => Ok(()),
    }
}

fn said(request: &Request, client: Option<&Name>, settle: Settle) -> Result<Said, Refusal> {
    check_members(&settle)?;
    let consumer = parsed("/consumer", settle.consumer.as_deref())?.or_else(|| client.cloned());
    let settlement = match settle.outcome.as_str() {
        "ack" => Settlement::Ack,
        "answer" => {
            let mut reply = reply(&settle)?;
            reply.from.clone_from(&consumer);
            reply.verified = request.principal.verified;
            let covers = settle.covers.iter().cloned().map(Credential::Token).collect();
            Settlement::Answer { reply, covers }
        }
        "extend" => Settlement::Extend { by: span("/by_ms", settle.by_ms)?, progress: settle.progress },
        "release" => {
            Settlement::Release { delay: span("/delay_ms", settle.delay_ms)?.unwrap_or(Duration::ZERO) }
        }
        "nack" => Settlement::Nack { delay: span("/delay_ms", settle.delay_ms)?, error: settle.reason },
        _ => Settlement::Reject { reason: settle.reason },
    };
    let message = parsed("/message_id", settle.message_id.as_deref())?;
    let credential = match (settle.token, message, settle.handle) {
        (Some(_), Some(_), _) => return Err(Refusal::field("/message_id", ONE_LEASE)),
        (Some(_), None, Some(_)) => return Err(Refusal::field("/handle", ONE_LEASE)),
        (Some(token), None, None) => Credential::Token(token),
        (None, Some(message), Some(handle)) => Credential::Handle(message, handle),
        (None, Some(message), None) => {
            Credential::Message { message, principal: request.principal.name.clone(), consumer }
        }
        (None, None, _) => return Err(Refusal::field("/token", "token is needed, or message_id and handle")),
    };
    if settle.covers.len() > MOST {
        return Err(Refusal::field("/covers", format_args!("at most {MOST}")));
    }
    Ok(Said { credential, settlement, covers: settle.covers })
}

fn span(pointer: &str, millis: Option<u64>) -> Result<Option<Duration>, Refusal> {
    Ok(within(pointer, millis, 0..=*LEASE.end())?.map(Duration::from_millis))
}

fn reply(settle: &Settle) -> Result<NewReply, Refusal> {
    let given = settle.reply.as_deref().ok_or_else(|| Refusal::field("/reply", "an answer needs it"))?;
    let reply = Reply::parse(given)
        .map_err(|_| Refusal::field("/reply", "a string, or an object with text or payload"))?;
    let payload: Bytes = match text_or_json(reply.text, reply.payload) {
        (Some(text), None) if !text.trim().is_empty() => text_payload(&text).into(),
        (None, Some(payload)) => {
            payload_of(payload).map_err(|error| Refusal::field("/reply/payload", error))?.into()
        }
        _ => return Err(Refusal::field("/reply", "text that is not blank, or payload")),
    };
    let mut new = NewReply::new(payload);
    new.kind = kind(reply.kind.as_deref())?.unwrap_or(new.kind);
    Ok(new)
}

impl Said {
    async fn judge(self, bridge: &Bridge) -> Result<wire::Settled, Refusal> {
        let settled = bridge.settle(self.credential, self.settlement).await?;
        Ok(told(bridge, settled, &self.covers))
    }
}

/// Settles several in order. Those that follow each other directly share a commit.
async fn judge(bridge: &Bridge, said: Vec<Result<Said, Refusal>>) -> Vec<SettleResult> {
    let mut results = Vec::with_capacity(said.len());
    let mut together = Vec::new();
    for said in said {
        // A handle is looked up before it is sent, so what comes before it has to be done by then.
        if matches!(&said, Ok(Said { credential: Credential::Handle(..), .. })) {
            results.append(&mut join_all(together.drain(..).map(|said| settle_one(bridge, said))).await);
            results.push(settle_one(bridge, said).await);
        } else {
            together.push(said);
        }
    }
    results.append(&mut join_all(together.into_iter().map(|said| settle_one(bridge, said))).await);
    results
}

async fn settle_one(bridge: &Bridge, said: Result<Said, Refusal>) -> SettleResult {
    let settled = match said {
        Ok(said) => said.judge(bridge).await,
        Err(refusal) => Err(refusal),
    };
    match settled {
        Ok(settled) => SettleResult::Settled(Box::new(settled)),
        Err(refusal) => SettleResult::Refused { error: Box::new(refusal.into_problem()) },
    }
}

fn told(bridge: &Bridge, settled: Settled, covers: &[String]) -> wire::Settled {
    let not_covered = settled.not_covered.into_iter().filter_map(|not_covered| {
        let token = covers.get(not_covered.position)?.clone();
        Some(NotCovered { token, error: Refusal::from(not_covered.error).into_problem() })
    });
    let published = settled.published.as_ref().map(|published| Published::new(bridge.log_id(), published));
    wire::Settled {
        state: settled.state.as_str().to_owned(),
        delivery_id: settled.delivery.to_string(),
        message_id: settled.message.to_string(),
        lease_until: settled.until.map(Into::into),
        already_done: settled.already_done,
        reply: published.or_else(|| settled.reply.map(Published::removed)),
        not_covered: not_covered.collect(),
        cancel_requested: settled.cancel_requested,
    }
}

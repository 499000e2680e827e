//! Taking deliveries.

use std::time::Duration;

use bridge_core::{Action, Address, Directive, DirectiveReason, Name, ReceiveError};
use bridge_protocol as wire;
use bridge_runtime::{CallError, Leased, ReceiveRequest, Received};
use http::StatusCode;

use super::messages::{open_shared, opens_on_demand, parsed};
use crate::http::{
    door::Shared,
    request::Request,
    response::{Answer, Refusal, json, json_handed_over},
};

/// The shortest and the longest lease, in milliseconds.
pub(super) const LEASE: std::ops::RangeInclusive<u64> = wire::MIN_LEASE_MS..=wire::MAX_LEASE_MS;

/// Types that a filter can name.
const TYPES: usize = 16;

/// Bytes of content in one answer, though never less than one message.
const BYTES: u64 = 1 << 20;

/// What a receiver is told that is sent home because the server stops.
const COME_BACK: Directive = Directive {
    action: Action::WaitAgain,
    delay: Duration::from_secs(2),
    reason: DirectiveReason::ShuttingDown,
};

pub(super) async fn receive(mut request: Request) -> Answer {
    let wish: wire::Receive = request.json().await?;
    let mut receive = ReceiveRequest::of(mailboxes(&wish)?).principal(request.principal.name.clone());
    receive.types = types(&wish)?;
    receive.consumer = match parsed("/consumer", wish.consumer.as_deref())? {
        Some(name) => Some(name),
        None => request.client()?,
    };
    receive.max =
        within("/max", wish.max.map(u64::from), 1..=wire::MAX_RECEIVED)?.map_or(1, |max| max as u32);
    receive.max_bytes = within("/max_bytes", wish.max_bytes, 1..=u64::MAX)?.unwrap_or(BYTES).min(BYTES);
    receive.wait =
        Duration::from_millis(within("/wait_ms", wish.wait_ms, 0..=wire::MAX_WAIT_MS)?.unwrap_or(0));
    receive.linger =
        Duration::from_millis(within("/linger_ms", wish.linger_ms, 0..=wire::MAX_WAIT_MS)?.unwrap_or(0));
    receive.lease = within("/lease_ms", wish.lease_ms, LEASE)?.map(Duration::from_millis);
    receive.attempt_id = parsed("/attempt_id", wish.attempt_id.as_deref())?;
    let shared = &request.shared;
    let received = tokio::select! {
        biased;
        received = take(shared, receive) => received?,
        // Dropped like this, the wait loses nothing.
        () = shared.closing.cancelled() => return Ok(json(StatusCode::OK, &sent_home())),
    };
    let answer = wire::Received {
        deliveries: received.deliveries.iter().map(granted).collect(),
        held: received.held.iter().map(granted).collect(),
        directive: (&received.directive).into(),
        depth: received.depth,
    };
    let handover = received.handover;
    Ok(json_handed_over(&answer, move || handover.complete()))
}

async fn take(shared: &Shared, receive: ReceiveRequest) -> Result<Received, CallError<ReceiveError>> {
    let shares =
        receive.mailboxes.iter().filter_map(Address::session).any(|session| opens_on_demand(shared, session));
    match shared.bridge.receive(receive.clone()).await {
        Err(CallError::Refused(ReceiveError::UnknownMailbox(_))) if shares => {
            // If it cannot be opened, the mailbox is still unknown, and that is the answer.
            let _ = open_shared(&shared.bridge).await;
            shared.bridge.receive(receive).await
        }
        received => received,
    }
}

/// Where it is to be taken from: one mailbox or several.
fn mailboxes(wish: &wire::Receive) -> Result<Vec<Address>, Refusal> {
    if wish.mailbox.is_some() && !wish.mailboxes.is_empty() {
        return Err(Refusal::field("/mailboxes", "either mailbox or mailboxes, not both"));
    }
    let one = wish.mailbox.iter().map(|mailbox| ("/mailbox".to_owned(), mailbox));
    let several = wish.mailboxes.iter().enumerate();
    let several = several.map(|(at, mailbox)| (format!("/mailboxes/{at}"), mailbox));
    let named = one
        .chain(several)
        .map(|(pointer, mailbox)| mailbox.parse().map_err(|error| Refusal::field(&pointer, error)));
    let mailboxes: Vec<Address> = named.collect::<Result<_, _>>()?;
    if mailboxes.is_empty() {
        return Err(Refusal::field("/mailbox", "mailbox or mailboxes is needed"));
    }
    Ok(mailboxes)
}

/// The types of messages that are wanted.
fn types(wish: &wire::Receive) -> Result<Vec<Name>, Refusal> {
    let types = wish.filter.as_ref().map_or(&[][..], |filter| &filter.types);
    if types.len() > TYPES {
        return Err(Refusal::field("/filter/types", format_args!("at most {TYPES}")));
    }
    let named = types.iter().enumerate().map(|(at, kind)| {
        kind.parse().map_err(|error| Refusal::field(&format!("/filter/types/{at}"), error))
    });
    named.collect()
}

fn sent_home() -> wire::Received {
    wire::Received { deliveries: Vec::new(), held: Vec::new(), directive: (&COME_BACK).into(), depth: 0 }
}

pub(super) fn within(
    pointer: &str,
    value: Option<u64>,
    bounds: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, Refusal> {
    match value {
        Some(value) if !bounds.contains(&value) => {
            let (least, most) = bounds.into_inner();
            Err(Refusal::field(pointer, format_args!("a whole number from {least} to {most}")))
        }
        value => Ok(value),
    }
}

fn granted(leased: &Leased) -> wire::Granted {
    wire::Granted {
        id: leased.id.to_string(),
        token: leased.token.clone(),
        handle: leased.handle.clone(),
        attempt: leased.attempt,
        lease_until: leased.until.into(),
        cancel_requested: leased.cancel_requested,
        expires_at: leased.expires_at.map(Into::into),
        message: leased.message.as_deref().map(Into::into),
    }
}

//! Mailboxes: how they stand, how they behave, and what an operator does with them.

use std::time::Duration;

use bridge_core::{Address, Class, MailboxSet, ParseAddressError, SetMailbox as Set};
use bridge_protocol::{
    Code, MAX_BYTES, MAX_COUNT, Mailbox, ON_BACKOFF, ORDERS, Page, Purge, Purged, SetMailbox,
};
use bridge_runtime::Purge as How;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::receive::{LEASE, within};
use crate::http::{
    request::Request,
    response::{Answer, Refusal, empty, json},
};

/// The address in the path.
fn address(request: &Request) -> Result<Address, Refusal> {
    let shown: String = request.id().chars().take(64).collect();
    let unknown = || Refusal::new(Code::UnknownMailbox).detail(format!("{shown} is no address of a mailbox"));
    named(request).map_err(|_| unknown())
}

fn named(request: &Request) -> Result<Address, ParseAddressError> {
    percent_decode_str(request.id()).decode_utf8().map_err(|_| ParseAddressError)?.parse()
}

pub(super) async fn list(request: Request) -> Answer {
    let limit = request.query.number("limit", 1..=1_000)?.map_or(100, |limit| limit as usize);
    let after = request.query.cursor()?;
    let found = request.shared.bridge.mailboxes(after, limit).await?;
    let data: Vec<Mailbox> = found.mailboxes.iter().map(Into::into).collect();
    let next_cursor = data.last().filter(|_| found.more).map(|last| last.name.clone());
    Ok(json(StatusCode::OK, &Page { data, next_cursor }))
}

pub(super) async fn show(request: Request) -> Answer {
    let view = request.shared.bridge.mailbox(address(&request)?).await?;
    Ok(json(StatusCode::OK, &Mailbox::from(&view)))
}

pub(super) async fn set(mut request: Request) -> Answer {
    let address = named(&request).map_err(|error| Refusal::parameter("name", error))?;
    let wish: SetMailbox = request.optional_json().await?.unwrap_or_default();
    let set = request.shared.bridge.set_mailbox(decoded(address, &wish)?).await?;
    let status = match set {
        MailboxSet::Made(_) => StatusCode::CREATED,
        MailboxSet::Changed(_) => StatusCode::OK,
    };
    Ok(json(status, &Mailbox::from(&set.into_view())))
}

fn decoded(address: Address, wish: &SetMailbox) -> Result<Set, Refusal> {
    let classes = Class::ALL.map(|class| (class.as_str(), class));
    let counts = 1..=MAX_COUNT;
    within("/max_pending", wish.max_pending.flatten().map(u64::from), counts.clone())?;
    within("/max_failures", wish.max_failures.flatten().map(u64::from), counts)?;
    within("/max_pending_bytes", wish.max_pending_bytes.flatten(), 1..=MAX_BYTES)?;
    within("/lease_ms", wish.lease_ms.flatten(), LEASE)?;
    Ok(Set {
        address,
        class: meant("/class", wish.class.as_deref(), &classes)?,
        order: meant("/order", wish.order.as_deref(), &ORDERS)?,
        backoff: meant("/on_backoff", wish.on_backoff.as_deref(), &ON_BACKOFF)?,
        max_pending: wish.max_pending,
        max_pending_bytes: wish.max_pending_bytes,
        lease: wish.lease_ms.map(|lease| lease.map(Duration::from_millis)),
        max_failures: wish.max_failures,
    })
}

/// What a word means, if there is one.
fn meant<T: Copy>(pointer: &str, word: Option<&str>, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
    let Some(word) = word else { return Ok(None) };
    match words.iter().find(|(known, _)| *known == word) {
        Some((_, meaning)) => Ok(Some(*meaning)),
        None => {
            let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
            Err(Refusal::field(pointer, format_args!("one of {}", known.join(", "))))
        }
    }
}

pub(super) async fn delete(request: Request) -> Answer {
    request.shared.bridge.delete_mailbox(address(&request)?).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn pause(mut request: Request) -> Answer {
    no_wish(&mut request).await?;
    let by = request.client()?.unwrap_or_else(|| request.principal.name.clone());
    let view = request.shared.bridge.pause_mailbox(address(&request)?, by).await?;
    Ok(json(StatusCode::OK, &Mailbox::from(&view)))
}

pub(super) async fn resume(mut request: Request) -> Answer {
    no_wish(&mut request).await?;
    let view = request.shared.bridge.resume_mailbox(address(&request)?).await?;
    Ok(json(StatusCode::OK, &Mailbox::from(&view)))
}

/// Nothing is asked of the body; a wish that stands there is refused, not passed over.
async fn no_wish(request: &mut Request) -> Result<(), Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoWish {}
    request.optional_json::<NoWish>().await.map(drop)
}

/// Unless it is told not to be, a purge is only tried.
pub(super) async fn purge(mut request: Request) -> Answer {
    let address = address(&request)?;
    let Purge { dry_run } = request.optional_json().await?.unwrap_or_default();
    let how = if dry_run { How::Try } else { How::Do };
    let purged = request.shared.bridge.purge_mailbox(address, how).await?;
    Ok(json(StatusCode::OK, &Purged { dry_run, pending: purged.pending, leased: purged.leased }))
}

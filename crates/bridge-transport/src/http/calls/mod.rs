//! One file per thing that can be called: each decodes, asks the bridge, encodes.

mod deliveries;
mod events;
mod health;
pub(crate) mod heartbeat;
mod mailboxes;
mod messages;
mod receive;
mod sessions;
mod settle;

use std::future::ready;

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, StatusCode, header::LOCATION};

use super::{
    request::Request,
    response::{Answer, empty},
    router::Call,
};

/// Answers a request that was let in. Each call has its own box: together they would all take as much room as the largest.
pub(super) fn answer(call: Call, request: Request) -> BoxFuture<'static, Answer> {
    match call {
        Call::OpenSession => sessions::open(request).boxed(),
        Call::Sessions => sessions::list(request).boxed(),
        Call::Session => sessions::show(request).boxed(),
        Call::RenameSession => sessions::rename(request).boxed(),
        Call::CloseSession => sessions::close(request).boxed(),
        Call::Send => messages::send(request).boxed(),
        Call::Messages => messages::list(request).boxed(),
        Call::Read => messages::read(request).boxed(),
        Call::SessionEvents => events::of_session(request).boxed(),
        Call::AllEvents => events::of_all(request).boxed(),
        Call::Receive => receive::receive(request).boxed(),
        Call::Settle => settle::settle(request).boxed(),
        Call::Delivery => deliveries::show(request).boxed(),
        Call::Cancel => deliveries::cancel(request).boxed(),
        Call::Redrive => deliveries::redrive(request).boxed(),
        Call::Why => deliveries::why(request).boxed(),
        Call::Deliveries => deliveries::list(request).boxed(),
        Call::DeadLetters => deliveries::dead_letters(request).boxed(),
        Call::RedriveDead => deliveries::redrive_dead(request).boxed(),
        Call::Message => messages::show(request).boxed(),
        Call::Ttl => messages::ttl(request).boxed(),
        Call::SendTo => messages::send_to(request).boxed(),
        Call::Mailboxes => mailboxes::list(request).boxed(),
        Call::Mailbox => mailboxes::show(request).boxed(),
        Call::SetMailbox => mailboxes::set(request).boxed(),
        Call::DeleteMailbox => mailboxes::delete(request).boxed(),
        Call::PauseMailbox => mailboxes::pause(request).boxed(),
        Call::ResumeMailbox => mailboxes::resume(request).boxed(),
        Call::PurgeMailbox => mailboxes::purge(request).boxed(),
        Call::Health => ready(Ok(health::health(&request))).boxed(),
        Call::Live => ready(Ok(health::live())).boxed(),
        Call::Ready => ready(Ok(health::ready(&request))).boxed(),
        Call::CreateNewSession => heartbeat::create(request).boxed(),
        Call::QueueUserMessage => heartbeat::queue(request).boxed(),
        Call::GetLatestResponse => heartbeat::latest(request).boxed(),
        Call::GetConversationStatus => heartbeat::status(request).boxed(),
        Call::CleanupInactiveSessions => heartbeat::clean_up(request).boxed(),
        Call::Page => {
            ready(request.shared.files.at(request.parts.uri.path(), &request.parts.headers)).boxed()
        }
        Call::SessionPage => ready(request.shared.files.at("/", &request.parts.headers)).boxed(),
        Call::OldPage => ready(Ok(old_page(&request))).boxed(),
    }
}

/// Leads from the originals' pages to this one, into the conversation that was named.
fn old_page(request: &Request) -> http::Response<super::Body> {
    let session = request.query.parsed::<bridge_core::SessionId>("session").ok().flatten();
    let place = session.map_or("/".to_owned(), |session| format!("/dashboard/{session}"));
    let mut response = empty(StatusCode::FOUND);
    response.headers_mut().extend(HeaderValue::try_from(place).map(|place| (LOCATION, place)));
    response
}

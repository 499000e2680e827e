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

use http::{HeaderValue, StatusCode, header::LOCATION};

use super::{
    request::Request,
    response::{Answer, empty},
    router::Call,
};

/// Answers a request that was let in.
pub(super) async fn answer(call: Call, request: Request) -> Answer {
    match call {
        Call::OpenSession => sessions::open(request).await,
        Call::Sessions => sessions::list(request).await,
        Call::Session => sessions::show(request).await,
        Call::RenameSession => sessions::rename(request).await,
        Call::CloseSession => sessions::close(request).await,
        Call::Send => messages::send(request).await,
        Call::Messages => messages::list(request).await,
        Call::Read => messages::read(request).await,
        Call::SessionEvents => events::of_session(request).await,
        Call::AllEvents => events::of_all(request).await,
        Call::Receive => receive::receive(request).await,
        Call::Settle => settle::settle(request).await,
        Call::Delivery => deliveries::show(request).await,
        Call::Cancel => deliveries::cancel(request).await,
        Call::Redrive => deliveries::redrive(request).await,
        Call::Why => deliveries::why(request).await,
        Call::Deliveries => deliveries::list(request).await,
        Call::DeadLetters => deliveries::dead_letters(request).await,
        Call::RedriveDead => deliveries::redrive_dead(request).await,
        Call::Ttl => messages::ttl(request).await,
        Call::SendTo => messages::send_to(request).await,
        Call::Mailboxes => mailboxes::list(request).await,
        Call::Mailbox => mailboxes::show(request).await,
        Call::SetMailbox => mailboxes::set(request).await,
        Call::DeleteMailbox => mailboxes::delete(request).await,
        Call::PauseMailbox => mailboxes::pause(request).await,
        Call::ResumeMailbox => mailboxes::resume(request).await,
        Call::PurgeMailbox => mailboxes::purge(request).await,
        Call::Health => Ok(health::health(&request)),
        Call::Live => Ok(health::live()),
        Call::Ready => Ok(health::ready(&request)),
        Call::CreateNewSession => heartbeat::create(request).await,
        Call::QueueUserMessage => heartbeat::queue(request).await,
        Call::GetLatestResponse => heartbeat::latest(request).await,
        Call::GetConversationStatus => heartbeat::status(request).await,
        Call::CleanupInactiveSessions => heartbeat::clean_up(request).await,
        Call::Page => request.shared.files.at(request.parts.uri.path(), &request.parts.headers),
        Call::SessionPage => request.shared.files.at("/", &request.parts.headers),
        Call::OldPage => Ok(old_page(&request)),
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

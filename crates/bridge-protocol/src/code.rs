//! The one table of error codes: what each is called, and what it means at every door.

/// Declares the codes with their HTTP status, whether repeating the call can help, and a title.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $retry:ident, $title:literal;)*) => {
        /// A stable name for what went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as clients see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whether the same call may succeed later.
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }

            /// A short sentence for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

/// Whether repeating a refused call can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It cannot: something must change first.
    Never,
    /// It can, after a pause.
    Later,
    /// It is unknown whether the call took effect; repeating it with its idempotency key or token is safe.
    Unknown,
}

codes! {
    /// The body is no JSON.
    InvalidJson = "invalid_json", 400, Never, "The body is not valid JSON";
    /// A field is missing or has a value that it cannot have.
    InvalidField = "invalid_field", 400, Never, "A field has a value it cannot have";
    /// A cursor that was not made by this server.
    InvalidCursor = "invalid_cursor", 400, Never, "The cursor was not made by this server";
    /// The request makes no sense as HTTP or as a protocol's call.
    BadRequest = "bad_request", 400, Never, "The request cannot be understood";
    /// The page that made the request may not use this server.
    ForbiddenOrigin = "forbidden_origin", 403, Never, "This origin may not use the bridge";
    /// The caller may not do this.
    Forbidden = "forbidden", 403, Never, "You may not do this";
    /// There is nothing at this path.
    NotFound = "not_found", 404, Never, "There is nothing at this path";
    /// No such session.
    UnknownSession = "unknown_session", 404, Never, "There is no such session";
    /// No such message.
    UnknownMessage = "unknown_message", 404, Never, "There is no such message";
    /// No such delivery.
    UnknownDelivery = "unknown_delivery", 404, Never, "There is no such delivery";
    /// No such mailbox.
    UnknownMailbox = "unknown_mailbox", 404, Never, "There is no such mailbox";
    /// No such task.
    UnknownTask = "unknown_task", 404, Never, "There is no such task";
    /// A token that this server never gave.
    UnknownToken = "unknown_token", 404, Never, "No delivery is known by this token";
    /// The path has no such method.
    MethodNotAllowed = "method_not_allowed", 405, Never, "This path does not take that method";
    /// None of the forms the client takes can be made.
    NotAcceptable = "not_acceptable", 406, Never, "The answer cannot be given in a form you accept";
    /// The request took too long to arrive.
    RequestTimeout = "request_timeout", 408, Later, "The request took too long to arrive";
    /// The delivery was handed out again, or ended.
    LeaseLost = "lease_lost", 409, Never, "The lease is lost";
    /// The delivery was settled in another way.
    AlreadySettled = "already_settled", 409, Never, "The delivery was settled before, in another way";
    /// The message alone does not tell whose lease is meant.
    HandleNeeded = "handle_needed", 409, Never, "The handle that came with the message is needed";
    /// The key was used for another request.
    IdempotencyConflict = "idempotency_conflict", 409, Never, "This idempotency key was used for another message";
    /// The conversation has ended.
    SessionClosed = "session_closed", 409, Never, "The session is closed";
    /// The delivery belongs to another conversation.
    OtherSession = "other_session", 409, Never, "The delivery belongs to another session";
    /// The delivery is not in a state that allows this.
    WrongState = "wrong_state", 409, Never, "The delivery is not in a state that allows this";
    /// The mailbox comes and goes with its session.
    MailboxOfSession = "mailbox_of_session", 409, Never, "The mailbox belongs to its session";
    /// Something is in the mailbox.
    MailboxNotEmpty = "mailbox_not_empty", 409, Never, "The mailbox is not empty";
    /// The mailbox is read by a cursor.
    NotLeased = "not_leased", 409, Never, "This mailbox is read by a cursor and hands out no leases";
    /// The content was removed.
    Gone = "gone", 410, Never, "The content was removed";
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413, Never, "The body is too large";
    /// The address of the request is too long.
    UriTooLong = "uri_too_long", 414, Never, "The address of the request is too long";
    /// The body is not of a type this path takes.
    UnsupportedMediaType = "unsupported_media_type", 415, Never, "The body must be JSON";
    /// The request was made under a name this server does not have.
    UnknownHost = "unknown_host", 421, Never, "This server does not answer under that name";
    /// The recipient has as much waiting as it may have.
    MailboxFull = "mailbox_full", 429, Later, "The recipient's mailbox is full";
    /// As much waits in all mailboxes together as may.
    TooManyPending = "too_many_pending", 429, Later, "Too many messages are waiting";
    /// As many mailboxes are there as may be.
    TooManyMailboxes = "too_many_mailboxes", 429, Later, "Too many mailboxes are there";
    /// As many sessions are open as may be.
    TooManySessions = "too_many_sessions", 429, Later, "Too many sessions are open";
    /// As many calls wait as may.
    TooManyWaiting = "too_many_waiting", 429, Later, "Too many calls are waiting";
    /// The headers are too large.
    HeadersTooLarge = "headers_too_large", 431, Never, "The headers are too large";
    /// Something failed that no input should make fail.
    Internal = "internal", 500, Unknown, "Something failed inside the bridge";
    /// What was asked for is damaged.
    StoreDamaged = "store_damaged", 500, Never, "Some of the stored data is damaged";
    /// The store failed while it was writing.
    OutcomeUnknown = "outcome_unknown", 503, Unknown, "It is unknown whether this took effect";
    /// The store cannot be used now.
    Unavailable = "unavailable", 503, Later, "The store cannot be used now";
    /// More calls are under way than the server takes.
    Overloaded = "overloaded", 503, Later, "The server has too much to do";
    /// The server is about to stop.
    ShuttingDown = "shutting_down", 503, Later, "The server is stopping";
    /// There is no space left.
    StoreFull = "store_full", 507, Later, "There is no space left";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_code_stands_for_two_things() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn only_a_fault_of_ours_is_a_server_error() {
        for code in Code::ALL {
            let ours = matches!(code, Code::Internal | Code::StoreDamaged) || code.status() > 500;
            assert_eq!(code.status() >= 500, ours);
        }
    }
}

//! Which path and method is which call.

use http::Method;

use super::guard::{Action, From};

/// A path, its methods, and what each of them calls.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The path with its parameter unfilled: what logs and measures say instead of the path.
    pub(crate) template: &'static str,
    methods: &'static [(Method, Call)],
}

/// Everything that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    OpenSession,
    Sessions,
    Session,
    RenameSession,
    CloseSession,
    Send,
    Messages,
    Read,
    SessionEvents,
    AllEvents,
    Receive,
    Settle,
    Delivery,
    Cancel,
    Redrive,
    Why,
    Deliveries,
    DeadLetters,
    RedriveDead,
    Message,
    Ttl,
    SendTo,
    Mailboxes,
    Mailbox,
    SetMailbox,
    DeleteMailbox,
    PauseMailbox,
    ResumeMailbox,
    PurgeMailbox,
    Health,
    Live,
    Ready,
    CreateNewSession,
    QueueUserMessage,
    GetLatestResponse,
    GetConversationStatus,
    CleanupInactiveSessions,
    Page,
    SessionPage,
    OldPage,
}

/// What a call answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    Json,
    /// JSON, or a stream of events if the caller wants that.
    Events,
    /// What the page's files are.
    Files,
}

use Call::*;

const ENDPOINTS: &[Endpoint] = &[
    Endpoint { template: "/api/sessions", methods: &[(Method::GET, Sessions), (Method::POST, OpenSession)] },
    Endpoint {
        template: "/api/sessions/{id}",
        methods: &[(Method::GET, Session), (Method::PATCH, RenameSession), (Method::DELETE, CloseSession)],
    },
    Endpoint {
        template: "/api/sessions/{id}/messages",
        methods: &[(Method::GET, Messages), (Method::POST, Send)],
    },
    Endpoint { template: "/api/sessions/{id}/read", methods: &[(Method::POST, Read)] },
    Endpoint { template: "/api/sessions/{id}/events", methods: &[(Method::GET, SessionEvents)] },
    Endpoint { template: "/api/events", methods: &[(Method::GET, AllEvents)] },
    Endpoint { template: "/api/receive", methods: &[(Method::POST, Receive)] },
    Endpoint { template: "/api/settle", methods: &[(Method::POST, Settle)] },
    Endpoint { template: "/api/deliveries/{id}", methods: &[(Method::GET, Delivery)] },
    Endpoint { template: "/api/deliveries/{id}/cancel", methods: &[(Method::POST, Cancel)] },
    Endpoint { template: "/api/deliveries/{id}/redrive", methods: &[(Method::POST, Redrive)] },
    Endpoint { template: "/api/deliveries", methods: &[(Method::GET, Deliveries)] },
    Endpoint { template: "/api/dead-letters", methods: &[(Method::GET, DeadLetters)] },
    Endpoint { template: "/api/dead-letters/redrive", methods: &[(Method::POST, RedriveDead)] },
    Endpoint { template: "/api/messages/{id}", methods: &[(Method::GET, Message)] },
    Endpoint { template: "/api/messages/{id}/ttl", methods: &[(Method::POST, Ttl)] },
    Endpoint { template: "/api/log", methods: &[(Method::GET, AllEvents)] },
    Endpoint { template: "/api/deliveries/{id}/why", methods: &[(Method::GET, Why)] },
    Endpoint { template: "/api/send", methods: &[(Method::POST, SendTo)] },
    Endpoint { template: "/api/mailboxes", methods: &[(Method::GET, Mailboxes)] },
    Endpoint {
        template: "/api/mailboxes/{id}",
        methods: &[(Method::GET, Mailbox), (Method::PUT, SetMailbox), (Method::DELETE, DeleteMailbox)],
    },
    Endpoint { template: "/api/mailboxes/{id}/pause", methods: &[(Method::POST, PauseMailbox)] },
    Endpoint { template: "/api/mailboxes/{id}/resume", methods: &[(Method::POST, ResumeMailbox)] },
    Endpoint { template: "/api/mailboxes/{id}/purge", methods: &[(Method::POST, PurgeMailbox)] },
    Endpoint { template: "/health", methods: &[(Method::GET, Health)] },
    Endpoint { template: "/health/live", methods: &[(Method::GET, Live)] },
    Endpoint { template: "/health/ready", methods: &[(Method::GET, Ready)] },
    Endpoint { template: "/api/create_new_session", methods: &[(Method::POST, CreateNewSession)] },
    Endpoint { template: "/api/queue_user_message", methods: &[(Method::POST, QueueUserMessage)] },
    Endpoint { template: "/api/get_latest_response/{id}", methods: &[(Method::GET, GetLatestResponse)] },
    Endpoint {
        template: "/api/get_conversation_status/{id}",
        methods: &[(Method::GET, GetConversationStatus)],
    },
    Endpoint {
        template: "/api/cleanup_inactive_sessions",
        methods: &[(Method::POST, CleanupInactiveSessions)],
    },
    Endpoint { template: "/api/conversation", methods: &[(Method::GET, OldPage)] },
    Endpoint { template: "/api/heartbeat-test", methods: &[(Method::GET, OldPage)] },
    Endpoint { template: "/", methods: &[(Method::GET, Page)] },
    Endpoint { template: "/dashboard/{id}", methods: &[(Method::GET, SessionPage)] },
];

/// Files of the page, wherever no other path matches.
const FILES: Endpoint = Endpoint { template: "/{file}", methods: &[(Method::GET, Page)] };

/// Finds the endpoint of a path.
#[derive(Debug)]
pub(crate) struct Router {
    paths: matchit::Router<&'static Endpoint>,
}

/// An endpoint and the parameter in its path.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) id: Option<String>,
}

impl Router {
    pub(crate) fn new() -> Self {
        let mut paths = matchit::Router::new();
        for endpoint in ENDPOINTS {
            paths.insert(endpoint.template, endpoint).expect("the table above has no path twice");
        }
        Self { paths }
    }

    /// The endpoint at `path`; `/api/v1/...` is the same as `/api/...`.
    pub(crate) fn find(&self, path: &str) -> Option<Matched> {
        let unversioned = path.strip_prefix("/api/v1/").map(|rest| format!("/api/{rest}"));
        let path = unversioned.as_deref().unwrap_or(path);
        match self.paths.at(path) {
            Ok(matched) => {
                let id = matched.params.get("id").map(str::to_owned);
                Some(Matched { endpoint: matched.value, id })
            }
            Err(_) if path.starts_with("/api/") => None,
            Err(_) => Some(Matched { endpoint: &FILES, id: None }),
        }
    }
}

impl Endpoint {
    /// The call that `method` makes here.
    pub(crate) fn call(&self, method: &Method) -> Option<Call> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let (_, call) = self.methods.iter().find(|(method, _)| method == wanted)?;
        (method != Method::HEAD || !call.moves_on()).then_some(*call)
    }

    /// The methods that are taken here, for the header `Allow`.
    pub(crate) fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.methods.iter().map(|(method, _)| method.as_str()).collect();
        if self.call(&Method::HEAD).is_some() {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.join(", ")
    }

    /// Where requests to this path may come from.
    pub(crate) fn from(&self) -> From {
        self.methods.first().map_or(From::Here, |(_, call)| call.from())
    }
}

impl Call {
    pub(crate) const fn from(self) -> From {
        match self {
            Page | SessionPage | OldPage | Health | Live | Ready => From::Anywhere,
            _ => From::Here,
        }
    }

    /// Whether asking again gives something else: it is not asked for the sake of its headers.
    const fn moves_on(self) -> bool {
        matches!(self, GetLatestResponse)
    }

    pub(crate) const fn gives(self) -> Gives {
        match self {
            Page | SessionPage | OldPage => Gives::Files,
            SessionEvents | AllEvents => Gives::Events,
            _ => Gives::Json,
        }
    }

    /// Whether it is answered even while the server stops or has too much to do.
    pub(crate) const fn is_vital(self) -> bool {
        matches!(self, Health | Live | Ready)
    }

    pub(crate) const fn action(self) -> Action {
        match self {
            Page | SessionPage | OldPage | Health | Live | Ready => Action::Look,
            OpenSession | CreateNewSession => Action::OpenSession,
            Sessions
            | Session
            | Messages
            | SessionEvents
            | GetConversationStatus
            | GetLatestResponse
            | Read => Action::ReadSession,
            RenameSession | CloseSession => Action::ChangeSession,
            Send | SendTo | QueueUserMessage => Action::Send,
            Message => Action::ReadMessage,
            AllEvents => Action::ReadLog,
            Receive => Action::Receive,
            Settle => Action::Settle,
            Delivery | Deliveries | DeadLetters | Why => Action::ReadDelivery,
            Mailboxes | Mailbox => Action::ReadMailbox,
            SetMailbox | DeleteMailbox | PauseMailbox | ResumeMailbox | PurgeMailbox => Action::ChangeMailbox,
            Cancel | Redrive | RedriveDead | Ttl => Action::ChangeDelivery,
            CleanupInactiveSessions => Action::Administer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &Method, path: &str) -> Option<Call> {
        Router::new().find(path).unwrap().endpoint.call(method)
    }

    #[test]
    fn the_versioned_path_is_the_same_path() {
        assert_eq!(call(&Method::GET, "/api/sessions/x"), Some(Session));
        let matched = Router::new().find("/api/v1/sessions/x").unwrap();
        assert_eq!((matched.endpoint.template, matched.id.as_deref()), ("/api/sessions/{id}", Some("x")));
    }

    #[test]
    fn what_is_no_call_may_be_a_file_of_the_page() {
        assert!(Router::new().find("/api/nothing").is_none());
        assert!(Router::new().find("/api/v1/nothing").is_none());
        assert_eq!(call(&Method::GET, "/assets/app.js"), Some(Page));
        assert_eq!(call(&Method::POST, "/assets/app.js"), None);
    }

    #[test]
    fn a_head_is_a_get_unless_the_get_changes_something() {
        assert_eq!(call(&Method::HEAD, "/api/sessions"), Some(Sessions));
        assert_eq!(call(&Method::HEAD, "/api/get_latest_response/x"), None);
        assert_eq!(
            Router::new().find("/api/get_latest_response/x").unwrap().endpoint.allow(),
            "GET, OPTIONS"
        );
        assert_eq!(Router::new().find("/api/sessions").unwrap().endpoint.allow(), "GET, POST, HEAD, OPTIONS");
    }
}

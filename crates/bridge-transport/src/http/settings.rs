//! What a door is told: plain data, each with a value that holds when nobody says anything.

use std::time::Duration;

use super::guard::Guard;

/// The settings of a door.
///
/// # Example
/// ```
/// let mut settings = bridge_transport::Settings::default();
/// settings.allowed_origins.push("https://notes.example".to_owned());
/// assert_eq!(settings.limits.body, 1 << 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Names the door answers under, besides those of loopback: `bridge.example`, or with a port
    /// `bridge.example:8443`.
    pub allowed_hosts: Vec<String>,
    /// Origins of other pages that may call: `https://notes.example`.
    pub allowed_origins: Vec<String>,
    /// Where people reach the door when a proxy stands before it: `https://bridge.example`. Its host and origin are
    /// allowed too.
    pub public_url: Option<String>,
    /// Who may call.
    pub access: Access,
    /// Whether callers that name no session share one.
    pub shared_session: SharedSession,
    /// The server's version, as `/health` tells it.
    pub version: String,
    /// What may be sent.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            public_url: None,
            access: Access::Open,
            shared_session: SharedSession::Offered,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Refuses what no door is built with.
    ///
    /// # Errors
    /// The setting that is no host or origin.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        Guard::new(self).map(drop)
    }
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Whoever reaches the door, as `anonymous`. For loopback only.
    Open,
}

/// Whether callers that name no session share the one called `default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedSession {
    /// They do; it is opened when it is first written to.
    Offered,
    /// They are refused.
    Withheld,
}

/// What may be sent, and for how long a sender may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's path and query.
    pub uri: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// Bytes of all header fields of a request.
    pub header_bytes: usize,
    /// Bytes that the heads of all calls under way take.
    pub heads: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of all bodies that are held at one time.
    pub bodies: usize,
    /// Pause between two parts of a request's body.
    pub body_idle: Duration,
    /// From the beginning of a request's body to its end.
    pub body_time: Duration,
    /// Bytes of answers but the smallest, and of events on their way, that are held at one time.
    pub answers: usize,
    /// Levels of nesting of JSON.
    pub json_depth: usize,
    /// Calls under way at one time, event streams not counted.
    pub calls: usize,
    /// Event streams open at one time.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uri: 8 << 10,
            headers: 100,
            header_bytes: 64 << 10,
            heads: 16 << 20,
            body: 1 << 20,
            bodies: 32 << 20,
            body_idle: Duration::from_secs(30),
            body_time: Duration::from_secs(120),
            answers: 16 << 20,
            json_depth: 64,
            calls: 16_384,
            streams: 10_000,
        }
    }
}

/// A setting that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no {expected}")]
pub struct InvalidSetting {
    /// What was given.
    pub value: String,
    /// What would have been right.
    pub expected: &'static str,
}

//! HTTP: requests in, answers out.

mod activity;
mod arriving;
mod calls;
mod connection;
mod door;
mod guard;
mod held;
mod impatient;
mod limits;
mod page;
mod places;
mod query;
mod request;
mod response;
mod router;
mod serve;
mod settings;
mod unparsed;
mod watchers;

pub(crate) use door::Shared;
pub use door::{Builder, HttpDoor, Mounted};
pub(crate) use held::PART;
pub(crate) use limits::{Budget, Share};
pub use page::Asset;
pub use response::{Body, BoxError};
pub use serve::{ServeSettings, serve};
pub use settings::{Access, InvalidSetting, Limits, Settings, SharedSession};

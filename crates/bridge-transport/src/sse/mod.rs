//! Server-sent events: the frames, and the log as a stream of them.

mod codec;
mod stream;

pub(crate) use stream::stream;

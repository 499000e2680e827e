//! The messages of one scan, which large payloads end early.

use std::sync::Arc;

use bridge_core::{Delivery, Message, Row, SCAN_BYTES};

/// Takes messages, each with its first delivery, until their payloads have come to [`SCAN_BYTES`].
///
/// # Errors
/// The first error that `messages` gives.
pub(crate) fn fill<E>(
    messages: impl IntoIterator<Item = Result<(Arc<Message>, Option<Arc<Delivery>>), E>>,
) -> Result<Vec<Row>, E> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for message in messages {
        let (message, delivery) = message?;
        bytes += message.payload.len();
        page.push(Row::Message(message));
        page.extend(delivery.map(Row::Delivery));
        if bytes >= SCAN_BYTES {
            break;
        }
    }
    Ok(page)
}

//! The rows of one scan, which large payloads end early.

use bridge_core::{Row, SCAN_BYTES};

/// Takes rows until their payloads have come to [`SCAN_BYTES`].
///
/// # Errors
/// The first error that `rows` gives.
pub(crate) fn fill<E>(rows: impl IntoIterator<Item = Result<Row, E>>) -> Result<Vec<Row>, E> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let row = row?;
        if let Row::Message(message) = &row {
            bytes += message.payload.len();
        }
        page.push(row);
        if bytes >= SCAN_BYTES {
            break;
        }
    }
    Ok(page)
}

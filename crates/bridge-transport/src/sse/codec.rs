//! The frames of `text/event-stream`, as the HTML standard defines them.

/// Opens a stream: how long to pause before reconnecting, and a first byte so that intermediaries let go of the head.
pub(super) const OPENING: &str = "retry: 2000\n\n: open\n\n";

/// Keeps a quiet stream alive.
pub(super) const KEEP_ALIVE: &str = ": quiet\n\n";

/// Adds one event to `out`.
///
/// `id` and `event` stand on one line each and hold no line breaks.
pub(super) fn event(out: &mut String, id: Option<&str>, event: Option<&str>, data: &str) {
    for (field, value) in [("id", id), ("event", event)] {
        if let Some(value) = value {
            line(out, field, value);
        }
    }
    // A line break inside the data begins a new line; the reader joins the lines again.
    for part in data.split('\n') {
        let part = part.strip_suffix('\r').unwrap_or(part);
        part.split('\r').for_each(|part| line(out, "data", part));
    }
    out.push('\n');
}

fn line(out: &mut String, field: &str, value: &str) {
    out.extend([field, ": ", value, "\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(id: Option<&str>, name: Option<&str>, data: &str) -> String {
        let mut out = String::new();
        event(&mut out, id, name, data);
        out
    }

    #[test]
    fn an_event_is_its_fields_and_an_empty_line() {
        assert_eq!(encoded(Some("7"), None, "{}"), "id: 7\ndata: {}\n\n");
        assert_eq!(encoded(None, Some("gap"), "{}"), "event: gap\ndata: {}\n\n");
    }

    #[test]
    fn every_line_break_begins_a_line_of_data() {
        assert_eq!(encoded(None, None, "a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(encoded(None, None, ""), "data: \n\n");
    }
}

//! The page, inside the program.

use std::{borrow::Cow, fmt::Write as _};

use bridge_transport::Asset;
use bytes::Bytes;
use rust_embed::Embed;

/// What the page's build left in `web/dist`, reached through the link `page`. A build without optimisation reads the
/// files when they are asked for; without any the bridge works, and has no page.
#[derive(Embed)]
#[folder = "page"]
#[allow_missing = true]
struct Files;

/// A file of the page, by its path.
pub(crate) fn file(path: &str) -> Option<Asset> {
    let file = Files::get(path)?;
    let body = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let etag = file.metadata.sha256_hash()[..16].iter().fold(String::new(), |mut etag, byte| {
        write!(etag, "{byte:02x}").expect("a string takes everything");
        etag
    });
    Some(Asset { body, content_type: content_type(path).to_owned(), etag })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map" | "webmanifest") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_page_names_is_inside_and_has_a_type() {
        let index = file("index.html").expect("the page was built");
        let index = String::from_utf8(index.body.to_vec()).unwrap();
        let named: Vec<_> = index.split('"').filter_map(|part| part.strip_prefix("/assets/")).collect();
        assert!(!named.is_empty(), "{index}");
        for name in named {
            let asset = file(&format!("assets/{name}")).unwrap_or_else(|| panic!("{name} is missing"));
            assert_ne!(asset.content_type, "application/octet-stream", "{name}");
            assert_eq!(asset.etag.len(), 32);
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_a_file_of_the_page() {
        for path in ["", "../Cargo.toml", "/etc/passwd", "assets", "assets/../../Cargo.toml"] {
            assert!(file(path).is_none(), "{path}");
        }
    }
}

//! The page for those who write clients leaves nothing out.

use std::{collections::BTreeSet, path::Path};

use bridge_core::EventKind;
use bridge_protocol::Code;

/// The page.
fn page() -> String {
    read("../../docs/http.md")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A text with what is in braces left out: the names of parameters are chosen for their readers.
fn unnamed(text: &str) -> String {
    let mut parts = text.split('{');
    let mut unnamed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('}').unwrap_or(("", part));
        unnamed.push_str("{}");
        unnamed.push_str(rest);
    }
    unnamed
}

/// Every method and path of the router's table.
fn calls() -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for endpoint in read("src/http/router.rs").split("template: \"").skip(1) {
        let (path, rest) = endpoint.split_once('"').unwrap();
        let (methods, _) = rest.split_once(']').unwrap();
        for method in methods.split("Method::").skip(1) {
            let (method, _) = method.split_once(',').unwrap();
            calls.insert(format!("{method} {}", unnamed(path)));
        }
    }
    calls
}

#[test]
fn every_call_is_in_the_reference() {
    let calls = calls();
    assert!(calls.contains("POST /api/settle") && calls.contains("DELETE /api/sessions/{}"), "{calls:?}");
    let page = unnamed(&page());
    let missing: Vec<_> = calls.iter().filter(|call| !page.contains(&format!("`{call}`"))).collect();
    assert!(missing.is_empty(), "docs/http.md does not tell of {missing:?}");
}

#[test]
fn every_code_is_in_the_reference_with_its_status() {
    let page = page();
    let told: BTreeSet<_> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.splitn(3, " | ");
            let (code, status) = (cells.next()?.strip_suffix('`')?, cells.next()?.parse::<u16>().ok()?);
            Some((code, status))
        })
        .collect();
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| (code.as_str(), code.status())).collect();
    assert_eq!(told, codes);
}

#[test]
fn every_event_is_in_the_reference() {
    let page = page();
    let (_, section) = page.split_once("\n## Events\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let told: BTreeSet<_> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(told, BTreeSet::from(EventKind::NAMES));
}

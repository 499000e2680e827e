//! Which crate may name which, checked where it is written down.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde::Deserialize;

/// What a crate may name of ours; and, besides, in its tests.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("bridge-core", &[], &["bridge-testkit"]),
    ("bridge-protocol", &["bridge-core"], &[]),
    ("bridge-store", &["bridge-core"], &["bridge-testkit"]),
    ("bridge-runtime", &["bridge-core"], &["bridge-store", "bridge-testkit"]),
    ("bridge-testkit", &["bridge-core", "bridge-store"], &[]),
    (
        "bridge-transport",
        &["bridge-core", "bridge-protocol", "bridge-runtime"],
        &["bridge-store", "bridge-testkit"],
    ),
    (
        "bridge-mcp",
        &["bridge-core", "bridge-protocol", "bridge-runtime"],
        &["bridge-store", "bridge-testkit"],
    ),
    (
        "bridge-server",
        &[
            "bridge-core",
            "bridge-mcp",
            "bridge-protocol",
            "bridge-runtime",
            "bridge-store",
            "bridge-transport",
        ],
        &["bridge-testkit"],
    ),
];

/// Dependencies that only some may have, in anything but tests.
const CONFINED: &[(&str, &[&str])] = &[
    ("anyhow", &["bridge-server"]),
    ("axum", &[]),
    ("clap", &["bridge-server"]),
    ("hdrhistogram", &["bridge-server"]),
    ("hyper", &["bridge-mcp", "bridge-server", "bridge-transport"]),
    ("indicatif", &["bridge-server"]),
    ("rmcp", &["bridge-mcp"]),
    ("rusqlite", &["bridge-store"]),
    ("rust-embed", &["bridge-server"]),
    (
        "tokio",
        &[
            "bridge-mcp",
            "bridge-runtime",
            "bridge-server",
            "bridge-store",
            "bridge-testkit",
            "bridge-transport",
        ],
    ),
    ("tracing-subscriber", &["bridge-server"]),
];

/// Dependencies that nobody has, not even through others.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "sqlx"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: String,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

impl Metadata {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The packages below `crates/`; the others are examples, benches and fixtures.
    fn crates(&self) -> impl Iterator<Item = &Package> {
        let below = format!("{}/crates/", self.workspace_root);
        self.packages.iter().filter(move |package| {
            let name =
                package.manifest_path.strip_prefix(&below).and_then(|path| path.strip_suffix("/Cargo.toml"));
            name.is_some_and(|name| !name.contains('/'))
        })
    }
}

/// The arrows that `package` draws and may not draw.
fn wrong_arrows(package: &Package) -> Vec<String> {
    let Some((_, normal, in_tests)) = ARROWS.iter().find(|(name, ..)| *name == package.name) else {
        return vec![format!("{} is not in the table of this test", package.name)];
    };
    let ours = package.dependencies.iter().filter(|dependency| dependency.name.starts_with("bridge-"));
    ours.filter(|dependency| {
        let name = dependency.name.as_str();
        let tests_only = dependency.kind.as_deref() == Some("dev");
        !normal.contains(&name) && !(tests_only && (in_tests.contains(&name) || name == package.name))
    })
    .map(|dependency| format!("{} must not name {}", package.name, dependency.name))
    .collect()
}

#[test]
fn arrows_only_go_up() {
    let metadata = Metadata::read();
    let wrong: Vec<_> = metadata.crates().flat_map(wrong_arrows).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known = ARROWS.iter().filter(|(name, ..)| metadata.crates().any(|package| package.name == *name));
    assert_eq!(known.count(), ARROWS.len(), "the table of this test names a crate that is not there");
}

#[test]
fn a_wrong_arrow_is_seen() {
    let package = |kind: Option<&str>, name: &str| Package {
        name: "bridge-mcp".to_owned(),
        manifest_path: String::new(),
        dependencies: vec![Dependency { name: name.to_owned(), kind: kind.map(str::to_owned) }],
    };
    assert_eq!(wrong_arrows(&package(None, "bridge-transport")).len(), 1);
    assert_eq!(wrong_arrows(&package(Some("dev"), "bridge-transport")).len(), 1);
    assert_eq!(wrong_arrows(&package(None, "bridge-testkit")).len(), 1);
    assert_eq!(wrong_arrows(&package(Some("dev"), "bridge-testkit")).len(), 0);
    assert_eq!(wrong_arrows(&package(None, "bridge-runtime")).len(), 0);
}

#[test]
fn a_dependency_stays_where_it_belongs() {
    let metadata = Metadata::read();
    for package in metadata.crates() {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.is_none()) {
            let confined = CONFINED.iter().find(|(name, _)| *name == dependency.name);
            let allowed = confined.is_none_or(|(_, to)| to.contains(&package.name.as_str()));
            assert!(allowed, "{} must not name {}", package.name, dependency.name);
        }
    }
}

#[test]
fn nobody_brings_what_is_banned() {
    let metadata = Metadata::read();
    let lock: BTreeMap<String, Vec<BTreeMap<String, toml::Value>>> = {
        let text = fs::read_to_string(Path::new(&metadata.workspace_root).join("Cargo.lock")).unwrap();
        let mut lock: toml::Table = toml::from_str(&text).unwrap();
        lock.retain(|key, _| key == "package");
        lock.try_into().unwrap()
    };
    let packages = &lock["package"];
    assert!(packages.len() > 50, "the lock file was not understood");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        assert!(!BANNED.contains(&name), "{name} is in the lock file");
    }
}

/// What an embedder gets with `cargo add bridge-runtime bridge-store`.
#[test]
fn a_bridge_inside_a_program_brings_no_http_and_no_database() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--package", "bridge-core", "--package", "bridge-runtime", "--package", "bridge-store"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && tree.contains("bridge-runtime v"), "{tree}");
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for unwanted in ["clap", "http", "hyper", "libsqlite3-sys", "rusqlite", "shuttle", "tower"] {
        assert!(!names.contains(&unwanted), "{unwanted} comes along");
    }
}

#[test]
fn the_core_has_no_standard_library() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../bridge-core/src/lib.rs");
    let text = fs::read_to_string(root).unwrap();
    assert!(text.lines().any(|line| line == "#![no_std]"));
    assert!(
        !text.lines().any(|line| line.starts_with("extern crate std")),
        "the core links the standard library"
    );
}

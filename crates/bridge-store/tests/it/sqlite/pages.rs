//! One flipped byte in each kind of page: it is found, and what it changed is never served.

use std::{collections::BTreeMap, fmt::Debug, fs, sync::Arc};

use bridge_core::{
    Change, HandshakeStore, Index, Message, Row, RowKey, Scope, Seq, Store, StoreError, StoreErrorKind,
    bytes::Bytes,
};
use bridge_store::{SqliteStore, verify};
use bridge_testkit::samples;

use super::{Directory, SHARD, acquire};

const PAGE: usize = 4_096;

/// Messages, enough for tables and indexes of more than one level.
const MESSAGES: u64 = 400;

/// Bytes of content that need pages of their own.
const LARGE: usize = 20_000;

/// Pages of a kind that are looked at.
const LOOKED_AT: usize = 2;

/// Between the bytes of a page that are flipped.
const STEP: usize = 211;

/// A closed database with pages of every kind.
async fn filled() -> Directory {
    let directory = Directory::new();
    let store = directory.open().unwrap();
    let owner = acquire(&store).await.unwrap();
    let changes: Vec<_> = (1..=MESSAGES).flat_map(samples::publish).collect();
    store.commit(&owner, &changes).await.unwrap();
    let large = |n: u8| {
        let payload = Bytes::from(vec![b'a' + n; LARGE]);
        Row::Message(Arc::new(Message { payload, ..samples::message(n.into()) }))
    };
    let changes: Vec<_> = (1..=8).map(|n| Change::Put(large(n))).collect();
    store.commit(&owner, &changes).await.unwrap();
    // What is taken away leaves free pages.
    let changes: Vec<_> = (5..=8).map(|n| Change::Delete(large(n).key())).collect();
    store.commit(&owner, &changes).await.unwrap();
    store.save(samples::handshake(1)).await.unwrap();
    directory
}

/// What a page is, by its first byte; those of long content and free ones have none.
fn kind(number: usize, page: &[u8]) -> &'static str {
    match page[if number == 0 { 100 } else { 0 }] {
        2 => "inner page of an index",
        5 => "inner page of a table",
        10 => "leaf of an index",
        13 => "leaf of a table",
        _ => "page of long content, or free",
    }
}

/// What a store tells when it is asked for everything in every way: rows, or that it cannot.
async fn told(store: &SqliteStore) -> Vec<Result<Vec<String>, StoreError>> {
    fn shown<T: Debug>(
        rows: Result<impl IntoIterator<Item = T>, StoreError>,
    ) -> Result<Vec<String>, StoreError> {
        rows.map(|rows| rows.into_iter().map(|row| format!("{row:?}")).collect())
    }
    let mut told = Vec::new();
    for first in (1..=MESSAGES).step_by(20) {
        let numbers = first..first + 20;
        let messages: Vec<_> = numbers.clone().map(|n| RowKey::Message(samples::message_id(n))).collect();
        let deliveries: Vec<_> = numbers.map(|n| RowKey::Delivery(samples::delivery_id(n))).collect();
        for keys in [messages, deliveries] {
            told.push(shown(store.get(SHARD, &keys).await.map(|rows| rows.into_iter().flatten())));
        }
        let log = store.read_log(SHARD, Scope::All, Seq(first - 1), 20).await;
        told.push(shown(log.map(|page| page.events)));
    }
    for index in [Index::Live { after: None }, Index::Sessions { before: None }] {
        told.push(shown(store.scan(SHARD, index, 10_000).await));
    }
    told.push(shown(store.find("handshake 1").await));
    told
}

#[tokio::test]
async fn a_flipped_byte_in_any_kind_of_page_is_found_and_what_it_changed_is_not_served() {
    let directory = filled().await;
    let file = directory.file("bridge.db");
    let sound = fs::read(&file).unwrap();
    let expected: Vec<_> = told(&directory.open().unwrap()).await.into_iter().map(Result::unwrap).collect();
    let mut kinds = BTreeMap::<_, Vec<_>>::new();
    for (number, page) in sound.chunks(PAGE).enumerate() {
        kinds.entry(kind(number, page)).or_default().push(number);
    }
    assert_eq!(kinds.len(), 5, "not every kind of page is there: {kinds:?}");

    for (kind, pages) in kinds {
        let mut noticed = 0;
        for page in pages.iter().step_by(pages.len().div_ceil(LOOKED_AT)) {
            for at in (5..PAGE).step_by(STEP) {
                let place = format!("{kind}, page {page}, byte {at}");
                let mut bytes = sound.clone();
                bytes[page * PAGE + at] ^= 0x10;
                fs::write(&file, &bytes).unwrap();
                let is_found = verify(directory.0.path()).map_or(true, |report| !report.is_sound());
                let store = match directory.open() {
                    Ok(store) => store,
                    Err(error) => {
                        assert_eq!(error.kind, StoreErrorKind::Corrupt, "{place}: {error}");
                        assert!(error.to_string().contains("bridge.db"), "{place}: {error}");
                        assert!(is_found, "{place}: {error}");
                        noticed += 1;
                        continue;
                    }
                };
                let mut is_changed = false;
                for (now, before) in told(&store).await.iter().zip(&expected) {
                    match now {
                        Ok(rows) => assert_eq!(rows, before, "{place}: dropped or made up"),
                        Err(error) => {
                            assert_eq!(error.kind, StoreErrorKind::Corrupt, "{place}: {error}");
                            assert!(error.to_string().contains("bridge.db"), "{place}: {error}");
                            is_changed = true;
                        }
                    }
                }
                assert!(is_found || !is_changed, "{place}: a check does not find it");
                noticed += usize::from(is_changed);
            }
        }
        assert!(noticed > 0, "no byte of a {kind} matters");
    }
}

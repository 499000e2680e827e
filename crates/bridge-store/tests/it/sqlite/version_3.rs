//! A database of version 3 is opened with all its data; what has ended in it outside of conversations is looked at once.

use std::sync::Arc;

use bridge_core::{Delivery, Index, Row, Scope, Seq, State, Store, Timestamp};
use bridge_store::verify;

use super::{Directory, SHARD, acquire};

/// What lay in a database before anything was removed from one, as SQLite dumps it.
const DUMP: &str = include_str!("version_3.sql");

fn deliveries(rows: Vec<Row>) -> Vec<Delivery> {
    let delivery = |row| match row {
        Row::Delivery(delivery) => Some(Arc::unwrap_or_clone(delivery)),
        _ => None,
    };
    rows.into_iter().filter_map(delivery).collect()
}

#[tokio::test]
async fn what_has_ended_in_a_database_of_version_3_is_looked_at_at_once() {
    let directory = Directory::new();
    directory.connect().execute_batch(DUMP).unwrap();
    for _ in 0..2 {
        let store = directory.open().unwrap();
        let owner = acquire(&store).await.unwrap();
        let live = deliveries(store.load(&owner, None).await.unwrap());
        assert_eq!(live.iter().map(|delivery| delivery.seq.0).collect::<Vec<_>>(), [5, 10, 15]);
        assert!(live.iter().all(|delivery| delivery.retire_at.is_none()));

        let index = Index::Retiring { after: None, until: Timestamp::default() };
        let ended = deliveries(store.scan(SHARD, index, 100).await.unwrap());
        let found: Vec<_> = ended.iter().map(|delivery| (delivery.seq.0, delivery.state.as_str())).collect();
        assert_eq!(found, [(1, "done"), (2, "dead"), (3, "cancelled"), (6, "done")]);
        assert!(ended.iter().all(|delivery| !delivery.message_gone && delivery.mailbox.session().is_none()));
        assert!(
            ended
                .iter()
                .all(|delivery| { delivery.ended_at().is_some() || delivery.state == State::Cancelled })
        );
        assert_eq!(store.read_log(SHARD, Scope::All, Seq::ZERO, 100).await.unwrap().events.len(), 21);
    }
    let report = verify(directory.0.path()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.schema, 4);
}

#[tokio::test]
async fn a_damaged_row_of_what_has_ended_stays_and_the_rest_is_brought_up_to_date() {
    for damage in
        ["UPDATE message SET type = 'x' WHERE seq = 1", "UPDATE message SET attempt = 77 WHERE seq = 1"]
    {
        let directory = Directory::new();
        directory.connect().execute_batch(DUMP).unwrap();
        directory.connect().execute_batch(damage).unwrap();
        for _ in 0..2 {
            let store = directory.open().unwrap();
            let owner = acquire(&store).await.unwrap();
            assert_eq!(deliveries(store.load(&owner, None).await.unwrap()).len(), 3);
            let index = Index::Retiring { after: None, until: Timestamp::default() };
            let ended = deliveries(store.scan(SHARD, index, 100).await.unwrap());
            assert_eq!(ended.iter().map(|delivery| delivery.seq.0).collect::<Vec<_>>(), [2, 3, 6]);
        }
        let report = verify(directory.0.path()).unwrap();
        assert_eq!((report.schema, report.findings.len()), (4, 1), "{report:?}");
    }
}

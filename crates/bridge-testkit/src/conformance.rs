//! What every store must do: one function per case, and the macros that make one named test of each.
//!
//! A case is given a harness of its own, with nothing in it. Cases of one kind share a module; a failing test bears the
//! name of what does not hold.

mod commits;
mod epochs;
mod handshakes;
mod indexes;
mod log;
mod parts;
mod rows;

use std::{future::Future, time::Duration};

use bridge_core::{Change, NodeId, Ownership, Row, RowKey, ShardId, Store};

use crate::samples;

pub use self::{commits::*, epochs::*, handshakes::*, indexes::*, log::*, parts::*, rows::*};

/// Opens one store again and again.
///
/// What one opening has committed, the next one must find. For a store on disk a harness holds a directory; for one in
/// memory a handle. An opening comes after the earlier store was dropped. Whatever it has to clean up, it does in `Drop`.
pub trait StoreHarness: Send + Sync + 'static {
    /// The store under test.
    type Store: Store;

    /// Opens the store. Panics if it does not open: then the test has failed.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;
}

/// Runs a case on a runtime of its own, with two threads. The macros call it.
///
/// # Panics
/// If the case fails, or no runtime can be started.
pub fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a test machine can start two threads")
        .block_on(case);
}

/// Makes one test of each case that a [`Store`] must pass.
///
/// Takes what makes a harness: a function or closure without arguments, called once per test. Put it into a module of its
/// own, whose name then says which store a test is of; the crate's page has an example.
#[macro_export]
macro_rules! store_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @tests $harness;
            rows_of_every_kind_return_after_a_commit
            rows_of_every_kind_return_after_reopening
            payloads_return_whatever_is_in_them
            timestamps_return_as_they_were_given
            a_put_replaces_the_row_with_its_key
            a_delete_removes_the_row
            a_delete_of_nothing_is_no_error
            get_keeps_positions_and_says_none_in_place
            load_gives_the_live_rows_always_in_one_order
            load_goes_on_behind_every_row_it_gave
            load_of_many_rows_is_complete_page_by_page
            a_batch_is_applied_in_its_order
            a_batch_is_whole_even_if_its_future_is_dropped
            applying_a_batch_twice_equals_once
            an_empty_batch_changes_nothing
            two_shards_commit_at_once_and_do_not_see_each_other
            concurrent_commits_of_a_shard_are_all_kept
            a_commit_returns_only_when_others_can_see_it
            every_acquisition_raises_the_epoch
            the_epoch_rises_over_reopening
            the_time_of_owners_does_not_go_back
            an_old_epoch_is_fenced_and_changes_nothing
            an_epoch_that_never_was_is_fenced
            an_old_epoch_is_fenced_after_reopening
            an_owner_renews_until_it_is_superseded
            giving_up_a_lost_ownership_is_no_error
            the_epoch_of_one_shard_is_not_anothers
            events_of_every_kind_return
            events_return_after_reopening
            the_log_is_read_from_a_place_and_no_further_than_asked
            the_log_is_read_by_session
            the_bounds_of_the_log_are_of_the_moment_of_its_events
            an_event_in_a_taken_place_is_the_same_event_again
            an_event_never_replaces_another
            an_empty_log_has_no_head
            the_log_is_trimmed_but_for_sessions
            the_events_of_a_session_are_trimmed_alone
            the_floor_of_a_session_is_where_it_begins
            trimming_takes_nothing_but_events
            trimming_twice_equals_once
            a_publish_is_the_same_in_one_commit_or_in_several
            each_part_of_a_publish_goes_by_itself
            a_delivery_changes_beside_its_message
            a_delivery_may_differ_from_its_message
            a_message_may_be_put_again
            contents_of_every_length_return_with_their_delivery
            the_log_is_one_wherever_its_events_lie
            another_event_never_takes_the_place_of_a_message
            load_of_many_messages_is_complete_page_by_page
            the_messages_of_two_shards_do_not_meet
            sessions_are_listed_newest_first
            sessions_are_listed_by_their_beginning
            messages_of_a_session_are_listed_newest_first
            messages_of_a_session_come_with_their_first_deliveries
            deliveries_are_listed_by_state
            remembered_publishes_are_listed_when_their_time_has_passed
            deliveries_are_listed_when_they_are_to_be_looked_at
            closed_sessions_are_listed_when_their_time_has_passed
            readers_of_a_session_are_listed
            live_rows_are_seen_without_owning_the_shard
            large_messages_end_a_scan_early
        }
    };
    (@tests $harness:expr; $($case:ident)*) => {$(
        #[test]
        fn $case() {
            $crate::conformance::run($crate::conformance::$case(($harness)()));
        }
    )*};
}

/// Makes one test of each case that a [`HandshakeStore`](bridge_core::HandshakeStore) must pass, as
/// [`store_conformance!`](crate::store_conformance) does for a store. The harness's store implements both.
#[macro_export]
macro_rules! handshake_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @tests $harness;
            a_handshake_is_found_after_it_was_saved
            a_handshake_is_found_after_reopening
            a_handshake_saved_again_is_replaced
            a_handshake_is_deleted
            old_handshakes_are_forgotten
        }
    };
}

const SHARD: ShardId = ShardId(0);
const TTL: Duration = Duration::from_secs(10);

async fn acquire(store: &impl Store) -> Ownership {
    acquire_shard(store, SHARD).await
}

async fn acquire_shard(store: &impl Store, shard: ShardId) -> Ownership {
    store.acquire(shard, NodeId(1), samples::at(0), TTL).await.expect("the shard can be acquired")
}

async fn commit(store: &impl Store, owner: &Ownership, changes: &[Change]) {
    store.commit(owner, changes).await.expect("the batch is committed");
}

async fn put(store: &impl Store, owner: &Ownership, rows: &[Row]) {
    let changes: Vec<Change> = rows.iter().cloned().map(Change::Put).collect();
    commit(store, owner, &changes).await;
}

/// The rows with these keys, which must all be there.
async fn get(store: &impl Store, keys: &[RowKey]) -> Vec<Row> {
    let rows = store.get(SHARD, keys).await.expect("rows can be read");
    rows.into_iter().zip(keys).map(|(row, key)| row.unwrap_or_else(|| panic!("{key:?} is missing"))).collect()
}

async fn find(store: &impl Store, key: RowKey) -> Option<Row> {
    store.get(SHARD, &[key]).await.expect("rows can be read").pop().flatten()
}

fn keys(rows: &[Row]) -> Vec<RowKey> {
    rows.iter().map(Row::key).collect()
}

/// All pages of a load behind `after`, in the store's own order.
async fn load_after(store: &impl Store, owner: &Ownership, mut after: Option<RowKey>) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let page = store.load(owner, after).await.expect("the shard can be loaded");
        let Some(last) = page.last() else { return rows };
        after = Some(last.key());
        rows.extend(page);
    }
}

/// All rows of a load, in the order of their keys.
async fn load(store: &impl Store, owner: &Ownership) -> Vec<Row> {
    let mut rows = load_after(store, owner, None).await;
    rows.sort_by_key(Row::key);
    rows
}

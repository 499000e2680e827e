use bridge_core::{Handshake, HandshakeStore};

use super::StoreHarness;
use crate::samples;

async fn save(store: &impl HandshakeStore, record: &Handshake) {
    store.save(record.clone()).await.expect("a handshake can be saved");
}

async fn find(store: &impl HandshakeStore, id: &str) -> Option<Handshake> {
    store.find(id).await.expect("a handshake can be looked for")
}

/// What is saved is found by its id, value for value; nothing else is.
pub async fn a_handshake_is_found_after_it_was_saved<H>(harness: H)
where
    H: StoreHarness<Store: HandshakeStore>,
{
    let store = harness.open().await;
    let odd = Handshake { id: "ü'\"%".into(), data: (0..=u8::MAX).collect(), ..samples::handshake(1) };
    let empty = Handshake { data: Vec::new(), ..samples::handshake(2) };
    for record in [odd, empty] {
        save(&store, &record).await;
        assert_eq!(find(&store, &record.id).await, Some(record));
    }
    assert_eq!(find(&store, "handshake 3").await, None);
    assert_eq!(find(&store, "").await, None);
}

/// A restart does not cut clients off.
pub async fn a_handshake_is_found_after_reopening<H>(harness: H)
where
    H: StoreHarness<Store: HandshakeStore>,
{
    let record = samples::handshake(1);
    {
        let store = harness.open().await;
        save(&store, &record).await;
    }
    let store = harness.open().await;
    assert_eq!(find(&store, &record.id).await, Some(record));
}

/// There is one handshake to an id.
pub async fn a_handshake_saved_again_is_replaced<H>(harness: H)
where
    H: StoreHarness<Store: HandshakeStore>,
{
    let store = harness.open().await;
    let old = samples::handshake(1);
    let new = Handshake { id: old.id.clone(), ..samples::handshake(2) };
    save(&store, &old).await;
    save(&store, &new).await;
    assert_eq!(find(&store, &old.id).await, Some(new));
}

/// What is deleted is gone, and nothing else; deleting nothing is no error.
pub async fn a_handshake_is_deleted<H>(harness: H)
where
    H: StoreHarness<Store: HandshakeStore>,
{
    let store = harness.open().await;
    let (gone, kept) = (samples::handshake(1), samples::handshake(2));
    save(&store, &gone).await;
    save(&store, &kept).await;
    for _ in 0..2 {
        store.delete(&gone.id).await.expect("a handshake can be deleted");
        assert_eq!(find(&store, &gone.id).await, None);
    }
    assert_eq!(find(&store, &kept.id).await, Some(kept));
}

/// Those last saved before the given time go, and no others.
pub async fn old_handshakes_are_forgotten<H>(harness: H)
where
    H: StoreHarness<Store: HandshakeStore>,
{
    let store = harness.open().await;
    for n in 1..=4 {
        save(&store, &samples::handshake(n)).await;
    }
    save(&store, &Handshake { saved_at: samples::at(9), ..samples::handshake(1) }).await;
    store.forget(samples::at(3)).await.expect("handshakes can be forgotten");
    let left = [1, 2, 3, 4].map(|n| samples::handshake(n).id);
    let found = [
        find(&store, &left[0]).await.is_some(),
        find(&store, &left[1]).await.is_some(),
        find(&store, &left[2]).await.is_some(),
        find(&store, &left[3]).await.is_some(),
    ];
    assert_eq!(found, [true, false, true, true]);
}

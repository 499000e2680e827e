//! What is to be kept in the archive goes there before it is removed, once.

use super::*;

#[tokio::test]
async fn an_answer_goes_to_the_archive_by_its_own_type() {
    let yard = Yard::open().await;
    let command = NewReply::new("do it").kind("command".parse().unwrap());
    yard.answered("notification", command).await;
    let last = yard.answered("error", NewReply::new("well")).await;
    yard.until(async |yard| !yard.is_there(last).await).await;
    assert_eq!(yard.shelf.types(), ["command", "error"]);
}

#[tokio::test]
async fn an_answer_to_several_goes_to_the_archive_once() {
    let yard = Yard::open().await;
    for _ in 0..5 {
        yard.send("error").await;
    }
    let ask = ReceiveRequest::new("worker".parse().unwrap()).max(10);
    let received = yard.bridge.receive(ask).await.unwrap();
    let tokens = received.deliveries.iter().map(|leased| Credential::Token(leased.token.clone()));
    let mut tokens: Vec<_> = tokens.collect();
    received.handover.complete();
    let reply = NewReply::new("all of it").kind("command".parse().unwrap());
    let answer = Settlement::Answer { reply, covers: tokens.split_off(1) };
    let settled = yard.bridge.settle(tokens.remove(0), answer).await.unwrap();
    assert!(settled.not_covered.is_empty(), "{settled:?}");
    let reply = settled.reply.unwrap();
    yard.until(async |yard| !yard.is_there(reply).await).await;
    assert_eq!(yard.shelf.types(), ["command", "error", "error", "error", "error", "error"]);
    assert_eq!(yard.measured.archived(), 6);
}

#[tokio::test]
async fn what_has_no_room_in_a_step_goes_in_the_next_one_and_to_the_archive_once() {
    let yard = Yard::open_with(Policy { max_rows: 16, ..Policy::default() }).await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(yard.done("error").await);
    }
    yard.sweep(DAY, async |yard| {
        let left = yard.bridge.messages_by_id(&ids).await.unwrap();
        left.iter().all(Option::is_none)
    })
    .await;
    assert_eq!((yard.shelf.batches().len(), yard.measured.archived()), (1, 30));

    // So it is where a conversation goes, of which a page has no room in a step.
    let session = yard.bridge.open_session(None, "anna".parse().unwrap()).await.unwrap().session.id;
    for _ in 0..30 {
        let mut message = NewMessage::new(Address::Session(session, Side::Agent), "hello");
        message.kind = "error".parse().unwrap();
        yard.bridge.publish(message).await.unwrap();
    }
    yard.bridge.close_session(session).await.unwrap();
    yard.clock.advance(8 * DAY);
    yard.send("note").await;
    yard.until(async |yard| yard.bridge.session(session).await.is_err()).await;
    assert_eq!((yard.shelf.batches().len(), yard.measured.archived()), (2, 60));
}

#[tokio::test]
async fn what_is_kept_for_longer_by_now_does_not_go_to_the_archive_yet() {
    let mut yard = Yard::open().await;
    let id = yard.done("error").await;
    yard.bridge.shutdown().await;
    let mut policy = Policy::default();
    let rule = RetentionRule { retention: Retention::Long, archive: true };
    policy.retentions.set("error".parse().unwrap(), rule);
    let started = Bridge::builder(yard.store.clone()).clock(yard.clock.clone()).archive(yard.shelf.clone());
    yard.bridge = started.policy(policy).start().await.unwrap();
    let other = yard.done("notification").await;
    yard.sweep(2 * HOUR, async |yard| !yard.is_there(other).await).await;
    assert!(yard.shelf.batches().is_empty());
    yard.sweep(7 * DAY, async |yard| !yard.is_there(id).await).await;
    assert_eq!(yard.shelf.types(), ["error"]);
}

#[tokio::test]
async fn a_batch_for_the_archive_is_bounded_with_its_answers() {
    let yard = Yard::open().await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        let reply = NewReply::new(vec![b'a'; 700 << 10]).kind("error".parse().unwrap());
        ids.push(yard.answered("error", reply).await);
    }
    yard.until(async |yard| !yard.is_there(ids[7]).await).await;
    assert_eq!(yard.shelf.types().len(), 16);
    let batches = yard.shelf.batches();
    assert!(batches.iter().all(|bytes| *bytes < 2 << 20), "{batches:?}");
}

#[tokio::test]
async fn an_archive_that_fails_in_whichever_way_is_asked_once_a_minute() {
    let yard = Yard::open().await;
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(yard.done("error").await);
    }
    yard.shelf.set(Trouble::Full);
    yard.sweep(DAY, async |yard| !yard.shelf.batches().is_empty()).await;
    for trouble in [Trouble::Full, Trouble::Panics, Trouble::Hangs] {
        yard.shelf.set(trouble);
        let before = yard.shelf.batches().len();
        let other = yard.done("notification").await;
        if matches!(trouble, Trouble::Hangs) {
            yard.sweep(MINUTE, async |yard| yard.shelf.batches().len() > before).await;
        }
        yard.sweep(MINUTE, async |yard| !yard.is_there(other).await).await;
        assert_eq!(yard.shelf.batches().len(), before + 1, "{trouble:?}");
    }
    yard.shelf.set(None);
    yard.until(async |yard| !yard.is_there(ids[299]).await).await;
    assert_eq!(yard.shelf.types(), vec!["error"; 300]);
}

#[tokio::test]
async fn a_message_goes_to_the_archive_before_it_is_removed() {
    let yard = Yard::open().await;
    let kept = yard.done("error").await;
    let other = yard.done("notification").await;
    yard.until(async |yard| !yard.is_there(kept).await).await;
    assert!(!yard.is_there(other).await);
    assert_eq!(yard.shelf.types(), ["error"]);
    let record = yard.shelf.kept.lock().unwrap()[0].clone();
    assert_eq!((record.message.id, &record.message.payload[..]), (kept, &b"error"[..]));
    assert_eq!(record.deliveries[0].state.as_str(), "done");
}

#[tokio::test]
async fn while_the_archive_fails_only_what_goes_there_stays() {
    let yard = Yard::open().await;
    yard.shelf.set(Trouble::Full);
    let mut archived = Vec::new();
    for _ in 0..130 {
        archived.push(yard.done("error").await);
    }
    let other = yard.done("note").await;
    yard.clock.advance(DAY);
    yard.until(async |yard| !yard.is_there(other).await).await;
    assert!(yard.is_there(archived[0]).await && yard.is_there(archived[129]).await);
    yard.shelf.set(None);
    yard.until(async |yard| !yard.is_there(archived[129]).await).await;
    assert_eq!(yard.shelf.types(), vec!["error"; 130]);
}

#[tokio::test]
async fn what_waits_for_the_archive_is_not_read_by_each_sweep() {
    let yard = Yard::open().await;
    yard.shelf.set(Trouble::Full);
    let mut last = None;
    for _ in 0..600 {
        last = Some(yard.done("error").await);
    }
    let mut sessions = Vec::new();
    for _ in 0..200 {
        sessions.push(yard.closed().await.0);
    }
    yard.clock.advance(8 * DAY);
    let mut read = Vec::new();
    for _ in 0..4 {
        let other = yard.done("notification").await;
        yard.sweep(MINUTE, async |yard| !yard.is_there(other).await).await;
        yard.at_rest().await;
        read.push(yard.store.rows_read());
    }
    let by_each = read[3] - read[2];
    // The first page with its messages, for the archive is asked again, and the list of conversations.
    assert!(by_each < 700, "{by_each} rows");
    assert_eq!(yard.shelf.types(), [""; 0]);

    yard.shelf.set(None);
    yard.until(async |yard| {
        !yard.is_there(last.unwrap()).await && yard.bridge.session(sessions[199]).await.is_err()
    })
    .await;
    assert_eq!(yard.shelf.types().len(), 800);
}

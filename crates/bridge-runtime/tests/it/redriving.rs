//! Dead letters get another life so many at a time, and so many a second.

use std::time::Duration;

use bridge_core::{Address, DeliveryError, DeliveryId, Seq, StateKind, Timestamp};
use bridge_runtime::{Bridge, Credential, DeadLetters, NewMessage, ReceiveRequest, Redriven, Settlement};

use super::{House, soon};

/// Rejects everything that a bridge hands out.
async fn reject_all(bridge: &Bridge, request: ReceiveRequest) {
    let received = bridge.receive(request.max(100)).await.unwrap();
    received.handover.complete();
    for leased in received.deliveries {
        let reject = Settlement::Reject { reason: Some("no".to_owned()) };
        bridge.settle(Credential::Token(leased.token), reject).await.unwrap();
    }
}

/// Redrives while time passes.
async fn redrive(house: &House, after: Option<Seq>, limit: usize, per_second: u32) -> Redriven {
    let wanted = DeadLetters::default();
    let mut redriving = std::pin::pin!(house.bridge.redrive_dead(&wanted, after, limit, per_second));
    soon(async {
        loop {
            tokio::select! {
                biased;
                redriven = &mut redriving => return redriven.unwrap(),
                () = tokio::task::yield_now() => house.clock.advance(Duration::from_millis(2)),
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_is_refused_counts_and_is_not_met_again() {
    let house = House::open().await;
    for text in ["one", "two", "three", "four", "five"] {
        house.publish(text).await;
    }
    reject_all(&house.bridge, house.ask("a")).await;
    house.bridge.close_session(house.session).await.unwrap();

    let would = house.bridge.try_redrive_dead(&DeadLetters::default(), None, 3).await.unwrap();
    let mut refused = Vec::new();
    let mut after = None;
    loop {
        let done = redrive(&house, after, 3, 1_000).await;
        assert!(done.deliveries.is_empty() && done.refused.len() <= 3, "{done:?}");
        assert!(after.is_some() || done == would, "what is tried is judged as what is done: {would:?}");
        refused.extend(done.refused);
        after = done.next;
        if after.is_none() {
            break;
        }
    }
    assert!(refused.iter().all(|(_, error)| *error == DeliveryError::SessionClosed(house.session)));
    let met: std::collections::BTreeSet<DeliveryId> = refused.iter().map(|(id, _)| *id).collect();
    let all = house.bridge.dead_letters(&DeadLetters::default(), None, 100).await.unwrap();
    assert_eq!((met.len(), refused.len()), (all.deliveries.len(), all.deliveries.len()));
    assert!(refused.len() >= 5);
}

#[tokio::test]
async fn a_page_of_nothing_is_not_the_end() {
    let house = House::open().await;
    for text in ["one", "two", "three"] {
        house.publish(text).await;
    }
    reject_all(&house.bridge, house.ask("a")).await;
    let (bridge, wanted) = (&house.bridge, DeadLetters::default());

    let all = bridge.dead_letters(&wanted, None, 100).await.unwrap().deliveries;
    let (mut oldest, mut after) = (Vec::new(), None);
    let (mut newest, mut before) = (Vec::new(), None);
    for _ in &all {
        let page = bridge.dead_letters(&wanted, after, 0).await.unwrap();
        oldest.extend(page.deliveries);
        after = page.next;
        assert!(after.is_some());
        let page = bridge.deliveries(StateKind::Dead, None, before, 0).await.unwrap();
        newest.extend(page.deliveries);
        before = page.next;
        assert!(before.is_some() || newest.len() == all.len());
    }
    newest.reverse();
    assert_eq!((oldest.len(), &oldest, &newest), (all.len(), &all, &all));

    // Who redrives none has done what was asked for, and goes on from where it was.
    let none = redrive(&house, None, 0, 1_000).await;
    assert!(none.deliveries.is_empty() && none.refused.is_empty() && none.next.is_some(), "{none:?}");
    let done = redrive(&house, none.next, 100, 1_000).await;
    assert_eq!(done.deliveries.len() + done.refused.len(), all.len());
}

#[tokio::test]
async fn a_slow_rate_is_kept() {
    for (per_second, gap) in [(1, 1_000), (3, 333), (15, 66)] {
        let house = House::open().await;
        for sender in ["a", "b", "c"] {
            let message = NewMessage::new("worker".parse().unwrap(), "hello").from(sender.parse().unwrap());
            house.bridge.publish(message).await.unwrap();
        }
        reject_all(&house.bridge, ReceiveRequest::new("worker".parse().unwrap())).await;
        let mut made: Vec<Timestamp> = Vec::new();
        for id in redrive(&house, None, 3, per_second).await.deliveries {
            made.push(house.bridge.inspect(id).await.unwrap().receipts.accepted);
        }
        assert_eq!(made.len(), 3);
        for pair in made.windows(2) {
            let between = pair[1].since(pair[0]);
            assert!(
                between >= Duration::from_millis(gap),
                "{between:?} between two at {per_second} a second"
            );
        }
    }
}

#[tokio::test]
async fn a_search_among_many_goes_on_where_it_ended() {
    let house = House::open().await;
    let printer: Address = "printer".parse().unwrap();
    for n in 0..4_200 {
        let mut message = NewMessage::new(printer.clone(), "hello").from("shop".parse().unwrap());
        message.ttl = Some(Duration::from_secs(1));
        message.kind = if n == 4_150 { "order" } else { "log" }.parse().unwrap();
        house.bridge.publish(message).await.unwrap();
    }
    house.clock.advance(Duration::from_secs(2));
    soon(async {
        while house.bridge.mailbox(printer.clone()).await.unwrap().pending > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let wanted = DeadLetters { kind: Some("order".parse().unwrap()), ..DeadLetters::default() };
    let first = house.bridge.redrive_dead(&wanted, None, 10, 1_000).await.unwrap();
    assert!(first.deliveries.is_empty() && first.next.is_some(), "{first:?}");
    let rest = house.bridge.redrive_dead(&wanted, first.next, 10, 1_000).await.unwrap();
    assert_eq!((rest.deliveries.len(), rest.next), (1, None));
}

#[tokio::test]
async fn of_many_lives_the_first_and_the_newest_are_told() {
    let house = House::open().await;
    let message = house.bridge.publish(house.message("one")).await.unwrap().message;
    let mut newest = DeliveryId::of(message, 0);
    for life in 0..40 {
        let (_, deliveries) = house.bridge.message(message).await.unwrap();
        assert_eq!(deliveries.len(), 33.min(life + 1));
        let ends = deliveries.first().zip(deliveries.last()).map(|(first, last)| (first.id, last.id));
        assert_eq!(ends, Some((DeliveryId::of(message, 0), newest)));
        assert!(deliveries[1..].is_sorted_by_key(|delivery| delivery.seq));
        reject_all(&house.bridge, house.ask("a")).await;
        newest = house.bridge.redrive(newest, None).await.unwrap();
    }
    let page = house.bridge.snapshot(house.session, None, 100).await.unwrap();
    let (_, deliveries) = page.messages.iter().find(|(told, _)| told.id == message).unwrap();
    assert_eq!((deliveries.len(), deliveries.last().map(|last| last.id)), (33, Some(newest)));
}

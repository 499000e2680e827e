//! Who waits is woken, and who leaves gives back what it was given.

use std::time::Duration;

use bridge_core::{Action, DirectiveReason};
use bridge_runtime::{Address, CallError, Credential, Fault, NewMessage, ReceiveRequest, Settlement, Side};

use super::{House, soon, texts};

/// In each round one taker and one message meet in every conversation, in any order. Whoever was parked before its
/// message came has been woken once the message is confirmed, and whoever came later found it: so only a taker whose
/// wake-up was lost is still waiting then, and waits for its whole time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    const CONVERSATIONS: usize = 8;
    const ROUNDS: usize = 150;
    const WAIT: Duration = Duration::from_secs(60);
    let house = House::open().await;
    let mut mailboxes = Vec::new();
    for _ in 0..CONVERSATIONS {
        let view = house.bridge.open_session(None, "anna".parse().unwrap()).await.unwrap();
        mailboxes.push(Address::Session(view.session.id, Side::Agent));
    }
    for round in 0..ROUNDS {
        let mut takers = Vec::new();
        let mut senders = Vec::new();
        for (nth, mailbox) in mailboxes.iter().enumerate() {
            let bridge = house.bridge.clone();
            let ask = ReceiveRequest::new(mailbox.clone()).consumer("a".parse().unwrap()).wait(WAIT);
            takers.push(tokio::spawn(async move { bridge.receive(ask).await }));
            let (bridge, message) =
                (house.bridge.clone(), NewMessage::new(mailbox.clone(), round.to_string()));
            senders.push(tokio::spawn(async move {
                // A head start for the taker: none, some, or enough.
                for _ in 0..(round + nth) % 5 {
                    tokio::task::yield_now().await;
                }
                bridge.publish(message).await
            }));
        }
        for sender in senders {
            soon(sender).await.unwrap().unwrap();
        }
        house.clock.advance(WAIT);
        for taker in takers {
            let received = soon(taker).await.unwrap().unwrap();
            assert_eq!(texts(&received), [round.to_string()], "a wake-up was lost in round {round}");
            received.handover.complete();
            for leased in &received.deliveries {
                let token = Credential::Token(leased.token.clone());
                house.bridge.settle(token, Settlement::Ack).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_took_gives_its_leases_back() {
    let house = House::open().await;
    house.publish("hello").await;
    let ask = ReceiveRequest::new(house.agent());
    let received = house.bridge.receive(ask.clone()).await.unwrap();
    drop(received);
    let again = soon(house.bridge.receive(ask.wait(Duration::from_secs(30)))).await.unwrap();
    assert_eq!(texts(&again), ["hello"]);
    assert_eq!(again.deliveries[0].attempt, 2);
    again.handover.complete();
}

#[tokio::test]
async fn a_named_consumer_finds_again_what_it_missed() {
    let house = House::open().await;
    house.publish("hello").await;
    let ask = house.ask("a").attempt_id("t".parse().unwrap());
    let missed = house.bridge.receive(ask.clone()).await.unwrap();
    let token = missed.deliveries[0].token.clone();
    drop(missed);
    let again = house.bridge.receive(ask).await.unwrap();
    assert_eq!(again.deliveries[0].token, token);
    again.handover.complete();
}

#[tokio::test]
async fn a_caller_that_breaks_off_leaves_its_place_to_the_next() {
    let house = House::open().await;
    let ask = house.ask("gone").wait(Duration::from_secs(60));
    let gone = tokio::time::timeout(Duration::from_millis(20), house.bridge.receive(ask)).await;
    assert!(gone.is_err());
    let (bridge, ask) = (house.bridge.clone(), house.ask("here").wait(Duration::from_secs(60)));
    let here = tokio::spawn(async move { bridge.receive(ask).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    house.publish("hello").await;
    let received = soon(here).await.unwrap().unwrap();
    assert_eq!(texts(&received), ["hello"]);
    received.handover.complete();
}

#[tokio::test]
async fn a_shutdown_sends_home_who_waits_and_refuses_who_comes() {
    let house = House::open().await;
    let (bridge, ask) = (house.bridge.clone(), house.ask("a").wait(Duration::from_secs(60)));
    let waits = tokio::spawn(async move { bridge.receive(ask).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    soon(house.bridge.shutdown()).await;
    let received = soon(waits).await.unwrap().unwrap();
    assert_eq!(received.directive.action, Action::WaitAgain);
    assert_eq!(received.directive.reason, DirectiveReason::ShuttingDown);
    assert_eq!(house.bridge.publish(house.message("late")).await, Err(CallError::Fault(Fault::ShuttingDown)));
}

#[tokio::test]
async fn a_message_that_meets_a_caller_on_its_way_out_is_not_kept() {
    let house = House::open().await;
    let (bridge, request) = (house.bridge.clone(), house.ask("gone").wait(Duration::from_secs(60)));
    let gone = tokio::spawn(async move { bridge.receive(request).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    // While one commit is held, a message and the caller's farewell queue up behind it.
    house.store.hold();
    let bridge = house.bridge.clone();
    let held = tokio::spawn({
        let bridge = bridge.clone();
        async move { bridge.open_session(None, "carl".parse().unwrap()).await }
    });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let publish = tokio::spawn({
        let message = house.message("hello");
        async move { bridge.publish(message).await }
    });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    house.store.let_go();
    soon(held).await.unwrap().unwrap();
    soon(publish).await.unwrap().unwrap();
    // The actor hears that the answer was lost before time goes on.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    house.clock.advance(Duration::from_secs(11));
    let (bridge, ask) = (house.bridge.clone(), house.ask("here").wait(Duration::from_secs(60)));
    let here = soon(bridge.receive(ask)).await.unwrap();
    assert_eq!(texts(&here), ["hello"]);
    here.handover.complete();
}

#[tokio::test]
async fn a_shutdown_returns_when_everything_is_done() {
    let house = House::open().await;
    house.store.hold();
    let (bridge, message) = (house.bridge.clone(), house.message("hello"));
    let publish = tokio::spawn(async move { bridge.publish(message).await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let bridge = house.bridge.clone();
    let shutdown = tokio::spawn(async move { bridge.shutdown().await });
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(!shutdown.is_finished());
    house.store.let_go();
    soon(shutdown).await.unwrap();
    assert!(soon(publish).await.unwrap().is_ok());
}

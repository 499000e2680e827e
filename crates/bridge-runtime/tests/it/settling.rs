//! What a caller can prove, and what it can say.

use std::time::Duration;

use bridge_core::{Seq, SettleError, State};
use bridge_runtime::{CallError, Credential, NewMessage, NewReply, ReceiveRequest, Settlement};

use super::House;

#[tokio::test]
async fn a_handle_is_worth_what_its_token_is_worth() {
    let house = House::open().await;
    house.publish("hello").await;
    let first = house.receive("a").await;
    let leased = &first.deliveries[0];
    let handle = Credential::Handle(leased.message_id, leased.handle.clone());
    let extend = Settlement::Extend { by: None, progress: Some("reading".to_owned()) };
    house.bridge.settle(handle.clone(), extend).await.unwrap();
    first.handover.complete();

    // Its lease ends, and after the back-off somebody else gets the message: the old handle is known, and lost.
    house.clock.advance(Duration::from_secs(20 * 60));
    assert!(house.receive("b").await.deliveries.is_empty());
    house.clock.advance(Duration::from_secs(10));
    let second = house.receive("b").await;
    assert_eq!(second.deliveries[0].attempt, 2);
    let refused = house.bridge.settle(handle, Settlement::Ack).await;
    assert_eq!(refused, Err(CallError::Refused(SettleError::LeaseLost { state: State::Leased })));

    let made_up = Credential::Handle(second.deliveries[0].message_id, "abcdefghjkmn".to_owned());
    let refused = house.bridge.settle(made_up, Settlement::Ack).await;
    assert_eq!(refused, Err(CallError::Refused(SettleError::UnknownToken)));
    second.handover.complete();
}

#[tokio::test]
async fn an_answer_tells_which_of_what_it_covers_it_did_not() {
    let house = House::open().await;
    for text in ["one", "two", "three"] {
        house.publish(text).await;
    }
    let received = house.receive("a").await;
    let token = |at: usize| Credential::Token(received.deliveries[at].token.clone());
    house.bridge.settle(token(1), Settlement::Nack { delay: None, error: None }).await.unwrap();

    let covers = vec![Credential::Token("forged".to_owned()), token(1), token(2)];
    let answer = Settlement::Answer { reply: NewReply::new("\"done\""), covers };
    let settled = house.bridge.settle(token(0), answer.clone()).await.unwrap();

    let positions: Vec<_> = settled.not_covered.iter().map(|not| not.position).collect();
    assert_eq!(positions, [0, 1]);
    assert_eq!(settled.not_covered[0].error, SettleError::UnknownToken);
    let reply = settled.reply.unwrap();

    let again = house.bridge.settle(token(0), answer).await.unwrap();
    assert!(again.already_done);
    assert_eq!(again.reply.unwrap(), reply);
    received.handover.complete();
}

#[tokio::test]
async fn an_answer_comes_from_whoever_held_the_question() {
    let house = House::open().await;
    house.publish("hello").await;
    let received = house.receive("claude").await;
    let token = Credential::Token(received.deliveries[0].token.clone());
    received.handover.complete();
    house
        .bridge
        .settle(token, Settlement::Answer { reply: NewReply::new("\"hi\""), covers: vec![] })
        .await
        .unwrap();
    let newest = house.bridge.newest_messages(house.session, 1).await.unwrap();
    assert_eq!(newest[0].from.as_str(), "claude");
}

#[tokio::test]
async fn a_repeated_answer_is_told_where_the_first_one_is() {
    let mut house = House::open().await;
    house.publish("hello").await;
    let received = house.receive("a").await;
    let token = received.deliveries[0].token.clone();
    received.handover.complete();
    let worker = "worker".parse().unwrap();
    house.bridge.publish(NewMessage::new(worker, "from nobody")).await.unwrap();
    let received = house.bridge.receive(ReceiveRequest::new("worker".parse().unwrap())).await.unwrap();
    let to_nobody = received.deliveries[0].token.clone();
    received.handover.complete();

    let answer = Settlement::Answer { reply: NewReply::new("\"hi\""), covers: vec![] };
    let mut first = Vec::new();
    for token in [&token, &to_nobody] {
        let settled = house.bridge.settle(Credential::Token(token.clone()), answer.clone()).await.unwrap();
        first.push(settled.published.unwrap());
    }
    assert_eq!(first.iter().map(|reply| reply.deliveries.len()).collect::<Vec<_>>(), [1, 0]);
    house.bridge.read(house.session, Seq::MAX).await.unwrap();
    // As it is remembered, and as it is found again.
    for _ in 0..2 {
        for (token, first) in [&token, &to_nobody].into_iter().zip(&first) {
            let again = house.bridge.settle(Credential::Token(token.clone()), answer.clone()).await.unwrap();
            let again = again.published.unwrap();
            assert_eq!((again.message, again.seq), (first.message, first.seq));
            assert_eq!((&again.deliveries, again.delivery_count), (&first.deliveries, first.delivery_count));
        }
        house.reopen().await;
    }
}

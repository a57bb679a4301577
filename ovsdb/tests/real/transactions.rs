//! Transactions and locks.

use ovsdb::transact::OutcomeError;
use ovsdb::{Cells, Conditions, LockChange, TransactError, Transaction};

use crate::follower::{Follower, config};
use crate::schema;
use crate::server::Server;

async fn pair() -> (Server, Follower, Follower) {
    let server = Server::start(schema());
    let mut first = Follower::spawn(config(&server.unix()));
    let mut second = Follower::spawn(config(&server.unix()));
    first.commit().await;
    second.commit().await;
    (server, first, second)
}

fn insert(name: &str) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.insert("Thing", None, Cells::new().with("name", name));
    transaction
}

#[track_caller]
fn told(result: Result<ovsdb::transact::Results, TransactError>) -> String {
    result.expect_err("the transaction fails").to_string()
}

#[tokio::test]
async fn a_failed_operation_is_told_by_its_number_and_nothing_takes_effect() {
    let (_server, mut follower, _) = pair().await;
    let mut transaction = insert("a");
    transaction.insert("Thing", None, Cells::new().with("name", 5));
    transaction.append(insert("c"));
    let told = told(follower.transact(transaction).await);
    assert!(told.starts_with("operation 1 of 3 failed: syntax error"), "{told}");
    assert!(follower.things.is_empty());
}

#[tokio::test]
async fn a_failed_commit_is_told_as_such_and_nothing_takes_effect() {
    let (_server, mut follower, _) = pair().await;
    let mut transaction = insert("a");
    transaction.append(insert("a"));
    let error = follower.transact(transaction).await.unwrap_err();
    let TransactError::Outcome(OutcomeError::Commit { operations: 2, refusal }) = error else {
        panic!("{error}")
    };
    assert_eq!(refusal.error, "constraint violation");
    assert!(follower.things.is_empty());
}

#[tokio::test]
async fn a_transaction_that_waits_for_a_row_fails_when_the_row_is_another() {
    let (_server, mut follower, _) = pair().await;
    follower.transact(insert("a")).await.unwrap();
    let expecting = |key: i64| {
        let mut transaction = Transaction::new();
        let row = Conditions::default().equal("name", "a");
        transaction.expect_row(
            "Thing",
            row.clone(),
            Cells::new().with("key", ovsdb::Datum::optional((key != 0).then_some(key))),
        );
        transaction.update("Thing", row, Cells::new().with("key", 7));
        transaction.comment("a test");
        transaction
    };
    let told = told(follower.transact(expecting(6)).await);
    assert!(told.starts_with("operation 0 of 3 failed: timed out"), "{told}");
    follower.transact(expecting(0)).await.unwrap();
    assert_eq!(follower.thing("a").unwrap().key, Some(7));
    follower.transact(expecting(7)).await.unwrap();
}

#[tokio::test]
async fn rows_are_selected_and_counted() {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }

    let (_server, mut follower, _) = pair().await;
    follower.transact(insert("a")).await.unwrap();
    let mut transaction = Transaction::new();
    transaction.select("Thing", Conditions::every_row(), vec!["name"]);
    transaction.delete("Thing", Conditions::default().and("name", "!=", "b"));
    let results = follower.transact(transaction).await.unwrap();
    assert_eq!(results.operation(0).unwrap().rows::<Named>().unwrap()[0].name, "a");
    assert_eq!(results.operation(1).unwrap().count, Some(1));
}

#[tokio::test]
async fn a_lock_goes_to_one_session_and_to_the_next_when_it_is_given_back() {
    let (_server, mut first, mut second) = pair().await;
    let (one, two) = (first.handle.clone(), second.handle.clone());
    assert!(first.reply(one.lock("l")).await.unwrap());
    assert!(!second.reply(two.lock("l")).await.unwrap());
    first.reply(one.unlock("l")).await.unwrap();
    assert_eq!(second.lock_change().await, ("l".into(), LockChange::Acquired));
}

#[tokio::test]
async fn a_transaction_under_a_lock_that_was_stolen_fails_as_not_owner() {
    let (_server, mut first, mut second) = pair().await;
    let (one, two) = (first.handle.clone(), second.handle.clone());
    let fenced = |name| {
        let mut transaction = Transaction::new();
        transaction.assert_lock("l");
        transaction.append(insert(name));
        transaction
    };
    assert!(first.reply(one.lock("l")).await.unwrap());
    first.transact(fenced("a")).await.unwrap();
    assert!(second.reply(two.steal("l")).await.unwrap());
    assert_eq!(first.lock_change().await, ("l".into(), LockChange::Lost));
    let told = told(first.transact(fenced("b")).await);
    assert!(told.starts_with("operation 0 of 2 failed: not owner"), "{told}");
    second.transact(fenced("c")).await.unwrap();
    assert!(second.thing("a").is_some() && second.thing("b").is_none() && second.thing("c").is_some());
}

#[tokio::test]
async fn databases_and_their_schemas_can_be_listed() {
    let (_server, mut follower, _) = pair().await;
    let handle = follower.handle.clone();
    let databases = follower.reply(handle.list_databases()).await.unwrap();
    assert!(databases.contains(&"Things".to_owned()), "{databases:?}");
    let schema = follower.reply(handle.schema("Things")).await.unwrap();
    assert_eq!((schema.name.as_str(), schema.version.as_str()), ("Things", "1.0.0"));
    let refused = follower.reply(handle.schema("Nothings")).await.unwrap_err();
    assert!(refused.to_string().contains("unknown database"), "{refused}");
}

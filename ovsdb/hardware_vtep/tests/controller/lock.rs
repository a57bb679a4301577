//! Who may write.

use hardware_vtep::controller::{Failed, LOCK};
use ovsdb::TransactError;

use crate::tor::{Controller, at, ls, mac, network, remote, tor};

#[tokio::test]
async fn nothing_is_written_without_the_lock_and_a_second_writer_is_not_owner() {
    let server = tor();
    let mut first = Controller::start(&server).await;
    first.network("blue", network(5000, &[])).await;
    let mut second = Controller::observe(&server).await;
    assert!(!second.lock().await, "another has it");
    second.network("red", network(6000, &[])).await;
    assert_eq!(second.transactions, 0);
    // Even one that believes to have it.
    second.tor.lock_replied(true);
    assert_eq!(second.step().await, Some(Err(Failed::NotOwner)));
    assert!(!second.tor.is_owner() && second.tor.next_batch().is_none());
    first.catch_up().await;
    assert_eq!(first.tor.mirror().logical_switches.len(), 1);
    // The first goes, and the lock passes on.
    drop(first);
    second.until("the lock", hardware_vtep::controller::Tor::is_owner).await;
    second.settle().await;
    assert!(second.tor.is_settled(&ls("red")));
}

#[tokio::test]
async fn a_stolen_lock_stops_the_writes() {
    let server = tor();
    let mut first = Controller::start(&server).await;
    first.network("blue", network(5000, &[])).await;
    let mut second = Controller::observe(&server).await;
    first.tor.desired().put(&ls("blue"), mac(1), at("192.0.2.1"));
    let planned = first.tor.next_batch().expect("there is something to write");
    let handle = second.handle.clone();
    assert!(second.reply(handle.steal(LOCK)).await.unwrap());
    // What was under way then has no effect.
    let handle = first.handle.clone();
    let failed = first.reply(handle.transact(planned.transaction().clone())).await;
    let Err(TransactError::Outcome(error)) = failed else { panic!("{failed:?}") };
    assert!(error.is_not_owner(), "{error}");
    assert!(!first.tor.is_owner(), "the event came first");
    assert_eq!(first.tor.failed(&planned, &error), Failed::NotOwner);
    assert!(first.tor.next_batch().is_none() && first.refused().is_empty());
    assert_eq!(remote(&server, "blue").len(), 0);
    drop(second);
    // Whom it was stolen from waits for it.
    first.until("the lock", hardware_vtep::controller::Tor::is_owner).await;
    first.settle().await;
    assert_eq!(remote(&server, "blue").len(), 1);
}

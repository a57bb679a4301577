//! Following a database, whichever way the server knows.

use std::collections::{BTreeMap, BTreeSet};

use ovsdb::{Cells, Commit, Datum, Event, MonitorMethod, Mutation, Transaction};

use crate::follower::{Follower, Thing, config};
use crate::schema;
use crate::server::Server;

/// One life of a row, seen through one monitor method.
async fn check(method: MonitorMethod) {
    let server = Server::start(schema());
    server.transact(r#"["Things",{"op":"insert","table":"Thing","row":{"name":"old","set":["set",[1,2]]}}]"#);
    let mut config = config(&server.unix());
    config.monitor_method = method;
    let mut follower = Follower::spawn(config);
    assert_eq!(follower.commit().await, Commit::Snapshot { method });
    assert_eq!(follower.names(), BTreeSet::from(["old"]));

    let mut insert = Transaction::new();
    let map = Datum::map([("x", 1), ("y", 2)]);
    insert.insert("Thing", None, Cells::new().with("name", "new \"}{\" é").with("map", map).with("key", 7));
    let inserted = follower.transact(insert).await.unwrap().operation(0).unwrap().uuid;
    assert_eq!(Some(follower.uuid("new \"}{\" é")), inserted, "the change is told before the reply");

    let (old, new) = (follower.uuid("old"), inserted.unwrap());
    let mut change = Transaction::new();
    change.mutate("Thing", old, vec![Mutation::insert("set", [3]), Mutation::delete("set", [1])]);
    change.update(
        "Thing",
        new,
        Cells::new().with("map", Datum::map([("y", 5), ("z", 6)])).with("key", Datum::Set(vec![])),
    );
    change.update("Thing", old, Cells::new().with("friends", [new]));
    follower.transact(change).await.unwrap();
    let expected = Thing {
        name: "old".into(),
        set: BTreeSet::from([2, 3]),
        friends: BTreeSet::from([new]),
        ..Thing::default()
    };
    assert_eq!(follower.thing("old"), Some(&expected));
    let map = BTreeMap::from([("y".into(), 5), ("z".into(), 6)]);
    let expected = Thing { name: "new \"}{\" é".into(), map, ..Thing::default() };
    assert_eq!(follower.things.row(new), Some(&expected));

    let mut delete = Transaction::new();
    delete.delete("Thing", new);
    follower.transact(delete).await.unwrap();
    assert_eq!(follower.names(), BTreeSet::from(["old"]));
    assert_eq!(follower.thing("old").unwrap().friends, BTreeSet::new(), "a weak reference goes with its row");
}

#[tokio::test]
async fn monitor_cond_since_tells_every_change() {
    check(MonitorMethod::CondSince).await;
}

#[tokio::test]
async fn monitor_cond_tells_every_change() {
    check(MonitorMethod::Cond).await;
}

#[tokio::test]
async fn monitor_tells_every_change() {
    check(MonitorMethod::Plain).await;
}

#[tokio::test]
async fn a_column_that_the_schema_lacks_is_left_out_if_optional() {
    let server = Server::start(schema());
    let mut follower = Follower::spawn(config(&server.unix()));
    let Event::Connected { schema, .. } = follower.next().await else { panic!("not connected") };
    assert!(schema.has_column("Thing", "name") && !schema.has_column("Thing", "colour"));
    follower.commit().await;
}

//! What is counted of what a reign that is over would have said.

use std::path::Path;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use vtep_api::{PROTOCOL, Term};

use super::*;
use crate::Declared;
use crate::cluster::{Cluster, Office};
use crate::config::Config;
use crate::logical::Durable;
use crate::run::durable::Place;
use crate::run::outbox::{Inbox, outbox};
use crate::run::sessions::new_session;

type Queued<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

fn joined(name: &str) -> (Input, Input, Inbox<FromLogical>) {
    let (peer, session) = (ControllerName::try_from(name).unwrap(), new_session());
    let (outbox, inbox) = outbox();
    let hello =
        FromPhysical::Hello { protocol: PROTOCOL, name: peer.clone(), term: Term(1), tables: Vec::new() };
    let hello = Input::Message { peer: peer.clone(), session, message: Box::new(hello) };
    (Input::Joined { peer, session, outbox }, hello, inbox)
}

/// While that many physical controllers join, and so many look at what there is.
async fn withheld(peers: usize, looks: usize) -> u64 {
    // It takes connections and says nothing: no reign of it begins.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text =
        format!("[store]\nkind = \"etcd\"\nendpoints = [\"http://{}\"]\n", listener.local_addr().unwrap());
    let config = Config::parse(&text, Path::new("controller.toml"), &[]).unwrap();
    let cluster = Cluster::join(&config, &config.store).unwrap();
    let state = Box::new(cluster.reign(Office::Shard(0), Term(1)));
    let (tenure, heard, late) = (state.tenure.clone(), cluster.heard(), cluster.late());
    assert!(!tenure.holds());
    let start = Start {
        name: Office::Shard(0).controller().unwrap(),
        term: Term(1),
        declared: Declared::default().into(),
        durable: Durable::default(),
        elected: true,
    };
    let keeper = Keeper::spawn(Place::Etcd { state, cluster: cluster.clone() });
    let task = Task::new(start, Clock::start(), keeper, None, Some(Reign { tenure, heard, late }));
    let (inputs, taken): Queued<Input> = mpsc::channel(64);
    let (errands, run): Queued<LogicalErrand> = mpsc::channel(16);
    let (mut inboxes, mut seen) = (Vec::new(), Vec::new());
    for number in 0..peers {
        let (joins, says, inbox) = joined(&format!("pc{number}"));
        inputs.send(joins).await.unwrap();
        inputs.send(says).await.unwrap();
        inboxes.push(inbox);
    }
    for _ in 0..looks {
        let (found, look) = oneshot::channel();
        let look_at = move |core: &Logical| drop(found.send(core.alarms()));
        errands.send(Errand::Look(Box::new(look_at))).await.unwrap();
        seen.push(look);
    }
    task.run(taken, run).await;
    for mut inbox in inboxes {
        assert_eq!(inbox.next().await, crate::run::outbox::Next::End(None), "something was said");
    }
    for look in seen {
        look.await.unwrap_err();
    }
    cluster.late().view().withheld
}

#[tokio::test(flavor = "multi_thread")]
async fn each_word_after_the_end_of_a_reign_is_counted_and_nothing_else() {
    assert_eq!(withheld(0, 3).await, 0, "whoever looks is told nothing, and nothing is kept back");
    let one = withheld(1, 0).await;
    assert!(one > 0, "a physical controller that joins is answered");
    assert_eq!(withheld(3, 2).await, 3 * one);
}

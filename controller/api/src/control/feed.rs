//! Rows that come as they happen, for as long as a client listens. The publisher never waits: a client that takes less
//! than there is loses rows, and is told how many.

use std::task::{Context, Poll};

use serde::Serialize;
use tokio::sync::mpsc;

use super::{Line, Reply};

/// The publisher's end: for one client.
#[derive(Debug)]
pub struct Feed<T> {
    rows: mpsc::Sender<Item<T>>,
    /// Since the client was last told.
    lost: usize,
}

#[derive(Debug)]
enum Item<T> {
    Row(T),
    Lost(usize),
}

/// The client's end.
pub struct Live(Box<dyn Lines + Send>);

trait Lines {
    /// The next line, without its end.
    fn poll_line(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Option<serde_json::Result<()>>>;
}

impl<T: Serialize + Send + 'static> Feed<T> {
    /// With room for so many rows that the client has not taken.
    pub fn new(capacity: usize) -> (Self, Reply) {
        let (rows, taken) = mpsc::channel(capacity);
        (Self { rows, lost: 0 }, Reply::Live(Live(Box::new(taken))))
    }

    /// A row that has no room is not made. Whether it had.
    pub fn offer(&mut self, row: impl FnOnce() -> T) -> bool {
        self.tell_losses();
        match self.rows.try_reserve() {
            Ok(place) if self.lost == 0 => {
                place.send(Item::Row(row()));
                true
            }
            _ => {
                self.lost += 1;
                false
            }
        }
    }

    /// Rows that were not offered, for there was no time to make them.
    pub fn lose(&mut self, rows: usize) {
        self.lost += rows;
    }

    /// To be called now and then: else a client would learn of the last losses with the next row only.
    pub fn tell_losses(&mut self) {
        if self.lost > 0 && self.rows.try_send(Item::Lost(self.lost)).is_ok() {
            self.lost = 0;
        }
    }

    /// The client went away.
    pub fn is_closed(&self) -> bool {
        self.rows.is_closed()
    }
}

impl Live {
    /// Appends the next line's JSON when there is one. `None`: the publisher went away. Nothing is lost if the wait is
    /// given up.
    pub(super) async fn next(&mut self, out: &mut Vec<u8>) -> Option<serde_json::Result<()>> {
        std::future::poll_fn(|cx| self.0.poll_line(cx, out)).await
    }
}

impl<T: Serialize> Lines for mpsc::Receiver<Item<T>> {
    fn poll_line(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Option<serde_json::Result<()>>> {
        self.poll_recv(cx).map(|item| {
            Some(match item? {
                Item::Row(row) => write_row(&row, out),
                Item::Lost(rows) => serde_json::to_writer(out, &Line::Lost { rows }),
            })
        })
    }
}

/// A `Line::Row` without a detour over a `Value`.
fn write_row(row: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    out.extend_from_slice(b"{\"row\":");
    serde_json::to_writer(&mut *out, row)?;
    out.push(b'}');
    Ok(())
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn line(live: &mut Live) -> Option<String> {
        let mut out = Vec::new();
        live.next(&mut out).await?.unwrap();
        Some(String::from_utf8(out).unwrap())
    }

    fn live(reply: Reply) -> Live {
        match reply {
            Reply::Live(live) => live,
            other => panic!("a feed replies {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_slow_client_loses_rows_and_is_told_how_many_before_the_next() {
        let (mut feed, reply) = Feed::new(2);
        let mut live = live(reply);
        let taken: Vec<bool> = (1..=5).map(|row| feed.offer(|| row)).collect();
        assert_eq!(taken, [true, true, false, false, false]);
        assert_eq!(line(&mut live).await.unwrap(), r#"{"row":1}"#);
        assert_eq!(line(&mut live).await.unwrap(), r#"{"row":2}"#);
        assert!(feed.offer(|| 6));
        assert_eq!(line(&mut live).await.unwrap(), r#"{"lost":{"rows":3}}"#);
        assert_eq!(line(&mut live).await.unwrap(), r#"{"row":6}"#);
        drop(feed);
        assert_eq!(line(&mut live).await, None);
    }

    #[tokio::test]
    async fn losses_are_told_without_another_row() {
        let (mut feed, reply) = Feed::new(1);
        let mut live = live(reply);
        assert!(feed.offer(|| 1) && !feed.offer(|| 2));
        feed.tell_losses();
        assert_eq!(line(&mut live).await.unwrap(), r#"{"row":1}"#);
        feed.tell_losses();
        assert_eq!(line(&mut live).await.unwrap(), r#"{"lost":{"rows":1}}"#);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_noticed() {
        let (feed, reply) = Feed::<u32>::new(1);
        assert!(!feed.is_closed());
        drop(reply);
        assert!(feed.is_closed());
    }
}

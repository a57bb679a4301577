//! Rows of several answers as those of one. Each answer has its rows in order, and one row of each is held; what several
//! say of one thing is one row.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use futures_util::future::join_all;
use serde::Deserialize;
use vtep_api::control::{Broken, Relay, Rows};

use super::Request;
use super::far::Far;
use super::view::absorb;
use crate::logical::{AlarmKind, VtepView};

/// Who takes the rows.
pub(crate) trait Sink {
    fn row(&mut self, row: &[u8]) -> impl Future<Output = Result<(), Broken>> + Send;
    /// Before something is waited for.
    fn flush(&mut self) -> impl Future<Output = Result<(), Broken>> + Send;
}

/// By what the rows of a request are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Each is in one answer alone.
    LogicalSwitch,
    Name,
    VtepAndLogicalSwitch,
    /// Each answer has a part of what is known of it.
    Vtep,
    Alarm,
    Sentence,
}

/// An answer.
pub(crate) struct Source {
    rows: From,
    row: Vec<u8>,
    key: Vec<u8>,
    /// Why there are no more rows, where that is not the end.
    failed: Option<String>,
}

enum From {
    /// Of a shard, or of the process itself.
    Here(Option<u16>, Rows),
    There(Box<Far>),
}

/// What came of an answer.
pub(crate) enum Ended {
    Here { shard: Option<u16>, failed: Option<String> },
    There { far: Box<Far>, failed: Option<String> },
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    logical_switch: Cow<'a, str>,
    #[serde(borrow, default)]
    vtep: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Alarm<'a> {
    kind: AlarmKind,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

impl Order {
    pub(crate) fn of(request: &Request) -> Self {
        match request {
            Request::LogicalSwitches => Self::Name,
            Request::Sync => Self::VtepAndLogicalSwitch,
            Request::Vteps => Self::Vtep,
            Request::Alarms => Self::Alarm,
            Request::Explain { .. }
            | Request::History { .. }
            | Request::Conflicts
            | Request::Fdb { .. }
            | Request::WhatIfVtepDown { .. }
            | Request::WhatIfPolicy { .. } => Self::LogicalSwitch,
            _ => Self::Sentence,
        }
    }

    /// Whether several answers may tell of the same.
    fn overlaps(self) -> bool {
        matches!(self, Self::Vtep | Self::Alarm | Self::Sentence)
    }

    /// In names there are no control characters.
    fn key(self, row: &[u8], key: &mut Vec<u8>) -> serde_json::Result<()> {
        key.clear();
        if self == Self::Sentence {
            key.extend_from_slice(row);
            return Ok(());
        }
        if self == Self::Alarm {
            let Alarm { kind, subject, message } = serde_json::from_slice(row)?;
            key.push(kind as u8);
            key.extend_from_slice(subject.as_bytes());
            key.push(0);
            key.extend_from_slice(message.as_bytes());
            return Ok(());
        }
        let Fields { name, logical_switch, vtep } = serde_json::from_slice(row)?;
        match self {
            Self::Name | Self::Vtep => key.extend_from_slice(name.as_bytes()),
            Self::VtepAndLogicalSwitch => {
                key.extend_from_slice(vtep.as_bytes());
                key.push(0);
                key.extend_from_slice(logical_switch.as_bytes());
            }
            _ => key.extend_from_slice(logical_switch.as_bytes()),
        }
        Ok(())
    }

    /// What several say of the same.
    fn combined(self, mut rows: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        if self == Self::Vtep && rows.len() > 1 {
            let views: Result<Vec<VtepView>, _> =
                rows.iter().map(|row| serde_json::from_slice(row)).collect();
            let whole = views.ok().and_then(|views| {
                views.into_iter().reduce(|mut known, other| {
                    absorb(&mut known, other);
                    known
                })
            });
            if let Some(whole) = whole.and_then(|whole| serde_json::to_vec(&whole).ok()) {
                return vec![whole];
            }
        }
        rows.dedup();
        rows
    }
}

impl Source {
    pub(crate) fn here(shard: Option<u16>, rows: Rows) -> Self {
        Self::new(From::Here(shard, rows))
    }

    pub(crate) fn there(far: Far) -> Self {
        Self::new(From::There(Box::new(far)))
    }

    fn new(rows: From) -> Self {
        Self { rows, row: Vec::new(), key: Vec::new(), failed: None }
    }

    /// `failed`: why it is not whole.
    pub(crate) fn end(self) -> Ended {
        let failed = self.failed;
        match self.rows {
            From::Here(shard, _) => Ended::Here { shard, failed },
            From::There(far) => Ended::There { far, failed },
        }
    }

    /// Whether the next row is to be waited for.
    fn waits(&self) -> bool {
        matches!(&self.rows, From::There(far) if far.waits())
    }

    /// Whether there is one more.
    async fn advance(&mut self, order: Order) -> bool {
        self.row.clear();
        let next = match &mut self.rows {
            From::Here(_, rows) => {
                rows.write_next(&mut self.row).transpose().map_err(|error| error.to_string())
            }
            From::There(far) => far.next(&mut self.row).await,
        };
        let keyed = next.and_then(|next| match next {
            Some(()) => {
                let keyed = order.key(&self.row, &mut self.key);
                keyed.map(Some).map_err(|error| format!("its row is not understood: {error}"))
            }
            None => Ok(None),
        });
        match keyed {
            Ok(next) => next.is_some(),
            Err(reason) => {
                self.failed = Some(reason);
                false
            }
        }
    }
}

/// Until all are at their ends.
pub(crate) async fn merge(
    sources: &mut [Source],
    order: Order,
    sink: &mut (impl Sink + Send),
) -> Result<(), Broken> {
    let first = join_all(sources.iter_mut().map(|source| source.advance(order))).await;
    let mut heads: BinaryHeap<Reverse<(Vec<u8>, usize)>> = sources
        .iter_mut()
        .enumerate()
        .zip(first)
        .filter(|(_, there)| *there)
        .map(|((at, source), _)| Reverse((std::mem::take(&mut source.key), at)))
        .collect();
    let (mut same, mut same_key) = (Vec::new(), Vec::new());
    while let Some(Reverse((key, at))) = heads.pop() {
        let source = &mut sources[at];
        if order.overlaps() {
            if key != same_key {
                for row in order.combined(std::mem::take(&mut same)) {
                    sink.row(&row).await?;
                }
                same_key.clone_from(&key);
            }
            same.push(std::mem::take(&mut source.row));
        } else {
            sink.row(&source.row).await?;
        }
        loop {
            if source.waits() {
                sink.flush().await?;
            }
            if !source.advance(order).await {
                break;
            }
            if order.overlaps() || source.key != key {
                heads.push(Reverse((std::mem::take(&mut source.key), at)));
                break;
            }
            sink.row(&source.row).await?;
        }
    }
    for row in order.combined(same) {
        sink.row(&row).await?;
    }
    Ok(())
}

impl Sink for Relay {
    async fn row(&mut self, row: &[u8]) -> Result<(), Broken> {
        Relay::row(self, row).await
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        Relay::flush(self).await
    }
}

//! What is read and written, without etcd's own types.

use super::proto::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchRequest, compare, request_op, response_op, watch_request,
};

/// One key, or all that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) key: String,
    pub(crate) prefix: bool,
    pub(crate) keys_only: bool,
}

impl Range {
    pub(crate) fn key(key: impl Into<String>) -> Self {
        Self { key: key.into(), prefix: false, keys_only: false }
    }

    pub(crate) fn prefix(key: impl Into<String>) -> Self {
        Self { prefix: true, ..Self::key(key) }
    }

    pub(crate) fn keys_only(self) -> Self {
        Self { keys_only: true, ..self }
    }

    /// The first key behind it.
    fn end(&self) -> Vec<u8> {
        if !self.prefix {
            return Vec::new();
        }
        let mut end = self.key.clone().into_bytes();
        // Names are UTF-8, in which no octet is 0xff.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        end
    }
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The key was created at that revision; 0: it is not there.
    Created { key: String, revision: i64 },
    /// It was changed last at that revision; 0: it is not there.
    Changed { key: String, revision: i64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Read(Range),
    Put { key: String, value: Vec<u8>, lease: Option<i64> },
    Delete(Range),
}

/// A key and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) created: i64,
    pub(crate) changed: i64,
    pub(crate) lease: i64,
}

/// What was read: of each range its entries, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    pub(crate) revision: i64,
    pub(crate) ranges: Vec<Vec<Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The guards held.
    pub(crate) done: bool,
    pub(crate) found: Found,
}

pub(super) fn transaction(guards: &[Guard], ops: Vec<Op>) -> TxnRequest {
    let compare = |guard: &Guard| {
        use compare::{CompareTarget, TargetUnion};
        let (target, key, union) = match guard {
            Guard::Created { key, revision } => {
                (CompareTarget::Create, key, TargetUnion::CreateRevision(*revision))
            }
            Guard::Changed { key, revision } => {
                (CompareTarget::Mod, key, TargetUnion::ModRevision(*revision))
            }
        };
        let (key, target_union) = (key.clone().into_bytes(), Some(union));
        Compare { result: 0, target: target.into(), key, target_union }
    };
    let request = |op: Op| {
        use request_op::Request;
        let request = match op {
            Op::Read(range) => Request::RequestRange(RangeRequest {
                range_end: range.end(),
                keys_only: range.keys_only,
                key: range.key.into_bytes(),
            }),
            Op::Put { key, value, lease } => Request::RequestPut(PutRequest {
                key: key.into_bytes(),
                value,
                lease: lease.unwrap_or_default(),
            }),
            Op::Delete(range) => Request::RequestDeleteRange(DeleteRangeRequest {
                range_end: range.end(),
                key: range.key.into_bytes(),
            }),
        };
        RequestOp { request: Some(request) }
    };
    TxnRequest {
        compare: guards.iter().map(compare).collect(),
        success: ops.into_iter().map(request).collect(),
        failure: Vec::new(),
    }
}

pub(super) fn outcome(answer: TxnResponse) -> Outcome {
    let range = |answer: super::proto::ResponseOp| match answer.response {
        Some(response_op::Response::ResponseRange(found)) => {
            Some(found.kvs.into_iter().filter_map(entry).collect())
        }
        _ => None,
    };
    let revision = answer.header.map_or(0, |header| header.revision);
    let ranges = answer.responses.into_iter().filter_map(range).collect();
    Outcome { done: answer.succeeded, found: Found { revision, ranges } }
}

pub(super) fn watch(range: &Range) -> WatchRequest {
    let create = WatchCreateRequest { key: range.key.clone().into_bytes(), range_end: range.end() };
    WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) }
}

/// A key that is not UTF-8 is none of ours.
fn entry(found: KeyValue) -> Option<Entry> {
    Some(Entry {
        key: String::from_utf8(found.key).ok()?,
        value: found.value,
        created: found.create_revision,
        changed: found.mod_revision,
        lease: found.lease,
    })
}

//! JSON-RPC 1.0 messages, as RFC 7047 §4 uses them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A received message. Its parts are left as text until it is known what they should be.
#[derive(Debug, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(message)
    }
}

#[derive(Debug, Serialize)]
struct Request<'a, P> {
    id: u64,
    method: &'a str,
    params: P,
}

#[derive(Debug, Serialize)]
struct Probe {
    id: &'static str,
    method: &'static str,
    params: [(); 0],
}

#[derive(Debug, Serialize)]
struct Reply<'a> {
    id: &'a RawValue,
    result: Option<&'a RawValue>,
    error: Option<&'a str>,
}

/// Carries no number: its reply is told apart without being kept in mind.
pub(crate) const PROBE_ID: &str = r#""echo""#;

pub(crate) fn request(id: u64, method: &str, params: impl Serialize) -> Vec<u8> {
    written(&Request { id, method, params })
}

pub(crate) fn probe() -> Vec<u8> {
    written(&Probe { id: "echo", method: "echo", params: [] })
}

pub(crate) fn echo_reply(id: &RawValue, params: Option<&RawValue>) -> Vec<u8> {
    written(&Reply { id, result: params, error: None })
}

pub(crate) fn unknown_method_reply(id: &RawValue) -> Vec<u8> {
    written(&Reply { id, result: None, error: Some("unknown method") })
}

fn written(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have string keys and do no I/O")
}

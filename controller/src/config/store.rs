use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vtep_api::daemon::{Bounded, TlsFiles};
use vtep_api::grpc::require_tls;

use super::{Config, PeerAddress};

/// What outlives the process, and who is master of what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EtcdStore {
    pub kind: StoreKind,
    /// The rest is for `kind = "etcd"`: its members, `http://HOST:PORT` or `https://HOST:PORT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Of all keys: one for each deployment.
    pub prefix: String,
    /// Who does not prolong his lease for so long is no member any more.
    pub lease_secs: Bounded<2, 60>,
    /// Who has been a member for so long has settled: only then VTEPs go to him, while another one has.
    pub settle_secs: Bounded<0, 3600>,
    /// Into so many parts a new cluster divides the logical switches, for ever.
    pub shards: Bounded<1, 256>,
    /// Where others reach `listen.address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<PeerAddress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One database in `controller.state`: this process is alone.
    #[default]
    Embedded,
    Etcd,
}

/// `embedded`, or `etcd=URL,URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreChoice {
    pub kind: StoreKind,
    pub endpoints: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store {text:?} is unknown; expected \"embedded\", or \"etcd=http://HOST:2379,…\"")]
pub struct StoreChoiceError {
    pub text: String,
}

type Problem = (&'static str, String, &'static str);

impl EtcdStore {
    /// The first key that cannot be, its value, and what is expected.
    pub(super) fn problem(&self, config: &Config) -> Option<Problem> {
        let quoted = |value: &dyn std::fmt::Display| format!("\"{value}\"");
        if self.kind == StoreKind::Embedded {
            let first = self.endpoints.first()?;
            return Some(("store.endpoints", quoted(first), "none, or store.kind = \"etcd\""));
        }
        if self.endpoints.is_empty() {
            return Some((
                "store.endpoints",
                "[]".to_owned(),
                "etcd's members, such as \"http://127.0.0.1:2379\"",
            ));
        }
        for endpoint in &self.endpoints {
            let secure = endpoint.strip_prefix("https://");
            let Some(rest) = secure.or_else(|| endpoint.strip_prefix("http://")) else {
                return Some(("store.endpoints", quoted(endpoint), "http://HOST:PORT or https://HOST:PORT"));
            };
            let Ok(address) = rest.parse::<PeerAddress>() else {
                return Some(("store.endpoints", quoted(endpoint), "http://HOST:PORT or https://HOST:PORT"));
            };
            let tls = secure.is_some() && self.tls.is_some();
            if require_tls(address.host(), tls, config.controller.allow_plaintext).is_err() {
                let expected =
                    "a loopback address, or https:// with store.tls, or controller.allow_plaintext = true";
                return Some(("store.endpoints", quoted(endpoint), expected));
            }
        }
        if !self.prefix.starts_with('/') || self.prefix.trim_end_matches('/').is_empty() {
            return Some((
                "store.prefix",
                quoted(&self.prefix),
                "one that begins with a slash, such as \"/vtepd\"",
            ));
        }
        if self.advertise.is_none() && config.listen.address.ip().is_unspecified() {
            let value = quoted(&config.listen.address);
            return Some(("listen.address", value, "one address, or store.advertise: where others reach it"));
        }
        if let Some(peer) = config.logical.first() {
            let value = quoted(&peer.address);
            return Some(("logical.address", value, "no [[logical]]: with etcd it is known who owns what"));
        }
        let record = config.controller.record.as_ref()?;
        Some(("controller.record", quoted(&record.display()), "none: only with store.kind = \"embedded\""))
    }
}

impl Default for EtcdStore {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            endpoints: Vec::new(),
            tls: None,
            prefix: "/vtepd".to_owned(),
            lease_secs: Bounded::preset(3),
            settle_secs: Bounded::preset(10),
            shards: Bounded::preset(16),
            advertise: None,
        }
    }
}

impl FromStr for StoreChoice {
    type Err = StoreChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "embedded" {
            return Ok(Self { kind: StoreKind::Embedded, endpoints: Vec::new() });
        }
        let endpoints = text.strip_prefix("etcd=").filter(|rest| !rest.is_empty());
        let endpoints =
            endpoints.ok_or_else(|| StoreChoiceError { text: text.chars().take(128).collect() })?;
        Ok(Self { kind: StoreKind::Etcd, endpoints: endpoints.split(',').map(str::to_owned).collect() })
    }
}

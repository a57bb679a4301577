//! One frame with the tables that it met: what is minimised, printed, kept as a file, and replayed.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
pub(super) use vtep_agent::trace::digits as hex;

use super::Rig;
use crate::model::{self, Hook, Tables};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Case {
    pub tables: Tables,
    pub stimulus: Stimulus,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stimulus {
    pub hook: Hook,
    pub ifindex: u32,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub frame: Vec<u8>,
}

impl Case {
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).context("this is no case as `cargo xtask fuzz dataplane` prints them")
    }

    /// The difference, none where program and model agree.
    pub fn difference(&self, rig: &mut Rig) -> Result<Option<String>> {
        rig.install(&self.tables)?;
        let differs = rig.differs(&self.stimulus)?;
        Ok(differs.or(rig.unsettled()?))
    }

    /// The frame, both answers, and the case as it may be kept.
    pub(super) fn report(&self, rig: &mut Rig) -> Result<String> {
        let Stimulus { hook, ifindex, frame } = &self.stimulus;
        let difference = self.difference(rig)?.unwrap_or_else(|| "none when repeated".to_owned());
        let expected = model::judge(&self.tables, *hook, *ifindex, frame);
        Ok(format!(
            "{hook:?} at interface {ifindex}, {} bytes: {}\nmodel: {expected:?}\n{difference}\n\
             to keep it, put this into tests/data/frames/NAME.json:\n{}",
            frame.len(),
            hex(frame),
            serde_json::to_string(self)?
        ))
    }
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len())
        .step_by(2)
        .map(byte)
        .collect::<Option<_>>()
        .ok_or_else(|| serde::de::Error::custom("a frame is pairs of hexadecimal digits"))
}

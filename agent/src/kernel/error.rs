use std::io;
use std::path::PathBuf;

use vtep_abi::ABI_VERSION;

use super::Program;

/// Why the kernel's side cannot be opened, read or removed. Nothing that forwards was changed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("the programs are not built in; type `cargo xtask build-ebpf`, then build again")]
    NoObject,
    #[error("the process lacks {}", missing.join(", "))]
    Capabilities { missing: Vec<String> },
    #[error("{path} is on no BPF filesystem; type `mount -t bpf bpf {mount}`")]
    NotBpffs { path: PathBuf, mount: PathBuf },
    #[error("another agent{} holds {path}", pid.map(|pid| format!(", process {pid},")).unwrap_or_default())]
    Locked { path: PathBuf, pid: Option<u32> },
    #[error(
        "{path} holds maps of version {found}, expected {ABI_VERSION}; run that version's `vtep-agent detach`"
    )]
    OtherVersion { path: PathBuf, found: String },
    #[error(
        "pinned map {map} has {field} {found}, expected {expected}; \
         type `vtep-agent detach`, which stops forwarding, or run the agent that made it"
    )]
    Layout { map: String, field: &'static str, found: String, expected: String },
    #[error("map {map} holds more entries than the {wanted} it is to have room for; it had room for {had}")]
    Shrunk { map: &'static str, had: u32, wanted: u32 },
    #[error("the kernel lacks {feature}, which came with Linux {since}")]
    TooOld { feature: &'static str, since: &'static str },
    #[error("the object has no {what}")]
    Object { what: String },
    #[error("the object cannot be read")]
    Parse(#[source] aya_obj::ParseError),
    #[error("the kernel refused the object")]
    Load(#[source] Box<aya::EbpfError>),
    #[error("the kernel refused program {program}")]
    Program { program: Program, source: Box<aya::programs::ProgramError> },
    #[error("{call} of map {map} failed")]
    Map { call: &'static str, map: &'static str, source: io::Error },
    #[error("{path} cannot be used")]
    Path { path: PathBuf, source: io::Error },
    #[error("the events cannot be read")]
    Events(#[source] io::Error),
    #[error("the link at interface {ifindex} cannot be changed")]
    Link { ifindex: u32, source: io::Error },
    #[error("the test run of {program} failed")]
    TestRun { program: Program, source: Box<aya::programs::ProgramError> },
}

/// Why a program is not at an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("interface {ifindex} is gone")]
    Gone { ifindex: u32 },
    #[error(
        "a program of somebody else stands at the hook of interface {ifindex} at which {program} should; it stays"
    )]
    Taken { program: Program, ifindex: u32 },
    #[error("{call} of {program} at interface {ifindex} failed")]
    Bpf { call: &'static str, program: Program, ifindex: u32, source: io::Error },
}

/// A step that could not be carried on: what it did before stays done.
#[derive(Debug, thiserror::Error)]
#[error("{call} of map {map} failed")]
pub struct ApplyError {
    pub call: &'static str,
    pub map: &'static str,
    pub source: io::Error,
}

impl From<ApplyError> for KernelError {
    fn from(error: ApplyError) -> Self {
        Self::Map { call: error.call, map: error.map, source: error.source }
    }
}

/// Names the map and the call that an error belongs to.
pub(super) fn failed(call: &'static str, map: &'static str) -> impl FnOnce(io::Error) -> ApplyError {
    move |source| ApplyError { call, map, source }
}

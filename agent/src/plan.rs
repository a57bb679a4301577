//! From two whole dataplanes to the ordered steps that turn one into the other.

use vtep_abi::{Config, FdbKey, LocalPort, PortValue, VtepByIpKey};

use crate::dataplane::{FdbTarget, Network, PortId, VtepRow};

/// Steps in the order in which they are safe: what is pointed at stands before what points at it, and goes after it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    SetConfig(Config),
    PutVteps(Vec<(u32, VtepRow)>),
    PutLocalPorts(Vec<(u32, LocalPort)>),
    PutFdb(Vec<(FdbKey, FdbTarget)>),
    PutSenders(Vec<(VtepByIpKey, u32)>),
    PutNetworks(Vec<(u32, Network)>),
    PutPorts(Vec<(PortId, PortValue)>),
    RemovePorts(Vec<PortId>),
    RemoveNetworks(Vec<u32>),
    RemoveSenders(Vec<VtepByIpKey>),
    RemoveFdb(Vec<FdbKey>),
    RemoveLocalPorts(Vec<u32>),
    RemoveVteps(Vec<u32>),
}

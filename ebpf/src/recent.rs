//! Whose port it is, and who sends into a VNI: looked up once, then remembered by each CPU until the agent changes one of the
//! hashes.

use vtep_abi::{PortValue, Verdict, VniValue};

use crate::header::Address;
use crate::maps;
use crate::tunnel;

/// A VNI, and the VTEP that sends into it.
pub(crate) struct Membership {
    pub(crate) network: VniValue,
    pub(crate) vtep: u32,
}

/// The binding of an interface's untagged frames.
#[inline(always)]
pub(crate) fn untagged(ifindex: u32) -> Option<PortValue> {
    let generation = maps::generation();
    let recent = maps::recent_port(ifindex)?;
    if generation != 0 && recent.generation == generation && recent.ifindex == ifindex {
        return Some(copy(&recent.port));
    }
    let port = maps::port(ifindex, 0)?;
    maps::publish(&mut recent.generation, 0);
    recent.ifindex = ifindex;
    recent.port = copy(&port);
    maps::publish(&mut recent.generation, generation);
    Some(port)
}

/// One by one: a copy of the whole is a call and a loop over bytes.
#[inline(always)]
const fn copy(port: &PortValue) -> PortValue {
    let &PortValue { vni, bd, local_port, flags, flood, buckets, pad } = port;
    PortValue { vni, bd, local_port, flags, flood, buckets, pad }
}

/// `bd` becomes the VNI's as soon as that is known.
#[inline(always)]
pub(crate) fn membership(vni: u32, source: Address, bd: &mut u32) -> Result<Membership, Verdict> {
    let generation = maps::generation();
    // The last byte of an address changes most.
    let last = u64::from_be(source[1]) as u32;
    let recent = maps::recent_sender(vni ^ last).ok_or(Verdict::UnknownVni)?;
    if generation != 0
        && recent.generation == generation
        && recent.vni == vni
        && bytemuck::must_cast::<_, Address>(recent.address) == source
    {
        *bd = recent.network.bd;
        return Ok(Membership { network: recent.network, vtep: recent.vtep });
    }
    let network = maps::network(vni).ok_or(Verdict::UnknownVni)?;
    *bd = network.bd;
    let source = bytemuck::must_cast(source);
    let vtep = tunnel::known(vni, source)?;
    maps::publish(&mut recent.generation, 0);
    recent.address = source;
    recent.vni = vni;
    recent.vtep = vtep;
    recent.network = network;
    maps::publish(&mut recent.generation, generation);
    Ok(Membership { network, vtep })
}

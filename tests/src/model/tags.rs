//! Which binding a frame's tags choose, which of them goes on with it, and with which ones it leaves.

use super::{
    header::{TYPE_VLAN, tagged, untagged},
    outcome::Leaving,
    tables::{Binding, LocalPort, Tables, Tag, Tags},
};

pub(super) struct Bound<'a> {
    pub(super) binding: &'a Binding,
    pub(super) kept: Option<Tag>,
    /// Without the tags that say this.
    pub(super) frame: Vec<u8>,
}

/// The upper four bits are priority and drop eligibility (IEEE 802.1Q). Provider tags are of no VLAN of ours.
fn vlan((tpid, tci): Tag) -> Option<u16> {
    (tpid == TYPE_VLAN).then_some(tci & 0x0fff)
}

/// None: it has no binding.
pub(super) fn bound<'a>(
    tables: &'a Tables,
    ifindex: u32,
    tag: Option<Tag>,
    frame: &[u8],
) -> Option<Bound<'a>> {
    let bare = |binding, kept| Some(Bound { binding, kept, frame: frame.to_vec() });
    let chosen = tag.map_or(Some(0), vlan);
    let own = chosen.and_then(|vlan| tables.bindings.get(&(ifindex, vlan)));
    let Some(own) = own else {
        let other = tables.bindings.get(&(ifindex, 0))?;
        return match other.tags {
            Tags::Popped => bare(other, None),
            Tags::Carried => bare(other, tag),
            Tags::None | Tags::Kept => None,
        };
    };
    match own.tags {
        Tags::Kept => bare(own, tag),
        Tags::Carried if chosen != Some(0) => {
            let (kept, frame) = untagged(frame);
            Some(Bound { binding: own, kept, frame })
        }
        Tags::Carried | Tags::Popped | Tags::None => bare(own, None),
    }
}

/// Whether and how a frame leaves to a port.
pub(super) enum AtPort {
    Leaves(Leaving),
    /// The port does not take the tag that it kept.
    Untaken,
    TooLong,
}

impl AtPort {
    pub(super) fn of(tables: &Tables, frame: &[u8], port: &LocalPort, kept: Option<Tag>) -> Self {
        match leaving(tables, frame, port, kept) {
            None => Self::Untaken,
            Some(_) if !port.takes(frame.len()) => Self::TooLong,
            Some(leaving) => Self::Leaves(Leaving { to_peer: port.to_peer && kept.is_none(), ..leaving }),
        }
    }
}

/// With the tag of its binding, and the one that it kept. None: the port does not take that one.
fn leaving(tables: &Tables, frame: &[u8], port: &LocalPort, kept: Option<Tag>) -> Option<Leaving> {
    let own = (port.vlan != 0).then_some((TYPE_VLAN, port.vlan));
    let with = |tag, frame| Some(Leaving { tag, ..Leaving::plain(port.ifindex, frame) });
    let Some(kept) = kept else {
        return with(own, frame.to_vec());
    };
    match port.tags {
        // It says the same.
        Tags::Kept if vlan(kept) == Some(port.vlan) => with(Some(kept), frame.to_vec()),
        Tags::Carried if own.is_some() => with(own, tagged(frame, kept)),
        // It may not open the network of another binding.
        Tags::Carried
            if vlan(kept).is_none_or(|vlan| !tables.bindings.contains_key(&(port.ifindex, vlan))) =>
        {
            with(Some(kept), frame.to_vec())
        }
        Tags::Carried | Tags::Kept | Tags::Popped | Tags::None => None,
    }
}

//! Generic netlink, as far as packet-rate mode asks it: what a driver can do with XDP (family `netdev`), and which
//! offloads an interface has (family `ethtool`). Requests block, for microseconds.

use std::collections::BTreeSet;
use std::io;

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

mod attribute;

use self::attribute::{Attributes, nested, put};

/// `NETDEV_XDP_ACT_*` of `include/uapi/linux/netdev.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XdpFeatures(pub u64);

impl XdpFeatures {
    /// Pass, drop and send back; redirect to another interface.
    pub const PROGRAMS: Self = Self(1 | 2);
    /// Frames that XDP redirects to the interface leave there.
    pub const TAKES: Self = Self(4);
    /// Programs see frames of several buffers.
    pub const FRAGS: Self = Self(32);
    /// Frames of several buffers that XDP redirects to the interface leave there.
    pub const TAKES_FRAGS: Self = Self(64);

    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

#[derive(Debug, thiserror::Error)]
pub enum GenetlinkError {
    #[error("a generic netlink socket cannot be used")]
    Socket(#[source] io::Error),
    #[error("the kernel refused {what}")]
    Refused { what: &'static str, source: io::Error },
    #[error("the kernel has no generic netlink family {name:?}")]
    NoFamily { name: &'static str },
    #[error("the kernel's answer to {what} is cut short or lacks what was asked for")]
    Malformed { what: &'static str },
}

/// A socket for requests, in the network namespace of the thread that opened it.
pub struct Genetlink {
    socket: Socket,
}

pub(crate) struct Family {
    id: u16,
    groups: Vec<(String, u32)>,
}

const NETDEV: &str = "netdev";
const ETHTOOL: &str = "ethtool";
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;
/// Notices of what drivers can do.
const NETDEV_NOTICES: &str = "mgmt";

/// Names, of a bitset with a mask: it lists all bits, and marks those that are set.
fn set_bits(bitset: &[u8]) -> BTreeSet<String> {
    let bits = Attributes(bitset).find(ETHTOOL_A_BITSET_BITS).unwrap_or_default();
    let set =
        Attributes(bits).iter().filter(|(_, bit)| Attributes(bit).find(ETHTOOL_A_BITSET_BIT_VALUE).is_some());
    set.filter_map(|(_, bit)| bit_name(bit)).collect()
}

fn bit_name(bit: &[u8]) -> Option<String> {
    let name = Attributes(bit).find(ETHTOOL_A_BITSET_BIT_NAME)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

/// The header of ethtool's requests.
fn device(ifindex: u32) -> Vec<u8> {
    const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
    let mut header = Vec::new();
    put(&mut header, ETHTOOL_A_HEADER_DEV_INDEX, &ifindex.to_ne_bytes());
    header
}

struct Request<'a> {
    what: &'static str,
    family: u16,
    command: u8,
    attributes: &'a [u8],
}

impl Genetlink {
    pub fn open() -> Result<Self, GenetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_GENERIC)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        Ok(Self { socket: open().map_err(GenetlinkError::Socket)? })
    }

    /// None where the kernel says nothing of the interface.
    pub fn xdp_features(&self, ifindex: u32) -> Result<XdpFeatures, GenetlinkError> {
        const NETDEV_CMD_DEV_GET: u8 = 1;
        const NETDEV_A_DEV_IFINDEX: u16 = 1;
        const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
        let what = "a question for an interface's XDP features";
        let mut attributes = Vec::new();
        put(&mut attributes, NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes());
        let family = self.family(NETDEV)?.id;
        let answer =
            self.ask(&Request { what, family, command: NETDEV_CMD_DEV_GET, attributes: &attributes })?;
        let found = Attributes(&answer).find(NETDEV_A_DEV_XDP_FEATURES);
        let bits = found.and_then(|bytes| bytes.try_into().ok()).ok_or(GenetlinkError::Malformed { what })?;
        Ok(XdpFeatures(u64::from_ne_bytes(bits)))
    }

    /// Names of the features that are active, as `ethtool -k` shows them.
    pub fn offloads(&self, ifindex: u32) -> Result<BTreeSet<String>, GenetlinkError> {
        const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
        const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
        let what = "a question for an interface's offloads";
        let mut attributes = Vec::new();
        put(&mut attributes, nested(ETHTOOL_A_FEATURES_HEADER), &device(ifindex));
        let family = self.family(ETHTOOL)?.id;
        let answer =
            self.ask(&Request { what, family, command: ETHTOOL_MSG_FEATURES_GET, attributes: &attributes })?;
        let active = Attributes(&answer).find(ETHTOOL_A_FEATURES_ACTIVE);
        let bits = active.and_then(|active| Attributes(active).find(ETHTOOL_A_BITSET_BITS));
        let bits = bits.ok_or(GenetlinkError::Malformed { what })?;
        // A bitset without a mask lists the bits that are set.
        Ok(Attributes(bits).iter().filter_map(|(_, bit)| bit_name(bit)).collect())
    }

    /// Names of a driver's own flags that are set, as `ethtool --show-priv-flags` shows them. Most drivers have none.
    pub fn private_flags(&self, ifindex: u32) -> Result<BTreeSet<String>, GenetlinkError> {
        const ETHTOOL_MSG_PRIVFLAGS_GET: u8 = 13;
        const ETHTOOL_A_PRIVFLAGS_HEADER: u16 = 1;
        const ETHTOOL_A_PRIVFLAGS_FLAGS: u16 = 2;
        let what = "a question for a driver's flags";
        let mut attributes = Vec::new();
        put(&mut attributes, nested(ETHTOOL_A_PRIVFLAGS_HEADER), &device(ifindex));
        let family = self.family(ETHTOOL)?.id;
        let request = Request { what, family, command: ETHTOOL_MSG_PRIVFLAGS_GET, attributes: &attributes };
        let answer = match self.ask(&request) {
            Err(GenetlinkError::Refused { source, .. })
                if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                return Ok(BTreeSet::new());
            }
            answer => answer?,
        };
        let flags = Attributes(&answer).find(ETHTOOL_A_PRIVFLAGS_FLAGS).unwrap_or_default();
        Ok(set_bits(flags))
    }

    /// Turns a feature on or off, by its name as `ethtool -k` shows it.
    pub fn set_offload(&self, ifindex: u32, name: &str, on: bool) -> Result<(), GenetlinkError> {
        const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
        const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
        const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
        let what = "a change of an interface's offloads";
        let mut bit = Vec::new();
        put(&mut bit, ETHTOOL_A_BITSET_BIT_NAME, format!("{name}\0").as_bytes());
        if on {
            put(&mut bit, ETHTOOL_A_BITSET_BIT_VALUE, &[]);
        }
        let wrapped = |kind, value: &[u8]| {
            let mut bytes = Vec::new();
            put(&mut bytes, nested(kind), value);
            bytes
        };
        let bits = wrapped(ETHTOOL_A_BITSET_BITS, &wrapped(ETHTOOL_A_BITSET_BITS_BIT, &bit));
        let mut attributes = Vec::new();
        put(&mut attributes, nested(ETHTOOL_A_FEATURES_HEADER), &device(ifindex));
        put(&mut attributes, nested(ETHTOOL_A_FEATURES_WANTED), &bits);
        let family = self.family(ETHTOOL)?.id;
        self.ask(&Request { what, family, command: ETHTOOL_MSG_FEATURES_SET, attributes: &attributes })
            .map(drop)
    }

    /// The multicast group that tells when a driver's XDP features change.
    pub(crate) fn xdp_notices(&self) -> Result<u32, GenetlinkError> {
        let groups = self.family(NETDEV)?.groups;
        let group = groups.into_iter().find(|(name, _)| name == NETDEV_NOTICES).map(|(_, id)| id);
        group.ok_or(GenetlinkError::Malformed { what: "a question for a family" })
    }

    fn family(&self, name: &'static str) -> Result<Family, GenetlinkError> {
        const GENL_ID_CTRL: u16 = 0x10;
        const CTRL_CMD_GETFAMILY: u8 = 3;
        const CTRL_ATTR_FAMILY_ID: u16 = 1;
        const CTRL_ATTR_FAMILY_NAME: u16 = 2;
        const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
        const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
        const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
        let what = "a question for a family";
        let mut attributes = Vec::new();
        put(&mut attributes, CTRL_ATTR_FAMILY_NAME, format!("{name}\0").as_bytes());
        let request =
            Request { what, family: GENL_ID_CTRL, command: CTRL_CMD_GETFAMILY, attributes: &attributes };
        let answer = match self.ask(&request) {
            Err(GenetlinkError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                return Err(GenetlinkError::NoFamily { name });
            }
            answer => answer?,
        };
        let answer = Attributes(&answer);
        let id = answer.find(CTRL_ATTR_FAMILY_ID).and_then(|bytes| bytes.try_into().ok());
        let id = u16::from_ne_bytes(id.ok_or(GenetlinkError::Malformed { what })?);
        let groups = answer.find(CTRL_ATTR_MCAST_GROUPS).unwrap_or_default();
        let groups = Attributes(groups).iter().filter_map(|(_, group)| {
            let group = Attributes(group);
            let name = String::from_utf8_lossy(group.find(CTRL_ATTR_MCAST_GRP_NAME)?).into_owned();
            let id = group.find(CTRL_ATTR_MCAST_GRP_ID)?.try_into().ok()?;
            Some((name.trim_end_matches('\0').to_owned(), u32::from_ne_bytes(id)))
        });
        Ok(Family { id, groups: groups.collect() })
    }

    /// The attributes of the one answer.
    fn ask(&self, request: &Request<'_>) -> Result<Vec<u8>, GenetlinkError> {
        const NLM_F_REQUEST: u16 = 1;
        const NLMSG_ERROR: u16 = 2;
        /// `struct nlmsghdr`, `struct genlmsghdr`.
        const HEADER_LEN: usize = 16;
        const GENERIC_LEN: usize = 4;
        let what = request.what;
        let length = HEADER_LEN + GENERIC_LEN + request.attributes.len();
        let mut message = Vec::with_capacity(length);
        message.extend(u32::try_from(length).map_err(|_| GenetlinkError::Malformed { what })?.to_ne_bytes());
        message.extend(request.family.to_ne_bytes());
        message.extend(NLM_F_REQUEST.to_ne_bytes());
        message.extend([0; 8]);
        message.extend([request.command, 1, 0, 0]);
        message.extend(request.attributes);
        self.socket.send(&message, 0).map_err(GenetlinkError::Socket)?;
        let (answer, _) = self.socket.recv_from_full().map_err(GenetlinkError::Socket)?;
        let malformed = || GenetlinkError::Malformed { what };
        let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        let body = answer.get(HEADER_LEN..).ok_or_else(malformed)?;
        if kind == Some(NLMSG_ERROR) {
            let code = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
            let source = io::Error::from_raw_os_error(-code.ok_or_else(malformed)?);
            return Err(GenetlinkError::Refused { what, source });
        }
        body.get(GENERIC_LEN..).map(<[u8]>::to_vec).ok_or_else(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_drivers_flags_those_count_that_are_set() {
        let bit = |name: &str, is_set: bool| {
            let mut bit = Vec::new();
            put(&mut bit, ETHTOOL_A_BITSET_BIT_NAME, format!("{name}\0").as_bytes());
            if is_set {
                put(&mut bit, ETHTOOL_A_BITSET_BIT_VALUE, &[]);
            }
            bit
        };
        let (mut bits, mut bitset) = (Vec::new(), Vec::new());
        put(&mut bits, nested(1), &bit("legacy-rx", true));
        put(&mut bits, nested(1), &bit("link-down-on-close", false));
        put(&mut bitset, nested(ETHTOOL_A_BITSET_BITS), &bits);
        assert_eq!(set_bits(&bitset), BTreeSet::from(["legacy-rx".to_owned()]));
        assert_eq!(set_bits(&[]), BTreeSet::new());
    }
}

//! What an operator should know: a condition that holds as long as it is listed.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    pub kind: AlarmKind,
    /// What it is about: a port, a VTEP, a logical switch.
    pub subject: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    SourceLost,
    RowsRefused,
    RemovalsHeld,
    TunnelMissing,
    UplinkMissing,
    PortMissing,
    NoRoute,
    MacTableFull,
    /// The bucketed MAC table is fuller than it is made for.
    MacTableLoad,
    SenderTableFull,
    VtepTableFull,
    VniTableFull,
    PortTableFull,
    FloodTooLong,
    DuplicateMac,
    LearnLimit,
    KernelRefused,
    ForeignProgram,
    MtuTooBig,
    /// Several VTEPs have one address.
    SharedAddress,
    /// The ports of a VNI take frames of different lengths.
    MtuDiffers,
    /// An interface is not in the packet-rate mode that was asked for, or not whole.
    PacketRate,
    NeighbourTableFull,
    /// A VTEP has more MACs in a VNI than it may.
    VtepQuota,
    /// A VTEP's BFD session is down.
    BfdDown,
    /// A VTEP that is somebody's slave could not serve.
    SlaveWouldFail,
    UplinkNoCarrier,
    /// Frames go to a VTEP, and none comes back.
    OneWay,
    /// Geneve and VXLAN have one UDP port.
    UdpPortShared,
}

impl AlarmKind {
    /// As it stands in metrics and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SourceLost => "source_lost",
            Self::RowsRefused => "rows_refused",
            Self::RemovalsHeld => "removals_held",
            Self::TunnelMissing => "tunnel_missing",
            Self::UplinkMissing => "uplink_missing",
            Self::PortMissing => "port_missing",
            Self::NoRoute => "no_route",
            Self::MacTableFull => "mac_table_full",
            Self::MacTableLoad => "mac_table_load",
            Self::SenderTableFull => "sender_table_full",
            Self::VtepTableFull => "vtep_table_full",
            Self::VniTableFull => "vni_table_full",
            Self::PortTableFull => "port_table_full",
            Self::FloodTooLong => "flood_too_long",
            Self::DuplicateMac => "duplicate_mac",
            Self::LearnLimit => "learn_limit",
            Self::KernelRefused => "kernel_refused",
            Self::ForeignProgram => "foreign_program",
            Self::MtuTooBig => "mtu_too_big",
            Self::SharedAddress => "shared_address",
            Self::MtuDiffers => "mtu_differs",
            Self::PacketRate => "packet_rate",
            Self::NeighbourTableFull => "neighbour_table_full",
            Self::VtepQuota => "vtep_quota",
            Self::BfdDown => "bfd_down",
            Self::SlaveWouldFail => "slave_would_fail",
            Self::UplinkNoCarrier => "uplink_no_carrier",
            Self::OneWay => "one_way",
            Self::UdpPortShared => "udp_port_shared",
        }
    }

    /// Whether a number that rests could help.
    pub(crate) const fn waits_for_a_number(self) -> bool {
        matches!(self, Self::VtepTableFull | Self::VniTableFull | Self::PortTableFull)
    }
}

impl Alarm {
    pub fn new(
        kind: AlarmKind,
        subject: &(impl std::fmt::Display + ?Sized),
        message: impl Into<String>,
    ) -> Self {
        Self { kind, subject: subject.to_string(), message: message.into() }
    }
}

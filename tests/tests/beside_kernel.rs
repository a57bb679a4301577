//! A host with an agent and a host of the kernel's bridge and VXLAN device, with the same addresses: the same frames in,
//! the same frames out, both ways.
//!
//! With `BESIDE_KERNEL_SEED`, the seed that a run printed, the frames are that run's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "beside_kernel/compare.rs"]
mod compare;
#[path = "beside_kernel/draw.rs"]
mod draw;
#[path = "beside_kernel/twin.rs"]
mod twin;

use compare::compare;
use twin::Setting;

const SETTING: Setting =
    Setting { ipv6: false, inherit: false, dataplane: "decap = \"program\"", packet_rate: false };

#[test]
fn frames_are_as_the_kernel_has_them() {
    compare(SETTING);
}

#[test]
fn frames_are_as_the_kernel_has_them_by_its_tunnel_device_with_inherited_fields() {
    compare(Setting { inherit: true, dataplane: "decap = \"device\"", ..SETTING });
}

#[test]
fn frames_are_as_the_kernel_has_them_over_ipv6() {
    compare(Setting { ipv6: true, ..SETTING });
}

#[test]
fn frames_are_as_the_kernel_has_them_over_ipv6_by_its_tunnel_device_with_inherited_fields() {
    compare(Setting { ipv6: true, inherit: true, dataplane: "decap = \"device\"", ..SETTING });
}

#[test]
fn frames_are_as_the_kernel_has_them_in_packet_rate_mode() {
    compare(Setting { packet_rate: true, dataplane: "", ..SETTING });
}

#[test]
fn frames_are_as_the_kernel_has_them_in_packet_rate_mode_over_ipv6() {
    compare(Setting { packet_rate: true, ipv6: true, dataplane: "", ..SETTING });
}

//! In lock step: a window of frames to both hosts, and what comes out of both before the next one.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::SmallRng};
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::rig::VNI,
    packet::PacketSocket,
};

use crate::{
    draw,
    twin::{FAR, FAR_VTEPS, Setting, Twin, VM},
};

/// Each way, by each of the six settings.
const FRAMES: usize = 21_000;
/// A window takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
const WINDOW: usize = 100;
/// Ends the last frames of a window.
const MARK: &[u8] = b"that was the window";

/// In the order of their bytes.
type Frames = Vec<Vec<u8>>;

/// A frame without what may differ; none if it is not compared.
type Reading<'a> = dyn Fn(&[u8]) -> Option<Vec<u8>> + 'a;

pub(crate) fn compare(setting: Setting) {
    let (ours, kernel) = (Twin::of_agent(setting), Twin::of_kernel(setting));
    let asked = std::env::var("BESIDE_KERNEL_SEED").ok();
    let seed = asked.map_or_else(rand::random, |seed| seed.parse().expect("BESIDE_KERNEL_SEED is a number"));
    println!("seed {seed}, {setting:?}");
    let mut rng = SmallRng::seed_from_u64(seed);

    let (mut sent, mut left) = (0, 0);
    while sent < FRAMES {
        let mut frames = draw::from_vm(&mut rng, setting, WINDOW);
        sent += frames.len();
        frames.extend([FAR, [0xff; 6]].map(|to| mark(VM, to)));
        let way = Way { sides: [(&ours.vm, &ours.wire), (&kernel.vm, &kernel.wire)], marks: 1 + FAR_VTEPS };
        left += way.pass(
            &frames,
            [&|frame| tunnelled(frame, setting), &|frame| {
                tunnelled(frame, setting).map(|frame| with_congestion(frame, setting))
            }],
        );
    }
    println!("{sent} from the VM, {left} on the wire");
    assert!(
        left > sent,
        "of {sent} frames of the VM, most of them to stations or to be flooded, {left} left"
    );

    let (mut sent, mut arrived) = (0, 0);
    while sent < FRAMES {
        let mut frames = draw::from_vteps(&mut rng, setting, WINDOW);
        sent += frames.len();
        frames.extend([VM, [0xff; 6]].map(|to| setting.carrier(0, VNI).wrap(&mark(FAR, to))));
        let way = Way { sides: [(&ours.wire, &ours.delivered), (&kernel.wire, &kernel.delivered)], marks: 2 };
        arrived += way.pass(&frames, [&|frame| Some(frame.to_vec()); 2]);
    }
    println!("{sent} from VTEPs, {arrived} at the VM");
    if setting.packet_rate {
        let redirected = ours.entries.map(|entry| entry.redirected_by_xdp().unwrap());
        assert!(redirected.iter().all(|&count| count > 1000), "{redirected:?} were redirected by XDP");
    }
    assert!(arrived > sent / 3, "of {sent} frames of VTEPs {arrived} arrived");
}

/// Through ours, and through the kernel's: where frames are put in, and where they come out.
struct Way<'a> {
    sides: [(&'a PacketSocket, &'a PacketSocket); 2],
    marks: usize,
}

impl Way<'_> {
    /// Returns how many came out.
    fn pass(&self, frames: &[Vec<u8>], read: [&Reading<'_>; 2]) -> usize {
        for (entry, exit) in self.sides {
            // Of what went the other way it may be full.
            exit.drain(|_| {}).unwrap();
            for frame in frames {
                entry.send(frame).unwrap();
            }
        }
        let mut came: [Frames; 2] = Default::default();
        let same = wait_for("the same frames", PATIENCE, || {
            for (((_, exit), came), read) in self.sides.iter().zip(&mut came).zip(read) {
                exit.drain(|frame| came.extend(read(frame))).unwrap();
                came.sort_unstable();
            }
            let all = came
                .iter()
                .all(|came| came.iter().filter(|frame| frame.ends_with(MARK)).count() == self.marks);
            (all && came[0] == came[1]).then_some(())
        });
        if let Err(error) = same {
            let [ours, kernel] = &came;
            panic!(
                "{error}: {} and {} frames. Only by ours:\n{}Only by the kernel:\n{}",
                ours.len(),
                kernel.len(),
                listed(&without(ours, kernel)),
                listed(&without(kernel, ours))
            );
        }
        came[0].len()
    }
}

/// VXLAN on the wire, without source port and IPv4 identification, what depends on them, and IPv6's flow label, which
/// stands for the flow as the source port does (RFC 6438).
fn tunnelled(frame: &[u8], setting: Setting) -> Option<Vec<u8>> {
    const INNER: usize = 50;
    const DONT_FRAGMENT: u8 = 0x40;
    let udp = if setting.ipv6 { 54 } else { 34 };
    let is_udp = if setting.ipv6 { frame.get(20) } else { frame.get(23) } == Some(&17);
    if !is_udp || frame.get(udp + 2..udp + 4) != Some(&4789_u16.to_be_bytes()) {
        return None;
    }
    let mut frame = frame.to_vec();
    frame[udp..udp + 2].fill(0);
    if setting.ipv6 {
        frame[15] &= 0xf0;
        frame[16..18].fill(0);
    } else {
        let mut mended = frame.clone();
        frame::mend_ipv4_checksum(&mut mended);
        assert_eq!(frame[24..26], mended[24..26], "the IPv4 checksum of {}", hex(&frame));
        frame[18..20].fill(0);
        frame[24..26].fill(0);
        if setting.inherit && draw::is_tag(&frame, INNER + 12) {
            // The kernel's device looks for the inner packet's without regard to a tag.
            frame[20] &= !DONT_FRAGMENT;
        }
    }
    Some(frame)
}

/// The kernel still says ECT(0) where the inner packet met congestion (`INET_ECN_encapsulate`, RFC 3168 §9.1.1); RFC 6040
/// §4.1 wants that copied.
fn with_congestion(frame: Vec<u8>, setting: Setting) -> Vec<u8> {
    const CE: u8 = 3;
    let inner = &frame[if setting.ipv6 { 70 } else { 50 }..];
    let inner_tos = match inner {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, _, tos, ..] => *tos,
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, first, second, ..] => (first << 4) | (second >> 4),
        _ => 0,
    };
    if inner_tos & CE != CE {
        return frame;
    }
    let outer_tos = if setting.ipv6 { (frame[14] << 4) | (frame[15] >> 4) } else { frame[15] };
    let mut frame = frame::with_tos(&frame, outer_tos | CE);
    if !setting.ipv6 {
        frame[24..26].fill(0);
    }
    frame
}

fn mark(from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
    let end = |mac| Endpoint::new(mac, [10, 1, 0, 1], 7000);
    frame::udp(end(from), end(to), MARK)
}

/// Each as often as it is more often there. Both are sorted.
fn without(these: &Frames, others: &Frames) -> Frames {
    let mut others = others.iter().peekable();
    let missing = |frame: &&Vec<u8>| {
        while others.next_if(|other| other < frame).is_some() {}
        others.next_if_eq(frame).is_none()
    };
    these.iter().filter(missing).cloned().collect()
}

/// The first ones.
fn listed(frames: &[Vec<u8>]) -> String {
    frames.iter().take(10).map(|frame| hex(frame) + "\n").collect()
}

fn hex(frame: &[u8]) -> String {
    use std::fmt::Write as _;
    frame.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

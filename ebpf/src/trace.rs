//! What a test-run's frame lacks of one that a device received.

use crate::context::{Frame as _, Skb};

const TPID: usize = 12;

/// Takes the outermost tag out of the bytes, as `skb_vlan_untag` in the kernel's receive path does before TC sees a
/// frame: a test-run takes no tag beside them. A second tag stays inside.
///
/// A call of its own: the path needs the stack.
#[inline(never)]
pub(crate) fn untag(mut frame: Skb) {
    let Some(head) = frame.head::<{ TPID + 4 }>() else { return };
    let tpid = u16::from_be_bytes([head[TPID], head[TPID + 1]]);
    if !matches!(tpid, 0x8100 | 0x88a8) {
        return;
    }
    let tci = u16::from_be_bytes([head[TPID + 2], head[TPID + 3]]);
    // The kernel moves a second tag beside the frame when it removes the first, and back when that is pushed again.
    if frame.pop_tag().is_ok() {
        // Refused, the frame goes on without its tag, and the agent sees that it is not as it was asked to be.
        let _ = frame.push_tag_of(tpid, tci);
    }
}

/// Gives the frame the key of the tunnel that it is said to have left, and the mark of one that was let in.
#[inline(never)]
pub(crate) fn leave_tunnel(frame: Skb) {
    // Refused, the frame has no key, and `tunnel_in` says so.
    let _ = frame.take_key_of_context();
    frame.mark_admitted();
}

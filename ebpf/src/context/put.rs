//! Headers into packet memory.
#![expect(unsafe_code, reason = "packet memory is raw; whoever makes a room promises that it is there")]

use vtep_outer::Room;

/// Packet memory for headers, known by its end.
pub(crate) struct PacketRoom {
    end: usize,
}

impl PacketRoom {
    /// # Safety
    ///
    /// `at` is the address of `N` bytes of packet memory that the program may write, and has been compared with the packet's end.
    #[inline(always)]
    pub(super) unsafe fn new<const N: usize>(at: usize) -> Self {
        Self { end: at + N }
    }
}

/// Stores one word. In assembly, for packet memory may be written at any address where the machine allows it
/// (`check_pkt_ptr_alignment` in the kernel's `kernel/bpf/verifier.c`); the compiler knows nothing of that.
macro_rules! store {
    ($size:literal, $end:expr, $before:expr, $word:expr) => {
        // SAFETY: inside, by the promise of who made the room: no header begins before it.
        unsafe {
            core::arch::asm!(
                concat!("*(", $size, " *)({end} - {before}) = {word}"),
                end = in(reg) $end, before = const { $before }, word = in(reg) $word,
            );
        }
    };
}

impl Room for PacketRoom {
    #[inline(always)]
    fn word<const BEFORE: usize>(&mut self, word: u64) {
        store!("u64", self.end, BEFORE, word);
    }

    #[inline(always)]
    fn half<const BEFORE: usize>(&mut self, half: u32) {
        store!("u32", self.end, BEFORE, u64::from(half));
    }

    #[inline(always)]
    fn quarter<const BEFORE: usize>(&mut self, quarter: u16) {
        store!("u16", self.end, BEFORE, u64::from(quarter));
    }
}

/// In words: one instruction stores one, and a header has dozens of bytes.
///
/// # Safety
///
/// `at` is an even address with room for `N` bytes of packet memory.
#[inline(always)]
pub(super) unsafe fn put<const N: usize>(at: usize, bytes: &[u8; N]) {
    let mut i = 0;
    while i + 1 < N {
        // SAFETY: inside, by the caller's promise.
        unsafe { core::ptr::write((at + i) as *mut u16, u16::from_ne_bytes([bytes[i], bytes[i + 1]])) };
        i += 2;
    }
    if i < N {
        // SAFETY: the last byte of an odd number.
        unsafe { core::ptr::write((at + i) as *mut u8, bytes[i]) };
    }
}

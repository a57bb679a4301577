//! Room for what a part of a path finds out.
#![expect(unsafe_code, reason = "a place is read only when it is filled")]

use core::mem::MaybeUninit;

/// On the stack of a path, filled by a part of it that is a call of its own. Zeros in it beforehand would be another call, and
/// a loop over bytes.
pub(crate) struct Place<T> {
    value: MaybeUninit<T>,
    is_filled: bool,
}

impl<T> Place<T> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        let mut place = MaybeUninit::<Self>::uninit();
        // Field by field: a constant whose other bytes mean nothing would be zeros all over.
        // SAFETY: a value that may be uninitialized is so from the start, and the other field is written.
        unsafe {
            (&raw mut (*place.as_mut_ptr()).is_filled).write(false);
            place.assume_init()
        }
    }

    #[inline(always)]
    pub(crate) fn fill(&mut self, value: T) {
        self.value.write(value);
        self.is_filled = true;
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: it is filled.
        self.is_filled.then(|| unsafe { self.value.assume_init_ref() })
    }
}

//! A session between two ends, as the transports give it: a stream in order, that may end at any time.
//!
//! Each end has its own opinion of which session is open, because each learns of an end in its own time. A session that
//! was cut delivers what arrives before the cut, and nothing after.

/// The end that accepts sessions, and the one that opens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Server = 0,
    Client = 1,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// Of the newest session.
    pub(crate) generation: u64,
    open: [Option<u64>; 2],
    /// Sessions up to this one were cut.
    cut: u64,
    cut_at: [u64; 2],
    arrives_at: [u64; 2],
    /// Sent by an end and not taken by the other.
    pub(crate) untaken: [u32; 2],
    pub(crate) blocked: bool,
    /// When the client lost its last session.
    pub(crate) lost_at: u64,
    /// Something of the present session was lost.
    pub(crate) doomed: bool,
    /// An attempt to open is on its way.
    pub(crate) opening: bool,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

impl Link {
    pub(crate) fn begin(&mut self) -> u64 {
        self.generation += 1;
        self.doomed = false;
        self.arrives_at = [0; 2];
        self.generation
    }

    pub(crate) fn open(&mut self, end: End, generation: u64) {
        self.open[end as usize] = Some(generation);
        self.untaken[end as usize] = 0;
    }

    pub(crate) fn at(&self, end: End) -> Option<u64> {
        self.open[end as usize]
    }

    pub(crate) fn close(&mut self, end: End, now: u64) {
        let was = self.open[end as usize].take();
        if end == End::Client && was.is_some() {
            self.lost_at = now;
        }
    }

    pub(crate) fn is_cut(&self, generation: u64) -> bool {
        generation <= self.cut
    }

    /// Whether there was anything to cut.
    pub(crate) fn cut(&mut self, at: [u64; 2]) -> bool {
        let alive = self.cut < self.generation;
        self.cut = self.generation;
        self.cut_at = at;
        alive
    }

    /// When a message to `end` that takes so long arrives, after all before it.
    pub(crate) fn arrival(&mut self, end: End, now: u64, delay: u64) -> u64 {
        let at = &mut self.arrives_at[end as usize];
        *at = (*at).max(now + delay);
        *at
    }

    pub(crate) fn delivers(&self, end: End, generation: u64, now: u64) -> bool {
        self.open[end as usize] == Some(generation)
            && (!self.is_cut(generation) || (generation == self.cut && now <= self.cut_at[end as usize]))
    }
}

/// Moves between our own ports, and returns to them, of one MAC. Numbers and rule are RFC 7432 §15.1's.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Flap {
    since_secs: u32,
    moves: u32,
    /// The MAC stays where it is, and is not claimed anew.
    pub(super) damped_until: Option<u32>,
}

pub const WINDOW_SECS: u32 = 180;
pub const MOVES_MAX: u32 = 5;

impl Flap {
    /// Whether it may move once more.
    pub(super) fn admits(&mut self, now_secs: u32) -> bool {
        self.lift(now_secs);
        if self.damped_until.is_some() {
            return false;
        }
        if self.moves == 0 || now_secs.saturating_sub(self.since_secs) >= WINDOW_SECS {
            self.since_secs = now_secs;
            self.moves = 0;
        }
        if self.moves == MOVES_MAX {
            self.damped_until = Some(now_secs.saturating_add(WINDOW_SECS));
            return false;
        }
        self.moves += 1;
        true
    }

    /// Whether it was damped and is no more.
    pub(super) fn lift(&mut self, now_secs: u32) -> bool {
        let over = self.damped_until.is_some_and(|until| now_secs >= until);
        if over {
            *self = Self::default();
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_move_within_the_window_waits_as_long_again() {
        let mut flap = Flap::default();
        let moves = (0..7).filter(|at| flap.admits(100 + at)).count();
        assert_eq!((moves, flap.damped_until), (5, Some(105 + WINDOW_SECS)));
        assert!(!flap.admits(104 + WINDOW_SECS));
        assert!(flap.admits(105 + WINDOW_SECS));
    }

    #[test]
    fn slow_moves_are_never_damped() {
        let mut flap = Flap::default();
        assert!((0..100).all(|at| flap.admits(at * 36)));
    }
}

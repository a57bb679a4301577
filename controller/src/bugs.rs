//! Known mistakes, made on demand: each has to be caught by the simulation, or the simulation is worth nothing.
//!
//! Without the feature `seeded-bugs` every switch is the constant `false`, and no release has it.

/// Whether this mistake is made in this thread.
#[cfg(not(feature = "seeded-bugs"))]
macro_rules! bug {
    ($bug:ident) => {
        false
    };
}

#[cfg(feature = "seeded-bugs")]
macro_rules! bug {
    ($bug:ident) => {
        $crate::bugs::is_made($crate::bugs::Bug::$bug)
    };
}

pub(crate) use bug;

#[cfg(feature = "seeded-bugs")]
pub use seeded::{Bug, is_made, make};

#[cfg(feature = "seeded-bugs")]
mod seeded {
    use std::cell::Cell;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Bug {
        /// A physical controller obeys whoever speaks, of whatever term.
        DropTermCheck,
        /// What an incomplete snapshot does not name is gone.
        AbsenceIsDelete,
        /// A record that is told again is a new claim.
        ReReportClaims,
        /// A withdrawal takes back whatever claim there is.
        WithdrawAnyClaim,
        /// A change is carried out on a version that it was not made for.
        GapIsNoGap,
        /// Who is left is not looked at when the master withdraws.
        NoSuccessor,
        /// A logical controller that begins anew does not heed who was master.
        MasterForgotten,
        /// A table goes to every VTEP.
        ToldToStrangers,
        /// What a slow VTEP cannot take counts as sent.
        LostWhenSlow,
        /// Everything may leave at once.
        NoMassWithdrawGuard,
        /// Updates lead on from versions that their sender never had.
        GapsForgotten,
        /// A physical controller passes on what VTEPs of others say.
        SpeaksForOthers,
        /// A logical controller hears whoever speaks of a VTEP.
        ReignUnheeded,
        /// Who is elected distributes what he has, however old.
        StaleTakeover,
        /// Who is elected asks whether he has everything before the VTEP obeys him.
        AskedTooEarly,
        /// One logical controller answers for the others.
        OneAnswersForAll,
        /// One that was succeeded answers for its successor.
        FormerAnswers,
        /// A physical controller that has forgotten what a VTEP told counts on as if it had not.
        ForgottenUnsaid,
        /// A logical controller that begins anew calls its flood lists whole, whoever was not heard yet.
        MembersForgotten,
        /// A VTEP that may take part in more than is known yet is told that it does not.
        PlaceAssumed,
        /// A lease is counted from its answer.
        TenureFromAnswer,
        /// What a shard keeps is written whoever has the office.
        UnguardedState,
        /// An office is taken though somebody has it.
        TakenAnyway,
        /// While etcd prolongs the lease, what hung on it counts as ours.
        LeaseBelieved,
        /// Nothing is read that no watch hinted at.
        HintsSuffice,
        /// Nobody minds that terms are lower than those that were given before: etcd was put back.
        RestoredUnnoticed,
        /// What a VTEP is told of its networks counts as all, whoever was heard so far.
        OutlineTooEarly,
    }

    impl Bug {
        pub const ALL: [Self; 12] = [
            Self::DropTermCheck,
            Self::AbsenceIsDelete,
            Self::ReReportClaims,
            Self::WithdrawAnyClaim,
            Self::GapIsNoGap,
            Self::NoSuccessor,
            Self::MasterForgotten,
            Self::ToldToStrangers,
            Self::LostWhenSlow,
            Self::NoMassWithdrawGuard,
            Self::OutlineTooEarly,
            Self::PlaceAssumed,
        ];

        /// For the simulation of elected controllers. Those of takeovers that are so seldom met by chance (`AskedTooEarly`,
        /// `OneAnswersForAll`, `FormerAnswers`, `SpeaksForOthers`) the unit tests of `physical` catch.
        pub const OF_ELECTED: [Self; 5] = [
            Self::StaleTakeover,
            Self::ReignUnheeded,
            Self::GapsForgotten,
            Self::ForgottenUnsaid,
            Self::MembersForgotten,
        ];

        /// For the simulation of elections.
        pub const OF_ELECTIONS: [Self; 6] = [
            Self::TenureFromAnswer,
            Self::UnguardedState,
            Self::TakenAnyway,
            Self::LeaseBelieved,
            Self::HintsSuffice,
            Self::RestoredUnnoticed,
        ];
    }

    thread_local! {
        static MADE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// From here on, in this thread.
    pub fn make(bug: Option<Bug>) {
        MADE.set(bug);
    }

    pub fn is_made(bug: Bug) -> bool {
        MADE.get() == Some(bug)
    }
}

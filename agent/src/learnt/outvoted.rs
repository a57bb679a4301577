use vtep_api::VtepName;

/// Of a MAC that the table has behind another VTEP.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outvoted {
    by: VtepName,
    since_secs: u32,
    /// When it was seen here since, at first and at last, without a pause.
    spoke: Option<(u32, u32)>,
    /// It is claimed anew once; whoever decides against that claim decided between both.
    is_claimed: bool,
}

/// For so long a MAC has to be seen here before it is taken for one that is back: frames that come late do not.
pub const RETURN_SECS: u32 = 5;
/// What speaks less often is silent.
const PAUSE_SECS: u32 = 3 * RETURN_SECS;

impl Outvoted {
    /// What is known by now, if the table has the MAC behind `by`.
    pub(super) fn note(known: Option<Self>, by: &VtepName, now_secs: u32) -> Self {
        known.filter(|known| known.by == *by).unwrap_or_else(|| Self {
            by: by.clone(),
            since_secs: now_secs,
            spoke: None,
            is_claimed: false,
        })
    }

    pub(super) fn waits(&self) -> bool {
        !self.is_claimed
    }

    /// Whether it is back, as of when it was last seen here.
    pub(super) fn is_back(&mut self, seen_secs: u32) -> bool {
        if self.is_claimed || seen_secs <= self.since_secs {
            return false;
        }
        let goes_on = |&(_, last): &(u32, u32)| seen_secs.saturating_sub(last) <= PAUSE_SECS;
        let (first, _) = self.spoke.filter(goes_on).unwrap_or((seen_secs, seen_secs));
        self.spoke = Some((first, seen_secs));
        seen_secs.saturating_sub(first) >= RETURN_SECS
    }

    pub(super) fn claim(&mut self) {
        self.is_claimed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vtep(name: &str) -> VtepName {
        name.try_into().unwrap()
    }

    #[test]
    fn what_goes_on_speaking_is_back_and_what_spoke_once_or_before_is_not() {
        let mut outvoted = Outvoted::note(None, &vtep("b"), 100);
        assert!(![99, 100, 101, 101, 105].into_iter().any(|seen| outvoted.is_back(seen)));
        assert!(outvoted.is_back(106));
        let mut late = Outvoted::note(None, &vtep("b"), 100);
        assert!(![103, 119, 135].into_iter().any(|seen| late.is_back(seen)), "pauses");
    }

    #[test]
    fn it_is_claimed_once_for_each_vtep_that_has_it() {
        let back = |mut outvoted: Outvoted| [101, 106].into_iter().any(|seen| outvoted.is_back(seen));
        let mut outvoted = Outvoted::note(None, &vtep("b"), 100);
        outvoted.claim();
        assert!(!back(Outvoted::note(Some(outvoted.clone()), &vtep("b"), 100)));
        assert!(back(Outvoted::note(Some(outvoted), &vtep("c"), 100)));
    }
}

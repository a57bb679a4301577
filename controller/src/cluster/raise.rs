//! The operator's way out when etcd gives terms that receivers refuse: what is added to a revision is raised, and with it
//! every term at once, in one transaction. It is never lowered.

use std::time::Duration;

use vtep_api::Term;

use super::Cluster;
use super::etcd::{EtcdError, Guard, Op};
use super::view::{Settings, View};

/// Tools that read JSON by floating point still tell terms apart up to here.
pub(super) const ABOVE_MAX: Term = Term(1 << 53);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raised {
    /// The lowest that anybody has.
    To(Term),
    /// No term of the cluster is as low.
    Already(Term),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RaiseError {
    #[error("term {} cannot be; expected at most {}", above.0, ABOVE_MAX.0)]
    TooHigh { above: Term },
    #[error("there is no cluster in etcd yet: a controller makes it when it joins")]
    NoCluster,
    #[error("the cluster's settings were changed at the same time; try again")]
    Changed,
    #[error(transparent)]
    Etcd(#[from] EtcdError),
}

impl Cluster {
    /// From here on every term is above `above`.
    pub(crate) async fn raise_terms(&self, above: Term) -> Result<Raised, RaiseError> {
        if above > ABOVE_MAX {
            return Err(RaiseError::TooHigh { above });
        }
        let found = self.etcd.read(&[self.keys.cluster()]).await?;
        let entries = found.ranges.into_iter().next().unwrap_or_default();
        let view = View::of(&self.keys, found.revision, &entries);
        let key = self.keys.settings();
        let entry = entries.iter().find(|entry| entry.key == key);
        let (Some(settings), Some(entry)) = (view.settings, entry) else { return Err(RaiseError::NoCluster) };
        let Some(raised) = raised(&view, settings, above) else {
            return Ok(Raised::Already(lowest(&view)));
        };
        let guard = Guard::Changed { key: key.clone(), revision: entry.changed };
        let op = Op::Put { key, value: super::member::json(&raised), lease: None };
        if !self.etcd.transact(&[guard], vec![op]).await?.done {
            return Err(RaiseError::Changed);
        }
        self.doubt();
        // Whoever asks here next may rely on it.
        let mut standing = self.standing();
        let known =
            standing.wait_for(|standing| standing.view.settings.is_some_and(|now| now.term_base > above.0));
        tokio::time::timeout(Duration::from_secs(2), known).await.ok();
        Ok(Raised::To(lowest(&View { settings: Some(raised), ..view })))
    }
}

/// `None`: they are above it already.
pub(super) fn raised(view: &View, settings: Settings, above: Term) -> Option<Settings> {
    let term_base = above.0.max(settings.term_base);
    (lowest(view) <= above).then_some(Settings { term_base, ..settings })
}

/// That a member or an office has, or would have if it were taken now.
fn lowest(view: &View) -> Term {
    let members = view.members.values().map(|member| member.created);
    let offices = view.offices.values().map(|holder| holder.created);
    view.term(members.chain(offices).min().unwrap_or(view.revision + 1))
}

#[cfg(test)]
mod tests {
    use super::super::Office;
    use super::super::view::Holder;
    use super::*;

    #[track_caller]
    fn check(above: u64, expected: Option<u64>) {
        let settings = Settings { shards: 1, term_base: 1000 };
        let holder = Holder { name: "a".parse().unwrap(), lease: 1, created: 5 };
        let offices = [(Office::Shard(0), holder)].into();
        let view = View { revision: 9, settings: Some(settings), offices, ..View::default() };
        let base = raised(&view, settings, Term(above));
        assert_eq!(base.map(|settings| settings.term_base), expected);
        let after = View { settings: Some(base.unwrap_or(settings)), ..view };
        assert!(lowest(&after) > Term(above), "{:?}", lowest(&after));
    }

    #[test]
    fn what_is_raised_is_above_and_nothing_is_ever_lowered() {
        check(7, None);
        check(1004, None);
        check(1005, Some(1005));
        check(2000, Some(2000));
    }
}

//! Who should have which office, and what a member does about it. Pure: the same view gives the same answer everywhere.

use serde::{Deserialize, Serialize};
use vtep_api::ControllerName;

use super::Office;
use super::office::scatter;
use super::view::{MemberEntry, View};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    pub name: ControllerName,
    pub lease: i64,
}

/// What a member does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bid {
    /// Take an office that nobody has.
    Campaign(Office),
    /// Leave one to whom it belongs.
    Resign { office: Office, created: i64 },
}

/// Who should have an office: whom the operator named, if he is there, else the member whose hash with the office is the
/// highest (rendezvous hashing): when one goes, only his offices move, and when one comes, only those that become his.
pub fn desired<'a>(view: &'a View, office: &Office) -> Option<&'a ControllerName> {
    let may = |member: &MemberEntry| office.is_for(member.role);
    if let Some(moved) = view.moves.get(office)
        && let Some((name, _)) = view.members.get_key_value(&moved.to).filter(|(_, member)| may(member))
    {
        return Some(name);
    }
    let weight = |name: &ControllerName| scatter(format!("{office}\n{name}").as_bytes());
    let able = view.members.iter().filter(|(_, member)| may(member)).map(|(name, _)| name);
    able.max_by_key(|name| (weight(name), *name))
}

/// What is to be done, given what there is. `settled`: who has been a member for so long that he has what serving VTEPs
/// needs. One that has just begun would tell agents whole tables, and take what he loses with his next breath; so a VTEP that
/// is served waits for him. A shard does not: whoever takes one asks for everything anew anyhow.
pub fn bids(view: &View, me: &Me, settled: impl Fn(&MemberEntry) -> bool) -> Vec<Bid> {
    if view.members.get(&me.name).is_none_or(|member| member.lease != me.lease) {
        return Vec::new();
    }
    let waits_for = |office: &Office, heir: &ControllerName| {
        let moved = view.moves.get(office).is_some_and(|moved| moved.to == *heir);
        matches!(office, Office::Vtep(_)) && !moved && !settled(&view.members[heir])
    };
    let bid = |office: Office| {
        let heir = desired(view, &office);
        let mine = heir == Some(&me.name);
        match view.offices.get(&office) {
            None => mine.then_some(Bid::Campaign(office)),
            Some(holder) if holder.lease == me.lease && !mine => {
                let waits = heir.is_some_and(|heir| waits_for(&office, heir));
                (!waits).then_some(Bid::Resign { created: holder.created, office })
            }
            Some(_) => None,
        }
    };
    let mut bids: Vec<Bid> = view.all_offices().filter_map(bid).collect();
    let of_nothing = view.offices.iter().filter(|(office, holder)| {
        let there = match office {
            Office::Shard(number) => *number < view.shards(),
            Office::Vtep(vtep) => view.vteps.contains(vtep),
        };
        holder.lease == me.lease && !there
    });
    bids.extend(
        of_nothing.map(|(office, holder)| Bid::Resign { office: office.clone(), created: holder.created }),
    );
    bids
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::view::{Holder, Moved, Settings};
    use super::*;
    use crate::config::Role;

    fn name(name: &str) -> ControllerName {
        ControllerName::try_from(name).unwrap()
    }

    fn view(members: &[&str]) -> View {
        let member = |lease: i64| MemberEntry {
            role: Role::Both,
            address: "127.0.0.1:1".into(),
            version: String::new(),
            lease,
            created: lease,
        };
        let members = members.iter().zip(1..).map(|(&of, lease)| (name(of), member(lease))).collect();
        View { settings: Some(Settings { shards: 256, term_base: 0 }), members, ..View::default() }
    }

    fn assignment(view: &View) -> BTreeMap<Office, ControllerName> {
        view.all_offices().map(|office| (office.clone(), desired(view, &office).unwrap().clone())).collect()
    }

    #[test]
    fn when_a_member_goes_only_his_offices_move_and_all_have_some() {
        let (all, fewer) = (assignment(&view(&["a", "b", "c"])), assignment(&view(&["a", "b"])));
        for member in ["a", "b", "c"] {
            let has = all.values().filter(|holder| **holder == name(member)).count();
            assert!((50..=120).contains(&has), "{member} has {has} of 256");
        }
        for (office, holder) in &all {
            assert!(*holder == name("c") || fewer[office] == *holder, "{office} moved");
        }
    }

    #[test]
    fn the_operators_word_counts_while_whom_he_named_is_there() {
        let mut view = view(&["a", "b"]);
        let other = if *desired(&view, &Office::Shard(0)).unwrap() == name("a") { "b" } else { "a" };
        view.moves.insert(Office::Shard(0), Moved { to: name(other), changed: 1 });
        assert_eq!(desired(&view, &Office::Shard(0)), Some(&name(other)));
        view.members.remove(&name(other));
        assert_ne!(desired(&view, &Office::Shard(0)), Some(&name(other)));
    }

    #[test]
    fn what_is_held_is_left_alone_until_it_is_free() {
        let mut view = view(&["a", "b"]);
        let me = |of: &str| Me { name: name(of), lease: view.members[&name(of)].lease };
        let (a, b) = (me("a"), me("b"));
        assert_eq!(bids(&view, &a, |_| true).len() + bids(&view, &b, |_| true).len(), 256);
        for office in view.all_offices().collect::<Vec<_>>() {
            view.offices.insert(office, Holder { name: name("a"), lease: a.lease, created: 9 });
        }
        assert!(bids(&view, &b, |_| true).is_empty(), "what another has is not taken");
        let resigned = bids(&view, &a, |_| true);
        assert!(resigned.iter().all(|bid| matches!(bid, Bid::Resign { created: 9, .. })));
        assert!((64..=192).contains(&resigned.len()), "{}", resigned.len());
    }

    #[test]
    fn a_vtep_is_for_physical_controllers_and_one_that_is_not_declared_is_left() {
        let mut view = view(&["a", "b"]);
        view.members.get_mut(&name("a")).unwrap().role = Role::Logical;
        let tor = vtep_api::VtepName::try_from("tor").unwrap();
        let office = Office::Vtep(tor.clone());
        view.vteps.insert(tor);
        assert_eq!(desired(&view, &office), Some(&name("b")));
        view.offices.insert(office.clone(), Holder { name: name("b"), lease: 2, created: 5 });
        let me = Me { name: name("b"), lease: 2 };
        let left = Bid::Resign { office, created: 5 };
        assert!(!bids(&view, &me, |_| true).contains(&left));
        view.vteps.clear();
        assert!(bids(&view, &me, |_| true).contains(&left));
    }

    #[test]
    fn a_vtep_that_is_served_waits_for_who_has_just_come_unless_an_operator_says_otherwise() {
        let mut view = view(&["a", "b"]);
        let tor = vtep_api::VtepName::try_from("tor").unwrap();
        let office = Office::Vtep(tor.clone());
        view.vteps.insert(tor);
        let heir = desired(&view, &office).unwrap().clone();
        let server = name(if heir == name("a") { "b" } else { "a" });
        let me = |of: &ControllerName| Me { name: of.clone(), lease: view.members[of].lease };
        let (own, other) = (me(&server), me(&heir));
        // Nobody serves it yet: whoever it is takes it at once.
        assert!(bids(&view, &other, |_| false).contains(&Bid::Campaign(office.clone())));
        view.offices.insert(office.clone(), Holder { name: server, lease: own.lease, created: 5 });
        let left = Bid::Resign { office: office.clone(), created: 5 };
        assert!(!bids(&view, &own, |member| member.lease != other.lease).contains(&left));
        assert!(bids(&view, &own, |member| member.lease == other.lease).contains(&left));
        view.moves.insert(office, Moved { to: heir, changed: 1 });
        assert!(bids(&view, &own, |_| false).contains(&left));
    }

    #[test]
    fn who_is_no_member_by_his_present_lease_does_nothing() {
        let view = view(&["a", "b"]);
        assert!(bids(&view, &Me { name: name("a"), lease: 77 }, |_| true).is_empty());
        assert!(bids(&view, &Me { name: name("z"), lease: 1 }, |_| true).is_empty());
    }
}

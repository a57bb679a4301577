//! Who should have which office, and what a member does about it. Pure: the same view gives the same answer everywhere.

use serde::{Deserialize, Serialize};
use vtep_api::ControllerName;

use super::Office;
use super::office::scatter;
use super::view::{MemberEntry, Moved, View};

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
    if let Some(moved) = view.moves.get(office)
        && let Some((name, member)) = view.members.get_key_value(&moved.to)
        && office.is_for(member.role)
    {
        return Some(name);
    }
    highest(view, office, |_| true)
}

/// By their hashes, of those members that can have the office and are `among` those that are asked for.
fn highest<'a>(
    view: &'a View,
    office: &Office,
    among: impl Fn(&MemberEntry) -> bool,
) -> Option<&'a ControllerName> {
    let weight = |name: &ControllerName| scatter(format!("{office}\n{name}").as_bytes());
    let able = view.members.iter().filter(|(_, member)| office.is_for(member.role) && among(member));
    able.map(|(name, _)| name).max_by_key(|name| (weight(name), *name))
}

/// Who takes an office that nobody has.
fn taker<'a>(view: &'a View, office: &Office) -> Option<&'a ControllerName> {
    let heir = desired(view, office).filter(|heir| is_ready(view, office, heir));
    heir.or_else(|| highest(view, office, |member| member.settled))
}

/// Whether who should have an office may take it. A VTEP does not go to one who has just come while another one has settled: he
/// would tell agents whole tables, and might be gone with his next breath. An order that was given to him since he came counts.
/// A shard goes to him: its controller asks for everything anew anyhow.
fn is_ready(view: &View, office: &Office, heir: &ControllerName) -> bool {
    let own = &view.members[heir];
    let ordered = |moved: &Moved| moved.to == *heir && moved.changed > own.created;
    matches!(office, Office::Shard(_))
        || own.settled
        || view.moves.get(office).is_some_and(ordered)
        || highest(view, office, |member| member.settled).is_none()
}

/// What is to be done, given what there is.
pub fn bids(view: &View, me: &Me) -> Vec<Bid> {
    if view.members.get(&me.name).is_none_or(|member| member.lease != me.lease) {
        return Vec::new();
    }
    let bid = |office: Office| match view.offices.get(&office) {
        None => (taker(view, &office) == Some(&me.name)).then_some(Bid::Campaign(office)),
        Some(holder) if holder.lease == me.lease => {
            let heir = desired(view, &office).filter(|heir| **heir != me.name);
            let leaves = heir.is_some_and(|heir| is_ready(view, &office, heir));
            leaves.then_some(Bid::Resign { created: holder.created, office })
        }
        Some(_) => None,
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

    use super::super::view::{Holder, Settings};
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
            settled: false,
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
        assert_eq!(bids(&view, &a).len() + bids(&view, &b).len(), 256);
        for office in view.all_offices().collect::<Vec<_>>() {
            view.offices.insert(office, Holder { name: name("a"), lease: a.lease, created: 9 });
        }
        assert!(bids(&view, &b).is_empty(), "what another has is not taken");
        let resigned = bids(&view, &a);
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
        assert!(!bids(&view, &me).contains(&left));
        view.vteps.clear();
        assert!(bids(&view, &me).contains(&left));
    }

    /// Two members, of whom the VTEP is assigned to the second.
    fn served() -> (View, Office, [Me; 2]) {
        let mut view = view(&["a", "b"]);
        let tor = vtep_api::VtepName::try_from("tor").unwrap();
        let office = Office::Vtep(tor.clone());
        view.vteps.insert(tor);
        let heir = desired(&view, &office).unwrap().clone();
        let other = name(if heir == name("a") { "b" } else { "a" });
        let members = [other, heir].map(|name| Me { lease: view.members[&name].lease, name });
        (view, office, members)
    }

    fn held(by: &Me) -> Holder {
        Holder { name: by.name.clone(), lease: by.lease, created: 5 }
    }

    #[test]
    fn a_vtep_goes_to_who_has_settled_and_among_newcomers_at_once() {
        let (mut view, office, [other, heir]) = served();
        let taken = Bid::Campaign(office.clone());
        let left = Bid::Resign { office: office.clone(), created: 5 };
        let settle = |view: &mut View, me: &Me, settled| {
            view.members.get_mut(&me.name).unwrap().settled = settled;
        };
        assert!(bids(&view, &heir).contains(&taken) && !bids(&view, &other).contains(&taken));
        settle(&mut view, &other, true);
        assert!(bids(&view, &other).contains(&taken) && !bids(&view, &heir).contains(&taken));
        view.offices.insert(office.clone(), held(&other));
        assert!(!bids(&view, &other).contains(&left));
        settle(&mut view, &heir, true);
        assert!(bids(&view, &other).contains(&left));
        settle(&mut view, &other, false);
        assert!(bids(&view, &other).contains(&left));
        settle(&mut view, &heir, false);
        assert!(bids(&view, &other).contains(&left), "nobody has settled");
        // Who has it by right keeps it though only the other one has settled.
        settle(&mut view, &other, true);
        view.offices.insert(office, held(&heir));
        assert!(!bids(&view, &heir).contains(&left));
    }

    #[test]
    fn an_order_counts_at_once_for_who_was_there_when_it_was_given() {
        let (mut view, office, [heir, other]) = served();
        let left = Bid::Resign { office: office.clone(), created: 5 };
        view.members.get_mut(&other.name).unwrap().settled = true;
        view.offices.insert(office.clone(), held(&other));
        let came = view.members[&heir.name].created;
        for (changed, counts) in [(came - 1, false), (came + 1, true)] {
            view.moves.insert(office.clone(), Moved { to: heir.name.clone(), changed });
            assert_eq!(bids(&view, &other).contains(&left), counts, "an order of {changed}, and {came}");
        }
    }

    #[test]
    fn who_is_no_member_by_his_present_lease_does_nothing() {
        let view = view(&["a", "b"]);
        assert!(bids(&view, &Me { name: name("a"), lease: 77 }).is_empty());
        assert!(bids(&view, &Me { name: name("z"), lease: 1 }).is_empty());
    }
}

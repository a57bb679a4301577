use super::Declared;
use crate::cluster::shard_of;

impl Declared {
    /// The same, each logical switch with the controller of its shard as its owner.
    #[must_use]
    pub fn sharded(&self, shards: u16) -> Self {
        let mut sharded = self.clone();
        for (name, switch) in &mut sharded.logical_switches {
            switch.logical_controller = Some(shard_of(name, shards).controller());
        }
        sharded
    }

    /// The first name of a controller in it: with elections nobody is named.
    pub fn names_controller(&self) -> Option<String> {
        let mut switches = self.logical_switches.iter();
        let switch = switches.find_map(|(name, switch)| Some((name, switch.logical_controller.as_ref()?)));
        let (name, controller) = switch?;
        Some(format!(
            "logical switch \"{name}\" names the logical controller \"{controller}\"; expected none: with etcd each shard \
             elects its own (`vtep-controller move` says who)"
        ))
    }
}

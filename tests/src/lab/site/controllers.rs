//! The controllers of a deployment, over mutual TLS, and what is declared to them.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, thread};

use anyhow::{Context as _, Result};

use super::{Layout, Site, network};
use crate::{
    lab::{Controller, ControllerConfig, ControllerRole},
    netns::Netns,
    pki::{Pki, TlsFiles},
};

const CONTROL: [u8; 4] = [192, 0, 2, 100];

pub struct Controllers {
    all: BTreeMap<&'static str, Controller>,
    layout: &'static Layout,
}

impl Controllers {
    pub(super) fn start(layout: &'static Layout, netns: &Netns, pki: &Pki) -> Result<Self> {
        // One after the other: the authority counts its certificates in a file.
        let tls = layout.controllers.iter().map(|(name, _)| pki.issue_at(name, CONTROL));
        let tls = tls.collect::<Result<Vec<_>>>()?;
        let start = |name: &str, role: ControllerRole, tls: &TlsFiles| {
            let logical = logical(layout);
            let logical = if role == ControllerRole::Physical { logical.as_slice() } else { &[] };
            let config =
                ControllerConfig { name, role, listen: address(layout, name), tls: Some(tls), logical };
            Controller::started(netns, &config)
        };
        let all = thread::scope(|scope| {
            let start = &start;
            let starts = layout.controllers.iter().zip(&tls);
            let starts =
                starts.map(|(&(name, role), tls)| (name, scope.spawn(move || start(name, role, tls))));
            // All are under way before one is waited for.
            let starts: Vec<_> = starts.collect();
            let join = |(name, start): (_, thread::ScopedJoinHandle<'_, Result<Controller>>)| {
                anyhow::Ok((name, start.join().ok().context("a controller's start panicked")??))
            };
            starts.into_iter().map(join).collect::<Result<_>>()
        })?;
        Ok(Self { all, layout })
    }

    pub fn named(&self, name: &str) -> &Controller {
        &self.all[name]
    }

    pub fn named_mut(&mut self, name: &str) -> &mut Controller {
        self.all.get_mut(name).expect("a controller of the layout")
    }

    /// To every logical controller, of which each takes what is its own.
    pub(super) fn apply(&self, declared: &str) -> Result<()> {
        let roles = self.layout.controllers.iter();
        let mut logical = roles.filter(|(_, role)| *role != ControllerRole::Physical);
        logical.try_for_each(|(name, _)| self.named(name).apply(declared))
    }
}

/// Where a controller listens.
pub(super) fn address(layout: &Layout, name: &str) -> SocketAddr {
    let at = layout.controllers.iter().position(|(known, _)| *known == name);
    let at = at.and_then(|at| u16::try_from(at).ok()).expect("a controller of the layout");
    SocketAddr::from((CONTROL, 9480 + at))
}

/// Those that are processes of their own.
fn logical(layout: &'static Layout) -> Vec<(&'static str, SocketAddr)> {
    let logical = layout.controllers.iter().filter(|(_, role)| *role == ControllerRole::Logical);
    logical.map(|(name, _)| (*name, address(layout, name))).collect()
}

/// The declared file of the deployment.
pub(super) fn declared(site: &Site) -> String {
    let mut text = "version = 1\n".to_owned();
    let mut section = |kind: &str, lines: &[(&str, &str)]| {
        write!(text, "\n[[{kind}]]\n").expect("a string takes any text");
        for (key, value) in lines {
            writeln!(text, "{key} = {value}").expect("a string takes any text");
        }
    };
    let quoted = |value: &str| format!("\"{value}\"");
    let mut bindings = vec![("sfe", "p8x")];
    for rack in site.layout.racks {
        for (tor, _, controller) in rack.tors {
            let (name, remote) = (quoted(tor), quoted(&site.tor(tor).ovsdb.remote()));
            let lines = [("name", &*name), ("ovsdb", &remote), ("physical_controller", &quoted(controller))];
            section("vtep", &lines);
            bindings.extend(rack.hosts.iter().map(|(host, _)| (tor, *host)));
        }
    }
    let controller = quoted(site.layout.sfe_controller);
    section("vtep", &[("name", "\"sfe\""), ("physical_controller", &controller)]);
    for network in site.layout.networks {
        let (name, vni, controller) =
            (quoted(network.name), network.vni.to_string(), quoted(network.controller));
        section("logical_switch", &[("name", &name), ("vni", &vni), ("logical_controller", &controller)]);
    }
    for (vtep, port) in bindings {
        let [vtep, port, network] = [vtep, port, network(port)].map(quoted);
        section("binding", &[("vtep", &vtep), ("port", &port), ("logical_switch", &network)]);
    }
    text
}

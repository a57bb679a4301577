//! What the patent's figures 3 to 6 show: three racks with two TORs each, a host with an agent (the "SFE"), and
//! controllers as processes of their own.

use super::{
    ControllerRole::{Logical, Physical},
    Side::{Left, Right},
    site::{Layout, NetworkLayout, RackLayout},
};

/// VNIs of the logical switches x and y.
pub const X: u32 = 5001;
pub const Y: u32 = 5002;

pub const VTEPS_OF_X: [&str; 7] = ["a", "b", "c", "d", "e", "f", "sfe"];
pub const VTEPS_OF_Y: [&str; 4] = ["a", "b", "c", "d"];

pub const FIGURE_5: Layout = Layout {
    controllers: &[
        ("lc-a", Logical),
        ("lc-b", Logical),
        ("pc-a", Physical),
        ("pc-b", Physical),
        ("pc-c", Physical),
        ("pc-d", Physical),
    ],
    networks: &[
        NetworkLayout { name: "x", vni: X, controller: "lc-a" },
        NetworkLayout { name: "y", vni: Y, controller: "lc-b" },
    ],
    racks: &[
        RackLayout { tors: [("a", 11, "pc-b"), ("b", 12, "pc-c")], hosts: &[("h1x", Right), ("h1y", Left)] },
        RackLayout { tors: [("c", 13, "pc-a"), ("d", 14, "pc-a")], hosts: &[("h2x", Left), ("h2y", Left)] },
        RackLayout { tors: [("e", 15, "pc-d"), ("f", 16, "pc-c")], hosts: &[("h3x", Right)] },
    ],
    sfe_controller: "pc-d",
    vms: &[
        ("VM1", 1, "h1x"),
        ("VM2", 2, "h1x"),
        ("VM3", 3, "h1x"),
        ("VM4", 4, "h2x"),
        ("VM5", 5, "h2x"),
        ("VM6", 6, "h3x"),
        ("VM7", 7, "h3x"),
        ("VM A", 11, "h1y"),
        ("VM B", 12, "h1y"),
        ("VM C", 13, "h1y"),
        ("VM D", 14, "h2y"),
        ("VM E", 15, "h2y"),
    ],
};

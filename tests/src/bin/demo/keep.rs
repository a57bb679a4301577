//! What to try while it runs.

use anyhow::Result;
use vtep_tests::{lab::Site, process::binary};

pub(crate) fn print(figure: &Site) -> Result<()> {
    let (agent, controller) = (binary("vtep-agent")?, binary("vtep-controller")?);
    let (agent, controller) = (agent.display(), controller.display());
    let lc_a = figure.controllers.named("lc-a").socket();
    let lc_a = lc_a.display();
    let sfe = figure.sfe.socket();
    let sfe = sfe.display();
    let [a, b] = ["a", "b"].map(|name| figure.tor(name));
    let [vm8, vm1] = ["VM8", "VM1"].map(|name| figure.vm(name));
    println!("\n  It is running. In another shell, try:\n");
    for line in [
        format!("{controller} fdb --socket {lc_a}"),
        format!("{controller} explain x {} --socket {lc_a}", vm1.mac),
        format!("{controller} history x {} --socket {lc_a}", vm1.mac),
        format!("{controller} what-if --vtep-down b --socket {lc_a}"),
        format!("{agent} fdb show --socket {sfe}"),
        format!("nsenter --net={} ping {}", vm8.netns.path().display(), vm1.address),
        format!("vtep-ctl --db={} list Ucast_Macs_Local", b.ovsdb.remote()),
        format!("{agent} role set master --logical-switch x --socket {}", a.agent.socket().display()),
    ] {
        println!("    {line}");
    }
    println!("\n  Ctrl-C ends it and cleans up.");
    Ok(())
}

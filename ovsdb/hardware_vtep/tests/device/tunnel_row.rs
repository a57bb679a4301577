use crate::server::Server;

/// As a switch or somebody else makes one, between two addresses.
pub(crate) fn add_tunnel(server: &Server, switch: &str, [local, remote]: [&str; 2], columns: &[&str]) {
    let [local, remote] = [local, remote].map(|address| format!("dst_ip={address}"));
    let locator = ["create", "Physical_Locator", "encapsulation_type=vxlan_over_ipv4"];
    let mut words = vec!["--id=@l"];
    words.extend(locator);
    words.extend([&local, "--", "--id=@r"]);
    words.extend(locator);
    words.extend([&remote, "--", "--id=@t", "create", "Tunnel", "local=@l", "remote=@r"]);
    words.extend(columns);
    words.extend(["--", "add", "Physical_Switch", switch, "tunnels", "@t"]);
    server.ctl(&words);
}

//! What the NAT gateway helper does to packets.

mod common;
#[macro_use]
mod nat;

use nat::*;

matrix! {
    masquerades_and_takes_it_back
    fixed_source_beside_forward_drop
    new_connections_from_outside_are_dropped
    mss_clamp_fits_the_path
}

fn masquerades_and_takes_it_back(lab: Lab) {
    lab.foreign("accept");
    let before = lab.rules();
    let mut server = lab.server("o", "172.16.1.1:843");
    lab.no_way_through();
    lab.down();
    assert_eq!(lab.rules(), before, "down with nothing up");

    lab.up(&["--mss-clamp"]);
    let once = lab.rules();
    assert_eq!(lab.forwarding(), "1\n");
    lab.way_through(&mut server, GATEWAY);
    lab.up(&["--mss-clamp"]);
    assert_eq!(lab.rules(), once, "twice");
    // Other settings leave nothing of the old ones.
    lab.up(&["--policy-port", "8430"]);
    lab.up(&["--mss-clamp"]);
    assert_eq!(lab.rules(), once, "there and back");
    lab.way_through(&mut server, GATEWAY);

    lab.down();
    lab.no_way_through();
    assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
    server.stop();
}

/// Docker's FORWARD policy, a second outer address, and a box that was a router before.
fn fixed_source_beside_forward_drop(lab: Lab) {
    lab.foreign("drop");
    lab.sh(
        "g",
        "echo 1 >/proc/sys/net/ipv4/ip_forward; ip address add 172.16.1.187/24 dev eth0",
    );
    let before = lab.rules();
    let mut server = lab.server("o", "172.16.1.1:843");
    lab.no_way_through();
    lab.up(&["--snat", "172.16.1.187"]);
    lab.way_through(&mut server, "172.16.1.187");
    let once = lab.rules();
    lab.up(&["--snat", "172.16.1.187"]);
    assert_eq!(lab.rules(), once, "twice");
    lab.down();
    lab.no_way_through();
    assert_eq!((lab.rules(), lab.forwarding()), (before, "1\n".to_owned()));
    server.stop();
}

/// Translation alone is no firewall: an outer neighbour with a route would get in.
fn new_connections_from_outside_are_dropped(lab: Lab) {
    lab.sh(
        "o",
        &format!("ip route add 192.168.122.0/24 via {}", GATEWAY),
    );
    let mut server = lab.server("i", "192.168.122.101:5000");
    lab.sh("g", "echo 1 >/proc/sys/net/ipv4/ip_forward");
    assert!(lab.ask("o", INNER, "5000", "10"), "the route is wrong");
    server.expect(" answered");
    lab.up(&[]);
    assert!(!lab.ask("o", INNER, "5000", "1"));
    // Nor is the port of a policy server open, but for what came through 843 of the gateway.
    lab.up(&["--policy-server", "192.168.122.101:5000"]);
    assert!(!lab.ask("o", INNER, "5000", "1"));
    // A port that somebody else forwards stays forwarded.
    lab.up(&[]);
    lab.sh("g", &match lab.backend {
        "nft" => "nft 'table ip other { chain c { type nat hook prerouting priority -100; tcp dport 5001 dnat to 192.168.122.101:5000; }; }'".to_owned(),
        name => format!("{} -t nat -A PREROUTING -p tcp --dport 5001 -j DNAT --to 192.168.122.101:5000", name),
    });
    assert!(lab.ask("o", GATEWAY, "5001", "10"));
    server.expect(" answered");
    server.stop();
}

/// The outer link is smaller than the inner host knows: its segment size is told to the outer host as 1400 - 40.
fn mss_clamp_fits_the_path(lab: Lab) {
    lab.sh("g", "ip link set eth0 mtu 1400");
    let mut server = lab.server("o", "172.16.1.1:843");
    lab.sh("o", "nft 'table ip t { chain c { type filter hook input priority 0; tcp flags syn tcp option maxseg size 1360 counter; }; }'");
    for (option, seen) in [
        ("--mss-clamp=0", "packets 0 "),
        ("--mss-clamp", "packets 1 "),
    ] {
        lab.up(&[option]);
        lab.way_through(&mut server, GATEWAY);
        let counted = lab.sh("o", "nft list table ip t");
        assert!(counted.contains(seen), "{}: {}", option, counted);
    }
    server.stop();
}

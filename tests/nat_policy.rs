//! Port 843 of the NAT gateway, for players on all sides.

mod common;
#[macro_use]
mod nat;

use nat::*;

matrix! {
    policy_server_inside
    policy_server_on_the_gateway
}

backends! {
    policy_server_for_everybody
}

/// A player outside asks port 843 of the gateway; the server on the inner host answers.
fn policy_server_inside(lab: Lab) {
    lab.foreign("drop");
    let before = lab.rules();
    let mut inside = lab.server("i", "192.168.122.101:8430");
    let mut outside = lab.server("o", "172.16.1.1:843");
    assert!(!lab.ask("o", GATEWAY, "843", "1"));
    lab.up(&["--policy-server", "192.168.122.101:8430"]);
    // The server's own host is a player, too.
    assert!(lab.ask("i", GATEWAY_INSIDE, "843", "10"));
    inside.expect(" answered");
    assert!(lab.ask("o", GATEWAY, "843", "10"));
    assert!(
        inside.expect(" answered").contains(&format!(" {}:", OUTER)),
        "the player's address is lost"
    );
    lab.way_through(&mut outside, GATEWAY);
    lab.down();
    assert!(!lab.ask("o", GATEWAY, "843", "1"));
    assert_eq!(lab.rules(), before);
    inside.stop();
    outside.stop();
}

/// The server on the gateway's own port 8430 answers for 843: to both sides, and to the gateway itself.
fn policy_server_on_the_gateway(lab: Lab) {
    lab.foreign("drop");
    let before = lab.rules();
    let mut server = lab.server("g", "0.0.0.0:8430");
    let mut outside = lab.server("o", "172.16.1.1:843");
    assert!(!lab.ask("o", GATEWAY, "843", "1"));
    lab.up(&["--policy-port", "8430"]);
    for (which, host) in [
        ("o", GATEWAY),
        ("i", GATEWAY_INSIDE),
        ("g", "127.0.0.1"),
        ("g", GATEWAY),
    ] {
        assert!(lab.ask(which, host, "843", "10"), "{} to {}", which, host);
        server.expect(" answered");
    }
    // What only passes through is left alone.
    lab.way_through(&mut outside, GATEWAY);
    lab.down();
    assert!(!lab.ask("o", GATEWAY, "843", "1"));
    assert_eq!(lab.rules(), before);
    server.stop();
    outside.stop();
}

/// Inner hosts, the server's own neighbours and the gateway itself are players too.
fn policy_server_for_everybody(lab: Lab) {
    lab.foreign("drop");
    let before = lab.rules();
    // A neighbour of the server, behind the same switch: they reach each other without the gateway.
    let neighbour = lab.host("t");
    let switch =
        "ip link add br0 type bridge; ip address flush dev eth0; ip link set eth0 master br0
        ip link add port type veth peer name eth1 netns NEIGHBOUR; ip link set port master br0 up
        ip link set br0 up; ip address add 192.168.122.101/24 dev br0
        ip route add default via 192.168.122.100";
    lab.sh("i", &switch.replace("NEIGHBOUR", &neighbour));
    lab.sh(
        "t",
        "ip address add 192.168.122.102/24 dev eth1; ip link set eth1 up
        ip route replace default via 192.168.122.100",
    );
    let mut inside = lab.server("i", "192.168.122.101:8430");
    for more in [
        &[][..],
        &["--lan=eth1"][..],
        &["--subnet=172.31.0.0/16"][..],
    ] {
        lab.up(&[&["--policy-server", "192.168.122.101:8430"], more].concat());
        for (which, host) in [
            ("o", GATEWAY),
            ("t", GATEWAY_INSIDE),
            ("t", GATEWAY),
            ("i", GATEWAY_INSIDE),
            ("g", GATEWAY),
            ("g", GATEWAY_INSIDE),
        ] {
            assert!(lab.ask(which, host, "843", "10"), "{} to {}", which, host);
            inside.expect(" answered");
        }
    }
    // From another inner network, too.
    lab.sh(
        "t",
        "ip link set eth1 down; ip route add default via 10.7.0.1",
    );
    assert!(lab.ask("t", GATEWAY_THIRD, "843", "10"));
    inside.expect(" answered");
    lab.down();
    assert_eq!(lab.rules(), before);
    inside.stop();
}

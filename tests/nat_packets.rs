//! What the NAT gateway helper does to packets.

mod common;
#[macro_use]
mod nat;

use nat::*;

matrix! {
    masquerades_and_takes_it_back
    fixed_source_beside_forward_drop
    new_connections_from_outside_are_dropped
}

backends! {
    every_inner_network_and_nothing_from_outside
    lan_and_subnet_narrow
    bridged_renamed_renumbered
    outer_interface_comes_late
    one_card_for_both_sides
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
    // Nor does that get in of which the kernel keeps no connection.
    lab.sh("g", "nft 'table ip u { chain c { type filter hook prerouting priority -300; iifname eth0 notrack; }; }'");
    lab.sh("i", "nft 'table ip t { chain c { type filter hook input priority 0; tcp dport 5000 counter; }; }'");
    assert!(!lab.ask("o", INNER, "5000", "1"));
    let counted = lab.sh("i", "nft list table ip t");
    assert!(counted.contains("packets 0 "), "{}", counted);
    lab.sh("g", "nft delete table ip u");
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

/// An outer neighbour with routes to all networks behind the gateway.
fn routes_inward(lab: &Lab) {
    lab.sh(
        "o",
        "for n in 192.168.122 192.168.9 10.7.0; do ip route add $n.0/24 via 172.16.1.186; done",
    );
}

fn every_inner_network_and_nothing_from_outside(lab: Lab) {
    routes_inward(&lab);
    let mut server = lab.server("o", "172.16.1.1:843");
    let (mut inner, mut third) = (
        lab.server("i", "192.168.122.101:5000"),
        lab.server("t", "10.7.0.2:5000"),
    );
    lab.up(&[]);
    for which in ["i", "t"] {
        assert!(lab.ask(which, OUTER, "843", "10"), "{}", which);
        server.expect(&format!(" {}:", GATEWAY));
    }
    // The gateway's own address stays, even where it is one of another side.
    lab.sh("g", "ip address add 172.16.1.187/24 dev eth0; ip route add 172.16.1.1 dev eth0 src 172.16.1.187");
    assert!(lab.ask("g", OUTER, "843", "10"));
    server.expect(" 172.16.1.187:");
    assert!(!lab.ask("o", INNER, "5000", "1"));
    assert!(!lab.ask("o", THIRD, "5000", "1"));
    for server in [&mut server, &mut inner, &mut third] {
        server.stop();
    }
}

fn lan_and_subnet_narrow(lab: Lab) {
    routes_inward(&lab);
    let mut server = lab.server("o", "172.16.1.1:843");
    let mut third = lab.server("t", "10.7.0.2:5000");
    let narrowings: [&[&str]; 4] = [
        &["--lan=eth1"],
        &["--subnet=192.168.122.0/24"],
        &[
            "--lan=eth1",
            "--subnet=10.7.0.0/24",
            "--subnet=192.168.122.0/24",
        ],
        &["--lan=eth1", "--lan=eth2", "--subnet=192.168.122.0/24"],
    ];
    for narrowing in narrowings {
        lab.up(narrowing);
        lab.run("g", &["status"]).ok();
        lab.way_through(&mut server, GATEWAY);
        // What is not let through is not translated either, and the drop never narrows.
        if lab.ask("t", OUTER, "843", "1") {
            server.expect(&format!(" {}:", THIRD));
        }
        assert!(!lab.ask("o", THIRD, "5000", "1"), "{:?}", narrowing);
    }
    // Nor is it let through where others drop.
    lab.foreign("drop");
    for narrowing in narrowings {
        lab.up(narrowing);
        lab.way_through(&mut server, GATEWAY);
        assert!(!lab.ask("t", OUTER, "843", "1"), "{:?}", narrowing);
    }
    lab.up(&["--lan=eth1", "--lan=eth2"]);
    for which in ["i", "t"] {
        assert!(lab.ask(which, OUTER, "843", "10"), "{}", which);
        server.expect(&format!(" {}:", GATEWAY));
    }
    server.stop();
    third.stop();
}

/// A subnet that is not behind the inner interface is most likely a slip; one behind a router there,
/// or wider than what is there, is none.
#[test]
fn subnet_that_is_not_there_is_told() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "nft");
        lab.sh("g", "ip route add 10.9.0.0/16 via 192.168.122.101");
        for (subnet, told) in [
            ("192.168.122.0/24", false),
            ("192.168.122.128/25", false),
            ("192.168.0.0/16", false),
            ("10.9.3.0/24", false),
            ("192.168.123.0/24", true),
            ("10.7.0.0/24", true),
        ] {
            let options = ["--wan=eth0", "--lan=eth1", "--subnet", subnet];
            let note = format!("note: nothing in {} is reached by eth1", subnet);
            let said = lab.run("g", &[&["up"], &options[..]].concat()).ok();
            assert_eq!(said.contains(&note), told, "{}: {}", subnet, said);
            let said = lab.run("g", &[&["check"], &options[..]].concat()).ok();
            let step = format!("ok: places: {}\n", note);
            assert_eq!(said.contains(&step), told, "{}: {}", subnet, said);
            let script = lab.run("g", &[&["print"], &options[..]].concat()).ok();
            let comment = format!("# {}\n", note);
            assert_eq!(script.contains(&comment), told, "{}: {}", subnet, script);
        }
    }
}

fn bridged_renamed_renumbered(lab: Lab) {
    routes_inward(&lab);
    let mut server = lab.server("o", "172.16.1.1:843");
    let mut inner = lab.server("i", "0.0.0.0:5000");
    lab.up(&[]);
    let changes = [
        "ip address flush dev eth1; ip link add br0 type bridge; ip link set eth1 master br0
         ip link set br0 up; ip address add 192.168.122.100/24 dev br0",
        "ip link set br0 down; ip link set br0 name inside; ip link set inside up",
    ];
    for change in changes {
        lab.sh("g", change);
        lab.way_through(&mut server, GATEWAY);
        assert!(!lab.ask("o", INNER, "5000", "1"), "{}", change);
    }
    lab.sh(
        "g",
        "ip address flush dev inside; ip address add 192.168.9.1/24 dev inside",
    );
    lab.sh("i", "ip address add 192.168.9.2/24 dev eth0; ip route replace default via 192.168.9.1 src 192.168.9.2");
    lab.way_through(&mut server, GATEWAY);
    assert!(!lab.ask("o", "192.168.9.2", "5000", "1"));
    lab.run("g", &["status"]).ok();
    server.stop();
    inner.stop();
}

/// A dialled interface comes after the rules, and goes and comes again.
fn outer_interface_comes_late(lab: Lab) {
    let mut server = lab.server("o", "172.16.1.1:843");
    let up = ["up", "--wan=ppp0", "--backend", lab.backend];
    lab.run("g", &up).fails(1, "there is no interface ppp0");
    assert_eq!(lab.forwarding(), "0\n");
    let said = lab
        .run("g", &[&up[..], &["--late", "--snat=172.16.1.186"]].concat())
        .ok();
    assert!(
        said.contains("note: there is no interface ppp0\n"),
        "{}",
        said
    );
    assert!(
        said.contains("note: the address 172.16.1.186 is not on ppp0"),
        "{}",
        said
    );
    lab.sh("g", "ip link set eth0 down; ip link set eth0 name ppp0; ip link set ppp0 up; ip route add default via 172.16.1.1");
    lab.way_through(&mut server, GATEWAY);
    lab.run("g", &["status"]).ok();
    lab.sh(
        "g",
        "ip link set ppp0 down; ip link set ppp0 up; ip route add default via 172.16.1.1",
    );
    lab.way_through(&mut server, GATEWAY);
    server.stop();
}

/// Both networks on one wire: the walk-through's rule for a fixed address works there.
fn one_card_for_both_sides(lab: Lab) {
    let mut server = lab.server("o", "172.16.1.1:843");
    lab.sh(
        "g",
        "ip address flush dev eth1; ip link add br0 type bridge; ip link set eth0 master br0
        ip link set eth1 master br0; ip address flush dev eth0; ip link set br0 up
        ip address add 172.16.1.186/24 dev br0; ip address add 192.168.122.100/24 dev br0
        ip route add default via 172.16.1.1",
    );
    lab.sh(
        "o",
        "ip address add 172.16.1.9/24 dev eth0; ip route add 192.168.122.0/24 via 172.16.1.186",
    );
    let mut inner = lab.server("i", "192.168.122.101:5000");
    let up = ["up", "--wan=br0", "--backend", lab.backend];
    lab.run("g", &[&up[..], &["--lan=br0"]].concat())
        .fails(2, "are both br0: say --subnet");
    for more in [&["--snat=172.16.1.186"][..], &["--lan=br0"][..]] {
        lab.run(
            "g",
            &[&up[..], &["--subnet=192.168.122.0/24"], more].concat(),
        )
        .ok();
        lab.way_through(&mut server, GATEWAY);
        assert!(!lab.ask("o", INNER, "5000", "1"));
    }
    server.stop();
    inner.stop();
}

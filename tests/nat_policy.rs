//! Port 843 of the NAT gateway, for players on all sides.

mod common;
#[macro_use]
mod nat;

use nat::*;

matrix! {
    policy_server_inside
    policy_server_on_the_gateway
}

/// A player outside asks port 843 of the gateway; the server on the inner host answers.
fn policy_server_inside(lab: Lab) {
    lab.foreign("drop");
    let before = lab.rules();
    let mut inside = lab.server("i", "192.168.122.101:8430");
    let mut outside = lab.server("o", "172.16.1.1:843");
    assert!(!lab.ask("o", GATEWAY, "843", "1"));
    lab.up(&["--policy-server", "192.168.122.101:8430"]);
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

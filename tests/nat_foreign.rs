//! The NAT helper beside the rules of others.

mod common;
#[macro_use]
mod nat;

use common::*;
use nat::*;

#[test]
fn auto_takes_the_backend_in_use_and_refuses_a_mix() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "auto");
        let state = |expected: &str| {
            let status = lab.run("g", &["status"]).ok();
            assert!(
                status.starts_with(&format!("state: up, rules in {}\n", expected)),
                "{}",
                status
            );
        };
        lab.up(&[]);
        state("nft");
        // Docker came: its rules decide, and ours move to where they can be heard.
        let docker = "-restore <<'END'\n*filter\n:FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\nCOMMIT\nEND";
        lab.sh("g", &format!("iptables{}", docker));
        lab.up(&[]);
        state("iptables-nft");
        assert!(!lab.rules().contains("table ip flash-policy-nat"));
        let mut server = lab.server("o", "172.16.1.1:843");
        lab.way_through(&mut server, GATEWAY);
        let wan_lan = ["up", "--wan=eth0"];
        lab.run("g", &[&wan_lan[..], &["--backend=nft"]].concat())
            .fails(1, "FORWARD of iptables-nft has policy DROP");
        state("iptables-nft");
        // Rules of the other kind beside them.
        lab.sh("g", "iptables-legacy -A INPUT -p tcp --dport 9 -j DROP");
        lab.nat("up", &[])
            .fails(1, "both in use, each blind to the other");
        assert!(
            lab.run("g", &["status"]).ok().contains("mixed backends: "),
            "status is silent about a mix"
        );
        lab.down();
        lab.sh("g", "iptables -F; iptables -P FORWARD ACCEPT");
        lab.up(&[]);
        state("iptables-legacy");
        lab.sh("g", "iptables-legacy -P FORWARD DROP");
        lab.way_through(&mut server, GATEWAY);
        lab.run("g", &[&wan_lan[..], &["--backend=nft"]].concat())
            .fails(1, "use --backend iptables-legacy");
        lab.run("g", &[&wan_lan[..], &["--backend=iptables"]].concat())
            .fails(1, "use --backend iptables-legacy");
        lab.run("g", &[&wan_lan[..], &["--backend=nft", "--force"]].concat())
            .ok();
        state("nft");
        lab.no_way_through();
        lab.down();
        lab.sh("g", "iptables-legacy -F; iptables-legacy -P FORWARD ACCEPT");
        lab.sh("g", "nft 'table inet mine { chain f { type filter hook forward priority 0; policy drop; }; }'");
        lab.run("g", &[&wan_lan[..], &["--backend=iptables"]].concat())
            .fails(1, "(inet mine f)");
        lab.up(&[]);
        state("nft");
        lab.way_through(&mut server, GATEWAY);
        lab.down();
        server.stop();
    }
}

/// A foreign nft chain that lets nothing pass at its end, whatever its policy says.
#[test]
fn nft_chain_that_ends_in_a_drop() {
    if !possible() {
        return;
    }
    for last in [
        "drop",
        "counter reject with icmpx admin-prohibited",
        "log prefix \"no: \" drop",
    ] {
        let lab = Lab::new(SHELLS[0], "nft");
        lab.sh("g", &format!("nft 'table inet mine {{ chain f {{ type filter hook forward priority 0; {}; }}; }}'", last));
        let before = lab.rules();
        let mut server = lab.server("o", "172.16.1.1:843");
        lab.up(&[]);
        lab.way_through(&mut server, GATEWAY);
        lab.down();
        assert_eq!(lab.rules(), before);
        server.stop();
    }
}

#[test]
fn firewall_managers_are_not_fought_unless_forced() {
    if !possible() {
        return;
    }
    for (manager, advice) in [
        ("fw4", "option masq '1'"),
        ("firewalld", "firewall-cmd --permanent"),
    ] {
        let lab = Lab::new(SHELLS[0], "auto");
        lab.sh("g", &format!("nft 'table inet {} {{ chain forward {{ type filter hook forward priority 0; policy accept; reject; }}; }}'", manager));
        let before = lab.rules();
        for verb in ["up", "print"] {
            lab.nat(verb, &[]).fails(1, advice);
        }
        assert_eq!(lab.nat("check", &[]).code, Some(1));
        assert_eq!(
            (lab.rules(), lab.forwarding()),
            (before.clone(), "0\n".to_owned())
        );
        let mut server = lab.server("o", "172.16.1.1:843");
        lab.up(&["--force"]);
        lab.way_through(&mut server, GATEWAY);
        assert!(lab
            .run("g", &["status"])
            .ok()
            .contains(&format!("firewalld or fw4: {}\n", manager)));
        lab.down();
        assert_eq!(lab.rules(), before);
        server.stop();
    }
}

//! What the NAT helper says of the gateway.

mod common;
#[macro_use]
mod nat;

use nat::*;
use std::fs;

backends! {
    addresses_that_are_gone_are_in_the_way
}

#[test]
fn status_says_what_is_in_force() {
    if !possible() {
        return;
    }
    for (shell, backend) in [
        (SHELLS[0], "nft"),
        (SHELLS[1], "iptables"),
        (SHELLS[0], "iptables-legacy"),
    ] {
        let lab = Lab::new(shell, backend);
        lab.foreign("drop");
        let down = lab.run("g", &["status"]);
        assert_eq!((down.code, down.err.as_str()), (Some(3), ""));
        let start = "state: not up\nforwarding: off\n";
        assert!(down.out.starts_with(start), "{}", down.out);
        let mut server = lab.server("o", "172.16.1.1:843");
        lab.up(&[]);
        lab.sh("g", "echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter");
        lab.way_through(&mut server, GATEWAY);
        let status = lab.run("g", &["status"]).ok();
        let kind = if backend == "iptables" {
            "iptables-nft"
        } else {
            backend
        };
        let start = format!(
            "state: up, rules in {}\nforwarding: on, turned on by up\n",
            kind
        );
        assert!(status.starts_with(&start), "{}", status);
        let translated = status
            .lines()
            .find(|line| line.to_lowercase().contains("masquerade"))
            .unwrap();
        assert!(
            translated.starts_with("rule: 1 packets: "),
            "{}",
            translated
        );
        let strict = "rp_filter strict, answers must come back by: eth1\n";
        assert!(status.contains(strict), "{}", status);
        // Each interface has a switch of its own, too.
        lab.sh("g", "echo 0 >/proc/sys/net/ipv4/conf/eth1/forwarding");
        let status = lab.run("g", &["status"]);
        assert_eq!(status.code, Some(3));
        assert!(
            status
                .out
                .contains("in the way: forwarding is off at eth1\n"),
            "{}",
            status.out
        );
        lab.no_way_through();
        // It does not concern a gateway for others.
        lab.up(&["--lan=eth2"]);
        lab.run("g", &["status"]).ok();
        lab.sh("g", "ip link set eth0 down; ip link set eth0 name isp");
        let status = lab.run("g", &["status"]);
        let missing = "in the way: there is no interface eth0\n";
        assert!(
            status.code == Some(3) && status.out.contains(missing),
            "{}",
            status.out
        );
        lab.sh("g", "ip link set isp name eth0; ip address flush dev eth2");
        let status = lab.run("g", &["status"]);
        let faults =
            "in the way: eth0 is down: ip link set eth0 up\nin the way: eth2 has no IPv4 address\n";
        assert!(
            status.code == Some(3) && status.out.contains(faults),
            "{}",
            status.out
        );
        let address = format!("ip address add {}/24 dev eth2", GATEWAY_THIRD);
        lab.sh("g", &format!("ip link set eth0 up; {}", address));
        let way = "note: what goes outside does not leave by eth0: there is no route\n";
        assert!(lab.run("g", &["status"]).ok().contains(way));
        lab.sh("g", "echo 0 >/proc/sys/net/ipv4/ip_forward");
        assert_eq!(
            lab.run("g", &["status"]).code,
            Some(3),
            "up without forwarding"
        );
        let spoilt: &[&str] = match backend {
            "nft" => &[
                "nft flush chain ip flash-policy-nat flash-policy-nat-post",
                "nft flush chain ip flash-policy-nat flash-policy-nat-fwd",
            ],
            "iptables" => &[
                "iptables -F FORWARD",
                "iptables -t nat -F POSTROUTING",
                "iptables -t nat -F",
                "iptables -F flash-policy-nat-fwd",
            ],
            _ => &[
                "iptables-legacy -F",
                "iptables-legacy -t nat -F flash-policy-nat-post",
            ],
        };
        lab.sh("g", "echo 1 >/proc/sys/net/ipv4/conf/eth1/forwarding");
        for line in spoilt {
            lab.up(&[]);
            lab.run("g", &["status"]).ok();
            lab.sh("g", line);
            let status = lab.run("g", &["status"]);
            assert!(
                status.code == Some(3) && status.out.contains("incomplete"),
                "{}: {}",
                line,
                status.out
            );
        }
        lab.down();
        for line in ["status", "check --wan=eth0"] {
            let mut nobody = lab.on("g", &["setpriv", "--reuid=65534", "--clear-groups"]);
            nobody.args(shell).arg("-s").args(line.split(' '));
            let part = format!("{} must be run as root", line.split(' ').next().unwrap());
            feed(&mut nobody, &fs::read(SCRIPT).unwrap()).fails(1, &part);
        }
        server.stop();
    }
}

#[test]
fn check_lists_what_is_wrong_and_changes_nothing() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "auto");
        let check = |arguments: &[&str], code: i32, parts: &[&str]| {
            let ran = lab.run("g", &[&["check"], arguments].concat());
            assert_eq!(
                (ran.code, ran.err.as_str()),
                (Some(code), ""),
                "{}",
                ran.out
            );
            for part in parts {
                assert!(ran.out.contains(part), "{} not in {}", part, ran.out);
            }
            assert_eq!(
                ran.out.lines().any(|line| line.starts_with("FAILED: ")),
                code != 0,
                "{}",
                ran.out
            );
        };
        let both = ["--wan=eth0", "--lan=eth1"];
        let before = lab.rules();
        check(
            &both,
            0,
            &["ok: places\nok: links\nok: way\nok: rules: nft\nok: forwarding\n"],
        );
        check(
            &["--wan=eth5"],
            1,
            &["FAILED: places: there is no interface eth5\nok: links\n"],
        );
        check(
            &["--wan=eth0", "--snat=1.2.3.4"],
            1,
            &["FAILED: places: the address 1.2.3.4 is not on eth0, which has: 172.16.1.186/24"],
        );
        // Every kind, without a trace of it in this namespace.
        for backend in BACKENDS {
            check(&["--wan=eth0", "--backend", backend], 0, &["ok: rules: "]);
        }
        assert_eq!(lab.sh("g", "cat /proc/net/ip_tables_names"), "");
        lab.sh(
            "g",
            "ip rule add to 192.0.2.0/24 table 51820; ip route add default dev eth2 table 51820",
        );
        check(
            &both,
            1,
            &["FAILED: way: what goes outside does not leave by eth0: 192.0.2.1 dev eth2"],
        );
        lab.sh(
            "g",
            "ip rule del to 192.0.2.0/24 table 51820; ip link set eth0 down",
        );
        let down = ["eth0 is down: ip link set eth0 up", "there is no route"];
        check(&both, 1, &down);
        lab.sh("g", "ip link set eth0 up; ip address flush dev eth0");
        check(&both, 1, &["eth0 has no IPv4 address"]);
        lab.sh(
            "g",
            "ip address add 172.16.1.186/24 dev eth0; ip route add default via 172.16.1.1",
        );
        assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
        // A kernel that has not all: its own reason, which iptables tells on the second line.
        let path = lab.scratch.file("iptables-restore", "#!/bin/sh\nprintf '\\niptables-restore v1.8.9 (nf_tables): \\nline 5: RULE_APPEND failed (No such file)\\n' >&2; exit 4\n");
        sh(&format!("chmod +x {}", path));
        let path = format!(
            "{}:{}",
            lab.scratch.path("").to_str().unwrap(),
            std::env::var("PATH").unwrap()
        );
        let mut command = lab.helper("g", &["up", "--wan=eth0", "--backend=iptables"]);
        feed(command.env("PATH", path), b"").fails(1, "RULE_APPEND failed (No such file)");
        lab.sh(
            "g",
            "nft 'table inet mine { chain f { drop; }; }'; iptables-legacy -A INPUT -j ACCEPT",
        );
        check(
            &both,
            1,
            &["FAILED: rules: rules of iptables-legacy and of nf_tables"],
        );
    }
}

/// Where all rules were flushed, nothing is left that knows who turned forwarding on.
#[test]
fn flushed_by_somebody_else() {
    if !possible() {
        return;
    }
    for (shell, backend) in [(SHELLS[0], "nft"), (SHELLS[1], "iptables")] {
        let lab = Lab::new(shell, backend);
        lab.up(&[]);
        lab.sh("g", "nft flush ruleset");
        let say = "forwarding: on, and no rules here say by whom; to turn it off: echo 0 >/proc/";
        let status = lab.run("g", &["status"]);
        assert_eq!(status.code, Some(3));
        assert!(
            status.out.starts_with(&format!("state: not up\n{}", say)),
            "{}",
            status.out
        );
        let down = lab.run("g", &["down"]).ok();
        let command = down.split("off: ").nth(1).unwrap_or_default();
        assert!(down.contains(say), "{}", down);
        assert_eq!(lab.forwarding(), "1\n");
        lab.sh("g", command);
        let down = lab.run("g", &["down"]).ok();
        assert!(down.ends_with("down; forwarding: off\n"), "{}", down);
        // A box that was a router before stays one.
        lab.sh("g", "echo 1 >/proc/sys/net/ipv4/ip_forward");
        lab.up(&[]);
        let down = lab.run("g", &["down"]).ok();
        assert!(down.ends_with("on, not changed by up\n"), "{}", down);
    }
}

/// Rules that name what is no longer here translate to nothing, and send players nowhere.
fn addresses_that_are_gone_are_in_the_way(lab: Lab) {
    let gone = "ip address flush dev eth0; ip address add 172.16.1.187/24 dev eth0; \
                ip address flush dev eth1; ip route add default via 172.16.1.1";
    lab.up(&["--snat", GATEWAY, "--policy-server", INNER]);
    lab.run("g", &["status"]).ok();
    lab.sh("g", gone);
    let status = lab.run("g", &["status"]);
    assert_eq!(status.code, Some(3), "{}", status.out);
    for fault in [
        "in the way: the address 172.16.1.186 is not on eth0, which has: 172.16.1.187/24\n",
        "in the way: the policy server 192.168.122.101 is not inside: the way there is eth0\n",
    ] {
        assert!(status.out.contains(fault), "{}", status.out);
    }
    // The same of a subnet that only a slip of the pen can have meant.
    let up = lab.nat("up", &["--subnet", "192.168.22.0/24"]).ok();
    let note = "note: nothing in 192.168.22.0/24 is reached by an inner interface\n";
    assert!(up.contains(note), "{}", up);
    lab.sh("g", "ip address add 192.168.22.1/24 dev eth1");
    let up = lab.nat("up", &["--subnet", "192.168.22.0/24"]).ok();
    assert!(!up.contains("note"), "{}", up);
    lab.run("g", &["status"]).ok();
}

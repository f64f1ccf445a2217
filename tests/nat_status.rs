//! What the NAT helper says of the gateway.

mod common;
#[macro_use]
mod nat;

use common::*;
use nat::*;
use std::fs;

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
        assert!(
            down.out.contains(
                "state: not up, rules in no backend\nforwarding: off, not changed by up\n"
            ),
            "{}",
            down.out
        );
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
        assert!(
            status.starts_with(&format!(
                "state: up, rules in {}\nforwarding: on, was off before up\n",
                kind
            )),
            "{}",
            status
        );
        let translated = status
            .lines()
            .find(|line| line.starts_with("rule: 1 packets: "))
            .unwrap();
        assert!(
            translated.to_lowercase().contains("masquerade"),
            "{}",
            translated
        );
        let policy = if backend == "nft" {
            "drop in nft chain inet mine forward\n".to_owned()
        } else {
            format!("DROP in {}\n", kind)
        };
        let docker = if backend == "nft" {
            "Docker: not seen\n"
        } else {
            "Docker: its chains are here\n"
        };
        for item in [
            &format!("FORWARD policy: {}", policy),
            docker,
            "ufw: not seen\n",
            "firewalld or fw4: not seen\n",
            " eth1=1",
            "strict on eth1:",
            "conntrack: ",
            " of ",
            "IPv6: left alone\n",
        ] {
            assert!(status.contains(item), "{} not in {}", item, status);
        }
        lab.sh("g", "echo 0 >/proc/sys/net/ipv4/ip_forward");
        assert_eq!(
            lab.run("g", &["status"]).code,
            Some(3),
            "up without forwarding"
        );
        let spoilt: &[&str] = match backend {
            "nft" => &[
                "nft flush chain ip flash-policy-nat postrouting",
                "nft flush chain ip flash-policy-nat forward",
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
        let mut nobody = lab.on("g", &["setpriv", "--reuid=65534", "--clear-groups"]);
        nobody.args(shell).args(["-s", "status"]);
        feed(&mut nobody, &fs::read(SCRIPT).unwrap()).fails(1, "status must be run as root");
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
        let both = ["--wan=eth0"];
        let before = lab.rules();
        check(
            &both,
            0,
            &[
                "ok: root\n",
                "ok: default route\n",
                "ok: backend\n",
                "ok: rules for nft\n",
                "ok: forwarding\n",
            ],
        );
        check(
            &["--wan=eth5", "--lan=eth6"],
            1,
            &["there is no interface eth5", "there is no interface eth6"],
        );
        check(
            &["--wan=eth0", "--snat=1.2.3.4"],
            1,
            &["FAILED: addresses: the SNAT address 1.2.3.4 is not on eth0"],
        );
        check(
            &["--wan=eth0", "--subnet=172.16.0.0/12"],
            1,
            &["172.16.1.186/24 lies in the inner subnet"],
        );
        lab.sh("g", "ip link set eth0 down");
        check(
            &both,
            1,
            &[
                "eth0 is down: ip link set eth0 up",
                "no default route leaves by eth0",
            ],
        );
        lab.sh("g", "ip link set eth0 up; ip address flush dev eth0");
        check(&both, 1, &["eth0 has no IPv4 address"]);
        lab.sh(
            "g",
            "ip address add 172.16.1.186/24 dev eth0; ip route add default via 172.16.1.1",
        );
        check(
            &["--wan=eth0", "--state-dir=/proc/version/x"],
            1,
            &["state directory /proc/version/x"],
        );
        assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
        lab.sh(
            "g",
            "nft 'table inet mine { chain f { drop; }; }'; iptables-legacy -A INPUT -j ACCEPT",
        );
        check(
            &both,
            1,
            &["FAILED: backend: rules of iptables-legacy and of nf_tables"],
        );
    }
}

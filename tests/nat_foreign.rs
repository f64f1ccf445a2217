//! The NAT helper beside the rules of others.

mod common;
#[macro_use]
mod nat;

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
        let up = |more: &[&str]| lab.run("g", &[&["up", "--wan=eth0"], more].concat());
        up(&["--backend=nft"]).fails(1, "overrides iptables-nft filter FORWARD: policy -j DROP:");
        state("iptables-nft");
        // Rules of the other kind beside them.
        lab.sh("g", "iptables-legacy -A INPUT -p tcp --dport 9 -j DROP");
        up(&[]).fails(1, "both in use, each blind to the other");
        lab.down();
        lab.sh("g", "iptables -F; iptables -P FORWARD ACCEPT");
        lab.up(&[]);
        state("iptables-legacy");
        lab.sh("g", "iptables-legacy -P FORWARD DROP");
        lab.way_through(&mut server, GATEWAY);
        for backend in ["nft", "iptables"] {
            up(&["--backend", backend]).fails(
                1,
                "overrides iptables-legacy filter FORWARD: policy -j DROP:",
            );
        }
        // Forced, it says what is in the way, and does not call itself up.
        let said = up(&["--backend=nft", "--force"]).ok();
        let way = "in the way: iptables-legacy filter FORWARD: policy -j DROP\n";
        assert!(said.contains(way), "{}", said);
        let status = lab.run("g", &["status"]);
        assert_eq!(status.code, Some(3));
        assert!(status.out.contains(way), "{}", status.out);
        lab.no_way_through();
        lab.down();
        lab.sh("g", "iptables-legacy -F; iptables-legacy -P FORWARD ACCEPT");
        lab.sh("g", "nft 'table inet mine { chain f { type filter hook forward priority 0; policy drop; }; }'");
        up(&["--backend=iptables"]).fails(1, "overrides nft inet mine f: policy -j DROP:");
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
        "iifname \"eth1\" reject",
        "jump last; }; chain last { oifname \"eth0\" jump later; }; chain later { drop",
        "policy drop; ct state established accept",
    ] {
        let lab = Lab::new(SHELLS[0], "nft");
        lab.sh("g", &format!("nft 'table inet mine {{ chain f {{ type filter hook forward priority 10; {}; }}; }}'", last));
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
        ("firewalld", "firewall-cmd give eth0 to --zone=external"),
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
            .contains(&format!("rules owned by: {}: ", manager)));
        lab.down();
        assert_eq!(lab.rules(), before);
        server.stop();
    }
}

/// What `iptables-restore-translate` writes: the tables of iptables, but not to be read by it.
#[test]
fn native_table_by_the_name_of_one_of_iptables() {
    if !possible() {
        return;
    }
    let lab = Lab::new(SHELLS[0], "auto");
    for chain in ["FORWARD", "forward"] {
        lab.sh("g", &format!("nft 'table ip filter {{ chain {} {{ type filter hook forward priority 0; policy drop; ct state established accept; ip saddr 10.7.0.0/24 drop; }}; }}'", chain));
        let before = lab.rules();
        let mut server = lab.server("o", "172.16.1.1:843");
        let said = lab.run("g", &["up", "--wan=eth0"]).ok();
        let over = format!(
            "passed over: nft ip filter {}: ip saddr 10.7.0.0/24 -j DROP\n",
            chain
        );
        assert!(said.contains(&over), "{}", said);
        lab.way_through(&mut server, GATEWAY);
        assert!(lab.run("g", &["status"]).ok().contains(&over));
        // It is loaded anew, without ours.
        lab.sh("g", &format!("nft flush chain ip filter {}", chain));
        let status = lab.run("g", &["status"]);
        assert_eq!(status.code, Some(3));
        assert!(
            status.out.contains(&format!(
                "in the way: nft ip filter {}: policy -j DROP\n",
                chain
            )),
            "{}",
            status.out
        );
        lab.no_way_through();
        lab.up(&[]);
        lab.way_through(&mut server, GATEWAY);
        lab.down();
        assert_ne!(lab.rules(), before);
        lab.sh("g", "nft flush ruleset");
        server.stop();
    }
}

/// The tables of ufw as its own script loads them, from Debian's package, enabled before and after.
#[test]
fn ufw_before_and_after() {
    if !possible() {
        return;
    }
    if !common::have("ufw") {
        return common::skip("ufw is not installed");
    }
    // Its settings in an overlay of /etc; it wants /run and /lib writable as well.
    let ufw = "mount -t tmpfs none /mnt; mkdir /mnt/u /mnt/w; mount -t overlay none /etc \
        -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w; mount -t tmpfs none /run
        sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw; sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf
        sed -i 's/^IPT_MODULES.*//; s/^IPT_SYSCTL.*//' /etc/default/ufw
        /lib/ufw/ufw-init $0 >/dev/null 2>&1";
    for first in [true, false] {
        let lab = Lab::new(SHELLS[0], "iptables");
        let enable = || {
            let mut command = lab.on("g", &["unshare", "--mount", "sh", "-c", ufw, "start"]);
            let ran = Ran::new(command.output().unwrap());
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
            assert!(lab.rules().contains("ufw-user-forward"));
        };
        let mut server = lab.server("o", "172.16.1.1:843");
        if first {
            enable();
            let before = lab.rules();
            lab.up(&[]);
            lab.way_through(&mut server, GATEWAY);
            lab.sh("g", "iptables -A ufw-user-forward -s 10.7.0.0/24 -j DROP");
            let over =
                "passed over: iptables-nft filter ufw-user-forward: -s 10.7.0.0/24 -j DROP\n";
            assert!(lab.run("g", &["status"]).ok().contains(over));
            lab.sh("g", "iptables -D ufw-user-forward -s 10.7.0.0/24 -j DROP");
            lab.down();
            assert_eq!(lab.rules(), before);
        } else {
            // Rules of nft cannot be heard beside a policy that came later: said, and mended.
            lab.run("g", &["up", "--wan=eth0", "--backend=nft"]).ok();
            enable();
            let status = lab.run("g", &["status"]);
            assert_eq!(status.code, Some(3));
            assert!(status
                .out
                .contains("in the way: iptables-nft filter FORWARD: policy -j DROP\n"));
            lab.no_way_through();
            lab.up(&[]);
            lab.way_through(&mut server, GATEWAY);
            // Those of iptables stay where they are.
            enable();
            lab.run("g", &["status"]).ok();
            lab.way_through(&mut server, GATEWAY);
        }
        server.stop();
    }
}

/// Rules as Docker and libvirt write them: they stay, and what is behind them is served.
#[test]
fn docker_and_libvirt() {
    if !possible() {
        return;
    }
    for backend in ["iptables", "iptables-legacy"] {
        let lab = Lab::new(SHELLS[1], backend);
        let before = lab.forwarding();
        lab.up(&[]);
        let mut server = lab.server("o", "172.16.1.1:843");
        // They come later, and put theirs first.
        lab.sh(
            "g",
            &format!(
                "{}-restore --noflush <<'END'
*filter
:FORWARD DROP
:DOCKER -
:DOCKER-USER -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:LIBVIRT_FWO -
:LIBVIRT_FWI -
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A LIBVIRT_FWO -s 192.168.124.0/24 -i virbr0 -j ACCEPT
-A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable
-I FORWARD -o docker0 -j DOCKER
-I FORWARD -j DOCKER-ISOLATION-STAGE-1
-I FORWARD -j DOCKER-USER
-A FORWARD -j LIBVIRT_FWI
-A FORWARD -j LIBVIRT_FWO
COMMIT
*nat
:DOCKER -
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
COMMIT
END",
                backend
            ),
        );
        lab.way_through(&mut server, GATEWAY);
        let status = lab.run("g", &["status"]).ok();
        let over: Vec<_> = status
            .lines()
            .filter(|line| line.starts_with("passed over"))
            .collect();
        assert!(
            over.len() == 1 && over[0].contains("LIBVIRT_FWO: -i virbr0 -j REJECT"),
            "{:?}",
            over
        );
        // An inner network that libvirt rejects before ours is asked is not up.
        lab.sh(
            "g",
            &format!(
                "{} -I LIBVIRT_FWO -i eth1 -j REJECT; {0} -I FORWARD -j LIBVIRT_FWO",
                backend
            ),
        );
        let status = lab.run("g", &["status"]);
        assert_eq!(status.code, Some(3));
        assert!(
            status.out.contains("LIBVIRT_FWO: -i eth1 -j REJECT"),
            "{}",
            status.out
        );
        lab.no_way_through();
        lab.up(&[]);
        lab.way_through(&mut server, GATEWAY);
        // Containers need forwarding by now.
        let said = lab.run("g", &["down"]).ok();
        assert!(said.contains("forwarding stays on for them"), "{}", said);
        assert_eq!((before.as_str(), lab.forwarding().as_str()), ("0\n", "1\n"));
        assert!(!lab.rules().contains("flash-policy-nat"));
        server.stop();
    }
}

/// Our name in a comment makes no rule ours.
#[test]
fn rules_of_the_administrator_with_our_name() {
    if !possible() {
        return;
    }
    for backend in BACKENDS {
        let lab = Lab::new(SHELLS[0], backend);
        match backend {
            "nft" => lab.sh("g", "nft 'table inet mine { chain f { type filter hook forward priority 0; policy drop; tcp dport 9 accept comment \"flash-policy-nat\"; tcp dport 10 accept comment \"jump flash-policy-nat-fwd\"; }; }'"),
            name => lab.sh("g", &format!("for c in flash-policy-nat '-j flash-policy-nat-fwd'; do {} -A FORWARD -p tcp --dport 9 -m comment --comment \"$c\" -j ACCEPT; {0} -t nat -A POSTROUTING -s 10.9.0.0/16 -m comment --comment \"$c\" -j MASQUERADE; done", name)),
        };
        let before = lab.rules();
        lab.up(&[]);
        lab.up(&["--mss-clamp"]);
        lab.run("g", &["status"]).ok();
        lab.down();
        assert_eq!(lab.rules(), before);
    }
}

/// Small kernels have no comment match; iptables looks for it in its folder.
#[test]
fn no_comment_match() {
    if !possible() {
        return;
    }
    let folders = "find /usr/lib -path '*xtables/libxt_comment.so'";
    let found = sh(folders);
    let folder = match found.trim().strip_suffix("/libxt_comment.so") {
        Some(folder) => folder,
        None => return common::skip("the matches of iptables are not files here"),
    };
    for backend in ["iptables", "iptables-legacy"] {
        let lab = Lab::new(SHELLS[0], backend);
        let few = lab.scratch.path("xtables");
        let few = few.to_str().unwrap();
        sh(&format!(
            "cp -R {} {1}; rm {1}/libxt_comment.so",
            folder, few
        ));
        let try_comment = format!(
            "XTABLES_LIBDIR={} {} -A INPUT -m comment --comment x 2>/dev/null || echo none",
            few, backend
        );
        assert_eq!(lab.sh("g", &try_comment), "none\n");
        let mut server = lab.server("o", "172.16.1.1:843");
        let run = |arguments: &[&str]| {
            feed(lab.helper("g", arguments).env("XTABLES_LIBDIR", few), b"").ok()
        };
        run(&[
            "up",
            "--wan=eth0",
            "--backend",
            backend,
            "--mss-clamp",
            "--policy-server",
            INNER,
            "--lan=eth1",
        ]);
        lab.way_through(&mut server, GATEWAY);
        run(&["status"]);
        run(&["down"]);
        assert!(!lab.rules().contains("flash-policy-nat"));
        server.stop();
    }
}

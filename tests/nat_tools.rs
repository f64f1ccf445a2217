//! The NAT helper with few tools, on an inner host, and by make.

mod common;
#[macro_use]
mod nat;

use common::*;
use nat::*;
use std::fs;

/// A box with busybox, and one of the backends, and nothing else; then without what it cannot do without.
#[test]
fn busybox_tools_are_enough() {
    if !possible() {
        return;
    }
    for backend in BACKENDS {
        let lab = Lab::new(SHELLS[1], backend);
        let tools = lab.scratch.path("tools");
        fs::create_dir(&tools).unwrap();
        let (tools, keep) = (tools.to_str().unwrap(), lab.scratch.path("keep"));
        let keep = keep.to_str().unwrap();
        let real = match backend {
            "nft" => "nft".to_owned(),
            name => format!("{} {0}-save {0}-restore", name),
        };
        // The helper also looks into /usr/sbin, which is empty here; what is kept of it is copied before. Some of these
        // programs go by the name that they are called by.
        sh(&format!(
            "mkdir {1}; busybox --install -s {0}; cp -L $(command -v busybox) {1}/busybox; ln -s {1}/busybox {0}/busybox
            for t in {2}; do cp -L $(command -v $t) {1}/$t; rm -f {0}/$t; ln -s {1}/$t {0}/$t; done",
            tools, keep, real
        ));
        // busybox's own flock knows no -w; Debian's busybox has none.
        let flock = format!("#!/bin/sh\ncase $1 in -[sxun]) exec {}/flock \"$@\" ;; esac\necho \"flock: invalid option\" >&2\nexit 1\n", keep);
        let own = lab.scratch.file("tools/flock", flock);
        sh(&format!(
            "chmod +x {}; cp -L $(command -v flock) {}/flock",
            own, keep
        ));
        let bare = format!(
            "mount -t tmpfs none /usr/sbin; export PATH={}; exec \"$@\"",
            tools
        );
        let run = |which: &str, arguments: &[&str]| {
            let mut command = lab.on(
                which,
                &[
                    "unshare", "-m", "sh", "-c", &bare, "sh", "busybox", "ash", SCRIPT,
                ],
            );
            feed(command.args(arguments), b"")
        };
        let mut server = lab.server("o", "172.16.1.1:843");
        let options = [
            "--wan=auto",
            "--lan=eth1",
            "--backend",
            backend,
            "--mss-clamp",
            "--policy-port=8430",
        ];
        run("g", &[&["check"], &options[..]].concat()).ok();
        run("g", &[&["up"], &options[..]].concat()).ok();
        lab.way_through(&mut server, GATEWAY);
        assert!(run("g", &["status"]).ok().contains("rule: 1 packets"));
        run("i", &["client", "--gateway", GATEWAY_INSIDE]).ok();
        run("i", &["verify", "--target", "172.16.1.1:843"]).ok();
        server.expect("172.16.1.186:");
        run("g", &["down"]).ok();
        // OpenWrt's busybox has no unshare, and its nc no options.
        sh(&format!(
            "cd {}; rm nc unshare; ln -s /bin/false unshare; printf '#!/bin/sh\necho \"Usage: nc [IPADDR PORT]\"; exit 1\n' >nc; chmod +x nc",
            tools
        ));
        let said = run("g", &[&["check"], &options[..]].concat()).ok();
        assert!(said.contains(", not tried: no unshare"), "{}", said);
        let ran = run("i", &["verify", "--target", "172.16.1.1:843"]);
        assert!(
            ran.code == Some(1) && ran.out.contains("this nc has no -w"),
            "{}",
            ran.out
        );
        let other = if backend == "nft" { "iptables" } else { "nft" };
        run("g", &["up", "--wan=eth0", "--backend", other]).fails(1, "is not installed");
        sh(&format!("rm {}/awk", tools));
        run("g", &[&["up"], &options[..]].concat()).fails(1, "awk is not installed");
        server.stop();
    }
}

#[test]
fn client_sets_the_default_route() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "nft");
        let before = lab.sh("i", "ip route del default; ip route");
        lab.run("i", &["client", "--gateway", "172.16.1.186"])
            .fails(
                1,
                "172.16.1.186 is not another host on a network of this one",
            );
        lab.run("i", &["client", "--gateway", INNER])
            .fails(1, "is not another host");
        assert_eq!(lab.sh("i", "ip route"), before);
        let said = lab.run("i", &["client", "--gateway", GATEWAY_INSIDE]).ok();
        let start =
            "default route: via 192.168.122.100 dev eth0 (before: none); until the next boot";
        assert!(said.starts_with(start), "{}", said);
        let routes = lab.sh("i", "ip route");
        assert_eq!(
            routes,
            format!("default via 192.168.122.100 dev eth0 \n{}", before)
        );
        lab.run("i", &["client", "--gateway", GATEWAY_INSIDE]).ok();
        assert_eq!(lab.sh("i", "ip route"), routes, "twice");
        lab.run("i", &["client", "--gateway", "10.1.2.3"])
            .fails(1, "10.1.2.3 is not another host");
        let mut nobody = lab.on("i", &["setpriv", "--reuid=65534", "--clear-groups"]);
        nobody
            .args(shell)
            .args(["-s", "client", "--gateway", GATEWAY_INSIDE]);
        feed(&mut nobody, &fs::read(SCRIPT).unwrap()).fails(1, "client must be run as root");
    }
}

#[test]
fn verify_names_the_step_that_is_broken() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "nft");
        let mut server = lab.server("o", "172.16.1.1:843");
        let verify = |target: &str| {
            lab.run(
                "i",
                &["verify", "--gateway", GATEWAY_INSIDE, "--target", target],
            )
        };
        let broken = |ran: Ran, step: &str, advice: &str| {
            let last: Vec<_> = ran.out.lines().rev().take(2).collect();
            assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{}", ran.out);
            assert!(
                last[1].starts_with(&format!("FAILED: {}", step)),
                "{}",
                ran.out
            );
            assert!(
                last[0].starts_with("  do: ") && last[0].contains(advice),
                "{}",
                ran.out
            );
        };
        broken(verify("172.16.1.1:843"), "target: no connection", "status");
        lab.up(&[]);
        let said = verify("172.16.1.1:843").ok();
        assert!(
            said.contains("ok: default route: by 192.168.122.100\n"),
            "{}",
            said
        );
        assert!(
            said.ends_with("ok: target: connected to 172.16.1.1:843\n"),
            "{}",
            said
        );
        server.expect("172.16.1.186:");
        broken(
            verify("172.16.1.1:844"),
            "target: no connection to 172.16.1.1:844",
            "from there",
        );
        lab.sh("g", "iptables -A INPUT -p icmp -j DROP");
        verify("172.16.1.1:843").ok();
        server.expect("172.16.1.186:");
        let mut no_name = lab.on(
            "i",
            &[
                "unshare",
                "-m",
                "sh",
                "-c",
                "mount --bind /dev/null /etc/resolv.conf && exec \"$@\"",
                "sh",
            ],
        );
        no_name
            .args(shell)
            .arg(SCRIPT)
            .args(["verify", "--target", "no.such.name.invalid:80"]);
        broken(feed(&mut no_name, b""), "target: ", "/etc/resolv.conf");
        lab.sh("i", "ip route replace default via 192.168.122.99");
        broken(
            verify("172.16.1.1:843"),
            "default route: by 192.168.122.99",
            "client --gateway 192.168.122.100",
        );
        broken(
            lab.run("i", &["verify", "--target", "172.16.1.1:843"]),
            "gateway: 192.168.122.99 does not answer",
            "cable",
        );
        lab.sh("i", "ip route del default");
        broken(
            verify("172.16.1.1:843"),
            "default route: there is none",
            "client --gateway 192.168.122.100",
        );
        server.stop();
    }
}

#[test]
fn make_targets_pass_the_settings_on() {
    if !possible() {
        return;
    }
    if !have("make") {
        return skip("make is not installed");
    }
    let lab = Lab::new(SHELLS[0], "iptables");
    let make = |which: &str, line: &str| {
        let mut command = lab.on(
            which,
            &["sh", "-c", &format!("exec make -s -C {} {}", ROOT, line)],
        );
        Ran::new(command.output().unwrap())
    };
    let settings = "WAN=eth0 LAN=eth1 BACKEND=iptables SUBNET=192.168.122.0/24 MSS_CLAMP=1";
    assert_eq!(
        make("g", &format!("nat-print {} POLICY_PORT=8430", settings)).ok(),
        lab.nat(
            "print",
            &[
                "--mss-clamp",
                "--policy-port=8430",
                "--lan=eth1",
                "--subnet=192.168.122.0/24"
            ]
        )
        .ok()
    );
    assert!(
        make("g", "nat-up WAN='$(shell echo eth0)' LAN=eth1 SNAT=1.2.3.4")
            .err
            .contains("the address 1.2.3.4 is not on eth0")
    );
    make("g", &format!("nat-check {}", settings)).ok();
    let mut server = lab.server("o", "172.16.1.1:843");
    make("g", &format!("nat-up {}", settings)).ok();
    make("g", "nat-status").ok();
    make("i", &format!("nat-client GATEWAY={}", GATEWAY_INSIDE)).ok();
    make("i", "nat-verify TARGET=172.16.1.1:843").ok();
    server.expect("172.16.1.186:");
    make("g", "nat-down").ok();
    assert_eq!(make("g", "nat-status").code, Some(2));
    let (source, root) = (source(&lab.scratch, "source"), lab.scratch.path("root"));
    let destdir = format!("DESTDIR={}", root.display());
    common::make(&source, &["install-nat-sysv", &destdir]);
    make("g", &format!("nat-persist {} {}", settings, destdir)).ok();
    assert!(root.join("etc/rc5.d/S99flash-policy-nat").is_symlink());
    make("g", &format!("nat-unpersist {}", destdir)).ok();
    assert!(!root.join("etc/rc5.d/S99flash-policy-nat").is_symlink());
    server.stop();
}

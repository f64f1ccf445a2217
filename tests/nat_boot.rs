//! The NAT helper at boot: what `persist` writes, and the service files.

mod common;
#[macro_use]
mod nat;

use common::*;
use nat::*;

const INITS: [&str; 3] = ["systemd", "openrc", "sysv"];

/// Everything in `folder`, with what it points to.
fn tree(folder: &str) -> String {
    sh(&format!(
        "cd {} && find . ! -type d | sort | while read -r f; do echo \"$f $(readlink $f)\"; done",
        folder
    ))
}

/// A root into which make has installed the helper and its service for `init`.
fn installed(scratch: &Scratch, init: &str) -> String {
    let source = source(scratch, "source");
    let root = scratch.path("root").into_os_string().into_string().unwrap();
    let target = format!("install-nat-{}", init);
    make(&source, &[&target, &format!("DESTDIR={}", root)]);
    root
}

#[test]
fn persist_and_unpersist() {
    for shell in SHELLS {
        if !have(shell[0]) {
            return skip(&format!("{} is not installed", shell[0]));
        }
        for init in INITS {
            let scratch = Scratch::new();
            let root = installed(&scratch, init);
            let before = tree(&root);
            helper(shell, &["persist", "--root", &root, "--lan=eth1"])
                .fails(2, "outer interface is missing");
            let arguments = [
                "persist",
                "--root",
                &root,
                "--wan=eth0",
                "--lan",
                "eth1",
                "--lan=eth2",
                "--snat=172.16.1.186",
                "--mss-clamp",
            ];
            let said = helper(shell, &arguments).ok();
            let end = "with the settings in /etc/default/flash-policy-nat\n";
            assert!(said.ends_with(end), "{}", said);
            let text = sh(&format!(
                ". {}/etc/default/flash-policy-nat; echo $WAN,$LAN,$SNAT,$MSS_CLAMP,$BACKEND",
                root
            ));
            assert_eq!(text, "eth0,eth1 eth2,172.16.1.186,1,auto\n");
            let once = tree(&root);
            let link = match init {
                "systemd" => "./etc/systemd/system/multi-user.target.wants/flash-policy-nat.service /usr/local/lib/systemd/system/flash-policy-nat.service\n",
                "openrc" => "./etc/runlevels/default/flash-policy-nat /etc/init.d/flash-policy-nat\n",
                _ => "./etc/rc5.d/S99flash-policy-nat /etc/init.d/flash-policy-nat\n",
            };
            assert!(once.contains(link), "{}", once);
            assert!(!once.contains("sysctl"), "{}", once);
            helper(shell, &arguments).ok();
            assert_eq!(tree(&root), once, "twice");
            // As on a full disk: what was there stays.
            let full = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
            let mut command = std::process::Command::new("sh");
            command.args(["-c", full, "sh"]).args(shell).arg(SCRIPT);
            command.args(["persist", "--root", &root, "--wan=eth9"]);
            Ran::new(command.output().unwrap()).fails(1, "cannot write /etc/default/");
            assert_eq!(tree(&root), once);
            assert!(sh(&format!("cat {}/etc/default/*", root)).contains("WAN=\"eth0\""));
            let unpersist = || helper(shell, &["unpersist", "--root", &root]).ok();
            assert!(unpersist().contains("no longer at boot"));
            assert_eq!(tree(&root), before);
            unpersist();
            // What boots a script goes with the script.
            helper(shell, &arguments).ok();
            let destdir = format!("DESTDIR={}", root);
            make(&scratch.path("source"), &["uninstall", &destdir]);
            assert_eq!(tree(&root), "");
            helper(shell, &arguments).fails(1, "no service is installed");
        }
    }
    helper(SHELLS[0], &["persist", "--root", "/nowhere", "--wan=a"]).fails(1, "no folder /nowhere");
}

/// Who can write what boot runs could be root at the next boot.
#[test]
fn boots_nothing_that_others_can_write() {
    let scratch = Scratch::new();
    let root = installed(&scratch, "sysv");
    let bin = "/usr/local/flash-policy-serv/bin";
    for path in [
        format!("{}/flash-policy-nat", bin),
        bin.to_owned(),
        "/usr".to_owned(),
        "/etc/init.d/flash-policy-nat".to_owned(),
        "/etc/init.d".to_owned(),
    ] {
        for mode in ["g+w", "o+w"] {
            sh(&format!("chmod {} {}{}", mode, root, path));
            let part = format!("not only root can write {}{}:", root, path);
            helper(SHELLS[0], &["persist", "--root", &root, "--wan=eth0"]).fails(1, &part);
            sh(&format!("chmod go-w {}{}", root, path));
        }
        if is_root() {
            sh(&format!("chown 65534 {}{}", root, path));
            let part = format!("not only root can write {}{}:", root, path);
            helper(SHELLS[0], &["persist", "--root", &root, "--wan=eth0"]).fails(1, &part);
            sh(&format!("chown 0 {}{}", root, path));
        }
    }
    helper(SHELLS[0], &["persist", "--root", &root, "--wan=eth0"]).ok();
}

/// Each service is started before the outer interface is there: forwarding is never on without the
/// filter, and packets pass when the interface has come.
#[test]
fn started_before_the_interface_is_there() {
    if !possible() {
        return;
    }
    for (init, line) in [
        ("sysv", "/etc/init.d/flash-policy-nat ACT"),
        (
            "openrc",
            "ebegin() { :; }; eend() { return $1; }; RC_SVCNAME=x; . /etc/init.d/flash-policy-nat; ACT",
        ),
        (
            "systemd",
            "set -a; . /etc/default/flash-policy-nat; eval \"$(sed -n 's/^ExecACT=//p' /usr/local/lib/systemd/system/flash-policy-nat.service)\"",
        ),
    ] {
        let lab = Lab::new(SHELLS[0], "nft");
        let scratch = Scratch::new();
        let root = installed(&scratch, init);
        let mut server = lab.server("o", "172.16.1.1:843");
        lab.sh("o", "ip route add 192.168.122.0/24 via 172.16.1.186");
        let mut inner = lab.server("i", "192.168.122.101:5000");
        let arguments = ["persist", "--root", &root, "--wan=ppp0", "--backend=nft"];
        helper(SHELLS[0], &arguments).ok();
        // What was installed, in its place.
        let act = |act: &str| {
            let act = match init {
                "systemd" => act.replace("sta", "Sta").replace("sto", "Sto"),
                _ => act.to_owned(),
            };
            let place = "mount -t overlay none /etc -o lowerdir=ROOT/etc:/etc; mount --bind ROOT/usr/local /usr/local; ";
            let script = format!("{}{}", place, line).replace("ROOT", &root).replace("ACT", &act);
            let mut command = lab.on("g", &["unshare", "--mount", "sh", "-ec", &script]);
            Ran::new(command.output().unwrap()).ok()
        };
        assert!(act("start").contains("note: there is no interface ppp0\n"), "{}", init);
        assert_eq!(lab.forwarding(), "1\n");
        lab.sh("g", "ip link set eth0 down; ip link set eth0 name ppp0; ip link set ppp0 up; ip route add default via 172.16.1.1");
        lab.way_through(&mut server, GATEWAY);
        assert!(!lab.ask("o", INNER, "5000", "1"), "{}", init);
        act("start");
        lab.way_through(&mut server, GATEWAY);
        act("stop");
        assert_eq!((lab.forwarding().as_str(), lab.rules().as_str()), ("0\n", ""));
        server.stop();
        inner.stop();
    }
}

/// Under systemd itself: up at the start, anew with a restart and a reload of nftables, tried again
/// until there is an interface, and kept at shutdown.
#[test]
fn systemd_runs_it() {
    let programs = ["systemctl", "nft", "ip"];
    if !is_root() || !programs.iter().all(|program| have(program)) {
        return skip("needs root, systemd, nftables and iproute2");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    std::fs::create_dir(scratch.path("root")).unwrap();
    let root = scratch.path("root").into_os_string().into_string().unwrap();
    let script = include_str!("nat/systemd.sh");
    on_machine(script, &[&root, source.to_str().unwrap()]);
}

/// Under OpenRC itself, where no service of the distribution has to be there for it.
#[test]
fn openrc_runs_it() {
    let programs = ["openrc", "openrc-run", "nft", "ip"];
    if !is_root() || !programs.iter().all(|program| have(program)) {
        return skip("needs root, OpenRC, nftables and iproute2");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    std::fs::create_dir(scratch.path("root")).unwrap();
    let root = scratch.path("root").into_os_string().into_string().unwrap();
    let script = include_str!("nat/openrc.sh");
    on_machine(script, &[&root, source.to_str().unwrap()]);
}

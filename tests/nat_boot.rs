//! The NAT helper at boot.

mod common;
#[macro_use]
mod nat;

use common::*;
use nat::*;
use std::fs;
use std::process::Command;

/// Everything in `folder`, with what it contains or points to.
fn tree(folder: &str) -> String {
    sh(&format!(
        "cd {} && find . ! -type d | sort | while read -r f; do echo \"$f $(readlink $f)\"; done",
        folder
    ))
}

#[test]
fn persist_and_unpersist() {
    if !have("systemd-analyze") {
        return skip("systemd-analyze is not installed");
    }
    for shell in SHELLS {
        for init in ["systemd", "openrc", "sysv"] {
            let scratch = Scratch::new();
            let root = scratch.path("");
            let root = root.to_str().unwrap().trim_end_matches('/');
            helper(shell, &["persist", "--root", root, "--wan=eth0"])
                .fails(1, "cannot tell the init system");
            helper(shell, &["persist", "--root", root, "--lan=eth1"])
                .fails(2, "outer interface is missing");
            // As it is found on a real root.
            let marker = match init {
                "systemd" => "usr/lib/systemd/systemd",
                "openrc" => "sbin/openrc-run",
                _ => "etc/init.d/rc",
            };
            sh(&format!(
                "mkdir -p {0}/{1}; rmdir {0}/{1}; : >{0}/{1}; chmod +x {0}/{1}",
                root, marker
            ));
            let before = tree(root);
            let arguments = [
                "persist",
                "--root",
                root,
                "--wan=auto",
                "--lan",
                "eth1",
                "--snat=172.16.1.186",
                "--mss-clamp",
            ];
            let said = helper(shell, &arguments).ok();
            let command = format!("/bin/sh {} up --wan=auto --lan=eth1 --snat=172.16.1.186 --backend=auto --mss-clamp=1 --state-dir=/run/flash-policy-nat", SCRIPT);
            assert!(
                said.ends_with(&format!("({}): {}\n", init, command)),
                "{}",
                said
            );
            let sysctl =
                fs::read_to_string(format!("{}/etc/sysctl.d/90-flash-policy-nat.conf", root))
                    .unwrap();
            assert_eq!(sysctl, "net.ipv4.ip_forward = 1\n");
            let once = tree(root);
            helper(shell, &arguments).ok();
            assert_eq!(tree(root), once, "twice");
            if init == "systemd" {
                let unit = format!("{}/etc/systemd/system/flash-policy-nat.service", root);
                let text = fs::read_to_string(&unit).unwrap();
                assert!(
                    text.contains(&format!("\nExecStart={}\nExecStop=", command)),
                    "{}",
                    text
                );
                assert!(once.contains("multi-user.target.wants/flash-policy-nat.service ../flash-policy-nat.service"), "{}", once);
                let verified = Command::new("systemd-analyze")
                    .args(["verify", "--man=no", &unit])
                    .output()
                    .unwrap();
                Ran::new(verified).ok();
            } else {
                let script = format!("{}/etc/init.d/flash-policy-nat", root);
                let text = fs::read_to_string(&script).unwrap();
                assert!(text.contains(&command), "{}", text);
                // It parses, and can be run.
                sh(&format!("test -x {0}; {1} -n {0}", script, shell.join(" ")));
                if init == "sysv" {
                    let ran = Command::new(&script).output().unwrap();
                    assert_eq!(ran.status.code(), Some(2));
                }
            }
            helper(shell, &["unpersist", "--root", root]).ok();
            assert_eq!(tree(root), before);
            helper(shell, &["unpersist", "--root", root]).ok();
        }
    }
    helper(
        SHELLS[0],
        &["persist", "--root", "/nowhere", "--wan=a", "--lan=b"],
    )
    .fails(1, "there is no directory /nowhere");
    helper(
        SHELLS[0],
        &[
            "persist",
            "--root",
            "/proc/self",
            "--init=systemd",
            "--wan=a",
            "--lan=b",
        ],
    )
    .fails(1, "cannot write below");
}

/// What persist wrote does at boot what up did, and undoes it at shutdown.
#[test]
fn boot_script_brings_it_up() {
    if !possible() {
        return;
    }
    let lab = Lab::new(SHELLS[0], "nft");
    let root = lab.scratch.path("root");
    fs::create_dir(&root).unwrap();
    let mut server = lab.server("o", "172.16.1.1:843");
    for (init, line) in [
        ("sysv", "ROOT/etc/init.d/flash-policy-nat ACT"),
        (
            "openrc",
            "ebegin() { :; }; eend() { return $1; }; . ROOT/etc/init.d/flash-policy-nat; ACT",
        ),
        (
            "systemd",
            "eval \"$(sed -n 's/^ExecACT=//p' ROOT/etc/systemd/system/flash-policy-nat.service)\"",
        ),
    ] {
        let root = root.to_str().unwrap();
        lab.nat("persist", &["--init", init, "--root", root]).ok();
        let act = |act: &str| {
            let act = if init == "systemd" {
                act.replace("sta", "Sta").replace("sto", "Sto")
            } else {
                act.to_owned()
            };
            lab.sh("g", &line.replace("ROOT", root).replace("ACT", &act))
        };
        act("start");
        lab.way_through(&mut server, GATEWAY);
        act("stop");
        assert_eq!(lab.forwarding(), "0\n");
    }
    server.stop();
}

//! The rules of the NAT helper as text.

mod common;
#[macro_use]
mod nat;

use nat::*;
use std::fs;

matrix! {
    printed_script_is_what_up_applies
}

fn printed_script_is_what_up_applies(lab: Lab) {
    lab.foreign("drop");
    let options = ["--policy-server", INNER, "--mss-clamp", "--lan=eth1"];
    let script = lab.nat("print", &options).ok();
    let before = lab.rules();
    lab.sh("g", &script);
    let printed = (lab.rules(), lab.forwarding());
    lab.up(&options);
    assert_eq!((lab.rules(), lab.forwarding()), printed);
    // What is printed now replaces what is there.
    let script = lab.nat("print", &[]).ok();
    lab.sh("g", &script);
    let printed = lab.rules();
    lab.up(&[]);
    assert_eq!(lab.rules(), printed);
    // And what is there in another backend, which up would move from.
    let other = if lab.backend == "nft" {
        "iptables"
    } else {
        "nft"
    };
    if lab.backend == "iptables-legacy" {
        lab.down();
        assert_eq!(lab.rules(), before);
    } else {
        let moved = ["print", "--wan=eth0", "--force", "--backend", other];
        let script = lab.run("g", &moved).ok();
        lab.sh("g", &script);
        let status = lab.run("g", &["status"]).out;
        let expected = if other == "nft" {
            "rules in nft,"
        } else {
            "rules in iptables-nft,"
        };
        assert!(status.contains(expected), "{}", status);
    }
}

/// The rules as they were read and approved once. Every backend, with few and with all options.
#[test]
fn golden_print() {
    if !possible() {
        return;
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nat/");
    for shell in SHELLS {
        for backend in BACKENDS {
            let lab = Lab::new(shell, backend);
            let mut printed = lab.nat("print", &[]).ok();
            let options = ["--snat", GATEWAY, "--policy-server", INNER, "--mss-clamp"];
            printed += &lab.nat("print", &options).ok();
            lab.sh("g", "echo 1 >/proc/sys/net/ipv4/ip_forward");
            let options = ["--subnet=10.0.0.0/8", "--lan=eth1", "--lan=eth2"];
            printed += &lab.nat("print", &options).ok();
            let options = ["--subnet=10.0.0.0/8", "--policy-port=8430"];
            printed += &lab.nat("print", &options).ok();
            let file = format!("{}print-{}.txt", golden, backend);
            assert_eq!(
                printed,
                fs::read_to_string(&file).unwrap_or_default(),
                "{}",
                file
            );
        }
    }
}

#[test]
fn print_needs_no_root() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        for backend in BACKENDS {
            let lab = Lab::new(shell, backend);
            let mut nobody = lab.on("g", &["setpriv", "--reuid=65534", "--clear-groups"]);
            nobody
                .args(shell)
                .args(["-s", "print", "--wan=eth0", "--backend", backend]);
            let printed = feed(&mut nobody, &fs::read(SCRIPT).unwrap()).ok();
            let note = "# Not root: rules already here could not be read.\n";
            assert!(printed.contains(note), "{}", printed);
            assert_eq!(printed.replace(note, ""), lab.nat("print", &[]).ok());
        }
    }
}

//! The command line of the NAT helper.

mod common;
#[macro_use]
mod nat;

use common::*;
use nat::*;
use std::fs;
use std::process::Command;

#[test]
fn bad_input_is_one_clear_line() {
    let up = |more: &[&'static str]| [&["up", "--wan", "eth0"], more].concat();
    let wrong: &[(&[&str], &str)] = &[
        (&[], "what to do?"),
        (&["upp"], "unknown verb 'upp'"),
        (&["up", "down"], "unexpected argument 'down'"),
        (&["up", "--wam", "eth0"], "unknown option '--wam'"),
        (&["up", "-w"], "unknown option '-w'"),
        (&["up", "--wan"], "--wan needs a value"),
        (&["up", "--wan="], "--wan needs a value"),
        (&["up", "--lan", ""], "--lan needs a value"),
        (&["up", "--lan", "eth1"], "outer interface is missing"),
        (&["up", "--wan", "eth0", "--lan", "eth0"], "both eth0"),
        (&["up", "--wan", "eth 0"], "'eth 0' is no interface name"),
        (&["up", "--wan", "eth0\"; drop"], "is no interface name"),
        (&["up", "--wan", "eth+"], "is no interface name"),
        (&["up", "--wan", "e\nth"], "'e?th' is no interface name"),
        (&["up", "--wan", "../eth0"], "is no interface name"),
        (&["up", "--wan", "a-name-too-long-"], "is no interface name"),
        (&["up", "--wan", "$(id)"], "'$(id)' is no interface name"),
        (&["up", "--wan", "eth0", "--lan", "eth1 x;y"], "'x;y' is no"),
        (&["up", "--wan", "eth0", "--lan", "e|h"], "'e|h' is no"),
        (
            &up(&["--policy-server", "game.example.com"]),
            "is no policy server",
        ),
        (
            &up(&["--policy-server", "192.168.122.101:"]),
            "is no policy server",
        ),
        (
            &up(&["--policy-server", "192.168.122.101:65536"]),
            "is no policy server",
        ),
        (
            &up(&["--policy-server", "192.168.122.101:1\n2"]),
            "is no policy server",
        ),
        (
            &up(&["--policy-port", "0"]),
            "'0' is no policy port from 1 to 65535",
        ),
        (
            &up(&["--policy-port", "8430x"]),
            "'8430x' is no policy port",
        ),
        (
            &up(&["--policy-port", "08430"]),
            "'08430' is no policy port",
        ),
        (
            &up(&["--policy-port", "8430", "--policy-server", INNER]),
            "both take port 843",
        ),
        (&up(&["--mss-clamp=yes"]), "'yes' is no switch: MSS_CLAMP"),
        (&up(&["--force=yes"]), "'yes' is no switch"),
        (&up(&["--backend", "pf"]), "'pf' is no backend: auto, nft"),
        (
            &up(&["--state-dir", "/run"]),
            "unknown option '--state-dir'",
        ),
        (&["client"], "'' is no gateway: --gateway ADDRESS"),
        (
            &["client", "--gateway", "192.168.122"],
            "'192.168.122' is no gateway",
        ),
        (&["verify"], "'' is no target: --target HOST:PORT"),
        (&["verify", "--target", "172.16.1.1"], "is no target"),
        (&["verify", "--target", "172.16.1.1:http"], "is no target"),
        (&["verify", "--target", "-x:80"], "'-x:80' is no target"),
        (&["verify", "--target", "h;id:80"], "'h;id:80' is no target"),
    ];
    let subnets = [
        "10.0.0.0/33",
        "10.0.0.0/0",
        "10.0.0.0/",
        "10.0.0.0/08",
        "10.0.0.0",
        "1.2.3/24",
        "1.2.3.4.5/24",
        "256.0.0.0/8",
        "010.0.0.0/8",
        "10.0.0.0/8/8",
        "10.0.0.0/8;x",
        "10..0.0/8",
        "fd00::/64",
        "ten/8",
        "1.2.3./24",
    ];
    for shell in SHELLS {
        if !have(shell[0]) {
            return skip(&format!("{} is not installed", shell[0]));
        }
        for (arguments, part) in wrong {
            helper(shell, arguments).fails(2, part);
        }
        for subnet in subnets {
            helper(shell, &up(&["--subnet", subnet])).fails(2, "is no subnet");
        }
        for address in [
            "172.16.1",
            "172.16.1.256",
            "0172.16.1.1",
            "172.16.1.1/24",
            "eth0",
        ] {
            helper(shell, &up(&["--snat", address])).fails(2, "is no IPv4 address");
        }
        // Whoever types it.
        if is_root() {
            let mut nobody = Command::new("setpriv");
            nobody.args(["--reuid=65534", "--clear-groups"]).args(shell);
            feed(nobody.args(["-s", "up"]), &fs::read(SCRIPT).unwrap())
                .fails(2, "outer interface is missing");
        }
    }
}

/// Options with either form, the environment, an option over the environment, and interfaces by themselves.
#[test]
fn settings_come_from_options_and_environment() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "nft");
        let options = lab
            .run(
                "g",
                &[
                    "print",
                    "--wan",
                    "eth0",
                    "--lan=eth1",
                    "--backend",
                    "nft",
                    "--snat=172.16.1.186",
                ],
            )
            .ok();
        let mut command = lab.helper("g", &["print", "--wan=auto"]);
        command.envs([
            ("WAN", "eth9"),
            ("LAN", "eth1"),
            ("wan", "eth7"),
            ("state", "x"),
            ("flat", "x"),
            ("SNAT", GATEWAY),
        ]);
        assert_eq!(feed(&mut command, b"").ok(), options);
        command.envs([
            ("BACKEND", ""),
            ("MSS_CLAMP", "0"),
            ("POLICY_PORT", ""),
            ("POLICY_SERVER", ""),
        ]);
        assert_eq!(
            feed(&mut command, b"").ok(),
            options,
            "an empty variable is none"
        );
        command
            .env("MSS_CLAMP", "1")
            .env("POLICY_SERVER", "192.168.122.101:8430");
        let more = feed(&mut command, b"").ok();
        assert!(
            more.contains("rt mtu") && more.contains("dnat to 192.168.122.101:8430"),
            "{}",
            more
        );
    }
}

#[test]
fn help_man_page_and_version_agree() {
    let page = fs::read_to_string(format!("{}.8", SCRIPT)).unwrap();
    let help = helper(&["sh"], &["up", "--wan", "no such", "--help"]).ok();
    let mut options = Vec::new();
    for line in help.lines() {
        assert!(line.len() <= 100, "{}", line);
        if let Some(option) = line.trim_start().strip_prefix("--") {
            options.push(
                option
                    .split(|c: char| !c.is_ascii_lowercase() && c != '-')
                    .next()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    assert_eq!(options.len(), 13);
    let of_page = |name: &str| {
        page.lines()
            .any(|line| line.starts_with(&format!(".It Fl -{}", name)))
    };
    for option in &options {
        assert!(of_page(option), "{} is not in the manual page", option);
    }
    let count = page
        .lines()
        .filter(|line| line.starts_with(".It Fl -"))
        .count();
    assert_eq!(
        count,
        options.len(),
        "the manual page has an option that --help has not"
    );
    let version = format!("flash-policy-nat {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(helper(&["sh"], &["--version"]).ok(), version);
    assert_eq!(helper(&["sh"], &["-V"]).ok(), version);
    assert_eq!(helper(&["sh"], &["-h"]).ok(), help);
}

#[test]
fn shellcheck_finds_nothing() {
    if !have("shellcheck") {
        return skip("shellcheck is not installed");
    }
    let output = Command::new("shellcheck")
        .args(["-s", "sh", SCRIPT])
        .output()
        .unwrap();
    assert_eq!(Ran::new(output).ok(), "");
}

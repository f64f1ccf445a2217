//! The NAT gateway helper with real packets: an outer host, a gateway and an inner host, each a network
//! namespace of its own, for every backend, under dash and busybox ash.

mod common;

use common::*;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/flash-policy-nat");
const SETTINGS: [&str; 13] = [
    "WAN",
    "LAN",
    "SUBNET",
    "SNAT",
    "BACKEND",
    "POLICY_SERVER",
    "POLICY_PORT",
    "MSS_CLAMP",
    "STATE_DIR",
    "GATEWAY",
    "TARGET",
    "DESTDIR",
    "MAKEFLAGS",
];
const BACKENDS: [&str; 3] = ["nft", "iptables", "iptables-legacy"];
const SHELLS: [&[&str]; 2] = [&["dash"], &["busybox", "ash"]];

const OUTER: &str = "172.16.1.1";
const GATEWAY: &str = "172.16.1.186";
const GATEWAY_INSIDE: &str = "192.168.122.100";
const INNER: &str = "192.168.122.101";

/// What a run came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// It worked, and had nothing to complain about.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(
            (self.code, self.err.as_str()),
            (Some(0), ""),
            "{}",
            self.out
        );
        self.out
    }

    /// It ended with `code`, and said why in one line that has `part` in it.
    #[track_caller]
    fn fails(self, code: i32, part: &str) {
        let one_line = self.err.lines().count() == 1 && self.err.starts_with("flash-policy-nat: ");
        let right = self.code == Some(code) && self.out.is_empty();
        assert!(
            right && one_line && self.err.contains(part),
            "{:?} {}{}",
            self.code,
            self.out,
            self.err
        );
    }
}

fn feed(command: &mut Command, input: &[u8]) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that ends early may leave this unread.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ran::new(child.wait_with_output().unwrap())
}

/// Runs a shell command line of the test itself, which must work.
#[track_caller]
fn sh(line: &str) -> String {
    Ran::new(Command::new("sh").args(["-ec", line]).output().unwrap()).ok()
}

/// The helper outside any namespace of ours, where it must not change anything.
fn helper(shell: &[&str], arguments: &[&str]) -> Ran {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(SCRIPT).args(arguments);
    for setting in SETTINGS {
        command.env_remove(setting);
    }
    feed(&mut command, b"")
}

/// Whether this machine can run these tests; says what is missing.
fn possible() -> bool {
    let tools = [
        "ip",
        "nft",
        "iptables-nft-save",
        "iptables-legacy-save",
        "busybox",
        "dash",
        "nsenter",
        "setsid",
        "setpriv",
    ];
    if let Some(tool) = tools.iter().find(|tool| !have(tool)) {
        skip(&format!("{} is not installed", tool));
        return false;
    }
    if !is_root() {
        skip("network namespaces need root");
        return false;
    }
    let name = format!(
        "fpn-try-{}-{:?}",
        std::process::id(),
        thread::current().id()
    );
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
    let works = Command::new("ip")
        .args(["netns", "add", &name])
        .output()
        .unwrap();
    let _ = Command::new("ip").args(["netns", "del", &name]).output();
    if !works.status.success() {
        skip("no network namespace can be made here");
    }
    works.status.success()
}

/// The three hosts, with the helper's shell, backend and state directory.
struct Lab {
    name: String,
    shell: &'static [&'static str],
    backend: &'static str,
    scratch: Scratch,
}

impl Lab {
    fn new(shell: &'static [&'static str], backend: &'static str) -> Lab {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "fpn-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let lab = Lab {
            name,
            shell,
            backend,
            scratch: Scratch::new(),
        };
        let (o, g, i) = (lab.host("o"), lab.host("g"), lab.host("i"));
        sh(&format!(
            "for n in {o} {g} {i}; do ip netns add $n; ip -n $n link set lo up; done
            ip -n {g} link add eth0 type veth peer name eth0 netns {o}
            ip -n {g} link add eth1 type veth peer name eth0 netns {i}
            ip -n {o} address add {OUTER}/24 dev eth0; ip -n {o} link set eth0 up
            ip -n {g} address add {GATEWAY}/24 dev eth0; ip -n {g} link set eth0 up
            ip -n {g} address add {GATEWAY_INSIDE}/24 dev eth1; ip -n {g} link set eth1 up
            ip -n {i} address add {INNER}/24 dev eth0; ip -n {i} link set eth0 up
            ip -n {g} route add default via {OUTER}
            ip -n {i} route add default via {GATEWAY_INSIDE}"
        ));
        lab
    }

    fn host(&self, which: &str) -> String {
        format!("{}-{}", self.name, which)
    }

    /// A command on one of the hosts: `o`, `g` or `i`.
    fn on(&self, which: &str, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.host(which)))
            .args(program);
        for setting in SETTINGS {
            command.env_remove(setting);
        }
        command.env("STATE_DIR", self.scratch.path("state"));
        command
    }

    /// A shell command line on one of the hosts, which must work.
    #[track_caller]
    fn sh(&self, which: &str, line: &str) -> String {
        Ran::new(self.on(which, &["sh", "-ec", line]).output().unwrap()).ok()
    }

    fn helper(&self, which: &str, arguments: &[&str]) -> Command {
        let mut command = self.on(which, self.shell);
        command.arg(SCRIPT).args(arguments);
        command
    }

    fn run(&self, which: &str, arguments: &[&str]) -> Ran {
        feed(&mut self.helper(which, arguments), b"")
    }

    /// A verb with the two interfaces and the backend of this lab.
    fn nat(&self, verb: &str, more: &[&str]) -> Ran {
        let mut arguments = vec![
            verb,
            "--wan",
            "eth0",
            "--lan=eth1",
            "--backend",
            self.backend,
        ];
        arguments.extend(more);
        self.run("g", &arguments)
    }

    #[track_caller]
    fn up(&self, more: &[&str]) {
        self.nat("up", more).ok();
    }

    #[track_caller]
    fn down(&self) {
        self.run("g", &["down"]).ok();
    }

    /// This project's server on a host, telling whom it answers.
    fn server(&self, which: &str, listen: &str) -> Server {
        // Without a warning: on 843 with site-control, on other ports without.
        let policy = match listen.ends_with(":843") {
            true => NARROW.replace(
                "<allow",
                "<site-control permitted-cross-domain-policies=\"master-only\"/><allow",
            ),
            false => NARROW.to_owned(),
        };
        let file = self.scratch.file(&format!("policy-{}.xml", which), policy);
        Server::spawn(&mut self.on(which, &[BIN, "-l", listen, "-f", &file, "-v"]))
    }

    /// A policy request from a host, by a program that is on every box: true when there is a policy, false
    /// when there is no way.
    fn ask(&self, which: &str, host: &str, port: &str, patience: &str) -> bool {
        let mut command = self.on(which, &["busybox", "nc", "-w", patience, host, port]);
        let answer = feed(&mut command, REQUEST).out;
        let policy = answer.starts_with("<cross-domain-policy>")
            && answer.ends_with("</cross-domain-policy>\n\0");
        assert!(policy || answer.is_empty(), "half an answer: {}", answer);
        policy
    }

    /// The inner host is answered by the outer one, who saw the request come from `source`.
    #[track_caller]
    fn way_through(&self, server: &mut Server, source: &str) {
        assert!(self.ask("i", OUTER, "843", "10"));
        let line = server.expect(" answered");
        assert!(line.contains(&format!(" {}:", source)), "{}", line);
    }

    #[track_caller]
    fn no_way_through(&self) {
        assert!(!self.ask("i", OUTER, "843", "1"));
    }

    fn forwarding(&self) -> String {
        self.sh("g", "cat /proc/sys/net/ipv4/ip_forward")
    }

    /// Every rule of every backend, without counters.
    fn rules(&self) -> String {
        self.sh(
            "g",
            "nft -s list ruleset 2>/dev/null # both warn of tables of another kind
            bare() { sed -e '/^#/d' -e 's/ *\\[[0-9]*:[0-9]*\\]//'; }
            iptables-nft-save 2>/dev/null | bare
            test -z \"$(cat /proc/net/ip_tables_names)\" ||
            iptables-legacy-save | bare",
        )
    }

    /// Rules that somebody else had here before, in the tables that the helper uses. `policy` is that
    /// of forwarding, with Docker's chains beside it as far as the backend has them.
    fn foreign(&self, policy: &str) {
        let rules = match self.backend {
            "nft" => format!(
                "nft -f - <<'END'
table inet mine {{
    chain forward {{
        type filter hook forward priority 0; policy {};
        iifname \"docker0\" accept comment \"docker\"
    }}
    chain input {{ type filter hook input priority 0; tcp dport 9 drop; }}
}}
table ip other {{
    chain post {{ type nat hook postrouting priority 100; ip saddr 10.9.0.0/16 masquerade; }}
}}
END",
                policy
            ),
            _ => format!(
                "{}-restore <<'END'
*filter
:FORWARD {}
:DOCKER-USER -
:DOCKER -
-A INPUT -p tcp --dport 9 -j DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 -m comment --comment \"two words\" -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.9.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
END",
                self.backend,
                policy.to_uppercase()
            ),
        };
        self.sh("g", &rules);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for which in ["o", "g", "i"] {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.host(which)])
                .output();
        }
    }
}

/// A scenario for every backend under every shell, each a test of its own.
macro_rules! matrix {
    ($($scenario:ident)*) => { $(
        mod $scenario {
            #[test] fn nft_dash() { run(0, 0) }
            #[test] fn nft_busybox() { run(0, 1) }
            #[test] fn iptables_dash() { run(1, 0) }
            #[test] fn iptables_busybox() { run(1, 1) }
            #[test] fn iptables_legacy_dash() { run(2, 0) }
            #[test] fn iptables_legacy_busybox() { run(2, 1) }

            fn run(backend: usize, shell: usize) {
                if super::possible() {
                    super::$scenario(super::Lab::new(super::SHELLS[shell], super::BACKENDS[backend]));
                }
            }
        }
    )* };
}

matrix! {
    masquerades_and_takes_it_back
    fixed_source_beside_forward_drop
    new_connections_from_outside_are_dropped
    mss_clamp_fits_the_path
    killed_at_any_point
    fails_whole
    policy_server_inside
    policy_server_on_the_gateway
    printed_script_is_what_up_applies
}

fn masquerades_and_takes_it_back(lab: Lab) {
    lab.foreign("accept");
    let before = lab.rules();
    let mut server = lab.server("o", "172.16.1.1:843");
    lab.no_way_through();
    lab.down();
    assert_eq!(lab.rules(), before, "down with nothing up");

    lab.up(&["--mss-clamp"]);
    let once = lab.rules();
    assert_eq!(lab.forwarding(), "1\n");
    lab.way_through(&mut server, GATEWAY);
    lab.up(&["--mss-clamp"]);
    assert_eq!(lab.rules(), once, "twice");
    // Other settings leave nothing of the old ones.
    lab.up(&["--policy-port", "8430"]);
    lab.up(&["--mss-clamp"]);
    assert_eq!(lab.rules(), once, "there and back");
    // Every rule of ours carries our name; nft does not show the comments of iptables' rules.
    let ours: Vec<_> = match lab.backend {
        "nft" => once.lines().filter(|line| line.contains("\"eth")).collect(),
        _ => once
            .lines()
            .filter(|line| {
                line.starts_with("-A") && (line.contains(" eth") || line.contains("-j flash"))
            })
            .collect(),
    };
    assert!(ours.len() >= 7, "{}", once);
    for rule in ours {
        assert!(
            rule.contains("comment")
                && rule.split("comment").any(|part| part
                    .trim_matches(|c| c == '"' || c == ' ')
                    .starts_with("flash-policy-nat")),
            "{}",
            rule
        );
    }
    lab.way_through(&mut server, GATEWAY);

    lab.down();
    lab.no_way_through();
    assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
    assert!(
        !lab.scratch.path("state").exists(),
        "the state directory is left"
    );
    server.stop();
}

/// Docker's FORWARD policy, a second outer address, and a box that was a router before.
fn fixed_source_beside_forward_drop(lab: Lab) {
    lab.foreign("drop");
    lab.sh(
        "g",
        "echo 1 >/proc/sys/net/ipv4/ip_forward; ip address add 172.16.1.187/24 dev eth0",
    );
    let before = lab.rules();
    let mut server = lab.server("o", "172.16.1.1:843");
    lab.no_way_through();
    lab.up(&["--snat", "172.16.1.187"]);
    lab.way_through(&mut server, "172.16.1.187");
    let once = lab.rules();
    lab.up(&["--snat", "172.16.1.187"]);
    assert_eq!(lab.rules(), once, "twice");
    lab.down();
    lab.no_way_through();
    assert_eq!((lab.rules(), lab.forwarding()), (before, "1\n".to_owned()));
    server.stop();
}

/// Translation alone is no firewall: an outer neighbour with a route would get in.
fn new_connections_from_outside_are_dropped(lab: Lab) {
    lab.sh(
        "o",
        &format!("ip route add 192.168.122.0/24 via {}", GATEWAY),
    );
    let mut server = lab.server("i", "192.168.122.101:5000");
    lab.sh("g", "echo 1 >/proc/sys/net/ipv4/ip_forward");
    assert!(lab.ask("o", INNER, "5000", "10"), "the route is wrong");
    server.expect(" answered");
    lab.up(&[]);
    assert!(!lab.ask("o", INNER, "5000", "1"));
    // Nor is the port of a policy server open, but for what came through 843 of the gateway.
    lab.up(&["--policy-server", "192.168.122.101:5000"]);
    assert!(!lab.ask("o", INNER, "5000", "1"));
    // A port that somebody else forwards stays forwarded.
    lab.up(&[]);
    lab.sh("g", &match lab.backend {
        "nft" => "nft 'table ip other { chain c { type nat hook prerouting priority -100; tcp dport 5001 dnat to 192.168.122.101:5000; }; }'".to_owned(),
        name => format!("{} -t nat -A PREROUTING -p tcp --dport 5001 -j DNAT --to 192.168.122.101:5000", name),
    });
    assert!(lab.ask("o", GATEWAY, "5001", "10"));
    server.expect(" answered");
    server.stop();
}

/// The outer link is smaller than the inner host knows: its segment size is told to the outer host as 1400 - 40.
fn mss_clamp_fits_the_path(lab: Lab) {
    lab.sh("g", "ip link set eth0 mtu 1400");
    let mut server = lab.server("o", "172.16.1.1:843");
    lab.sh("o", "nft 'table ip t { chain c { type filter hook input priority 0; tcp flags syn tcp option maxseg size 1360 counter; }; }'");
    for (option, seen) in [
        ("--mss-clamp=0", "packets 0 "),
        ("--mss-clamp", "packets 1 "),
    ] {
        lab.up(&[option]);
        lab.way_through(&mut server, GATEWAY);
        let counted = lab.sh("o", "nft list table ip t");
        assert!(counted.contains(seen), "{}: {}", option, counted);
    }
    server.stop();
}

/// Programs in front of the real ones, in a folder that goes first in PATH.
fn wrapped(lab: &Lab, wrapper: &str) -> String {
    for tool in ["nft", "iptables-restore", "iptables-legacy-restore"] {
        let path = lab.scratch.file(tool, wrapper.replace("TOOL", tool));
        sh(&format!("chmod +x {}", path));
    }
    let folder = lab.scratch.path("");
    format!(
        "{}:{}",
        folder.to_str().unwrap(),
        std::env::var("PATH").unwrap()
    )
}

/// SIGKILL to the helper and all that it started: before its transaction, between the tables of
/// iptables, and after it. Each time up and down afterwards, and down alone, leave nothing.
fn killed_at_any_point(lab: Lab) {
    lab.foreign("drop");
    let before = lab.rules();
    let mut server = lab.server("o", "172.16.1.1:843");
    let path = wrapped(
        &lab,
        "#!/bin/sh
real=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v TOOL)
case \" $* \" in *' -c '* | *' list '* | *' --test '*) exec $real \"$@\" ;; esac
case $STAGE in
half) sed '/^[*]nat/,$d' | $real \"$@\" ;;
after) $real \"$@\" ;;
esac
kill -9 0
",
    );
    let stages: &[&str] = if lab.backend == "nft" {
        &["before", "after"]
    } else {
        &["before", "half", "after"]
    };
    for stage in stages {
        for recover in [true, false] {
            let mut command = lab.on("g", &["setsid"]);
            command.args(lab.shell).arg(SCRIPT);
            command.args(["up", "--wan=eth0", "--lan=eth1", "--backend", lab.backend]);
            command.env("PATH", &path).env("STAGE", stage);
            let killed = feed(&mut command, b"");
            assert_eq!(
                (killed.code, killed.out.as_str()),
                (None, ""),
                "{}: {}",
                stage,
                killed.err
            );
            assert_eq!(lab.rules() == before, *stage == "before", "{}", stage);
            assert_eq!(lab.run("g", &["status"]).code, Some(3), "{}", stage);
            if recover {
                lab.up(&[]);
                lab.way_through(&mut server, GATEWAY);
            }
            lab.down();
            assert_eq!(
                (lab.rules(), lab.forwarding()),
                (before.clone(), "0\n".to_owned()),
                "{}",
                stage
            );
            assert!(!lab.scratch.path("state").exists(), "{}", stage);
        }
    }
    server.stop();
}

/// A tool that fails at its second table, or at once: everything is as it was, whether nothing was up
/// before or something else was.
fn fails_whole(lab: Lab) {
    lab.foreign("accept");
    let path = wrapped(
        &lab,
        "#!/bin/sh
real=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v TOOL)
case \" $* \" in *' -c '* | *' list '* | *' --test '*) exec $real \"$@\" ;; esac
test ! -e DONE || exec $real \"$@\"
: >DONE
test TOOL = nft || sed '/^[*]nat/,$d' | $real \"$@\"
echo 'the kernel said no' >&2
exit 1
"
        .replace("DONE", lab.scratch.path("done").to_str().unwrap())
        .as_str(),
    );
    let failing_up = || {
        let _ = fs::remove_file(lab.scratch.path("done"));
        let arguments = [
            "up",
            "--wan=eth0",
            "--lan=eth1",
            "--backend",
            lab.backend,
            "--policy-port=8430",
        ];
        feed(lab.helper("g", &arguments).env("PATH", &path), b"").fails(1, "the kernel said no");
    };
    let before = lab.rules();
    failing_up();
    assert_eq!(
        (lab.rules(), lab.forwarding()),
        (before.clone(), "0\n".to_owned())
    );
    assert!(!lab.scratch.path("state").exists());
    lab.up(&["--mss-clamp"]);
    let once = lab.rules();
    failing_up();
    assert_eq!((lab.rules(), lab.forwarding()), (once, "1\n".to_owned()));
    lab.run("g", &["status"]).ok();
    lab.down();
    assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
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

fn printed_script_is_what_up_applies(lab: Lab) {
    lab.foreign("drop");
    let options = ["--policy-server", INNER, "--mss-clamp"];
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
        let moved = [
            "print",
            "--wan=eth0",
            "--lan=eth1",
            "--force",
            "--backend",
            other,
        ];
        let script = lab.run("g", &moved).ok();
        lab.sh("g", &script);
        let status = lab.run("g", &["status"]).ok();
        let expected = if other == "nft" {
            "rules in nft\n"
        } else {
            "rules in iptables-nft\n"
        };
        assert!(status.contains(expected), "{}", status);
    }
}

// What does not differ from backend to backend, or is about choosing one.

#[test]
fn bad_input_is_one_clear_line() {
    let up = ["up", "--wan", "eth0", "--lan", "eth1"];
    let wrong: &[(&[&str], &str)] = &[
        (&[], "what to do?"),
        (&["upp"], "unknown verb 'upp'"),
        (&["up", "down"], "unexpected argument 'down'"),
        (&["up", "--wam", "eth0"], "unknown option '--wam'"),
        (&["up", "-w"], "unknown option '-w'"),
        (&["down", "--force=yes"], "unknown option '--force'"),
        (&["up", "--wan"], "--wan needs a value"),
        (&["up", "--wan="], "--wan needs a value"),
        (&["up", "--lan", ""], "--lan needs a value"),
        (&["up", "--lan", "eth1"], "outer interface is missing"),
        (&["up", "--wan", "eth0"], "inner interface is missing"),
        (&["up", "--wan", "eth0", "--lan", "eth0"], "both eth0"),
        (
            &["up", "--wan", "eth 0", "--lan", "eth1"],
            "'eth 0' is no interface name",
        ),
        (
            &["up", "--wan", "eth0\"; drop", "--lan", "eth1"],
            "is no interface name",
        ),
        (
            &["up", "--wan", "eth+", "--lan", "eth1"],
            "is no interface name",
        ),
        (
            &["up", "--wan", "e\nth", "--lan", "eth1"],
            "'e?th' is no interface name",
        ),
        (
            &["up", "--wan", "../eth0", "--lan", "eth1"],
            "is no interface name",
        ),
        (
            &["up", "--wan", "a-name-too-long-", "--lan", "eth1"],
            "is no interface name",
        ),
        (
            &["up", "--wan", "eth0", "--lan", "lo"],
            "lo leads to no network",
        ),
        (
            &["up", "--policy-server", "game.example.com"],
            "is no IPv4 ADDRESS",
        ),
        (
            &["up", "--policy-server", "192.168.122.101:"],
            "port '' is not",
        ),
        (
            &["up", "--policy-server", "192.168.122.101:65536"],
            "'65536' is not from 1 to 65535",
        ),
        (&["up", "--policy-port", "0"], "'0' is not from 1 to 65535"),
        (&["up", "--policy-port", "8430x"], "'8430x' is not"),
        (&["up", "--policy-port", "08430"], "'08430' is not"),
        (&["up", "--policy-port", "843"], "843 already"),
        (
            &["up", "--policy-port", "8430", "--policy-server", INNER],
            "both take port 843",
        ),
        (&["up", "--mss-clamp=yes"], "MSS_CLAMP is 'yes'"),
        (&["up", "--backend", "pf"], "unknown backend 'pf'"),
        (&["up", "--state-dir", "run"], "no absolute path"),
        (&["up", "--state-dir", "/run/a b"], "no absolute path"),
        (&["client"], "gateway is missing"),
        (
            &["client", "--gateway", "192.168.122"],
            "'192.168.122' is no IPv4 address",
        ),
        (&["verify"], "target is missing"),
        (&["verify", "--target", "172.16.1.1"], "has no port"),
        (
            &["verify", "--target", "172.16.1.1:http"],
            "'http' is not from 1",
        ),
        (
            &["verify", "--target", "-x:80"],
            "'-x' is no IPv4 address or name",
        ),
        (&["persist", "--init", "upstart"], "unknown init 'upstart'"),
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
        " 10.0.0.0/8",
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
            helper(shell, &[&up[..], &["--subnet", subnet]].concat()).fails(2, "is no subnet");
        }
        helper(
            shell,
            &[&up[..], &["--subnet", "192.168.122.100/24"]].concat(),
        )
        .fails(2, "the subnet is 192.168.122.0/24");
        for address in [
            "172.16.1",
            "172.16.1.256",
            "0172.16.1.1",
            "172.16.1.1/24",
            "eth0",
        ] {
            helper(shell, &[&up[..], &["--snat", address]].concat()).fails(2, "is no IPv4 address");
        }
    }
}

#[test]
fn what_does_not_fit_this_box_changes_nothing() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "auto");
        let before = lab.rules();
        let wrong: &[(&[&str], &str)] = &[
            (&["--wan=eth7", "--lan=eth1"], "there is no interface eth7"),
            (&["--wan=eth0", "--lan=eth7"], "there is no interface eth7"),
            (
                &["--wan=auto", "--lan=eth0"],
                "leaves by the inner interface eth0",
            ),
            (
                &["--wan=eth0", "--lan=eth1", "--snat=172.16.1.99"],
                "172.16.1.99 is not on eth0, which has: 172.16.1.186/24",
            ),
            (
                &["--wan=eth0", "--lan=eth1", "--policy-server=172.16.1.1"],
                "not in the inner subnet 192.168.122.0/24",
            ),
            (
                &[
                    "--wan=eth0",
                    "--lan=eth1",
                    "--policy-server=192.168.122.100",
                ],
                "is this box",
            ),
            (
                &["--wan=eth0", "--lan=eth1", "--state-dir=/proc/no"],
                "cannot write to the state directory /proc/no",
            ),
        ];
        for (arguments, part) in wrong {
            lab.run("g", &[&["up"], *arguments].concat()).fails(1, part);
        }
        lab.sh("g", "ip address add 10.9.9.1 peer 10.9.9.2 dev eth0"); // as PPP has it
        lab.nat("print", &["--snat", "10.9.9.1"]).ok();
        lab.sh(
            "g",
            "ip address del 10.9.9.1 peer 10.9.9.2 dev eth0; ip address add 10.5.0.1/16 dev eth1",
        );
        lab.nat("up", &[])
            .fails(1, "several subnets: 10.5.0.0/16, 192.168.122.0/24");
        lab.sh("g", "ip address flush dev eth1");
        lab.nat("up", &[]).fails(1, "eth1 has no IPv4 address");
        lab.sh("g", "ip address add 192.168.122.100/24 dev eth1; ip route add default via 172.16.1.2 metric 9");
        lab.run("g", &["up", "--wan=auto", "--lan=eth1"]).fails(
            1,
            "exactly one default route, there are: default via 172.16.1.1 dev eth0",
        );
        lab.sh("g", "ip route flush exact default");
        lab.run("g", &["up", "--wan=auto", "--lan=eth1"])
            .fails(1, "there are: none");
        let mut read_only = lab.on(
            "g",
            &[
                "unshare",
                "-m",
                "sh",
                "-c",
                "mount --bind -o ro /proc/sys /proc/sys && exec \"$@\"",
                "sh",
            ],
        );
        read_only
            .args(shell)
            .arg(SCRIPT)
            .args(["up", "--wan=eth0", "--lan=eth1"]);
        feed(&mut read_only, b"").fails(1, "cannot write to /proc/sys/net/ipv4/ip_forward");
        let mut nobody = lab.on("g", &["setpriv", "--reuid=65534", "--clear-groups"]);
        nobody
            .args(shell)
            .args(["-s", "up", "--wan=eth0", "--lan=eth1"]);
        feed(&mut nobody, &fs::read(SCRIPT).unwrap()).fails(1, "up must be run as root");
        assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
        assert!(!lab.scratch.path("state").exists());
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
            ("SUBNET", "192.168.122.0/24"),
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
        let wan_lan = ["up", "--wan=eth0", "--lan=eth1"];
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
        let both = ["--wan=eth0", "--lan=eth1"];
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
            &["--wan=eth0", "--lan=eth1", "--snat=1.2.3.4"],
            1,
            &["FAILED: addresses: the SNAT address 1.2.3.4 is not on eth0"],
        );
        check(
            &["--wan=eth0", "--lan=eth1", "--subnet=172.16.0.0/12"],
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
            &["--wan=eth0", "--lan=eth1", "--state-dir=/proc/version/x"],
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
            printed += &lab
                .nat(
                    "print",
                    &["--snat", GATEWAY, "--policy-server", INNER, "--mss-clamp"],
                )
                .ok();
            lab.sh("g", "echo 1 >/proc/sys/net/ipv4/ip_forward");
            printed += &lab
                .nat("print", &["--subnet=10.0.0.0/8", "--policy-port=8430"])
                .ok();
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
            nobody.args(shell).args([
                "-s",
                "print",
                "--wan=eth0",
                "--lan=eth1",
                "--backend",
                backend,
            ]);
            let printed = feed(&mut nobody, &fs::read(SCRIPT).unwrap()).ok();
            let note = "# Not root: rules already here could not be read.\n";
            assert!(printed.contains(note), "{}", printed);
            assert_eq!(printed.replace(note, ""), lab.nat("print", &[]).ok());
        }
    }
}

/// Two at once, again and again: one set of rules is left.
#[test]
fn at_the_same_time() {
    if !possible() {
        return;
    }
    for backend in BACKENDS {
        let lab = Lab::new(SHELLS[0], backend);
        lab.foreign("drop");
        let before = lab.rules();
        lab.up(&[]);
        let once = lab.rules();
        for _ in 0..3 {
            lab.down();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| lab.up(&[]));
                }
            });
            assert_eq!(lab.rules(), once);
        }
        lab.down();
        assert_eq!(lab.rules(), before);
    }
}

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
        let other = if backend == "nft" { "iptables" } else { "nft" };
        run("g", &["up", "--wan=eth0", "--lan=eth1", "--backend", other])
            .fails(1, "is not installed");
        sh(&format!("rm {}/awk", tools));
        run("g", &[&["up"], &options[..]].concat()).fails(1, "awk is not installed");
        server.stop();
    }
}

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
            helper(
                shell,
                &["persist", "--root", root, "--wan=eth0", "--lan=eth1"],
            )
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

#[test]
fn client_sets_the_default_route() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "nft");
        let before = lab.sh("i", "ip route del default; ip route");
        lab.run("i", &["client", "--gateway", "172.16.1.186"])
            .fails(1, "no route to 172.16.1.186");
        lab.run("i", &["client", "--gateway", INNER])
            .fails(1, "is this host itself");
        assert_eq!(lab.sh("i", "ip route"), before);
        let said = lab.run("i", &["client", "--gateway", GATEWAY_INSIDE]).ok();
        assert!(
            said.starts_with("default route: via 192.168.122.100 dev eth0 (before: none)\n"),
            "{}",
            said
        );
        for line in [
            "iface eth0 inet static\n    address 192.168.122.101/24\n    gateway 192.168.122.100\n",
            "[Network]\nAddress=192.168.122.101/24\nGateway=192.168.122.100\n",
            "        - to: 0.0.0.0/0\n          via: 192.168.122.100\n",
            "IPADDR=192.168.122.101\nPREFIX=24\nGATEWAY=192.168.122.100\n",
        ] {
            assert!(said.contains(line), "{} not in {}", line, said);
        }
        let routes = lab.sh("i", "ip route");
        assert_eq!(
            routes,
            format!("default via 192.168.122.100 dev eth0 \n{}", before)
        );
        lab.run("i", &["client", "--gateway", GATEWAY_INSIDE]).ok();
        assert_eq!(lab.sh("i", "ip route"), routes, "twice");
        lab.run("i", &["client", "--gateway", "10.1.2.3"])
            .fails(1, "10.1.2.3 is not on a network of this host");
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
        broken(verify("172.16.1.1:843"), "target: no answer", "status");
        lab.up(&[]);
        let said = verify("172.16.1.1:843").ok();
        assert!(
            said.contains("ok: default route: default via 192.168.122.100"),
            "{}",
            said
        );
        assert!(
            said.ends_with("ok: target: connected to 172.16.1.1 port 843\n"),
            "{}",
            said
        );
        server.expect("172.16.1.186:");
        broken(
            verify("172.16.1.1:844"),
            "target: 172.16.1.1 refused port 844",
            "start the service",
        );
        broken(
            verify("192.168.122.100:843"),
            "way out: 192.168.122.100",
            "outside",
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
            "default route: it is 'default via 192.168.122.99",
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
        lab.nat("print", &["--mss-clamp", "--policy-port=8430"])
            .ok()
    );
    assert!(
        make("g", "nat-up WAN='$(shell echo eth0)' LAN=eth1 SNAT=1.2.3.4")
            .err
            .contains("the SNAT address 1.2.3.4 is not on eth0")
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
    let root = lab.scratch.path("root");
    fs::create_dir_all(root.join("etc/init.d")).unwrap();
    make(
        "g",
        &format!("nat-persist {} DESTDIR={}", settings, root.display()),
    )
    .ok();
    assert!(root.join("etc/init.d/flash-policy-nat").exists());
    make("g", &format!("nat-unpersist DESTDIR={}", root.display())).ok();
    assert!(!root.join("etc/init.d/flash-policy-nat").exists());
    server.stop();
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
    assert_eq!(options.len(), 14);
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

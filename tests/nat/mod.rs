//! What the tests of the NAT gateway helper share: an outer host, a gateway and two inner hosts, each a
//! network namespace of its own, and scenarios for every backend, under dash and busybox ash.
#![allow(dead_code)] // each test file uses a part

use crate::common::*;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/flash-policy-nat");
pub const SETTINGS: [&str; 14] = [
    "WAN",
    "LAN",
    "SUBNET",
    "SNAT",
    "BACKEND",
    "POLICY_SERVER",
    "POLICY_PORT",
    "MSS_CLAMP",
    "FORCE",
    "LATE",
    "GATEWAY",
    "TARGET",
    "DESTDIR",
    "MAKEFLAGS",
];
pub const BACKENDS: [&str; 3] = ["nft", "iptables", "iptables-legacy"];
pub const SHELLS: [&[&str]; 2] = [&["dash"], &["busybox", "ash"]];

pub const OUTER: &str = "172.16.1.1";
pub const GATEWAY: &str = "172.16.1.186";
pub const GATEWAY_INSIDE: &str = "192.168.122.100";
pub const INNER: &str = "192.168.122.101";
pub const GATEWAY_THIRD: &str = "10.7.0.1";
pub const THIRD: &str = "10.7.0.2";

/// What a run came to.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn new(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// It worked, and had nothing to complain about.
    #[track_caller]
    pub fn ok(self) -> String {
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
    pub fn fails(self, code: i32, part: &str) {
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

pub fn feed(command: &mut Command, input: &[u8]) -> Ran {
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
pub fn sh(line: &str) -> String {
    Ran::new(Command::new("sh").args(["-ec", line]).output().unwrap()).ok()
}

/// The helper with no lab. For root in namespaces of its own, with /etc read only: whatever a command
/// line turns out to mean, it cannot reach this machine.
pub fn helper(shell: &[&str], arguments: &[&str]) -> Ran {
    let mut command = Command::new("unshare");
    let apart = "mount --bind -o ro /etc /etc && exec \"$@\"";
    match is_root() {
        true => command.args(["--net", "--mount", "sh", "-c", apart, "sh"]),
        false => command.arg("--"),
    };
    command.args(shell).arg(SCRIPT).args(arguments);
    for setting in SETTINGS {
        command.env_remove(setting);
    }
    feed(&mut command, b"")
}

/// Whether this machine can run these tests; says what is missing.
pub fn possible() -> bool {
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

/// The hosts: `o` outside, `g` the gateway, `i` inside, `t` in a second inner network on eth2.
pub struct Lab {
    pub name: String,
    pub shell: &'static [&'static str],
    pub backend: &'static str,
    pub scratch: Scratch,
}

impl Lab {
    pub fn new(shell: &'static [&'static str], backend: &'static str) -> Lab {
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
        let [o, g, i, t] = ["o", "g", "i", "t"].map(|which| lab.host(which));
        sh(&format!(
            "for n in {o} {g} {i} {t}; do ip netns add $n; ip -n $n link set lo up; done
            ip -n {g} link add eth0 type veth peer name eth0 netns {o}
            ip -n {g} link add eth1 type veth peer name eth0 netns {i}
            ip -n {g} link add eth2 type veth peer name eth0 netns {t}
            ip -n {o} address add {OUTER}/24 dev eth0; ip -n {o} link set eth0 up
            ip -n {g} address add {GATEWAY}/24 dev eth0; ip -n {g} link set eth0 up
            ip -n {g} address add {GATEWAY_INSIDE}/24 dev eth1; ip -n {g} link set eth1 up
            ip -n {i} address add {INNER}/24 dev eth0; ip -n {i} link set eth0 up
            ip -n {g} address add {GATEWAY_THIRD}/24 dev eth2; ip -n {g} link set eth2 up
            ip -n {t} address add {THIRD}/24 dev eth0; ip -n {t} link set eth0 up
            ip -n {t} route add default via {GATEWAY_THIRD}
            ip -n {g} route add default via {OUTER}
            ip -n {i} route add default via {GATEWAY_INSIDE}"
        ));
        lab
    }

    pub fn host(&self, which: &str) -> String {
        format!("{}-{}", self.name, which)
    }

    /// A command on one of the hosts: `o`, `g` or `i`.
    pub fn on(&self, which: &str, program: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.host(which)))
            .args(program);
        for setting in SETTINGS {
            command.env_remove(setting);
        }
        command
    }

    /// A shell command line on one of the hosts, which must work.
    #[track_caller]
    pub fn sh(&self, which: &str, line: &str) -> String {
        Ran::new(self.on(which, &["sh", "-ec", line]).output().unwrap()).ok()
    }

    pub fn helper(&self, which: &str, arguments: &[&str]) -> Command {
        let mut command = self.on(which, self.shell);
        command.arg(SCRIPT).args(arguments);
        command
    }

    pub fn run(&self, which: &str, arguments: &[&str]) -> Ran {
        feed(&mut self.helper(which, arguments), b"")
    }

    /// A verb with the outer interface and the backend of this lab.
    pub fn nat(&self, verb: &str, more: &[&str]) -> Ran {
        let mut arguments = vec![verb, "--wan", "eth0", "--backend", self.backend];
        arguments.extend(more);
        self.run("g", &arguments)
    }

    #[track_caller]
    pub fn up(&self, more: &[&str]) {
        self.nat("up", more).ok();
    }

    #[track_caller]
    pub fn down(&self) {
        self.run("g", &["down"]).ok();
    }

    /// This project's server on a host, telling whom it answers.
    pub fn server(&self, which: &str, listen: &str) -> Server {
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
    pub fn ask(&self, which: &str, host: &str, port: &str, patience: &str) -> bool {
        let mut command = self.on(which, &["busybox", "nc", "-w", patience, host, port]);
        let answer = feed(&mut command, REQUEST).out;
        let policy = answer.starts_with("<cross-domain-policy>")
            && answer.ends_with("</cross-domain-policy>\n\0");
        assert!(policy || answer.is_empty(), "half an answer: {}", answer);
        policy
    }

    /// The inner host is answered by the outer one, who saw the request come from `source`.
    #[track_caller]
    pub fn way_through(&self, server: &mut Server, source: &str) {
        assert!(self.ask("i", OUTER, "843", "10"));
        let line = server.expect(" answered");
        assert!(line.contains(&format!(" {}:", source)), "{}", line);
    }

    #[track_caller]
    pub fn no_way_through(&self) {
        assert!(!self.ask("i", OUTER, "843", "1"));
    }

    pub fn forwarding(&self) -> String {
        self.sh("g", "cat /proc/sys/net/ipv4/ip_forward")
    }

    /// Every rule of every backend, without counters.
    pub fn rules(&self) -> String {
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
    pub fn foreign(&self, policy: &str) {
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
        for which in ["o", "g", "i", "t"] {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.host(which)])
                .output();
        }
    }
}

/// Scenarios, each for every backend, the shells taking turns: one test each.
#[allow(unused_macros)]
macro_rules! backends {
    ($($scenario:ident)*) => { $(
        mod $scenario {
            #[test]
            fn nft_dash() {
                crate::nat::run(super::$scenario, 0, 0)
            }
            #[test]
            fn iptables_busybox() {
                crate::nat::run(super::$scenario, 1, 1)
            }
            #[test]
            fn iptables_legacy_dash() {
                crate::nat::run(super::$scenario, 2, 0)
            }
        }
    )* };
}

/// Scenarios, each for every backend under every shell.
#[allow(unused_macros)]
macro_rules! matrix {
    ($($scenario:ident)*) => {
        backends! { $($scenario)* }
        mod other_shell { $(
            pub mod $scenario {
                #[test]
                fn nft_busybox() {
                    crate::nat::run(crate::$scenario, 0, 1)
                }
                #[test]
                fn iptables_dash() {
                    crate::nat::run(crate::$scenario, 1, 0)
                }
                #[test]
                fn iptables_legacy_busybox() {
                    crate::nat::run(crate::$scenario, 2, 1)
                }
            }
        )* }
    };
}

/// One scenario with a backend and a shell, where that is possible.
pub fn run(scenario: fn(Lab), backend: usize, shell: usize) {
    if possible() {
        scenario(Lab::new(SHELLS[shell], BACKENDS[backend]));
    }
}

//! The NAT helper when something fails, is killed or does not fit.

mod common;
#[macro_use]
mod nat;

use nat::*;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, thread};

matrix! {
    killed_at_any_point
}

backends! {
    killed_at_random_moments
    fails_whole
    fails_to_move
    signals_wait_for_the_end
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
case \" $* \" in *' -c '* | *' list '* | *' --version '*) exec $real \"$@\" ;; esac
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
            command.args(["up", "--wan=eth0", "--backend", lab.backend]);
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
case \" $* \" in *' -c '* | *' list '* | *' --version '*) exec $real \"$@\" ;; esac
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
    // What print prints stops there too.
    let script = lab.nat("print", &[]).ok();
    let _ = fs::remove_file(lab.scratch.path("done"));
    let printed = feed(lab.on("g", &["sh"]).env("PATH", &path), script.as_bytes());
    assert_eq!(
        (printed.code, lab.forwarding()),
        (Some(1), "0\n".to_owned())
    );
    lab.down();
    lab.up(&["--mss-clamp"]);
    let once = lab.rules();
    failing_up();
    assert_eq!((lab.rules(), lab.forwarding()), (once, "1\n".to_owned()));
    lab.run("g", &["status"]).ok();
    lab.down();
    assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
}

/// Rules of another kind of ours are to go, and its tool fails at the second table: they stay, whole.
fn fails_to_move(lab: Lab) {
    let (other, tool) = match lab.backend {
        "iptables" => ("iptables-legacy", "iptables-legacy-restore"),
        _ => ("iptables-nft", "iptables-restore"),
    };
    lab.run("g", &["up", "--wan=eth0", "--backend", other]).ok();
    let once = lab.rules();
    let path = wrapped(
        &lab,
        "#!/bin/sh
real=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v TOOL)
test TOOL = FAILING || exec $real \"$@\"
test ! -e DONE || test -e DONE2 || { : >DONE2; exit 1; }
: >DONE
exec $real \"$@\"
"
        .replace("FAILING", tool)
        .replace("DONE", lab.scratch.path("done").to_str().unwrap())
        .as_str(),
    );
    let arguments = ["up", "--wan=eth0", "--backend", lab.backend];
    feed(lab.helper("g", &arguments).env("PATH", &path), b"").fails(1, "not done");
    let lines = lab.rules();
    for line in once
        .lines()
        .filter(|line| line.contains("flash-policy-nat"))
    {
        assert!(lines.contains(line), "{} is gone: {}", line, lines);
    }
    lab.run("g", &["status"]).ok();
    lab.run("g", &["up", "--wan=eth0", "--backend", lab.backend])
        .ok();
    lab.down();
}

/// Ctrl-C, or a lost session, while the rules are put in force: that is carried through.
fn signals_wait_for_the_end(lab: Lab) {
    let path = wrapped(
        &lab,
        "#!/bin/sh
real=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v TOOL)
case \" $* \" in *' -c '* | *' list '* | *' --version '*) exec $real \"$@\" ;; esac
kill -INT 0
exec $real \"$@\"
",
    );
    // In a group of its own, as a terminal has it.
    let mut up = lab.on("g", &["setsid"]);
    up.args(lab.shell)
        .args([SCRIPT, "up", "--wan=eth0", "--backend", lab.backend]);
    feed(up.env("PATH", &path), b"").ok();
    lab.run("g", &["status"]).ok();
    lab.down();
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

#[test]
fn what_does_not_fit_this_box_changes_nothing() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "auto");
        let before = lab.rules();
        let wrong: &[(&[&str], &str)] = &[
            (&["--wan=eth7"], "there is no interface eth7"),
            (&["--wan=eth0", "--lan=eth7"], "there is no interface eth7"),
            (
                &["--wan=eth0", "--snat=172.16.1.99"],
                "172.16.1.99 is not on eth0, which has: 172.16.1.186/24",
            ),
            (
                &["--wan=eth0", "--policy-server=172.16.1.1"],
                "172.16.1.1 is not inside: the way there is eth0",
            ),
            (
                &["--wan=eth0", "--policy-server=192.168.122.100"],
                "is this box",
            ),
        ];
        for (arguments, part) in wrong {
            lab.run("g", &[&["up"], *arguments].concat()).fails(1, part);
        }
        let both = ["up", "--wan=auto", "--lan=eth0"];
        lab.run("g", &both).fails(2, "are both eth0");
        lab.sh("g", "ip address add 10.9.9.1 peer 10.9.9.2 dev eth0"); // as PPP has it
        lab.nat("print", &["--snat", "10.9.9.1"]).ok();
        // Of two ways outside, the one that packets take.
        lab.sh("g", "ip route add default via 10.7.0.2 dev eth2 metric 9");
        let auto = lab.run("g", &["print", "--wan=auto", "--backend=nft"]).ok();
        assert!(auto.contains("oifname \"eth0\""), "{}", auto);
        lab.sh("g", "ip route add 192.0.2.0/24 via 10.7.0.2 table 51820; ip rule add to 192.0.2.0/24 table 51820");
        let auto = lab.run("g", &["print", "--wan=auto", "--backend=nft"]).ok();
        assert!(auto.contains("oifname \"eth2\""), "{}", auto);
        lab.sh(
            "g",
            "ip rule del to 192.0.2.0/24 table 51820; ip route flush exact default",
        );
        lab.run("g", &["up", "--wan=auto"])
            .fails(1, "no route leads outside");
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
        read_only.args(shell).arg(SCRIPT).args(["up", "--wan=eth0"]);
        feed(&mut read_only, b"").fails(1, "cannot write to /proc/sys/net/ipv4/ip_forward");
        let mut nobody = lab.on("g", &["setpriv", "--reuid=65534", "--clear-groups"]);
        nobody.args(shell).args(["-s", "up", "--wan=eth0"]);
        feed(&mut nobody, &fs::read(SCRIPT).unwrap()).fails(1, "up must be run as root");
        assert_eq!((lab.rules(), lab.forwarding()), (before, "0\n".to_owned()));
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

/// What orders the runs of root is nothing that somebody else could hold.
#[test]
fn no_user_holds_it_up() {
    if !possible() {
        return;
    }
    for shell in SHELLS {
        let lab = Lab::new(shell, "nft");
        let mut user = lab.on(
            "g",
            &["setpriv", "--reuid=65534", "--clear-groups", "flock"],
        );
        let hold = [
            "/proc/sys/net/ipv4/ip_forward",
            "sh",
            "-c",
            "echo; exec cat",
        ];
        let user = user.args(hold).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut user = user.spawn().unwrap();
        let mut held = [0];
        user.stdout.as_mut().unwrap().read_exact(&mut held).unwrap();
        lab.up(&[]);
        lab.down();
        drop(user.stdin.take());
        user.wait().unwrap();
    }
}

/// SIGKILL at twenty moments spread over the time that an up takes, then down. Nothing is ever
/// forwarded that is not filtered.
fn killed_at_random_moments(lab: Lab) {
    lab.foreign("accept");
    let before = lab.rules();
    let start = Instant::now();
    lab.up(&[]);
    let whole = start.elapsed();
    lab.down();
    for moment in 1..=20 {
        let mut command = lab.on("g", &["setsid"]);
        command.args(lab.shell).arg(SCRIPT);
        command.args(["up", "--wan=eth0", "--backend", lab.backend]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        thread::sleep(whole * moment / 20);
        // Its group: the helper and all that it started.
        let kill = format!("kill -9 -{}", child.id());
        let _ = Command::new("sh")
            .args(["-c", &kill])
            .stderr(Stdio::null())
            .status();
        child.wait().unwrap();
        if lab.forwarding() == "1\n" {
            assert!(lab.rules().contains("flash-policy-nat-post"), "{}", moment);
        }
        lab.down();
        let after = (lab.rules(), lab.forwarding());
        assert_eq!(after, (before.clone(), "0\n".to_owned()), "{}", moment);
    }
}

//! Start, reload, counters, stop, and who the server is while it runs.

mod common;

use common::*;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

fn with_nul(policy: &str) -> Vec<u8> {
    [policy.as_bytes(), b"\0"].concat()
}

#[test]
fn reload_takes_the_file_as_it_is_now() {
    let scratch = Scratch::new();
    let file = scratch.file("policy.xml", NARROW);
    let mut server = Server::start(&["-f", &file]);
    let mut under_way = connect(server.address);
    under_way.write_all(&REQUEST[..10]).unwrap();
    server.wait_for_counter("open", 1);

    let second = NARROW.replace("5222", "8000");
    fs::write(&file, &second).unwrap();
    assert_eq!(
        ask(server.address, REQUEST).unwrap(),
        with_nul(NARROW),
        "read before SIGHUP"
    );
    server.signal("HUP");
    server.expect(&format!("{}: in service", file));
    assert_eq!(ask(server.address, REQUEST).unwrap(), with_nul(&second));

    // The connection under way finishes with the policy that it began with.
    under_way.write_all(&REQUEST[10..]).unwrap();
    assert_eq!(read_all(&under_way).unwrap(), with_nul(NARROW));
    assert_eq!(server.stop()["reloads"], 1);
}

#[test]
fn reload_refuses_what_would_not_do_at_start() {
    let scratch = Scratch::new();
    let file = scratch.file("policy.xml", NARROW);
    let mut server = Server::start(&["-f", &file]);
    let bad: [(&[u8], &str); 4] = [
        (b"", "empty"),
        (b"<cross-domain-policy>\0</cross-domain-policy>", "NUL"),
        (&[b' '; 20_481], "20480"),
        (b"<cross-domain-policy>", "error"),
    ];
    for (content, reason) in bad {
        fs::write(&file, content).unwrap();
        server.signal("HUP");
        let line = server.expect("the last good policy stays in service");
        assert!(line.contains(reason) && line.contains(&file), "{}", line);
        assert_eq!(ask(server.address, REQUEST).unwrap(), with_nul(NARROW));
    }
    fs::remove_file(&file).unwrap();
    server.signal("HUP");
    let line = server.expect("the last good policy stays in service");
    assert!(line.contains("No such file"), "{}", line);
    assert_eq!(ask(server.address, REQUEST).unwrap(), with_nul(NARROW));
    fs::write(&file, NARROW).unwrap();
    server.signal("HUP");
    server.expect("in service");
    assert_eq!(server.stop()["reloads"], 1);
}

#[test]
fn reload_under_load_loses_nobody() {
    let scratch = Scratch::new();
    let file = scratch.file("policy.xml", NARROW);
    let second = NARROW.replace("5222", "8000");
    let mut server = Server::start(&["-f", &file]);
    let (address, done) = (server.address, Arc::new(AtomicBool::new(false)));
    let (first, other) = (with_nul(NARROW), with_nul(&second));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (done, first, other) = (done.clone(), first.clone(), other.clone());
            thread::spawn(move || {
                let mut answered = 0;
                while !done.load(Ordering::Relaxed) {
                    let got = ask(address, REQUEST).unwrap();
                    assert!(got == first || got == other);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    for round in 0..50 {
        // Renamed into place, as an editor does; every fifth one is broken.
        let broken = round % 5 == 4;
        let policy = [NARROW, &second][round % 2];
        let next = scratch.file("next", if broken { "" } else { policy });
        fs::rename(next, &file).unwrap();
        server.signal("HUP");
        server.expect(if broken {
            "stays in service"
        } else {
            "xml: in service"
        });
    }
    done.store(true, Ordering::Relaxed);
    let answered: u64 = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
    let counters = server.stop();
    assert_eq!((counters["answered"], counters["reloads"]), (answered, 40));
}

#[test]
fn stop_lets_what_is_under_way_finish() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        let mut under_way = connect(server.address);
        under_way.write_all(&REQUEST[..10]).unwrap();
        server.wait_for_counter("open", 1);
        server.signal(signal);
        wait_until("new connections are refused", || {
            TcpStream::connect(server.address).is_err()
        });
        under_way.write_all(&REQUEST[10..]).unwrap();
        assert_eq!(read_all(&under_way).unwrap(), answer());
        let counters = server.ended();
        assert_eq!((counters["answered"], counters["open"]), (1, 0));
    }
}

#[test]
fn stop_waits_no_longer_than_the_deadline() {
    let mut server = Server::start(&["-t", "1"]);
    let idlers: Vec<_> = (0..50).map(|_| connect(server.address)).collect();
    server.wait_for_counter("open", 50);
    let counters = server.stop();
    assert_eq!((counters["timed-out"], counters["open"]), (50, 0));
    for idler in idlers {
        assert_eq!(read_all(&idler).unwrap(), b"");
    }
}

#[test]
fn stop_is_at_once_when_nothing_is_under_way() {
    let mut server = Server::start(&["-t", "60"]);
    for _ in 0..50 {
        ask(server.address, REQUEST).unwrap();
    }
    server.stop();
}

/// The C server could not bind again for 10 s after it had served.
#[test]
fn start_again_at_once_after_serving() {
    let address = free_address().to_string();
    for round in 0..6 {
        let mut command = Command::new(BIN);
        let mut server = Server::spawn(command.args(["-l", &address, "-f", POLICY]));
        for _ in 0..20 {
            assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
        }
        let idle = connect(server.address);
        if round % 2 == 0 {
            server.signal("KILL");
        } else {
            drop(idle);
            server.stop();
        }
    }
}

#[test]
fn counters_tell_how_connections_ended() {
    let mut server = Server::start(&["-t", "1", "-c", "3", "-v"]);
    ask(server.address, REQUEST).unwrap();
    ask(server.address, b"junk").unwrap();
    let idlers: Vec<_> = (0..5).map(|_| connect(server.address)).collect();
    for idler in &idlers {
        read_all(idler).unwrap();
    }
    let counters = server.counters();
    let named = |name: &str| counters[name];
    assert_eq!(
        [
            "answered",
            "refused",
            "timed-out",
            "evicted",
            "failed",
            "open",
            "reloads"
        ]
        .map(named),
        [1, 1, 3, 2, 0, 0, 0]
    );
    assert!(counters["uptime"] <= 60);
    for outcome in [
        "answered",
        "refused",
        "timed-out",
        "timed-out",
        "timed-out",
        "evicted",
        "evicted",
    ] {
        let line = server.expect(&format!(" {}", outcome));
        assert!(
            line.starts_with("flash-policy-serv: 127.0.0.1:"),
            "{}",
            line
        );
    }
    assert_eq!(server.stop()["open"], 0);
}

/// A log that nobody reads, or a pipe that is gone, must not end or hold up the service.
#[test]
fn broken_standard_error_never_hurts() {
    for stderr in ["2>/dev/full", "2>&-", "2>&1 | true", "2>&1 | sleep 20"] {
        let scratch = Scratch::new();
        let address = free_address();
        let script = format!(
            "{{ echo $$ > {}; exec {} -v -l {} -f {}; }} {}",
            scratch.path("pid").display(),
            BIN,
            address,
            POLICY,
            stderr
        );
        // `$$` is the outer shell even in a subshell of a pipe; so ask the kernel.
        let script = script.replace("echo $$", "cut -d' ' -f4 /proc/self/stat");
        let mut shell = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        wait_until("it listens", || TcpStream::connect(address).is_ok());
        // The lines of 3000 connections are more than a pipe holds.
        for _ in 0..3000 {
            assert_eq!(ask(address, REQUEST).unwrap(), answer(), "{}", stderr);
        }
        let pid = fs::read_to_string(scratch.path("pid")).unwrap();
        let pid = pid.trim().parse().unwrap();
        signal(pid, "HUP");
        assert_eq!(ask(address, REQUEST).unwrap(), answer(), "{}", stderr);
        signal(pid, "TERM");
        wait_until("it ends", || TcpStream::connect(address).is_err());
        let _ = shell.kill();
        shell.wait().unwrap();
    }
}

#[test]
fn root_is_given_up_after_binding() {
    if !is_root() {
        return skip("needs root to give it up");
    }
    let user = 200_000 + std::process::id();
    let cases = [
        ("nobody".to_owned(), "65534", "65534"),
        ("nobody:daemon".to_owned(), "65534", "1"),
        ("65534".to_owned(), "65534", "65534"),
        (
            format!("{}:{}", user, user + 1),
            &*user.to_string(),
            &*(user + 1).to_string(),
        ),
    ];
    for (option, uid, gid) in cases
        .iter()
        .map(|(o, u, g)| (o, u.to_string(), g.to_string()))
    {
        // Supplementary groups are there to be lost.
        let mut command = Command::new("setpriv");
        command.args([
            "--groups",
            "0,4,27",
            BIN,
            "-l",
            "127.0.0.1:0",
            "-f",
            POLICY,
            "-u",
            option,
        ]);
        let mut server = Server::spawn(&mut command);
        for thread in fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace()
                    .skip(1)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            assert_eq!(field("Uid:"), vec![uid.clone(); 4], "{}", option);
            assert_eq!(field("Gid:"), vec![gid.clone(); 4], "{}", option);
            assert_eq!(field("Groups:"), Vec::<String>::new(), "{}", option);
            assert_eq!(field("CapEff:"), ["0000000000000000"], "{}", option);
        }
        assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
        server.stop();
    }
}

/// What that user may not read can be served, but not reloaded: better known at once.
#[test]
fn policy_that_the_user_cannot_read_is_reported() {
    if !is_root() {
        return skip("needs root to give it up");
    }
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let file = scratch.file("policy.xml", NARROW);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut server = Server::start(&["-f", &file, "-u", "nobody"]);
    server.expect("--user cannot read it again on SIGHUP");
    assert_eq!(ask(server.address, REQUEST).unwrap(), with_nul(NARROW));
    server.stop();
}

#[test]
fn default_is_port_843_on_all_addresses() {
    if !is_root() || !have("ip") {
        return skip("needs root and ip to make a network namespace");
    }
    let namespace = |setup: &str| {
        let script = format!("{} && exec \"$0\" -f {}", setup, POLICY);
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", &script, BIN]);
        Server::spawn(&mut command)
    };
    let ask_inside = |server: &Server, address: &str| {
        let ask = format!("printf '<policy-file-request/>\\0' | nc {} 843", address);
        let mut command = Command::new("nsenter");
        command.args(["-n", "-t", &server.pid().to_string(), "sh", "-c", &ask]);
        command.output().unwrap().stdout
    };
    let mut server = namespace("ip link set lo up");
    assert_eq!(server.address.to_string(), "[::]:843");
    assert_eq!(ask_inside(&server, "127.0.0.1"), answer());
    assert_eq!(ask_inside(&server, "::1"), answer());
    server.stop();

    let mut server = namespace("ip link set lo up && echo 1 > /proc/sys/net/ipv6/bindv6only");
    assert_eq!(server.address.to_string(), "[::]:843");
    assert_eq!(server.listening().to_string(), "0.0.0.0:843");
    assert_eq!(ask_inside(&server, "127.0.0.1"), answer());
    assert_eq!(ask_inside(&server, "::1"), answer());
    server.stop();
}

/// As process 1 of a container: signals that have no handler do nothing there.
#[test]
fn process_1_reloads_and_stops() {
    if !is_root() {
        return skip("needs root to make a process namespace");
    }
    let mut command = Command::new("unshare");
    command.args([
        "-p",
        "-f",
        "--kill-child",
        BIN,
        "-l",
        "127.0.0.1:0",
        "-f",
        POLICY,
    ]);
    let mut server = Server::spawn(&mut command);
    let children = format!("/proc/{0}/task/{0}/children", server.pid());
    let inside: u32 = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", inside)).unwrap();
    assert!(status.contains("\t1\n"), "not process 1: {}", status);
    signal(inside, "HUP");
    server.expect("in service");
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    let start = Instant::now();
    signal(inside, "TERM");
    assert_eq!(server.ended()["reloads"], 1);
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// `nohup` and a non-interactive shell's `&` hand down ignored signals.
#[test]
fn started_as_the_c_server_was_it_still_hears_signals() {
    let mut command = Command::new("sh");
    let script = format!(
        "trap '' HUP INT; exec nohup \"$0\" -l 127.0.0.1:0 -f {}",
        POLICY
    );
    let mut server = Server::spawn(command.args(["-c", &script, BIN]));
    server.signal("HUP");
    server.expect("in service");
    server.signal("INT");
    assert_eq!(server.ended()["reloads"], 1);
}

//! What others do to the server from outside: signals at any moment, the socket that it shares, its
//! limits while it runs, its terminal.

mod common;

use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::io::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::*;

/// How long the server is watched while it has nothing to do; a loop that spins takes 50 ticks.
const WHILE: Duration = Duration::from_millis(500);
const FEW_TICKS: u64 = 10;

fn ticks_while_idle(server: &Server) -> u64 {
    let before = server.cpu_ticks();
    thread::sleep(WHILE);
    server.cpu_ticks() - before
}

fn on_stdin(listener: &TcpListener) -> Command {
    let mut command = Command::new(BIN);
    command.args(["--stdin", "-f", POLICY, "-t", "60"]);
    command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    command
}

/// Sets a limit of the running server as prlimit(1) says it.
fn limit(server: &Server, limit: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &server.pid().to_string(), limit]);
    assert!(prlimit.status().unwrap().success());
}

/// With strace, which sends the signal when the policy file is opened for the first time.
#[test]
fn signals_before_it_listens_are_obeyed_when_it_does() {
    if !have("strace") {
        return skip("strace is not installed");
    }
    let start = |signal: &str| {
        let mut command = Command::new("strace");
        command.args(["-D", "-qq", "-o", "/dev/null", "-P", POLICY, "-e"]);
        command.arg("trace=openat").arg("-e");
        command.arg(format!("inject=openat:signal={}:when=1", signal));
        command.args([BIN, "-l", "127.0.0.1:0", "-f", POLICY]);
        Server::spawn(&mut command)
    };
    let mut server = start("HUP");
    server.expect("in service");
    server.stop();
    let mut server = start("USR1");
    server.expect("answered=0");
    server.stop();
    assert_eq!(start("TERM").ended()["answered"], 0);
}

#[test]
fn reload_without_memory_is_refused() {
    if !have("prlimit") {
        return skip("prlimit is not installed");
    }
    let mut server = Server::start(&[]);
    // Kilobytes, and no more of them than it has.
    let size = figure(server.pid(), "status", "VmSize") * 1024;
    limit(&server, &format!("--as={}:", size));
    for _ in 0..20 {
        server.signal("HUP");
        let line = server.expect("the last good policy stays in service");
        assert!(line.contains("Cannot allocate memory"), "{}", line);
        assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    }
    limit(&server, "--as=unlimited:");
    server.signal("HUP");
    server.expect("in service");
    assert_eq!(server.stop()["reloads"], 1);
}

/// Nobody could be served any more, which whatever supervises the server is to see.
#[test]
fn end_of_its_socket_is_the_end_of_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::spawn(&mut on_stdin(&listener));
    let mut under_way = begin(server.address);
    server.wait_for_counter("open", 1);
    let holder = TcpStream::from(OwnedFd::from(listener));
    holder.shutdown(Shutdown::Both).unwrap();
    server.expect("does not listen any more");
    // Those under way have their time.
    under_way.write_all(&REQUEST[1..]).unwrap();
    assert_eq!(read_all(&under_way).unwrap(), answer());
    assert_eq!(server.status().code(), Some(1));
    server.expect("answered=1");
}

/// That file status flag and that timeout are everybody's who holds the socket.
#[test]
fn holder_of_the_socket_changes_nothing_by_its_options() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::spawn(&mut on_stdin(&listener));
    listener.set_nonblocking(true).unwrap();
    let holder = TcpStream::from(OwnedFd::from(listener.try_clone().unwrap()));
    holder.set_read_timeout(None).unwrap();
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    let spent = ticks_while_idle(&server);
    assert!(spent < FEW_TICKS, "{} ticks of CPU while idle", spent);
    listener.set_nonblocking(false).unwrap();
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    let start = Instant::now();
    assert_eq!(server.stop()["answered"], 2);
    assert!(start.elapsed() < PATIENCE / 2);
}

/// With strace, which has it come late to each connection, so that the other is always faster.
#[test]
fn faster_holder_of_the_socket_does_not_keep_it_from_stopping() {
    if !have("strace") {
        return skip("strace is not installed");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let given = on_stdin(&listener);
    let mut late = Command::new("strace");
    late.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"]);
    late.args(["trace=accept4", "-e", "inject=accept4:delay_enter=100000"]);
    late.arg(given.get_program()).args(given.get_args());
    late.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    let mut late = Server::spawn(&mut late);
    let mut fast = Server::spawn(&mut on_stdin(&listener));
    for _ in 0..5 {
        assert_eq!(ask(late.address, REQUEST).unwrap(), answer());
    }
    let start = Instant::now();
    late.stop();
    assert!(start.elapsed() < PATIENCE / 2);
    fast.stop();
}

#[test]
fn terminal_does_not_stop_it_in_the_background() {
    if !have("script") {
        return skip("script is not installed");
    }
    let (scratch, address) = (Scratch::new(), free_address());
    let pid = scratch.path("pid").display().to_string();
    // A job of its own, which may not write to the terminal while it is in the background.
    let shell = format!(
        "stty tostop; set -m; {} -l {} -f {} & echo $! >{}; wait",
        BIN, address, POLICY, pid
    );
    let mut script = Command::new("script");
    script
        .args(["-qec", &shell, "/dev/null"])
        .env("SHELL", "/bin/sh");
    script.stdin(Stdio::null()).stdout(Stdio::null());
    let mut script = script.spawn().unwrap();
    wait_until("it listens", || TcpStream::connect(address).is_ok());
    assert_eq!(ask(address, REQUEST).unwrap(), answer());
    signal(
        fs::read_to_string(&pid).unwrap().trim().parse().unwrap(),
        "TERM",
    );
    wait_for(&mut script);
}

/// The kernel would reset what is still queued when the listener goes.
#[test]
fn stop_answers_those_who_are_queued() {
    let mut server = Server::start(&[]);
    server.signal("STOP");
    let players: Vec<_> = (0..500)
        .map(|_| {
            let mut player = connect(server.address);
            player.write_all(REQUEST).unwrap();
            player
        })
        .collect();
    server.signal("TERM");
    server.signal("CONT");
    for player in &players {
        assert_eq!(read_all(player).unwrap(), answer());
    }
    assert_eq!(server.ended()["answered"], 500);
}

#[test]
fn descriptors_that_are_taken_away_are_waited_for() {
    if !have("prlimit") {
        return skip("prlimit is not installed");
    }
    let mut server = Server::start(&["-t", "60"]);
    let mut under_way = begin(server.address);
    server.wait_for_counter("open", 1);
    limit(&server, "--nofile=0:");
    let mut queued = connect(server.address);
    queued.write_all(REQUEST).unwrap();
    let spent = ticks_while_idle(&server);
    assert!(spent < FEW_TICKS, "{} ticks of CPU while idle", spent);
    under_way.write_all(&REQUEST[1..]).unwrap();
    assert_eq!(read_all(&under_way).unwrap(), answer());
    limit(&server, "--nofile=1024:");
    assert_eq!(read_all(&queued).unwrap(), answer());
    assert_eq!(server.stop()["answered"], 2);
    server.said();
}

/// The limit is raised before the listeners are made, and counts them.
#[test]
fn more_listeners_than_the_soft_limit_of_descriptors() {
    let addresses: Vec<_> = (0..150).map(|n| format!("-l127.0.1.{}:0", n + 1)).collect();
    let mut command = Command::new("sh");
    let script = "ulimit -S -n 100 && exec \"$0\" \"$@\"";
    command.args(["-c", script, BIN, "-c", "10", "-f", POLICY]);
    let mut server = Server::spawn(command.args(&addresses));
    for _ in 1..addresses.len() {
        assert_eq!(ask(server.listening(), REQUEST).unwrap(), answer());
    }
    server.stop();
}

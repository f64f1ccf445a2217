//! `--stdin`: a socket that somebody else has opened.

mod common;

use common::*;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::io::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;

fn given(socket: impl Into<OwnedFd>) -> Command {
    let mut command = Command::new(BIN);
    command.args(["--stdin", "-f", POLICY]);
    command.stdin(Stdio::from(socket.into()));
    command
}

/// inetd with `wait`, systemd with `Accept=no`, s6.
#[test]
fn listener_is_served_and_survives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..3 {
        let mut server = Server::spawn(&mut given(listener.try_clone().unwrap()));
        assert_eq!(server.address, address);
        for _ in 0..40 {
            assert_eq!(ask(address, REQUEST).unwrap(), answer());
        }
        server.stop();
        // Nobody serves now, and a player who comes meanwhile is kept for the next one.
        let mut early = connect(address);
        early.write_all(REQUEST).unwrap();
        let mut server = Server::spawn(&mut given(listener.try_clone().unwrap()));
        assert_eq!(read_all(&early).unwrap(), answer());
        server.stop();
    }
}

/// What a policy may say depends on the port that it is served from.
#[test]
fn policy_is_checked_for_the_port_of_the_listener() {
    let scratch = Scratch::new();
    let control =
        "<site-control permitted-cross-domain-policies='master-only'/><allow-access-from ";
    let policy = scratch.file("policy.xml", NARROW.replace("<allow-access-from ", control));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::spawn(given(listener).args(["-f", &policy]));
    server.expect("Lightspark ignores a policy with site-control unless from port 843");
    server.stop();
}

/// Stopped and started under load, no connection is lost.
#[test]
fn restart_on_a_listener_loses_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let askers: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..500 {
                    assert_eq!(ask(address, REQUEST).unwrap(), answer());
                }
            })
        })
        .collect();
    while askers.iter().any(|asker| !asker.is_finished()) {
        let mut server = Server::spawn(&mut given(listener.try_clone().unwrap()));
        server.stop();
    }
    for asker in askers {
        asker.join().unwrap();
    }
}

/// inetd with `nowait`, busybox tcpsvd: standard output and error are the connection too, and
/// nothing but the answer may be written to it, even where there is no system log to write to.
#[test]
fn connection_is_answered_and_nothing_else_is_written_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for (request, expected, option) in [
        (REQUEST, answer(), "-v"),
        (b"junk", Vec::new(), "-v"),
        (REQUEST, answer(), "--syslog"),
    ] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        client.write_all(request).unwrap();
        let mut command = given(socket.try_clone().unwrap());
        command.stdout(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
        command.stderr(Stdio::from(OwnedFd::from(socket)));
        let mut child = command.arg(option).spawn().unwrap();
        drop(command);
        assert_eq!(read_all(&client).unwrap(), expected);
        assert_eq!(wait_for(&mut child).code(), Some(0));
    }
}

/// A client that was reset before the server started: its socket looks much like a listener.
/// Whoever handed it over may hold the connection longer than the server.
#[test]
fn answer_ends_though_another_process_holds_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = connect(listener.local_addr().unwrap());
    let held = listener.accept().unwrap().0;
    client.write_all(REQUEST).unwrap();
    let mut command = given(held.try_clone().unwrap());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(wait_for(&mut child).code(), Some(0));
    // The end comes while it is held; without it this would wait in vain.
    assert_eq!(read_all(&client).unwrap(), answer());
    drop(held);
}

#[test]
fn connection_that_is_gone_is_no_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    // Closed with bytes unread, the client's kernel sends a reset.
    socket.write_all(b"unread").unwrap();
    client.peek(&mut [0]).unwrap();
    drop(client);
    wait_until("the reset arrives", || socket.peer_addr().is_err());
    let mut child = given(socket).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(wait_for(&mut child).code(), Some(1));
}

/// Ends with the test, however that ends.
struct Inetd(Child);

impl Drop for Inetd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn inetd_hands_over_connections() {
    let inetd = "/usr/sbin/inetd";
    if !is_root() || !std::path::Path::new(inetd).exists() {
        return skip("needs root and inetd");
    }
    let scratch = Scratch::new();
    let address = free_address();
    let line = format!(
        "{} stream tcp nowait root {} serv --stdin -v -f {}\n",
        address, BIN, POLICY
    );
    let conf = scratch.file("inetd.conf", line);
    let mut inetd = Command::new(inetd);
    let _inetd = Inetd(inetd.args(["-i", &conf]).spawn().unwrap());
    wait_until("inetd listens", || TcpStream::connect(address).is_ok());
    for _ in 0..20 {
        assert_eq!(ask(address, REQUEST).unwrap(), answer());
    }
}

#[test]
fn anything_else_on_standard_input_is_an_error() {
    for stdin in [Stdio::null(), Stdio::piped()] {
        let mut command = Command::new(BIN);
        command.args(["--stdin", "-f", POLICY]).stdin(stdin);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains("standard input is not a TCP socket in use"),
            "{}",
            stderr
        );
    }
}

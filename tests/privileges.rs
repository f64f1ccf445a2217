//! What the server keeps of what it was started with, and what it opens.

mod common;

use common::*;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::io::OwnedFd;
use std::process::{Command, Stdio};

/// The lines of a field of all threads in /proc/PID/task/*/status.
fn of_each_thread(pid: u32, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid)).unwrap();
    let line = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(field));
        line.unwrap().to_owned()
    };
    threads.map(|thread| line(thread.unwrap())).collect()
}

#[test]
fn user_that_was_taken_over_can_gain_no_privileges() {
    if !is_root() {
        return skip("needs root to give it up");
    }
    let mut server = Server::start(&["-u", "nobody"]);
    for line in of_each_thread(server.pid(), "NoNewPrivs:") {
        assert_eq!(line, "NoNewPrivs:\t1");
    }
    server.stop();
}

#[test]
fn inherited_descriptors_are_closed() {
    let scratch = Scratch::new();
    let secret = scratch.file("secret", "");
    let script = format!(
        "exec 7<{0} 8>{0} \"$0\" -l 127.0.0.1:0 -f {1}",
        secret, POLICY
    );
    let mut command = Command::new("sh");
    let mut server = Server::spawn(command.args(["-c", &script, BIN]));
    for entry in fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        assert_ne!(target.display().to_string(), secret);
    }
    server.stop();
}

/// Group 0 opens much that belongs to root.
#[test]
fn user_whose_own_group_is_0_is_refused() {
    if !is_root() {
        return skip("needs root to have another /etc/passwd");
    }
    let scratch = Scratch::new();
    let users = scratch.file("passwd", "operator:x:4711:0::/:/bin/false\n");
    let script = format!("mount --bind {} /etc/passwd && exec \"$0\" \"$@\"", users);
    let mut command = assert_cmd::Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, BIN, "-l", "127.0.0.1:0"]);
    let output = command
        .args(["-f", POLICY, "-u", "operator"])
        .timeout(PATIENCE)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr);
    assert!(
        stderr.contains("group 0 is root's: write operator:GROUP"),
        "{}",
        stderr
    );
}

#[test]
fn datagrams_are_not_answered() {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.connect(client.local_addr().unwrap()).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    client.send(REQUEST).unwrap();
    let mut command = Command::new(BIN);
    command.args(["--stdin", "-f", POLICY]);
    command.stdin(Stdio::from(OwnedFd::from(server)));
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr);
    assert!(stderr.contains("not a TCP socket"), "{}", stderr);
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 16]).is_err());
}

/// What was a file when it was looked at may be a FIFO when it is opened, and that would wait.
#[test]
fn policy_that_becomes_a_fifo_on_the_way_is_refused() {
    if !have("strace") {
        return skip("needs strace");
    }
    let scratch = Scratch::new();
    let file = scratch.file("policy.xml", NARROW);
    let fifo = scratch.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    // A detached tracer, so that the server is the child; and each opening takes half a second.
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-o", "/dev/null", "-e", "trace=openat", "-P"]);
    command.args([&file, "-e", "inject=openat:delay_enter=500000"]);
    command.args([BIN, "-l", "127.0.0.1:0", "-f", &file]);
    let mut server = Server::spawn(&mut command);
    server.signal("HUP");
    let tracer_has_it = |line: &String| line.contains("(tracing stop)");
    wait_until("it opens the file", || {
        of_each_thread(server.pid(), "State:")
            .iter()
            .any(tracer_has_it)
    });
    fs::rename(&fifo, &file).unwrap();
    server.expect("not a regular file; the last good policy stays in service");
    let asked = ask(server.address, REQUEST).unwrap();
    assert_eq!(asked, [NARROW.as_bytes(), b"\0"].concat());
    server.stop();
}

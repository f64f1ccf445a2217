//! What the server says: where it goes, and that nothing ever waits for it.

mod common;

use common::*;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::io::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Asks with `-v` until a log of any size is full, has it reload and stop, all of which must work as
/// if there were no log.
fn serves_and_stops(address: SocketAddr, pid: u32) {
    wait_until("it listens", || TcpStream::connect(address).is_ok());
    for _ in 0..3000 {
        assert_eq!(ask(address, REQUEST).unwrap(), answer());
    }
    signal(pid, "HUP");
    assert_eq!(ask(address, REQUEST).unwrap(), answer());
    let start = Instant::now();
    signal(pid, "TERM");
    let stat = format!("/proc/{}/stat", pid);
    let gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    wait_until("it ends", gone);
    assert!(start.elapsed() < Duration::from_secs(5), "not at once");
}

/// `script` gives its command a terminal, and what comes out of that goes to a pipe that nobody reads.
#[test]
fn terminal_that_nobody_reads_holds_up_nobody() {
    if !have("script") {
        return skip("needs script");
    }
    let (scratch, address) = (Scratch::new(), free_address());
    let pid = scratch.path("pid").display().to_string();
    let server = format!(
        "echo $$ > {}; exec {} -v -l {} -f {}",
        pid, BIN, address, POLICY
    );
    let mut script = Command::new("script");
    script.args(["-qec", &server, "/dev/null"]);
    script.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    wait_until("it is started", || {
        fs::read_to_string(&pid).map_or(false, |pid| pid.ends_with('\n'))
    });
    let pid = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    serves_and_stops(address, pid);
    let _ = script.kill();
    script.wait().unwrap();
}

/// A pipe tells that it has room when it takes 4096 bytes, and a longer line would wait for more.
#[test]
fn full_pipe_holds_up_nobody_however_long_the_lines() {
    let (scratch, address) = (Scratch::new(), free_address());
    let mut folder = scratch.path("");
    // Each of these bytes takes five in a line, so that a line has more than 12,000.
    for _ in 0..12 {
        folder.push("\u{1}".repeat(200));
    }
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("policy.xml");
    fs::copy(POLICY, &file).unwrap();
    let mut command = Command::new(BIN);
    command
        .args(["-v", "-l", &address.to_string(), "-f"])
        .arg(file);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it listens", || TcpStream::connect(address).is_ok());
    for _ in 0..200 {
        signal(child.id(), "HUP");
    }
    serves_and_stops(address, child.id());
    assert_eq!(wait_for(&mut child).code(), Some(0));
}

/// With no thread left for the log, the lines come out all the same.
#[test]
fn log_gives_up_its_thread_for_the_clients() {
    if !is_root() || !have("prlimit") {
        return skip("needs root to become a user with a limit");
    }
    let folder = std::env::temp_dir().join(format!("flash-policy-log-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let program = folder.join("flash-policy-serv");
    // Not by this process: others that it starts meanwhile would keep the copy open for writing.
    let copied = Command::new("cp").args([BIN, POLICY]).arg(&folder).status();
    assert!(copied.unwrap().success());
    let user = format!("--reuid={}", 300_000 + std::process::id());
    let mut command = Command::new("setpriv");
    command.args([&user, "--clear-groups", "prlimit", "--nproc=2:2"]);
    command
        .arg(&program)
        .args(["-l", "127.0.0.1:0", "-v", "-f"]);
    let mut server = Server::spawn(command.arg(folder.join("policy.xml")));
    assert_eq!(server.count("task"), 2);
    server.expect("ignores a policy with site-control");
    server.expect("any site may use");
    server.stop();
    fs::remove_dir_all(&folder).unwrap();
}

/// A machine whose `/dev/log` is a socket of this test.
struct SystemLog {
    folder: PathBuf,
    socket: UnixDatagram,
}

impl SystemLog {
    fn new() -> SystemLog {
        // A socket's path has 107 bytes at most.
        let folder = std::env::temp_dir().join(format!(
            "flash-policy-log-{:?}-{}",
            std::thread::current().id(),
            std::process::id()
        ));
        fs::create_dir(&folder).unwrap();
        let socket = SystemLog::bind(&folder);
        SystemLog { folder, socket }
    }

    fn bind(folder: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(folder.join("log")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// As when the log daemon is started again.
    fn restart(&mut self) {
        fs::remove_file(self.folder.join("log")).unwrap();
        self.socket = SystemLog::bind(&self.folder);
    }

    /// The server with these arguments, on that machine.
    fn command(&self, arguments: &[&str]) -> Command {
        let namespaces = if is_root() { "-m" } else { "-rm" };
        let script =
            "mount -t tmpfs none /dev && ln -s \"$1/log\" /dev/log && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args([namespaces, "sh", "-ec", script, "sh"]);
        command.arg(&self.folder).arg(BIN).args(arguments);
        command
    }

    fn is_possible(&self) -> bool {
        let mut command = self.command(&["--version"]);
        let output = command.output().unwrap();
        output.status.success()
    }

    /// Waits for a line with `part`, and returns it.
    fn expect(&self, part: &str) -> String {
        let mut buffer = [0; 8192];
        loop {
            let length = self.socket.recv(&mut buffer).expect(part);
            let line = String::from_utf8(buffer[..length].to_vec()).unwrap();
            assert!(line.starts_with("<30>flash-policy-serv["), "{}", line);
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for SystemLog {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn port_of(line: &str) -> SocketAddr {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn quiet(child: Child) {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn system_log_takes_the_events_and_may_be_restarted() {
    let mut log = SystemLog::new();
    if !log.is_possible() {
        return skip("needs a mount namespace");
    }
    let options = ["--syslog", "-v", "-l", "127.0.0.1:0", "-f", POLICY];
    let mut command = log.command(&options);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let line = log.expect("listening on ");
    let named = format!("<30>flash-policy-serv[{}]: listening on ", child.id());
    assert!(line.starts_with(&named), "{}", line);
    let address = port_of(&line);
    assert_eq!(ask(address, REQUEST).unwrap(), answer());
    log.expect(" answered");
    log.restart();
    signal(child.id(), "HUP");
    log.expect("in service");
    // A daemon that takes nothing holds up nobody; the end is no later for it.
    for _ in 0..1000 {
        assert_eq!(ask(address, REQUEST).unwrap(), answer());
    }
    let start = Instant::now();
    signal(child.id(), "TERM");
    quiet(child);
    assert!(start.elapsed() < Duration::from_secs(5), "not at once");
}

/// Whoever starts it looks at the terminal, and whoever comes later at the log.
#[test]
fn start_that_fails_is_in_the_system_log_and_on_standard_error() {
    let log = SystemLog::new();
    if !log.is_possible() {
        return skip("needs a mount namespace");
    }
    let scratch = Scratch::new();
    let broken = scratch.file("policy.xml", "<cross-domain-policy>");
    let mut command = log.command(&["--syslog", "-l", "127.0.0.1:0", "-f", &broken]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = "policy.xml:1:22: error: ";
    assert!(stderr.contains(error), "{}", stderr);
    log.expect(error);
}

#[test]
fn system_log_that_is_missing_is_an_error_at_the_start() {
    let log = SystemLog::new();
    if !log.is_possible() {
        return skip("needs a mount namespace");
    }
    fs::remove_file(log.folder.join("log")).unwrap();
    let mut command = log.command(&["--syslog", "-l", "127.0.0.1:0", "-f", POLICY]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("--syslog: no system log at /dev/log: No such file"),
        "{}",
        stderr
    );
}

/// Under inetd with `nowait`, standard error is the player's connection. A word of a broken policy
/// goes to the system log, and where there is none, to nobody.
#[test]
fn word_for_the_operator_never_goes_to_the_player() {
    let log = SystemLog::new();
    if !log.is_possible() {
        return skip("needs a mount namespace");
    }
    let scratch = Scratch::new();
    let broken = scratch.file("policy.xml", "<cross-domain-policy>");
    let run = |options: &[&str], expected| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(REQUEST).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let mut command = log.command(options);
        for n in 0..3 {
            let end = Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
            match n {
                0 => command.stdin(end),
                1 => command.stdout(end),
                _ => command.stderr(end),
            };
        }
        let mut child = command.spawn().unwrap();
        drop((command, socket));
        assert_eq!(wait_for(&mut child).code(), Some(expected));
        // The request was not read, so the end may be a reset.
        assert!(read_all(&client).map_or(true, |answer| answer.is_empty()));
    };
    run(&["--stdin", "-f", &broken], 1);
    log.expect("policy.xml:1:");
    run(&["--stdin", "--no-such-option"], 2);
    log.expect("unknown option");
    fs::remove_file(log.folder.join("log")).unwrap();
    run(&["--stdin", "-f", &broken], 1);
}

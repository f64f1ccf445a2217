//! What the tests share: the real server as a child process, clients, scratch folders, skips.
#![allow(dead_code)] // each test file uses a part

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, fs, mem, thread};

pub const BIN: &str = env!("CARGO_BIN_EXE_flash-policy-serv");
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The shipped policy file.
pub const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policy.xml");

/// What Flash Player sends.
pub const REQUEST: &[u8] = b"<policy-file-request/>\0";

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A policy that has no warning on any port, for tests that look at standard error.
pub const NARROW: &str = "<cross-domain-policy>\
    <allow-access-from domain=\"game.example.com\" to-ports=\"5222\"/>\
    </cross-domain-policy>\n";

/// The shipped policy and its NUL: the answer to [`REQUEST`].
pub fn answer() -> Vec<u8> {
    let mut answer = fs::read(POLICY).unwrap();
    answer.push(0);
    answer
}

/// Says that a test did not run, and why, where the test harness does not hide it. A failure in CI.
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("?").to_owned();
    let line = format!("skipped: {}: {}\n", test, reason);
    io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(env::var_os("CI").is_none(), "skipped in CI: {}", reason);
}

/// Whether a program is installed.
pub fn have(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.contains("\nUid:\t0\t")
}

/// Raises this process's soft limit of descriptors, often 1024, to what all tests of a file need at
/// once. Skips a test, and returns false, where the hard limit does not let it.
pub fn many_descriptors() -> bool {
    let pid = format!("--pid={}", std::process::id());
    // The soft one alone; or both, which root may.
    let raised = ["--nofile=16384:", "--nofile=16384"].iter().any(|limit| {
        let prlimit = Command::new("prlimit").args([&pid, *limit]).output();
        prlimit.map_or(false, |output| output.status.success())
    });
    if !raised {
        skip("needs 16384 descriptors, and prlimit to ask for them");
    }
    raised
}

/// Waits until `done`, and fails the test when it takes too long.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {}", what);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the end of a process, and kills it when that takes too long.
pub fn wait_for(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("process {} did not end", child.id());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What `--check` prints of a file on standard input, and its exit status.
pub fn check(file: &[u8], options: &[&str]) -> (String, i32) {
    let mut child = Command::new(BIN)
        .args(["--check", "-"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Of a file that is too large not all is read.
    let _ = child.stdin.take().unwrap().write_all(file);
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{:?}", output);
    let text = String::from_utf8(output.stdout).unwrap();
    (text, output.status.code().unwrap())
}

/// A folder that is gone when the test is over.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("scratch-{}-{}", std::process::id(), count);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server. Dropping it ends the process and fails the test if standard error had a line
/// that nobody expected.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    /// Read, and not yet expected by anyone.
    unclaimed: Vec<String>,
    /// The first socket that it listens on.
    pub address: SocketAddr,
}

impl Server {
    /// The real server with the shipped policy on a free port of 127.0.0.1.
    pub fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(BIN);
        command.args(["-l", "127.0.0.1:0", "-f", POLICY]);
        command.args(arguments);
        Server::spawn(&mut command)
    }

    /// Runs `command`, which becomes a server, and waits until it listens.
    pub fn spawn(command: &mut Command) -> Server {
        Server::try_spawn(command).unwrap_or_else(|(status, lines)| {
            panic!("ended with {:?} before it listened: {:?}", status, lines)
        })
    }

    /// The same for one that may end before it listens, with this status and these lines.
    pub fn try_spawn(command: &mut Command) -> Result<Server, (ExitStatus, Vec<String>)> {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .env_remove("LISTENQ")
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map(Result::unwrap) {
                // The shipped policy is open to all, and these ports are not 843.
                if !(line.contains(POLICY) && line.contains(": warning: ")) {
                    let _ = sender.send(line);
                }
            }
        });
        let mut server = Server {
            child,
            lines,
            unclaimed: Vec::new(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let start = Instant::now();
        while !server
            .unclaimed
            .iter()
            .any(|line| line.contains("listening on "))
        {
            match server
                .lines
                .recv_timeout(PATIENCE.saturating_sub(start.elapsed()))
            {
                Ok(line) => server.unclaimed.push(line),
                Err(_) => {
                    let status = wait_for(&mut server.child);
                    return Err((status, mem::take(&mut server.unclaimed)));
                }
            }
        }
        server.address = server.listening();
        Ok(server)
    }

    /// The address of the next readiness line.
    pub fn listening(&mut self) -> SocketAddr {
        let line = self.expect("listening on ");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits for a line with `part` in it.
    pub fn expect(&mut self, part: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.unclaimed.iter().position(|line| line.contains(part)) {
                return self.unclaimed.remove(at);
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.unclaimed.push(line),
                Err(_) => panic!("no line with {:?}, but {:?}", part, self.unclaimed),
            }
        }
    }

    /// Lets it say what it likes, and returns what it has said: all of it once it has ended.
    pub fn said(&mut self) -> Vec<String> {
        match self.child.try_wait() {
            Ok(Some(_)) => self.unclaimed.extend(self.lines.iter()),
            _ => self.unclaimed.extend(self.lines.try_iter()),
        }
        mem::take(&mut self.unclaimed)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// The counters as SIGUSR1 shows them.
    pub fn counters(&mut self) -> HashMap<String, u64> {
        self.signal("USR1");
        parse_counters(&self.expect("answered="))
    }

    /// Waits until the counters say `name=value`.
    pub fn wait_for_counter(&mut self, name: &str, value: u64) {
        let start = Instant::now();
        while self.counters()[name] != value {
            assert!(
                start.elapsed() < PATIENCE,
                "{} never {}: {:?}",
                name,
                value,
                self.counters()
            );
        }
    }

    /// How many entries there are in a folder of the process under /proc: `task`, `fd`.
    pub fn count(&self, folder: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{}", self.pid(), folder))
            .unwrap()
            .count()
    }

    /// A figure from its /proc/PID/status in kilobytes: `VmRSS`, `VmHWM`.
    pub fn memory(&self, name: &str) -> u64 {
        figure(self.pid(), "status", name)
    }

    /// CPU time used so far, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Waits for the end of the process.
    pub fn status(&mut self) -> ExitStatus {
        wait_for(&mut self.child)
    }

    /// Waits for the end of the process that was asked to stop, and returns its last counters.
    pub fn ended(&mut self) -> HashMap<String, u64> {
        let status = self.status();
        assert_eq!(status.code(), Some(0), "signal {:?}", status.signal());
        parse_counters(&self.expect("answered="))
    }

    pub fn stop(&mut self) -> HashMap<String, u64> {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.unclaimed.extend(self.lines.iter());
        if !thread::panicking() {
            assert!(
                self.unclaimed.is_empty(),
                "unexpected: {:?}",
                self.unclaimed
            );
        }
    }
}

/// A figure of a process from one of its files under /proc, such as `status` and `smaps_rollup`:
/// kilobytes, or a count.
pub fn figure(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/{}", pid, file)).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let figure = line.unwrap().split_whitespace().next().unwrap();
    figure.parse().unwrap()
}

/// Sends a signal by its name without SIG.
pub fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{} {}", name, pid);
    assert!(Command::new("sh")
        .args(["-c", &kill])
        .status()
        .unwrap()
        .success());
}

fn parse_counters(line: &str) -> HashMap<String, u64> {
    let pairs = line.split(' ').filter_map(|word| word.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// An address for programs that cannot tell which one they took: each call has a loopback address
/// of its own. To bind it first, and see which port is free, would not do: a process that another
/// thread is just starting may hold that listener for a moment longer.
pub fn free_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((
        [127, COUNT.fetch_add(1, Ordering::Relaxed), high, low],
        8430,
    ))
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client that has begun its request: the kernel holds back one that says nothing.
pub fn begin(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(&REQUEST[..1]).unwrap();
    stream
}

/// Everything until the end. An error where that is a reset.
pub fn read_all(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Sends `request` and reads until the end. An error where that is a reset.
pub fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(address);
    stream.write_all(request)?;
    read_all(&stream)
}

/// A copy of what `make` needs, in the folder `name`.
pub fn source(scratch: &Scratch, name: &str) -> PathBuf {
    let folder = scratch.path(name);
    fs::create_dir_all(&folder).unwrap();
    let mut copy = Command::new("cp");
    copy.args([
        "-R",
        "Makefile",
        "Cargo.toml",
        "LICENSE",
        "policy.xml",
        "src",
    ])
    .arg(&folder);
    assert!(copy.current_dir(ROOT).status().unwrap().success());
    folder
}

/// For `make`, where a test does not need the program to be small and fast: builds it in a second.
pub const QUICK: &str = "RUSTFLAGS=-C opt-level=0 -C lto=no";

/// Runs `make` in `folder`.
pub fn try_make(folder: &Path, arguments: &[&str]) -> Output {
    let mut make = Command::new("make");
    // This run may itself be under make.
    make.current_dir(folder)
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    make.args(arguments).output().unwrap()
}

/// Runs `make` in `folder`, which must work, and returns what it wrote to standard error.
pub fn make(folder: &Path, arguments: &[&str]) -> String {
    let output = try_make(folder, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "make {:?}: {}", arguments, errors);
    errors
}

/// Runs a shell script as process 1 of namespaces of its own, after the functions in machine.sh.
/// Its last line must be `passed`. Returns all that it wrote.
pub fn on_machine(script: &str, arguments: &[&str]) -> String {
    let script = format!("{}\n{}", include_str!("machine.sh"), script);
    let mut command = Command::new("timeout");
    command.args([
        "-s", "KILL", "120", "unshare", "--mount", "--pid", "--net", "--cgroup",
    ]);
    command.args([
        "--ipc",
        "--uts",
        "--fork",
        "--kill-child",
        "sh",
        "-euc",
        &script,
        "machine",
    ]);
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with("passed\n"), "{}\n{}", said, errors);
    said
}

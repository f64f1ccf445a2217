//! System calls that fail: under strace, which puts an error in the place of a call. The server is
//! to be there afterwards, or to have ended with a line and status 1 where it cannot serve at all.

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{fs, thread};

use common::*;

/// The calls on the server's way, and the errors that each can be met with. The first of them is
/// what `make test` tries.
const FAULTS: [(&str, &[&str]); 11] = [
    (
        "accept4",
        &[
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "ECONNABORTED",
            "EPROTO",
            "EPERM",
            "EINTR",
            "EAGAIN",
            "ETIMEDOUT",
            "ENETDOWN",
        ],
    ),
    (
        "recvfrom",
        &["ENOMEM", "ECONNRESET", "ETIMEDOUT", "EAGAIN", "EINTR"],
    ),
    (
        "sendto",
        &[
            "ENOBUFS",
            "EPIPE",
            "ECONNRESET",
            "ENOMEM",
            "EAGAIN",
            "EINTR",
        ],
    ),
    ("close", &["EIO", "EINTR"]),
    ("poll", &["ENOMEM", "EINVAL", "EINTR", "EAGAIN"]),
    ("mmap", &["ENOMEM", "EAGAIN", "EPERM"]),
    ("mprotect", &["ENOMEM", "EACCES"]),
    ("clone,clone3", &["EAGAIN", "ENOMEM", "EPERM"]),
    ("futex", &[LATE]),
    (
        "openat",
        &["EMFILE", "ENFILE", "ENOENT", "EACCES", "ENOMEM", "EINTR"],
    ),
    ("read", &["EIO", "EINTR", "EAGAIN", "EISDIR"]),
];

/// No error but a wait of a millisecond: strace cannot tell those calls of futex that wait, which may
/// fail, from those that wake, which cannot.
const LATE: &str = "late";

/// How often a call fails: each time, or every second time. Threads are counted apart.
const OFTEN: [&str; 2] = ["+", "+2"];

/// For a client while calls fail: who is not answered by then comes again.
const IMPATIENCE: Duration = Duration::from_millis(200);

/// How long calls fail under load, and how long the server is then watched while it has nothing to
/// do.
const WHILE: Duration = Duration::from_millis(300);

#[test]
fn each_call_fails_each_time_under_load() {
    if !may_trace() {
        return;
    }
    for (call, errors) in FAULTS {
        under_load(call, errors[0], "1+");
    }
}

#[test]
#[ignore = "takes minutes: make test-faults"]
fn fault_matrix() {
    if !may_trace() {
        return;
    }
    let start = Instant::now();
    for (call, errors) in FAULTS {
        let before = calls_before_main(call);
        for error in errors {
            for often in OFTEN {
                // The second of two: 2+2.
                let first = often.len();
                eprintln!("{} {} {}", call, error, often);
                // std tries for ever what is interrupted each time, and ends the program where the
                // close of a folder under /proc fails.
                if (*error, often) != ("EINTR", "+") && (call, *error) != ("close", "EIO") {
                    at_start(call, error, &format!("{}{}", before + first, often));
                }
                under_load(call, error, &format!("{}{}", first, often));
            }
        }
    }
    eprintln!("{:?}", start.elapsed());
}

/// Whether strace can be had, and may trace a process that is no child of its own.
fn may_trace() -> bool {
    if !have("strace") {
        skip("strace is not installed");
        return false;
    }
    let mut other = Command::new("sleep").arg("20").spawn().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-p", &other.id().to_string()]);
    let mut strace = strace.stderr(Stdio::null()).spawn().unwrap();
    let mut traced = false;
    wait_until("strace traces, or may not", || {
        traced = tracer(other.id()) != 0;
        traced || strace.try_wait().unwrap().is_some()
    });
    other.kill().unwrap();
    other.wait().unwrap();
    strace.wait().unwrap();
    if !traced {
        skip("strace may not trace other processes (kernel.yama.ptrace_scope)");
    }
    traced
}

/// The process that traces this one, or 0.
fn tracer(pid: u32) -> u32 {
    figure(pid, "status", "TracerPid") as u32
}

fn inject(call: &str, error: &str, when: &str) -> String {
    match error {
        LATE => format!("inject={}:delay_enter=1000:when={}", call, when),
        _ => format!("inject={}:error={}:when={}", call, error, when),
    }
}

/// How often the first thread makes this call before `main` blocks the signals; these are the
/// loader's and the C library's, which end the program.
fn calls_before_main(call: &str) -> usize {
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    let calls = format!("trace={},rt_sigprocmask", call);
    let mut command = Command::new("strace");
    command.args(["-qq", "-e", &calls, "-o"]).arg(&trace);
    assert!(command
        .arg(BIN)
        .arg("-V")
        .output()
        .unwrap()
        .status
        .success());
    let text = fs::read_to_string(&trace).unwrap();
    let before = text.split("rt_sigprocmask(SIG_BLOCK, [HUP").next().unwrap();
    assert!(before.len() < text.len(), "main does not begin: {}", text);
    let lines = before.lines();
    lines
        .filter(|line| !line.starts_with("rt_sigprocmask"))
        .count()
}

fn at_start(call: &str, error: &str, when: &str) {
    let what = format!("{} {} {} at start", call, error, when);
    let mut command = Command::new("strace");
    // -D: the server stays the child of this process. -I: signals end the tracing.
    command.args(["-D", "-f", "-qq", "-I", "2", "-o", "/dev/null", "-e"]);
    command.arg(format!("trace={}", call)).arg("-e");
    command.arg(inject(call, error, when)).arg(BIN);
    command.args(["-l", "127.0.0.1:0", "-f", POLICY, "-t", "60"]);
    match Server::try_spawn(&mut command) {
        Ok(server) => {
            let tracer = tracer(server.pid());
            let _ = TcpStream::connect(server.address).map(ask_in_vain);
            detach(&server, tracer);
            check(server, &what, None);
        }
        Err((status, lines)) => {
            assert_eq!(status.code(), Some(1), "{}: {:?} {:?}", what, status, lines);
            let one_line = lines.len() == 1 && lines[0].starts_with("flash-policy-serv: ");
            assert!(one_line, "{}: {:?}", what, lines);
        }
    }
}

fn under_load(call: &str, error: &str, when: &str) {
    let what = format!("{} {} {} under load", call, error, when);
    let mut server = Server::start(&["-t", "60"]);
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    let descriptors = server.count("fd");
    let (address, over) = (server.address, AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    let _ = TcpStream::connect(address).map(ask_in_vain);
                }
            });
        }
        scope.spawn(|| {
            while !over.load(SeqCst) {
                let slow: Vec<_> = (0..5).map(|_| slow(address)).collect();
                thread::sleep(IMPATIENCE / 4);
                drop(slow);
            }
        });
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
        strace.arg(format!("trace={}", call)).arg("-e");
        strace.arg(inject(call, error, when)).arg("-p");
        let mut strace = strace.arg(server.pid().to_string()).spawn().unwrap();
        wait_until("it is traced", || tracer(server.pid()) != 0);
        server.signal("HUP");
        server.signal("USR1");
        thread::sleep(WHILE);
        detach(&server, strace.id());
        strace.wait().unwrap();
        over.store(true, SeqCst);
    });
    server.said();
    // A call that strace prevents closes nothing; one that fails in the kernel does.
    check(server, &what, (call != "close").then_some(descriptors));
}

/// A player to whom anything may happen.
fn ask_in_vain(mut player: TcpStream) {
    player.set_read_timeout(Some(IMPATIENCE)).unwrap();
    if player.write_all(REQUEST).is_ok() {
        let _ = read_all(&player);
    }
}

/// A client that has to be waited for.
fn slow(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"<").ok().map(|()| stream)
}

/// Ends the tracing, and waits until it is over for each thread.
fn detach(server: &Server, tracer: u32) {
    signal(tracer, "TERM");
    wait_until("nothing is traced any more", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        tasks.flatten().all(|task| {
            // One that has ended meanwhile is not traced either.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            status.is_empty() || status.contains("\nTracerPid:\t0\n")
        })
    });
}

/// What is asked of a server after the faults.
fn check(mut server: Server, what: &str, descriptors: Option<usize>) {
    for _ in 0..10 {
        let got = ask(server.address, REQUEST);
        assert_eq!(got.ok(), Some(answer()), "{}: {:?}", what, server.said());
    }
    server.wait_for_counter("open", 0);
    if let Some(descriptors) = descriptors {
        wait_until(&format!("{}: descriptors are closed", what), || {
            server.count("fd") == descriptors
        });
    }
    let ticks = server.cpu_ticks();
    thread::sleep(WHILE);
    let spent = server.cpu_ticks() - ticks;
    // A loop that spins would take 30.
    assert!(spent < 5, "{}: {} ticks of CPU while idle", what, spent);
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < PATIENCE / 2, "{}: no end", what);
    for line in server.said() {
        assert!(
            line.starts_with("flash-policy-serv: "),
            "{}: {}",
            what,
            line
        );
    }
}

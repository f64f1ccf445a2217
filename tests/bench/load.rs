//! `make bench`: how fast the server is, beside the smallest one there can be and others, and what
//! it needs under load. Prints tables and judges nothing; the clients are this process.
//!
//! `cargo bench --bench load -- --quick` does everything once and briefly, to see that it works.

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod servers;

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use clients::{Seen, Silent};
use common::{figure, Server, BIN, POLICY};
use servers::Peer;

/// How much of everything is done.
struct Extent {
    rounds: usize,
    /// For how long one player asks.
    time: Duration,
    /// Connections of a round, and of a flood.
    connections: usize,
}

const FULL: Extent = Extent {
    rounds: 5,
    time: Duration::from_millis(1_200),
    connections: 20_000,
};

const QUICK: Extent = Extent {
    rounds: 1,
    time: Duration::from_millis(200),
    connections: 2_000,
};

/// How many silent connections a flood keeps where it does not keep all: more than the server and
/// its backlog hold, so that none ends but by the server.
const HELD: usize = 8_000;

/// How many threads the server keeps: the listener's, the main one and the log's.
const THREADS: usize = 3;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let extent = if quick { QUICK } else { FULL };
    match arguments.first().map_or("", String::as_str) {
        "floor" => servers::floor(false),
        "floor-with-options" => servers::floor(true),
        "silent" => clients::silent(&arguments[1..]),
        "floods" => floods(arguments[1] == "1", &extent),
        "measure" => measure(&extent),
        _ => on_second_core(&arguments),
    }
}

/// Becomes this program again, with as many descriptors as are allowed, on a core that no server is
/// on. As a batch, so that a client that gets its answer does not push aside another between its
/// connect and its request, which share no core in real life.
fn on_second_core(arguments: &[String]) {
    let core = thread::available_parallelism().map_or(0, |cores| cores.get().min(2) - 1);
    let script = "ulimit -n $(ulimit -H -n); exec taskset -c \"$0\" chrt --batch 0 \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, &core.to_string()]);
    let myself = env::current_exe().unwrap();
    panic!(
        "{}",
        shell.arg(myself).arg("measure").args(arguments).exec()
    );
}

fn measure(extent: &Extent) {
    {
        let peers = servers::all();
        println!("medians of {} rounds", extent.rounds);
        for at_once in [1, 32, 256, 1000] {
            compare(&peers, at_once, false, extent);
            // One alone has no others that could come in between.
            if at_once > 1 {
                compare(&peers, at_once, true, extent);
            }
        }
        instant(&peers, extent);
    }
    silent_connections(extent);
    println!(
        "\n{} silent connections; four players meanwhile",
        extent.connections
    );
    let players = "answered|failed|median ms|99 % ms|slowest ms|over 900 ms";
    head(&format!("opened|seconds|{players}|threads|resident KB"));
    if !floods_apart("1") || !floods_apart("0") {
        println!("here, with cookies or not: a network of its own takes unshare -rn and ip");
        floods(true, extent);
    }
    after_floods(extent);
    idle(extent);
    start(extent);
    binaries();
}

/// Prints the head of a table.
fn head(columns: &str) {
    print!("{:27}", "");
    columns.split('|').for_each(|column| print!("{column:>13}"));
    println!();
}

fn row(name: &str, figures: &[f64]) {
    print!("{name:27}");
    for figure in figures {
        let whole = figure.fract() == 0.0 || *figure > 1e3;
        print!("{figure:13.0$}", if whole { 0 } else { 2 });
    }
    println!();
}

/// The middle one.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Servers take turns in each round, so that what else the machine does meets all of them.
fn compare(peers: &[Peer], at_once: usize, later: bool, extent: &Extent) {
    let moment = ["in the same breath", "a moment later"][usize::from(later)];
    let mut results: Vec<_> = peers.iter().map(|_| Vec::new()).collect();
    for _ in 0..extent.rounds {
        for (peer, rounds) in peers.iter().zip(&mut results) {
            let (before, count) = (peer.cpu(), extent.connections);
            let seen = clients::ask_in_a_ring(peer.address, at_once, later, count);
            let asked = seen.count() + seen.failed;
            rounds.push(((peer.cpu() - before) / asked, seen.cpu / asked, seen));
        }
    }
    println!("\n{at_once} at once, request {moment}");
    head("answered|failed|a second|99 % ms|server us|client us|x floor|x options|sum x floor");
    type Rounds = [(f64, f64, Seen)];
    let server = |rounds: &Rounds| median(rounds.iter().map(|round| round.0));
    let client = |rounds: &Rounds| median(rounds.iter().map(|round| round.1));
    let sum = |rounds: &Rounds| median(rounds.iter().map(|round| round.0 + round.1));
    for (peer, rounds) in peers.iter().zip(&results) {
        let seen = || rounds.iter().map(|round| &round.2);
        let figures = [
            seen().map(Seen::count).sum(),
            seen().map(|seen| seen.failed).sum(),
            median(seen().map(|seen| seen.count() / seen.seconds)),
            median(seen().map(|seen| seen.within(0.99))),
            server(rounds),
            client(rounds),
            server(rounds) / server(&results[0]),
            server(rounds) / server(&results[1]),
            sum(rounds) / sum(&results[0]),
        ];
        row(&peer.name, &figures);
    }
}

/// The most that can come at once, and what one has received.
fn instant(peers: &[Peer], extent: &Extent) {
    println!(
        "\n1000 in the same instant; segments that a player has received when it sees the end"
    );
    head("answered|failed|slowest ms|segments");
    for peer in peers {
        let segments = clients::segments(peer.address);
        let ask = |_| clients::ask(peer.address, 1000, || false);
        let rounds: Vec<_> = (0..extent.rounds).map(ask).collect();
        let figures = [
            rounds.iter().map(|seen| seen.count()).sum(),
            rounds.iter().map(|seen| seen.failed).sum(),
            median(rounds.iter().map(|seen| seen.within(1.0))),
            segments.into(),
        ];
        row(&peer.name, &figures);
    }
}

/// Memory and threads with nothing to do, with 1000 connections that say nothing, and after them.
fn silent_connections(extent: &Extent) {
    println!("\n1000 silent connections");
    head("resident KB|anonymous KB|proport. KB|threads|descriptors|player ms");
    // Room for the player too, and time to look.
    let server = servers::project(&["-c", "1001", "-t", "60"]);
    let show = |state| {
        let memory = |name| figure(server.pid(), "smaps_rollup", name) as f64;
        let start = Instant::now();
        let player = clients::ask(server.address, 1, || start.elapsed() < extent.time);
        let figures = [
            memory("Rss"),
            memory("Anonymous"),
            memory("Pss"),
            server.count("task") as f64,
            server.count("fd") as f64,
            player.within(0.5),
        ];
        row(state, &figures);
    };
    show("idle");
    let held: Vec<_> = (0..1000)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    common::wait_until("a thread for each", || server.count("task") > 1000);
    show("held");
    drop(held);
    common::wait_until("threads end", || server.count("task") <= THREADS);
    show("after they left");
}

/// Floods in a network of their own, with SYN cookies or without, and with so many ports that
/// clients find a free one at once: where most are taken, that takes longer than all else. Returns
/// whether that is to be had here.
fn floods_apart(cookies: &str) -> bool {
    let script = "ip link set lo up && cd /proc/sys/net/ipv4 && echo \"$2\" >tcp_syncookies && \
                  echo 1024 65535 >ip_local_port_range && exec \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-rn", "sh", "-c", script])
        .arg(env::current_exe().unwrap());
    unshare.args(["floods", cookies]).args(env::args().skip(2));
    unshare.status().map_or(false, |status| status.success())
}

fn floods(cookies: bool, extent: &Extent) {
    if cookies {
        show_flood("4,000 a second", 500, false, extent);
        show_flood("flat out", 0, false, extent);
        show_flood("flat out, held", 0, true, extent);
    } else {
        show_flood("flat out, held, no cookies", 0, true, extent);
    }
}

/// `pause` is in microseconds, between two connections of each of the two processes.
fn show_flood(name: &str, pause: u64, all_held: bool, extent: &Extent) {
    let server = servers::project(&[]);
    let held = if all_held { extent.connections } else { HELD };
    let (seen, [opened, seconds, threads]) = flood(&server, extent.connections, pause, held);
    let second_syn = seen.answered.iter().filter(|time| **time > 900.0);
    let figures = [
        opened,
        seconds,
        seen.count(),
        seen.failed,
        seen.within(0.5),
        seen.within(0.99),
        seen.within(1.0),
        second_syn.count() as f64,
        threads,
        server.memory("VmHWM") as f64,
    ];
    row(name, &figures);
}

/// Opens silent connections in two processes, as one may not have descriptors for all. Returns what
/// four players have seen meanwhile, how many were opened in how many seconds, and the most threads
/// that the server had.
fn flood(server: &Server, count: usize, pause: u64, held: usize) -> (Seen, [f64; 3]) {
    let (address, pid) = (server.address, server.pid());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let players = scope.spawn(|| clients::ask(address, 4, || !over.load(Relaxed)));
        let threads = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Relaxed) {
                most = most.max(figure(pid, "status", "Threads"));
                thread::sleep(Duration::from_millis(5));
            }
            most as f64
        });
        let start = Instant::now();
        let mut silent = [(); 2].map(|()| Silent::open(address, count / 2, pause, held / 2));
        let opened = silent.iter_mut().map(Silent::opened).sum();
        let seconds = start.elapsed().as_secs_f64();
        if held == count {
            // In this time the kernel hands over those that it has held back.
            thread::sleep(Duration::from_secs(3));
        }
        over.store(true, Relaxed);
        let threads = threads.join().unwrap();
        (players.join().unwrap(), [opened, seconds, threads])
    })
}

/// What is left of a flood, again and again in the same server.
fn after_floods(extent: &Extent) {
    println!(
        "\nafter each of {} floods flat out in one server",
        2 * extent.rounds
    );
    head("answered|failed|ms to 3|descriptors|resident KB|anonymous KB");
    let server = servers::project(&[]);
    for round in 1..=2 * extent.rounds {
        let (seen, _) = flood(&server, extent.connections / 2, 0, HELD);
        let over = Instant::now();
        common::wait_until("threads end", || server.count("task") <= THREADS);
        let figures = [
            seen.count(),
            seen.failed,
            over.elapsed().as_secs_f64() * 1e3,
            server.count("fd") as f64,
            figure(server.pid(), "smaps_rollup", "Rss") as f64,
            figure(server.pid(), "smaps_rollup", "Anonymous") as f64,
        ];
        row(&round.to_string(), &figures);
    }
}

fn idle(extent: &Extent) {
    let server = servers::project(&[]);
    common::ask(server.address, common::REQUEST).unwrap();
    thread::sleep(Duration::from_millis(200));
    let before = servers::schedule(server.pid());
    thread::sleep(8 * extent.time);
    let after = servers::schedule(server.pid());
    let [ran, woken] = [after[0] - before[0], after[1] - before[1]];
    println!(
        "\nidle for {:?}: {ran} ns of CPU, woken {woken} times",
        8 * extent.time
    );
}

/// From before the process is made to its readiness line.
fn start(extent: &Extent) {
    let times = (0..4 * extent.rounds + 1).map(|_| {
        let start = Instant::now();
        let _server = Server::start(&[]);
        start.elapsed().as_secs_f64() * 1e3
    });
    println!(
        "start to listening: {:.2} ms, median of {}",
        median(times),
        4 * extent.rounds + 1
    );
}

/// The size of each binary that was built, and its memory while idle: with few other programs
/// beside it, and with 20 that share the C library, as on most machines.
fn binaries() {
    let target = Path::new(BIN).ancestors().nth(2).unwrap();
    // What `make` or `make static` built last, and `cargo build --release --target ...`.
    let mut binaries = vec![BIN.into(), target.join("flash-policy-serv")];
    for folder in fs::read_dir(target).unwrap().flatten() {
        binaries.push(folder.path().join("release/flash-policy-serv"));
    }
    for binary in binaries.iter().filter(|binary| binary.is_file()) {
        let mut command = Command::new(binary);
        let server = Server::spawn(command.args(["-l", "127.0.0.1:0", "-f", POLICY]));
        let proportional = || figure(server.pid(), "smaps_rollup", "Pss");
        let few = proportional();
        let sleep = |_| Command::new("sleep").arg("60").spawn().unwrap();
        let mut others: Vec<_> = (0..20).map(sleep).collect();
        let sleeps = |other: &Child| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", other.id()));
            stat.unwrap().contains(") S ")
        };
        common::wait_until("they sleep", || others.iter().all(sleeps));
        let many = proportional();
        for other in &mut others {
            other.kill().unwrap();
            other.wait().unwrap();
        }
        let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
        let libc = if maps.contains(".so") {
            "shared"
        } else {
            "static"
        };
        let bytes = fs::metadata(binary).unwrap().len();
        let name = binary.strip_prefix(target).unwrap().display();
        println!(
            "{name}: {bytes} bytes, {libc} libc, {few} KB proportional, {many} KB beside 20 others"
        );
    }
}

//! `make bench`: how fast the server is, beside the smallest one there can be and others, and what
//! it needs under load. Prints tables and judges nothing; the clients are a process of their own.
//!
//! `cargo bench --bench load -- --quick` does everything once and briefly, to see that it works.

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod servers;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use clients::Figures;
use common::{figure, Server, BIN, POLICY};
use servers::Peer;

/// How much of everything is done.
struct Extent {
    rounds: usize,
    /// Milliseconds that clients ask in each round.
    time: u64,
    flood: u64,
    flood_rounds: u64,
    starts: usize,
    idle: Duration,
}

const FULL: Extent = Extent {
    rounds: 5,
    time: 1_200,
    flood: 20_000,
    flood_rounds: 10,
    starts: 21,
    idle: Duration::from_secs(10),
};

const QUICK: Extent = Extent {
    rounds: 1,
    time: 200,
    flood: 2_000,
    flood_rounds: 2,
    starts: 3,
    idle: Duration::from_secs(1),
};

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.first().map_or("", String::as_str) {
        "floor" => return servers::floor(false),
        "floor-with-options" => return servers::floor(true),
        "held" => return held_flood("flat out, held, no cookies"),
        "clients" => return clients::run(&arguments[1], &arguments[2..]),
        _ => {}
    }
    let extent = if arguments.iter().any(|a| a == "--quick") {
        QUICK
    } else {
        FULL
    };
    {
        let peers = servers::all();
        compare(&peers, &extent);
        instant(&peers, &extent);
    }
    silent_connections(&extent);
    floods(&extent);
    after_floods(&extent);
    idle(&extent);
    start(&extent);
    binaries();
}

/// Starts clients with a task; see `clients::run`.
fn start_clients(task: &str, address: SocketAddr, numbers: &[u64]) -> Child {
    let mut command = servers::clients();
    command.args([task, &address.to_string()]);
    command.args(numbers.iter().map(u64::to_string));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What clients have seen when their task is done.
fn figures(clients: Child) -> Figures {
    let output = clients.wait_with_output().unwrap();
    assert!(output.status.success(), "the clients failed");
    Figures::parse(&String::from_utf8(output.stdout).unwrap())
}

/// The middle one.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Servers take turns in each round, so that what else the machine does meets all of them.
fn compare(peers: &[Peer], extent: &Extent) {
    // A ring of one would be no other than the first.
    let first = [("ask", 1)];
    let others = [32, 256, 1000].map(|count| [("ask", count), ("ask-later", count)]);
    for (task, count) in first.into_iter().chain(others.concat()) {
        let mut results = vec![Vec::new(); peers.len()];
        for _ in 0..extent.rounds {
            for (peer, results) in peers.iter().zip(&mut results) {
                let before = peer.cpu();
                let seen = figures(start_clients(task, peer.address, &[count, extent.time]));
                let asked = (seen.answered + seen.failed()) as f64;
                results.push(((peer.cpu() - before) / asked, seen.cpu / asked, seen));
            }
        }
        let moment = if task == "ask" {
            "in the same breath"
        } else {
            "a moment later"
        };
        println!(
            "\n{} at once, request {}; medians of {} rounds",
            count, moment, extent.rounds
        );
        println!(
            "{:<20}{:>10}{:>9}{:>10}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "", "reset or", "answers", "99 %", "server", "client", "server", "x floor:", "sum"
        );
        println!(
            "{:<20}{:>10}{:>9}{:>10}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "answered", "wrong", "a second", "ms", "us", "us", "x floor", "options", "x floor"
        );
        type Rounds = [(f64, f64, Figures)];
        let server = |rounds: &Rounds| median(rounds.iter().map(|r| r.0));
        let client = |rounds: &Rounds| median(rounds.iter().map(|r| r.1));
        let sum = |rounds: &Rounds| median(rounds.iter().map(|r| r.0 + r.1));
        for (peer, rounds) in peers.iter().zip(&results) {
            println!(
                "{:<20}{:>10}{:>9}{:>10.0}{:>9.2}{:>10.1}{:>10.1}{:>10.2}{:>10.2}{:>10.2}",
                peer.name,
                rounds.iter().map(|r| r.2.answered).sum::<u64>(),
                rounds.iter().map(|r| r.2.failed()).sum::<u64>(),
                median(rounds.iter().map(|r| r.2.a_second())),
                median(rounds.iter().map(|r| r.2.percentile99)),
                server(rounds),
                client(rounds),
                server(rounds) / server(&results[0]),
                server(rounds) / server(&results[1]),
                sum(rounds) / sum(&results[0]),
            );
        }
    }
}

fn instant(peers: &[Peer], extent: &Extent) {
    println!(
        "\n1000 clients in the same instant, {} times",
        extent.rounds
    );
    println!(
        "{:<20}{:>9}{:>9}{:>18}{:>10}",
        "", "", "reset or", "slowest ms", ""
    );
    println!(
        "{:<20}{:>9}{:>9}{:>18}{:>10}",
        "", "answered", "wrong", "median of rounds", "of all"
    );
    let mut results = vec![Vec::new(); peers.len()];
    for _ in 0..extent.rounds {
        for (peer, results) in peers.iter().zip(&mut results) {
            results.push(figures(start_clients("instant", peer.address, &[1000])));
        }
    }
    for (peer, rounds) in peers.iter().zip(&results) {
        println!(
            "{:<20}{:>9}{:>9}{:>18.1}{:>10.1}",
            peer.name,
            rounds.iter().map(|r| r.answered).sum::<u64>(),
            rounds.iter().map(Figures::failed).sum::<u64>(),
            median(rounds.iter().map(|r| r.slowest)),
            rounds.iter().map(|r| r.slowest).fold(f64::NAN, f64::max),
        );
    }
}

/// Memory and threads with nothing to do, with 1000 connections that say nothing, and after them.
fn silent_connections(extent: &Extent) {
    println!("\n1000 silent connections");
    println!(
        "{:<20}{:>12}{:>14}{:>17}{:>9}{:>13}{:>17}",
        "",
        "resident KB",
        "anonymous KB",
        "proportional KB",
        "threads",
        "descriptors",
        "player median ms"
    );
    // Room for the players too, and time to look.
    let server = servers::project(&["-c", "1001", "-t", "60"]);
    let show = |state: &str, player: f64| {
        println!(
            "{:<20}{:>12}{:>14}{:>17}{:>9}{:>13}{:>17.3}",
            state,
            figure(server.pid(), "smaps_rollup", "Rss"),
            figure(server.pid(), "smaps_rollup", "Anonymous"),
            figure(server.pid(), "smaps_rollup", "Pss"),
            server.count("task"),
            server.count("fd"),
            player
        );
    };
    let ask = || figures(start_clients("ask", server.address, &[1, extent.time])).median;
    show("fresh", f64::NAN);
    show("idle", ask());
    let mut holder = start_clients("hold", server.address, &[1000]);
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    common::wait_until("a thread for each", || server.count("task") > 1000);
    show("held", f64::NAN);
    show("held, one player", ask());
    drop(holder.stdin.take());
    common::wait_for(&mut holder);
    common::wait_until("threads end", || server.count("task") < 50);
    show("after they left", ask());
}

/// Silent connections one after another, while four players ask without pause.
fn floods(extent: &Extent) {
    println!(
        "\n{} silent connections one after another; four players meanwhile",
        extent.flood
    );
    println!(
        "{:<28}{:>10}{:>9}{:>9}{:>9}{:>10}{:>9}{:>12}",
        "", "players", "reset or", "median", "99 %", "slowest", "most", "most"
    );
    println!(
        "{:<28}{:>10}{:>9}{:>9}{:>9}{:>10}{:>9}{:>12}",
        "", "answered", "wrong", "ms", "ms", "ms", "threads", "resident KB"
    );
    for (name, a_second) in [("4,000 a second", 4_000), ("flat out", 0)] {
        let server = servers::project(&[]);
        let clients = start_clients("flood", server.address, &[extent.flood, a_second]);
        show_flood(name, &server, clients);
    }
    held_flood("flat out, held");
    let script =
        "ip link set lo up && echo 0 >/proc/sys/net/ipv4/tcp_syncookies && exec \"$0\" held";
    let myself = env::current_exe().unwrap();
    let mut apart = Command::new("unshare");
    let apart = apart.args(["-rn", "sh", "-c", script]).arg(myself).status();
    if !apart.map_or(false, |status| status.success()) {
        println!("without SYN cookies: not to be had here, it takes unshare -rn");
    }
}

/// The same with every idle connection held, half of them by each of two processes.
fn held_flood(name: &str) {
    let server = servers::project(&[]);
    let half = FULL.flood / 2;
    let mut holders = [(); 2].map(|()| start_clients("hold", server.address, &[half]));
    show_flood(
        name,
        &server,
        start_clients("ask", server.address, &[4, 6_000]),
    );
    for holder in &mut holders {
        drop(holder.stdin.take());
        common::wait_for(holder);
    }
}

fn show_flood(name: &str, server: &Server, clients: Child) {
    let (seen, threads) = flood(server, clients);
    println!(
        "{:<28}{:>10}{:>9}{:>9.2}{:>9.2}{:>10.2}{:>9}{:>12}",
        name,
        seen.answered,
        seen.failed(),
        seen.median,
        seen.percentile99,
        seen.slowest,
        threads,
        figure(server.pid(), "status", "VmHWM"),
    );
}

/// Returns what the players have seen, and the most threads that the server had.
fn flood(server: &Server, mut clients: Child) -> (Figures, u64) {
    let mut threads = 0;
    while clients.try_wait().unwrap().is_none() {
        threads = threads.max(figure(server.pid(), "status", "Threads"));
        thread::sleep(Duration::from_millis(5));
    }
    (figures(clients), threads)
}

/// What is left of a flood, again and again in the same server.
fn after_floods(extent: &Extent) {
    println!(
        "\nafter each of {} floods flat out in one server",
        extent.flood_rounds
    );
    println!(
        "{:<20}{:>9}{:>9}{:>17}{:>13}{:>12}{:>14}",
        "", "players", "reset or", "threads back to", "", "", ""
    );
    println!(
        "{:<20}{:>9}{:>9}{:>17}{:>13}{:>12}{:>14}",
        "", "answered", "wrong", "19 after ms", "descriptors", "resident KB", "anonymous KB"
    );
    let server = servers::project(&[]);
    let fresh = server.count("fd");
    println!("{:<55}{:>13}", "before", fresh);
    for round in 1..=extent.flood_rounds {
        let clients = start_clients("flood", server.address, &[extent.flood / 2, 0]);
        let (seen, _) = flood(&server, clients);
        let over = Instant::now();
        common::wait_until("threads end", || server.count("task") <= 19);
        println!(
            "{:<20}{:>9}{:>9}{:>17}{:>13}{:>12}{:>14}",
            round,
            seen.answered,
            seen.failed(),
            over.elapsed().as_millis(),
            server.count("fd"),
            figure(server.pid(), "smaps_rollup", "Rss"),
            figure(server.pid(), "smaps_rollup", "Anonymous"),
        );
    }
}

fn idle(extent: &Extent) {
    let server = servers::project(&[]);
    common::ask(server.address, common::REQUEST).unwrap();
    thread::sleep(Duration::from_millis(200));
    let before = servers::schedule(server.pid());
    thread::sleep(extent.idle);
    let after = servers::schedule(server.pid());
    println!(
        "\nidle for {} s: {} ns of CPU, woken {} times",
        extent.idle.as_secs(),
        after.0 - before.0,
        after.1 - before.1
    );
}

/// From before the process is made to its readiness line.
fn start(extent: &Extent) {
    let times = (0..extent.starts).map(|_| {
        let mut command = Command::new(BIN);
        command.args(["-l", "127.0.0.1:0", "-f", POLICY]);
        let start = Instant::now();
        let _server = Server::spawn(&mut command);
        start.elapsed().as_secs_f64() * 1e3
    });
    println!(
        "start to listening: {:.2} ms, median of {}",
        median(times),
        extent.starts
    );
}

/// The size of each binary that was built, and its memory while idle: with few other programs beside
/// it, and with 20 that share the C library, as on most machines.
fn binaries() {
    println!(
        "\n{:<50}{:>8}{:>10}{:>17}{:>14}",
        "", "libc", "bytes", "proportional KB", "beside 20"
    );
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
        common::wait_until("they sleep", || {
            let stat = |other: &Child| fs::read_to_string(format!("/proc/{}/stat", other.id()));
            others
                .iter()
                .all(|other| stat(other).unwrap().contains(") S "))
        });
        let many = proportional();
        for other in &mut others {
            other.kill().unwrap();
            other.wait().unwrap();
        }
        let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
        println!(
            "{:<50}{:>8}{:>10}{:>17}{:>14}",
            binary.strip_prefix(target).unwrap().display(),
            if maps.contains(".so") {
                "shared"
            } else {
                "static"
            },
            fs::metadata(binary).unwrap().len(),
            few,
            many
        );
    }
}

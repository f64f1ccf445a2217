//! Floods, crowds, and what a connection costs. Nothing here depends on how fast the machine is.

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::time::Duration;
use std::{fs, thread};

use common::{answer, ask, begin, connect, have, many_descriptors, read_all, skip, wait_until};
use common::{Scratch, Server, BIN, POLICY, REQUEST};

/// Those that accept, wait for signals and write the log.
const ALWAYS: usize = 3;

/// Makes the server stand still, until it gets SIGCONT.
fn stop(server: &Server) {
    server.signal("STOP");
    wait_until("it stands still", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        stat.contains(") T ") || stat.contains(") t ")
    });
}

#[test]
fn a_flood_of_silent_connections_harms_no_player() {
    if !many_descriptors() {
        return;
    }
    let (limit, silent, players) = (50, 3_000, 4);
    let mut server = Server::start(&["-c", &limit.to_string(), "-t", "60"]);
    let descriptors = server.count("fd");
    let (address, answer) = (server.address, answer());
    let over = AtomicBool::new(false);
    // Nothing comes between the connect of a player and its request, so that the request is always
    // there when the server gets round to it, however many have come since.
    let opening = Mutex::new(());
    let player = || {
        let mut asked = 0;
        while asked == 0 || !over.load(SeqCst) {
            let stream = {
                let _alone = opening.lock().unwrap();
                let mut stream = connect(address);
                stream.write_all(REQUEST).unwrap();
                stream
            };
            assert_eq!(read_all(&stream).unwrap(), answer);
            asked += 1;
        }
        asked
    };
    let mut flood = Vec::new();
    let mut most_threads = 0;
    let asked: u64 = thread::scope(|scope| {
        let players: Vec<_> = (0..players).map(|_| scope.spawn(player)).collect();
        for number in 0..silent {
            {
                let _alone = opening.lock().unwrap();
                flood.push(begin(address));
            }
            if number % 20 == 0 {
                most_threads = most_threads.max(server.count("task"));
            }
        }
        over.store(true, SeqCst);
        players
            .into_iter()
            .map(|player| player.join().unwrap())
            .sum()
    });
    assert!(
        most_threads > limit,
        "only {} threads: was there a flood?",
        most_threads
    );
    assert!(most_threads <= limit + ALWAYS, "{} threads", most_threads);
    let mut counters = server.counters();
    wait_until(
        "all have been accepted, and those that gave way are gone",
        || {
            counters = server.counters();
            counters["open"] <= limit as u64 && counters["evicted"] + counters["open"] == silent
        },
    );
    assert_eq!(counters["answered"], asked, "{:?}", counters);
    let open = counters["open"] as usize;
    assert_eq!(open, limit, "{:?}", counters);

    // The newest are those that were kept.
    let (gone, kept) = flood.split_at(flood.len() - open);
    assert!(gone
        .iter()
        .all(|stream| read_all(stream).unwrap().is_empty()));
    for mut stream in kept {
        stream.write_all(&REQUEST[1..]).unwrap();
        assert_eq!(read_all(stream).unwrap(), answer);
    }
    wait_until("threads end", || server.count("task") == ALWAYS);
    wait_until("descriptors are closed", || {
        server.count("fd") == descriptors
    });
    let counters = server.stop();
    assert_eq!(counters["answered"], asked + open as u64);
    for other in ["refused", "timed-out", "failed", "open"] {
        assert_eq!(counters[other], 0, "{:?}", counters);
    }
}

#[test]
fn a_request_that_has_arrived_is_answered_though_its_connection_gives_way() {
    if !many_descriptors() {
        return;
    }
    let limit = 50;
    let mut server = Server::start(&["-c", &limit.to_string(), "-t", "60"]);
    let players: Vec<_> = (0..limit).map(|_| connect(server.address)).collect();
    for mut player in &players {
        player.write_all(&REQUEST[..10]).unwrap();
    }
    server.wait_for_counter("open", limit);
    // All at once: the end of the requests, and as many connections as make all of them give way.
    stop(&server);
    for mut player in &players {
        player.write_all(&REQUEST[10..]).unwrap();
    }
    let flood: Vec<_> = (0..10 * limit).map(|_| connect(server.address)).collect();
    server.signal("CONT");
    for player in &players {
        assert_eq!(read_all(player).unwrap(), answer());
    }
    server.wait_for_counter("evicted", 9 * limit);
    drop(flood);
    assert_eq!(server.stop()["answered"], limit);
}

/// Threads of two listeners start at the same time, and none loses memory that the start of another
/// tries.
#[test]
fn two_listeners_are_flooded_at_once() {
    if !many_descriptors() {
        return;
    }
    for _ in 0..5 {
        let mut server = Server::start(&["-l", "127.0.0.2:0", "-t", "60"]);
        let addresses = [server.address, server.listening()];
        let flood = |address| (0..400).map(|_| connect(address)).collect::<Vec<_>>();
        let silent = thread::scope(|scope| {
            let floods = addresses.map(|address| scope.spawn(move || flood(address)));
            floods.map(|flood| flood.join().unwrap())
        });
        server.wait_for_counter("open", 800);
        for address in addresses {
            assert_eq!(ask(address, REQUEST).unwrap(), answer());
        }
        drop(silent);
        assert_eq!(server.stop()["answered"], 2);
    }
}

#[test]
fn ten_floods_leave_nothing_behind() {
    if !many_descriptors() {
        return;
    }
    let (limit, silent) = (200, 600);
    let mut server = Server::start(&["-c", &limit.to_string(), "-t", "60"]);
    let descriptors = server.count("fd");
    let mut resident = Vec::new();
    for round in 1..=10 {
        let flood: Vec<_> = (0..silent).map(|_| connect(server.address)).collect();
        server.wait_for_counter("evicted", round * (silent - limit));
        drop(flood);
        server.wait_for_counter("open", 0);
        wait_until("threads end", || server.count("task") == ALWAYS);
        wait_until("descriptors are closed", || {
            server.count("fd") == descriptors
        });
        resident.push(server.memory("VmRSS"));
    }
    // Kilobytes. Stacks of threads that ended are kept for the next, so the first rounds may grow.
    assert!(resident[9] < resident[2] + 2_000, "{:?}", resident);
    assert_eq!(server.stop()["refused"], 10 * limit);
}

#[test]
fn three_hundred_at_the_same_instant_are_all_answered() {
    if !many_descriptors() {
        return;
    }
    let clients = 300;
    let mut server = Server::start(&[]);
    let (address, answer, together) = (server.address, answer(), Barrier::new(clients));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                together.wait();
                assert_eq!(ask(address, REQUEST).unwrap(), answer);
            });
        }
    });
    let counters = server.stop();
    assert_eq!(counters["answered"], clients as u64, "{:?}", counters);
}

#[test]
fn one_silent_client_among_prompt_ones_holds_up_nobody() {
    let mut server = Server::start(&["-t", "60"]);
    let silent: Vec<_> = (0..3)
        .map(|_| {
            for _ in 0..100 {
                assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
            }
            begin(server.address)
        })
        .collect();
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    server.wait_for_counter("open", 3);
    drop(silent);
    assert_eq!(server.stop()["answered"], 301);
}

#[test]
fn slow_clients_hold_up_nobody_for_long() {
    if !many_descriptors() {
        return;
    }
    let server = Server::start(&["-t", "60"]);
    // All in the backlog when the server comes to it: many that earn grace, slow ones that each stay
    // within the longest there is, and a player.
    stop(&server);
    let prompt: Vec<_> = (0..100).map(|_| connect(server.address)).collect();
    let slow: Vec<_> = (0..100).map(|_| connect(server.address)).collect();
    let player = connect(server.address);
    for mut client in prompt.iter().chain([&player]) {
        client.write_all(REQUEST).unwrap();
    }
    let slow_answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            read_all(&prompt[99]).unwrap();
            for mut client in &slow {
                // Slow is what they are meant to be.
                thread::sleep(Duration::from_millis(2));
                client.write_all(REQUEST).unwrap();
                assert_eq!(read_all(client).unwrap(), answer());
                slow_answered.fetch_add(1, SeqCst);
            }
        });
        server.signal("CONT");
        assert_eq!(read_all(&player).unwrap(), answer());
        let before = slow_answered.load(SeqCst);
        assert!(before < 50, "{} slow clients were waited for", before);
    });
}

#[test]
fn as_many_as_are_allowed_can_wait_with_a_thread_each() {
    if !many_descriptors() {
        return;
    }
    let mut server = Server::start(&["-t", "60"]);
    let waiting: Vec<TcpStream> = (0..1000).map(|_| connect(server.address)).collect();
    server.wait_for_counter("open", 1000);
    wait_until("each has a thread", || server.count("task") >= 1000);
    // 14 MB in a release build, `make bench` shows it; others use more stack.
    let most = if cfg!(debug_assertions) {
        20_000
    } else {
        14_000
    };
    assert!(
        server.memory("VmHWM") < most,
        "{} KB",
        server.memory("VmHWM")
    );
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    drop(waiting);
    server.wait_for_counter("open", 0);
    assert_eq!(server.counters()["answered"], 1);
}

#[test]
fn an_answer_takes_four_system_calls() {
    let works = |strace: &mut Command| strace.output().map_or(false, |o| o.status.success());
    if !have("strace") || !works(Command::new("strace").args(["-c", "-o", "/dev/null", "true"])) {
        return skip("strace is missing, or may not trace");
    }
    let scratch = Scratch::new();
    let calls = |connections: u64| -> u64 {
        let summary = scratch.path(&connections.to_string());
        let mut command = Command::new("strace");
        // -D: the server stays the child of this process.
        command
            .args(["-D", "-f", "-c", "-o"])
            .arg(&summary)
            .arg(BIN);
        let mut server = Server::spawn(command.args(["-l", "127.0.0.1:0", "-f", POLICY]));
        // Asked while the server is stopped, so that it never has to wait for a request.
        stop(&server);
        let players: Vec<_> = (0..connections).map(|_| connect(server.address)).collect();
        for mut player in &players {
            player.write_all(REQUEST).unwrap();
        }
        server.signal("CONT");
        for player in &players {
            assert_eq!(read_all(player).unwrap(), answer());
        }
        server.stop();
        let mut total = None;
        wait_until("strace has counted", || {
            // Columns: % time, seconds, usecs/call, calls, errors or nothing, name.
            let text = fs::read_to_string(&summary).unwrap_or_default();
            let line = text.lines().find(|line| line.ends_with(" total"));
            total = line.map(|line| line.split_whitespace().nth(3).unwrap().parse().unwrap());
            total.is_some()
        });
        total.unwrap()
    };
    // The difference is what connections cost, without start and end: accept, receive, send and
    // close.
    let (few, many) = (100, 400);
    let each = (calls(many) - calls(few)) as f64 / (many - few) as f64;
    // Start and end differ by a call or two from run to run.
    assert!(each > 3.9, "{} calls: were they counted?", each);
    // std's close looks at the descriptor first in a debug build.
    let most = if cfg!(debug_assertions) { 5.2 } else { 4.2 };
    assert!(each < most, "{} calls", each);
}

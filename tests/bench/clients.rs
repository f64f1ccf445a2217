//! The load generator: clients in a process of their own. Each task prints one line of figures.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, REQUEST};
use crate::servers;

/// How many silent connections a flood keeps open: more than the server and its backlog hold, so
/// that none ends but by the server, and fewer than descriptors are allowed.
const HELD: usize = 8_000;

/// How many players ask during a flood.
const PLAYERS: usize = 4;

/// What a group of clients has seen.
#[derive(Clone, Default)]
pub struct Figures {
    /// Connections that got the whole answer and a clean end.
    pub answered: u64,
    /// Connections that ended in a reset, with or without an answer.
    pub reset: u64,
    /// Connections that got no answer or another one, or that could not be made.
    pub wrong: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Milliseconds from before the connect to after the end, of those answered or reset.
    pub median: f64,
    pub percentile99: f64,
    pub slowest: f64,
    /// Microseconds of CPU that the clients took.
    pub cpu: f64,
}

impl Figures {
    pub fn failed(&self) -> u64 {
        self.reset + self.wrong
    }

    pub fn a_second(&self) -> f64 {
        self.answered as f64 / self.seconds
    }

    fn of(ends: Vec<(End, Duration)>, took: Duration) -> Figures {
        let count = |end| ends.iter().filter(|e| e.0 == end).count() as u64;
        let timed = ends.iter().filter(|e| e.0 != End::Wrong);
        let mut times: Vec<_> = timed.map(|e| e.1.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| match times.len() {
            0 => f64::NAN,
            n => times[((n as f64 * share) as usize).min(n - 1)],
        };
        Figures {
            answered: count(End::Answered),
            reset: count(End::Reset),
            wrong: count(End::Wrong),
            seconds: took.as_secs_f64(),
            median: at(0.5),
            percentile99: at(0.99),
            slowest: at(1.0),
            cpu: servers::cpu("self"),
        }
    }

    fn print(&self) {
        println!(
            "{} {} {} {} {} {} {} {}",
            self.answered,
            self.reset,
            self.wrong,
            self.seconds,
            self.median,
            self.percentile99,
            self.slowest,
            self.cpu
        );
    }

    pub fn parse(line: &str) -> Figures {
        let f: Vec<f64> = line
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        Figures {
            answered: f[0] as u64,
            reset: f[1] as u64,
            wrong: f[2] as u64,
            seconds: f[3],
            median: f[4],
            percentile99: f[5],
            slowest: f[6],
            cpu: f[7],
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Answered,
    Reset,
    Wrong,
}

impl End {
    fn of(error: io::Error) -> End {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::Reset,
            _ => End::Wrong,
        }
    }
}

/// Does one task in the process that was started for it.
pub fn run(task: &str, arguments: &[String]) {
    let address: SocketAddr = arguments[0].parse().unwrap();
    let number = |at: usize| arguments[at].parse::<u64>().unwrap();
    match task {
        "ask" => ask_for(
            address,
            number(1) as usize,
            Duration::from_millis(number(2)),
        )
        .print(),
        "ask-later" => ask_later(
            address,
            number(1) as usize,
            Duration::from_millis(number(2)),
        )
        .print(),
        "instant" => ask_for(address, number(1) as usize, Duration::ZERO).print(),
        "hold" => hold(address, number(1)),
        "flood" => flood(address, number(1), number(2)).print(),
        _ => panic!("unknown task {}", task),
    }
}

/// So many clients begin at once, and each asks again as soon as it has its answer, at least once,
/// until the time is over.
fn ask_for(address: SocketAddr, clients: usize, time: Duration) -> Figures {
    let all_there = Barrier::new(clients + 1);
    let client = || {
        let mut ends = Vec::with_capacity(1024);
        all_there.wait();
        let start = Instant::now();
        while ends.is_empty() || start.elapsed() < time {
            ends.push(ask(address));
        }
        ends
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                thread::Builder::new()
                    .stack_size(65_536)
                    .spawn_scoped(scope, client)
                    .unwrap()
            })
            .collect();
        all_there.wait();
        let start = Instant::now();
        let ends = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        Figures::of(ends, start.elapsed())
    })
}

/// So many connections at once in one thread. As on a network, the server sees each before its request
/// comes: half of the others are made in between.
fn ask_later(address: SocketAddr, connections: usize, time: Duration) -> Figures {
    let half = connections / 2;
    let start = Instant::now();
    let (mut silent, mut asked) = (VecDeque::new(), VecDeque::new());
    let mut ends = Vec::new();
    let mut over = false;
    while !over || !silent.is_empty() || !asked.is_empty() {
        over = start.elapsed() >= time;
        if !over {
            silent.push_back((Instant::now(), TcpStream::connect(address).unwrap()));
        }
        if silent.len() > half || over {
            asked.extend(silent.pop_front().map(|(since, mut stream)| {
                let sent = stream.write_all(REQUEST);
                (since, sent.and(Ok(stream)))
            }));
        }
        if asked.len() > half || over {
            let ended = asked.pop_front().map(|(since, stream): (Instant, _)| {
                let end = stream.and_then(take_answer).unwrap_or_else(End::of);
                (end, since.elapsed())
            });
            ends.extend(ended);
        }
    }
    Figures::of(ends, start.elapsed())
}

/// Opens `count` connections one after another, `a_second` of them or, where that is 0, as many as
/// it can, and says nothing on them. Meanwhile players ask without pause; the figures are theirs,
/// except for the time, which is that of the flood.
fn flood(address: SocketAddr, count: u64, a_second: u64) -> Figures {
    let over = AtomicBool::new(false);
    let player = || {
        let mut ends = Vec::new();
        while !over.load(Relaxed) {
            ends.push(ask(address));
        }
        ends
    };
    thread::scope(|scope| {
        let players: Vec<_> = (0..PLAYERS).map(|_| scope.spawn(player)).collect();
        let start = Instant::now();
        let mut held = VecDeque::with_capacity(HELD + 1);
        for number in 1..=count {
            if let Some(early) = (number * 1_000_000).checked_div(a_second) {
                let due = Duration::from_micros(early);
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
            held.push_back(TcpStream::connect(address).unwrap());
            if held.len() > HELD {
                held.pop_front();
            }
        }
        let took = start.elapsed();
        over.store(true, Relaxed);
        let ends = players
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        Figures::of(ends, took)
    })
}

/// Opens silent connections, says so, and holds them until standard input ends.
fn hold(address: SocketAddr, count: u64) {
    let held: Vec<_> = (0..count)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    println!("held");
    let _ = io::stdin().read(&mut [0]);
    drop(held);
}

/// One player, from before its connect to after the end of the answer.
fn ask(address: SocketAddr) -> (End, Duration) {
    let start = Instant::now();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        stream.write_all(REQUEST)?;
        take_answer(stream)
    });
    (asked.unwrap_or_else(End::of), start.elapsed())
}

fn take_answer(mut stream: TcpStream) -> io::Result<End> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 4096];
    let mut length = 0;
    loop {
        match stream.read(&mut answer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    let text = String::from_utf8_lossy(&answer[..length]);
    let whole = text
        .trim_end_matches('\0')
        .trim_end()
        .ends_with("</cross-domain-policy>");
    Ok(if whole { End::Answered } else { End::Wrong })
}

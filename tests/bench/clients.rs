//! The clients: players, and silent connections.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::raw::c_int;
use std::os::unix::io::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::common::{self, PATIENCE, REQUEST};
use crate::servers;

/// What a group of players has seen.
pub struct Seen {
    /// Milliseconds from before the connect to after the whole answer and a clean end, in order.
    pub answered: Vec<f64>,
    /// Connections that ended in a reset, or without the whole answer, or could not be made.
    pub failed: f64,
    pub seconds: f64,
    /// Microseconds of CPU that the players took.
    pub cpu: f64,
}

impl Seen {
    /// `play` returns the milliseconds of each connection, or nothing for one that failed.
    fn by(play: impl FnOnce() -> Vec<Option<f64>>) -> Seen {
        let (start, cpu) = (Instant::now(), servers::cpu(0));
        let ends = play();
        let mut answered: Vec<f64> = ends.iter().copied().flatten().collect();
        answered.sort_by(f64::total_cmp);
        Seen {
            failed: (ends.len() - answered.len()) as f64,
            answered,
            seconds: start.elapsed().as_secs_f64(),
            cpu: servers::cpu(0) - cpu,
        }
    }

    pub fn count(&self) -> f64 {
        self.answered.len() as f64
    }

    /// The time within which this share was answered.
    pub fn within(&self, share: f64) -> f64 {
        let at = (self.count() * share) as usize;
        let last = self.answered.len().saturating_sub(1);
        *self.answered.get(at.min(last)).unwrap_or(&f64::NAN)
    }
}

/// So many players begin at once, and each asks again as soon as it has its answer, at least once,
/// as long as they are to `go_on`. Each sends the request in the same breath as it connects.
pub fn ask(address: SocketAddr, players: usize, go_on: impl Fn() -> bool + Sync) -> Seen {
    let all_there = Barrier::new(players + 1);
    let player = || {
        let mut ends = Vec::new();
        all_there.wait();
        while ends.is_empty() || go_on() {
            let start = Instant::now();
            let stream = TcpStream::connect(address).and_then(send_request);
            ends.push(end(start, stream));
        }
        ends
    };
    thread::scope(|scope| {
        let thread = |_| {
            thread::Builder::new()
                .stack_size(65_536)
                .spawn_scoped(scope, player)
        };
        let threads: Vec<_> = (0..players).map(thread).collect();
        Seen::by(|| {
            all_there.wait();
            let ends = threads
                .into_iter()
                .flat_map(|thread| thread.unwrap().join().unwrap());
            ends.collect()
        })
    })
}

/// So many connections at once in one thread, of which the oldest is read to its end before the next
/// is made. With `later`, the server sees each before its request comes, as on a network: half of the
/// others are made in between.
pub fn ask_in_a_ring(address: SocketAddr, at_once: usize, later: bool, connections: usize) -> Seen {
    let silent_for = if later { at_once / 2 } else { 0 };
    Seen::by(|| {
        let (mut silent, mut asked) = (VecDeque::new(), VecDeque::new());
        let mut ends = Vec::new();
        for step in 0..connections + at_once {
            if step >= at_once {
                ends.extend(asked.pop_front().map(|(start, stream)| end(start, stream)));
            }
            if step < connections {
                silent.push_back((Instant::now(), TcpStream::connect(address)));
            }
            if step >= silent_for {
                let next = silent.pop_front();
                asked.extend(next.map(|(start, stream)| (start, stream.and_then(send_request))));
            }
        }
        ends
    })
}

fn send_request(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.write_all(REQUEST)?;
    Ok(stream)
}

/// Milliseconds until the whole answer and its end, if they came.
fn end(start: Instant, stream: io::Result<TcpStream>) -> Option<f64> {
    let mut stream = stream.ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let (mut answer, mut length) = ([0; 4096], 0);
    loop {
        match stream.read(&mut answer[length..]).ok()? {
            0 => break,
            more => length += more,
        }
    }
    // nginx sends no NUL.
    let text = String::from_utf8_lossy(&answer[..length]);
    let text = text.trim_end_matches('\0').trim_end();
    let whole = text.ends_with("</cross-domain-policy>");
    whole.then(|| start.elapsed().as_secs_f64() * 1e3)
}

/// How many segments a player has received when it sees the end: `tcpi_segs_in`, tcp(7).
pub fn segments(address: SocketAddr) -> u32 {
    extern "C" {
        fn getsockopt(fd: c_int, level: c_int, name: c_int, at: *mut u32, size: *mut u32) -> c_int;
    }
    const IPPROTO_TCP: c_int = 6;
    const TCP_INFO: c_int = 11;
    let stream = send_request(common::connect(address)).unwrap();
    // Of any server, also one that ends with a reset.
    let _ = common::read_all(&stream);
    let (mut info, mut size) = ([0; 36], 144);
    let (fd, at) = (stream.as_raw_fd(), info.as_mut_ptr());
    // SAFETY: `info` has as many bytes as `size` says, and any bytes make numbers.
    let failed = unsafe { getsockopt(fd, IPPROTO_TCP, TCP_INFO, at, &mut size) };
    assert_eq!((failed, size), (0, 144), "no tcpi_segs_in");
    info[35]
}

/// A process that opens silent connections one after another, and keeps the last `held` of them
/// until it ends with this value.
pub struct Silent(Child);

impl Silent {
    pub fn open(address: SocketAddr, count: usize, pause: u64, held: usize) -> Silent {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["silent", &address.to_string()]);
        command.args([count, pause as usize, held].map(|number| number.to_string()));
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Silent(command.spawn().unwrap())
    }

    /// Waits until all are open, and returns how many that was in the time there is.
    pub fn opened(&mut self) -> f64 {
        let mut line = String::new();
        let _ = BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line);
        line.trim().parse().unwrap_or(f64::NAN)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        common::wait_for(&mut self.0);
    }
}

/// What that process does.
pub fn silent(arguments: &[String]) {
    let address: SocketAddr = arguments[0].parse().unwrap();
    let number = |at: usize| arguments[at].parse::<u64>().unwrap();
    let (count, pause, held) = (number(1), Duration::from_micros(number(2)), number(3));
    let (start, mut opened) = (Instant::now(), 0);
    let mut streams = VecDeque::new();
    while opened < count && start.elapsed() < PATIENCE {
        thread::sleep((pause * opened as u32).saturating_sub(start.elapsed()));
        if streams.len() as u64 == held {
            streams.pop_front();
        }
        streams.push_back(TcpStream::connect(address).unwrap());
        opened += 1;
    }
    println!("{opened}");
    let _ = io::stdin().read(&mut [0]);
}

//! `make test-soak`: everything that arrives on a policy port, all at once, for a while, with the
//! policy file changing under it. SOAK_SECONDS says for how long.

mod common;

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use common::{connect, read_all, wait_until, Scratch, Server, NARROW, REQUEST};

const LIMIT: usize = 300;

/// Threads whose work is done, and which are about to end.
const ENDING: usize = 16;

/// Those that accept, wait for signals and write the log.
const ALWAYS: usize = 3;

/// Between these the memory must not grow.
const ROUNDS: u32 = 4;

/// What the clients have done so far.
struct Clients {
    address: SocketAddr,
    /// Whoever is answered gets one of these.
    policies: [Vec<u8>; 2],
    over: AtomicBool,
    connections: AtomicU64,
    answered: AtomicU64,
}

impl Clients {
    /// Repeats one kind of client until the round is over. `kind` gets the connection and its
    /// number, and returns how many answers it got.
    fn repeat(&self, pause: u64, kind: impl Fn(TcpStream, u64) -> u64) {
        while !self.over.load(SeqCst) {
            let stream = connect(self.address);
            let number = self.connections.fetch_add(1, SeqCst);
            self.answered.fetch_add(kind(stream, number), SeqCst);
            thread::sleep(Duration::from_millis(pause));
        }
    }

    fn assert_answer(&self, stream: &TcpStream, nul: &[u8]) -> u64 {
        let answer = read_all(stream).unwrap();
        let right = |policy: &Vec<u8>| answer == [policy, nul].concat();
        assert!(
            self.policies.iter().any(right),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
        1
    }

    fn player(&self, mut stream: TcpStream) -> u64 {
        stream.write_all(REQUEST).unwrap();
        self.assert_answer(&stream, b"\0")
    }

    /// The request in two pieces, the second of which has the end and the NUL.
    fn slow_player(&self, mut stream: TcpStream, number: u64) -> u64 {
        let (head, tail) = REQUEST.split_at(number as usize % 22);
        stream.write_all(head).unwrap();
        thread::sleep(Duration::from_millis(number % 50));
        let sent = stream.write_all(tail);
        // Where very many came meanwhile it gave way.
        match stream.peek(&mut [0]) {
            Ok(1) if sent.is_ok() => self.assert_answer(&stream, b"\0"),
            _ => 0,
        }
    }

    /// No NUL, and the client ends after the server.
    fn silverlight(&self, mut stream: TcpStream) -> u64 {
        stream.write_all(&REQUEST[..22]).unwrap();
        self.assert_answer(&stream, b"")
    }

    /// Is answered and leaves without reading that: its close is a reset, which meets the server
    /// while it still waits for the client's end.
    fn resetter(&self, mut stream: TcpStream) -> u64 {
        stream.write_all(&REQUEST[..22]).unwrap();
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
        1
    }

    /// More than may wait, together with all others: the oldest give way. Some leave by themselves,
    /// some end only their half, the others stay until the server ends them.
    fn idlers(&self) {
        while !self.over.load(SeqCst) {
            // One after another, so that no player becomes the oldest before it has asked.
            let idler = |_| {
                thread::sleep(Duration::from_millis(1));
                connect(self.address)
            };
            let mut idlers: Vec<_> = (0..150).map(idler).collect();
            self.connections.fetch_add(150, SeqCst);
            idlers.truncate(140);
            for half_open in &idlers[130..] {
                half_open.shutdown(Shutdown::Write).unwrap();
            }
            thread::sleep(Duration::from_millis(100));
            for idler in &idlers {
                assert!(read_all(idler).unwrap().is_empty());
            }
        }
    }

    /// A byte now and then, which renews nothing.
    fn trickler(&self, mut stream: TcpStream) -> u64 {
        for byte in REQUEST {
            if stream.write_all(&[*byte]).is_err() {
                return 0;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("a trickler was never ended");
    }

    /// What is sent is none of the server's business, and it says nothing.
    fn stranger(&self, mut stream: TcpStream, number: u64) -> u64 {
        let openings: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\nHost: game.example.com\r\nAccept: */*\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client hello begins so",
            b"<policy-file-request>\0",
            b"\0",
            &[0xff; 1000],
        ];
        stream
            .write_all(openings[number as usize % openings.len()])
            .unwrap();
        assert!(read_all(&stream).unwrap().is_empty());
        0
    }

    fn round(&self, server: &mut Server, policy: &str, time: Duration) {
        self.over.store(false, SeqCst);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| self.repeat(0, |stream, _| self.player(stream)));
                scope.spawn(|| self.repeat(5, |stream, _| self.silverlight(stream)));
                scope.spawn(|| self.repeat(5, |stream, _| self.resetter(stream)));
                scope.spawn(|| self.repeat(5, |stream, number| self.stranger(stream, number)));
                scope.spawn(|| self.idlers());
            }
            for _ in 0..20 {
                scope.spawn(|| self.repeat(0, |stream, number| self.slow_player(stream, number)));
                scope.spawn(|| self.repeat(0, |stream, _| self.trickler(stream)));
            }
            let start = Instant::now();
            for reload in 0.. {
                if start.elapsed() > time {
                    break;
                }
                let (content, said): (&[u8], _) = match reload % 5 {
                    4 => (b"", "the last good policy stays in service"),
                    other => (&self.policies[other % 2], "in service"),
                };
                fs::write(format!("{}.new", policy), content).unwrap();
                fs::rename(format!("{}.new", policy), policy).unwrap();
                server.signal("HUP");
                server.expect(said);
                let threads = server.count("task");
                assert!(threads <= LIMIT + ENDING + ALWAYS, "{} threads", threads);
                thread::sleep(Duration::from_millis(100));
            }
            self.over.store(true, SeqCst);
        });
    }
}

#[test]
#[ignore = "takes two minutes: make test-soak"]
fn everything_at_once() {
    let seconds = env::var("SOAK_SECONDS").map_or(120, |s| s.parse().unwrap());
    let policies = ["game.example.com", "chat.example.com"]
        .map(|name| NARROW.replace("game.example.com", name).into_bytes());
    let scratch = Scratch::new();
    let policy = scratch.file("policy.xml", &policies[0]);
    let limit = LIMIT.to_string();
    // The later one of an option given twice counts.
    let mut server = Server::start(&["-t", "1", "-c", &limit, "-f", &policy]);
    let descriptors = server.count("fd");
    let clients = Clients {
        address: server.address,
        policies,
        over: AtomicBool::new(false),
        connections: AtomicU64::new(0),
        answered: AtomicU64::new(0),
    };
    let mut resident = Vec::new();
    for _ in 0..ROUNDS {
        clients.round(&mut server, &policy, Duration::from_secs(seconds) / ROUNDS);
        server.wait_for_counter("open", 0);
        wait_until("threads end", || server.count("task") == ALWAYS);
        wait_until("descriptors are closed", || {
            server.count("fd") == descriptors
        });
        resident.push(server.memory("VmRSS"));
        let counters = server.counters();
        assert_eq!(
            counters["answered"],
            clients.answered.load(SeqCst),
            "{:?}",
            counters
        );
        let outcomes = ["answered", "refused", "timed-out", "evicted", "failed"];
        let ended: u64 = outcomes.iter().map(|outcome| counters[*outcome]).sum();
        assert_eq!(ended, clients.connections.load(SeqCst), "{:?}", counters);
        for outcome in &outcomes[..4] {
            assert!(counters[*outcome] > 0, "no {}: {:?}", outcome, counters);
        }
        assert_eq!(counters["failed"], 0, "{:?}", counters);
    }
    let last = resident[resident.len() - 1];
    assert!(last < resident[0] + 2_000, "grows: {:?} KB", resident);
    server.stop();
}

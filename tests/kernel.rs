//! What the server leaves to the kernel: clients that say nothing are held back, and the answer and
//! the end of the stream leave in one segment.

mod common;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::raw::{c_int, c_void};
use std::os::unix::io::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::*;

extern "C" {
    fn unshare(flags: c_int) -> c_int;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, at: *mut c_void, size: *mut u32) -> c_int;
}

/// The kernel hands a client over that has been silent for about a second; this is surely before.
const HELD: Duration = Duration::from_millis(600);

fn cookies() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").unwrap_or_default()
}

/// Whether clients that say nothing are known to the server soon after they came; none if this
/// machine was too slow to tell.
fn silent_are_accepted(server: &mut Server) -> Option<bool> {
    let (before, tasks) = (server.counters()["open"], server.count("task"));
    let start = Instant::now();
    let silent: Vec<_> = (0..10).map(|_| connect(server.address)).collect();
    thread::sleep(HELD / 3);
    let accepted = server.counters()["open"] > before;
    // Ten clients would make ten threads.
    let threads = server.count("task") > tasks;
    let soon = start.elapsed() < HELD;
    drop(silent);
    server.wait_for_counter("open", 0);
    assert!(
        !soon || accepted == threads,
        "a thread and no client, or a client and no thread"
    );
    soon.then_some(accepted)
}

#[test]
fn silent_client_costs_nothing_in_its_first_second() {
    if cookies().trim() != "1" {
        return skip("needs net.ipv4.tcp_syncookies to be 1");
    }
    let mut server = Server::start(&["-t", "60"]);
    let accepted = (0..10).find_map(|_| silent_are_accepted(&mut server));
    assert_eq!(accepted, Some(false));
    // One that stays is handed over, and is a client like others.
    let mut silent = connect(server.address);
    server.wait_for_counter("open", 1);
    silent.write_all(REQUEST).unwrap();
    assert_eq!(read_all(&silent).unwrap(), answer());
    server.stop();
}

/// Silent clients would fill the queue in which the kernel holds them, and lock players out.
#[test]
fn without_cookies_silent_clients_are_accepted_at_once() {
    if !is_root() || !have("ip") {
        return skip("needs root and ip to make a network namespace");
    }
    let in_namespace = || {
        const CLONE_NEWNET: c_int = 0x4000_0000;
        // SAFETY: it takes a number, and means this thread and what it starts.
        assert_eq!(unsafe { unshare(CLONE_NEWNET) }, 0);
        let mut ip = Command::new("ip");
        assert!(ip
            .args(["link", "set", "lo", "up"])
            .status()
            .unwrap()
            .success());
        fs::write("/proc/sys/net/ipv4/tcp_syncookies", "0").unwrap();
        let mut server = Server::start(&["-t", "60"]);
        let accepted = (0..10).find_map(|_| silent_are_accepted(&mut server));
        assert_eq!(accepted, Some(true));
        let silent: Vec<_> = (0..500).map(|_| connect(server.address)).collect();
        for _ in 0..20 {
            assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
        }
        drop(silent);
        server.wait_for_counter("open", 0);
        server.stop();
    };
    thread::spawn(in_namespace).join().unwrap();
}

/// So short a queue overflows at once, and who comes with a cookie is accepted at once: more silent
/// ones than may wait, which give way.
#[test]
fn with_cookies_in_force_silent_clients_give_way_to_players() {
    let received = || {
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap();
        let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let at = names
            .split(' ')
            .position(|name| name == "SyncookiesRecv")
            .unwrap();
        values.split(' ').nth(at).unwrap().parse::<u64>().unwrap()
    };
    if cookies().trim() != "1" {
        return skip("needs net.ipv4.tcp_syncookies to be 1");
    }
    let before = received();
    let mut server = Server::start(&["-b", "8", "-c", "10", "-t", "60"]);
    let mut silent = Vec::new();
    for round in 0..10 {
        silent.extend((0..20).map(|_| connect(server.address)));
        assert_eq!(
            ask(server.address, REQUEST).unwrap(),
            answer(),
            "round {}",
            round
        );
    }
    assert!(received() > before, "no cookie was sent back");
    wait_until("silent clients give way", || {
        server.counters()["evicted"] > 100
    });
    let counters = server.counters();
    assert_eq!((counters["answered"], counters["failed"]), (10, 0));
    drop(silent);
    server.wait_for_counter("open", 0);
    server.stop();
}

/// It begins when the kernel hands the client over, and what it sends then does not move it.
#[test]
fn deadline_of_a_client_that_was_held_back() {
    let mut server = Server::start(&["-t", "1"]);
    let start = Instant::now();
    let mut slow = connect(server.address);
    server.wait_for_counter("open", 1);
    // Four seconds for a whole request.
    for byte in REQUEST {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        thread::sleep(HELD / 3);
    }
    assert!(read_all(&slow).map_or(true, |got| got.is_empty()));
    assert!(start.elapsed() >= Duration::from_millis(900));
    assert_eq!(server.stop()["timed-out"], 1);
}

/// How many segments this client has received, see `tcpi_segs_in` in linux/tcp.h.
fn segments(stream: &TcpStream) -> u32 {
    const IPPROTO_TCP: c_int = 6;
    const TCP_INFO: c_int = 11;
    const SEGS_IN: usize = 140 / 4;
    let (mut info, mut size) = ([0u32; 64], 256);
    let fd = stream.as_raw_fd();
    // SAFETY: `info` has as many bytes as `size` says, and both outlive the call.
    let got = unsafe {
        getsockopt(
            fd,
            IPPROTO_TCP,
            TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut size,
        )
    };
    assert!(got == 0 && size as usize > SEGS_IN * 4);
    info[SEGS_IN]
}

#[test]
fn answer_and_end_come_in_one_segment() {
    let mut server = Server::start(&[]);
    // With a NUL the server closes; without one it ends its side, and closes when the client has.
    for request in [REQUEST, &REQUEST[..22]] {
        for _ in 0..50 {
            let mut stream = connect(server.address);
            stream.write_all(request).unwrap();
            assert!(!read_all(&stream).unwrap().is_empty());
            // The answer to SYN, the acknowledgement of the request, the answer with the end.
            assert_eq!(segments(&stream), 3);
        }
    }
    server.stop();
}

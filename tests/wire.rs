//! What a client sees: requests in every shape, the answer, the end.

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::raw::c_int;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Long enough for the server to have read what was sent before; only makes a test more searching.
const GAP: Duration = Duration::from_millis(20);

#[test]
fn request_with_nul_is_answered_with_policy_and_nul() {
    let mut server = Server::start(&[]);
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    server.stop();
}

/// Silverlight sends no NUL and feeds the answer to an XML reader, which a NUL would break.
#[test]
fn request_without_nul_is_answered_without_nul() {
    let mut server = Server::start(&[]);
    let start = Instant::now();
    let mut stream = connect(server.address);
    stream.write_all(&REQUEST[..22]).unwrap();
    // The end of the answer is the end of the stream, which must not wait for the client's.
    assert_eq!(read_all(&stream).unwrap(), answer()[..257]);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "waited for the deadline"
    );
    server.stop();
}

/// Users of other servers were bitten by a request that came in two pieces.
#[test]
fn request_may_be_cut_anywhere() {
    let mut server = Server::start(&[]);
    for cut in 1..REQUEST.len() {
        let mut stream = connect(server.address);
        stream.set_nodelay(true).unwrap();
        stream.write_all(&REQUEST[..cut]).unwrap();
        std::thread::sleep(GAP);
        stream.write_all(&REQUEST[cut..]).unwrap();
        // Complete at its 22nd byte: a NUL that comes later is swallowed.
        let expected = if cut < 22 {
            answer()
        } else {
            answer()[..257].to_vec()
        };
        assert_eq!(read_all(&stream).unwrap(), expected, "cut after {}", cut);
    }
    let mut stream = connect(server.address);
    stream.set_nodelay(true).unwrap();
    for byte in REQUEST {
        stream.write_all(&[*byte]).unwrap();
    }
    let policy = read_all(&stream).unwrap();
    assert_eq!(policy[..257], answer()[..257], "byte by byte");
    server.stop();
}

/// Unread bytes would turn the server's close into a reset, which can take the answer with it.
#[test]
fn bytes_after_the_request_do_not_cause_a_reset() {
    let mut server = Server::start(&[]);
    let with_nul = [REQUEST, b"more".as_slice()].concat();
    let two = [REQUEST, REQUEST].concat();
    let flood = [REQUEST, [b'x'; 50_000].as_slice()].concat();
    let newline = [&REQUEST[..22], b"\n".as_slice()].concat();
    for _ in 0..50 {
        for request in [&with_nul, &two, &flood] {
            assert_eq!(ask(server.address, request).unwrap(), answer());
        }
        assert_eq!(ask(server.address, &newline).unwrap(), answer()[..257]);
    }
    // What comes after the answer, while the connection is being ended.
    for _ in 0..50 {
        let mut stream = connect(server.address);
        stream.write_all(&REQUEST[..22]).unwrap();
        let mut first = [0; 4096];
        let length = stream.read(&mut first).unwrap();
        assert_eq!(first[..length], answer()[..257]);
        stream.write_all(b"\0late").unwrap();
        assert_eq!(read_all(&stream).unwrap(), b"");
    }
    server.stop();
}

#[test]
fn every_one_of_many_clients_sees_a_clean_end() {
    let mut server = Server::start(&[]);
    for _ in 0..2000 {
        assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    }
    assert_eq!(server.stop()["answered"], 2000);
}

/// Lightspark takes what its first read returns as the whole answer.
#[test]
fn answer_comes_in_one_piece() {
    let scratch = Scratch::new();
    let largest = scratch.file("largest.xml", padded(20_480));
    let mut server = Server::start(&["-f", &largest]);
    for _ in 0..200 {
        let mut stream = connect(server.address);
        stream.write_all(REQUEST).unwrap();
        let mut first = [0; 65_536];
        assert_eq!(stream.read(&mut first).unwrap(), 20_481);
        assert_eq!(first[20_480], 0);
    }
    server.expect("1400 bytes");
    server.stop();
}

/// A policy of `size` bytes without any other warning than that on its size.
fn padded(size: usize) -> String {
    let (head, tail) = NARROW.split_at(NARROW.find("<allow").unwrap());
    let pad = size - NARROW.len() - "<!---->".len();
    format!("{}<!--{}-->{}", head, " ".repeat(pad), tail)
}

#[test]
fn first_wrong_byte_ends_the_connection_at_once() {
    let mut server = Server::start(&["-t", "60"]);
    let start = Instant::now();
    let openings = [
        b"GET / HTTP/1.1\r\nHost: game.example.com\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"<policy-file-requesT/>",
        b"<x",
        b"\0",
        b" <policy-file-request/>\0",
    ];
    for opening in openings {
        assert_eq!(ask(server.address, opening).unwrap(), b"", "{:?}", opening);
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "waited for the deadline"
    );
    let counters = server.stop();
    assert_eq!(
        (counters["refused"], counters["answered"]),
        (openings.len() as u64, 0)
    );
}

/// Adobe's reference prints the request with a blank before the slash.
#[test]
fn blanks_before_the_slash_are_let_pass_and_nowhere_else() {
    let mut server = Server::start(&[]);
    for blanks in [" ", "  ", "\t", "\r\n"] {
        let request = format!("<policy-file-request{}/>", blanks);
        assert_eq!(
            ask(server.address, request.as_bytes()).unwrap(),
            answer()[..257]
        );
        let request = request + "\0";
        assert_eq!(ask(server.address, request.as_bytes()).unwrap(), answer());
        for cut in 1..request.len() - 2 {
            let mut stream = connect(server.address);
            stream.set_nodelay(true).unwrap();
            stream.write_all(&request.as_bytes()[..cut]).unwrap();
            thread::sleep(GAP / 4);
            stream.write_all(&request.as_bytes()[cut..]).unwrap();
            assert_eq!(read_all(&stream).unwrap(), answer(), "cut after {}", cut);
        }
    }
    let wrong = [
        "< policy-file-request/>\0",
        "<policy-file -request/>\0",
        "<policy-file-request/ >\0",
        "<policy-file-request / >\0",
        "<policy-file-request\u{a0}/>\0",
        "<policy-file-request x/>\0",
    ];
    for request in wrong {
        assert_eq!(
            ask(server.address, request.as_bytes()).unwrap(),
            b"",
            "{:?}",
            request
        );
    }
    // More of them than any request has.
    let endless = [&REQUEST[..20], &[b' '; 2000]].concat();
    assert!(ask(server.address, &endless).map_or(true, |got| got.is_empty()));
    assert_eq!(server.stop()["refused"], wrong.len() as u64 + 1);
}

/// A proxy that was told to announce its clients would have all of them refused, so its operator
/// hears of it, though not with each client.
#[test]
fn proxy_headers_are_refused_and_said_once() {
    for header in [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 843\r\n".as_slice(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x9c\x40\x03\x4b",
    ] {
        let mut server = Server::start(&[]);
        for _ in 0..5 {
            let got = ask(server.address, &[header, REQUEST].concat()).unwrap();
            assert_eq!(got, b"");
        }
        server.expect("sends a PROXY protocol header, so it is refused: switch off send-proxy");
        // Dropped, the server fails the test if there was another line.
        assert_eq!(server.stop()["refused"], 5);
    }
}

#[test]
fn verbose_shows_what_was_sent_instead_of_a_request() {
    let mut server = Server::start(&["-v"]);
    for (sent, shown) in [
        (
            b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n".as_slice(),
            "refused: GET / HTTP/1.1",
        ),
        (
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
            "refused: 16 03 01 02 00 01 00 01",
        ),
        (b"\x1b[31mred", "refused: 1b 5b 33 31 6d 72 65 64"),
    ] {
        assert_eq!(ask(server.address, sent).unwrap(), b"");
        let line = server.expect("refused");
        assert!(line.contains(shown), "{:?}", line);
    }
    let silent = connect(server.address);
    silent.shutdown(Shutdown::Write).unwrap();
    server.expect("refused: asked for nothing");
    server.stop();
}

#[test]
fn half_closed_client_is_answered() {
    let mut server = Server::start(&[]);
    for request in [REQUEST, &REQUEST[..22]] {
        let mut stream = connect(server.address);
        stream.write_all(request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&stream).unwrap(), answer()[..request.len() + 235]);
    }
    // Health checks connect and close: ordinary, and refused.
    drop(connect(server.address));
    let stream = connect(server.address);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&stream).unwrap(), b"");
    server.wait_for_counter("refused", 2);
    server.stop();
}

#[test]
fn silent_client_is_closed_at_its_deadline() {
    let mut server = Server::start(&["-t", "1"]);
    let start = Instant::now();
    let stream = connect(server.address);
    assert_eq!(read_all(&stream).unwrap(), b"");
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_millis(900),
        "closed after {:?}",
        waited
    );
    assert_eq!(server.stop()["timed-out"], 1);
}

#[test]
fn trickling_does_not_renew_the_deadline() {
    let mut server = Server::start(&["-t", "1"]);
    let start = Instant::now();
    let mut stream = connect(server.address);
    stream.set_nodelay(true).unwrap();
    // Each byte comes well before the last one's second is over; 22 of them would take 4.4 s.
    for byte in REQUEST {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(read_all(&stream).map_or(true, |answer| answer.is_empty()));
    assert_eq!(server.stop()["timed-out"], 1);
    assert!(start.elapsed() < PATIENCE);
}

/// Nor does what comes after the answer: the connection is over at its deadline.
#[test]
fn endless_talker_is_cut_off() {
    let mut server = Server::start(&["-t", "1"]);
    let mut stream = connect(server.address);
    stream.write_all(&REQUEST[..22]).unwrap();
    let start = Instant::now();
    while stream.write_all(b"x").is_ok() {
        assert!(start.elapsed() < PATIENCE, "still listened to");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.stop()["answered"], 1);
}

/// In a network of its own, where no socket's buffer holds a large policy.
#[test]
fn clients_that_do_not_read_time_out_or_give_way() {
    extern "C" {
        fn unshare(flags: c_int) -> c_int;
    }
    const CLONE_NEWNET: c_int = 0x4000_0000;
    if !is_root() || !have("ip") {
        return skip("needs root and ip to make a network namespace");
    }
    let scratch = Scratch::new();
    let policy = scratch.file("large.xml", padded(20_480));
    let answer = [fs::read(&policy).unwrap(), vec![0]].concat();
    let in_namespace = move || {
        // SAFETY: it takes a number, and means this thread and what it starts.
        assert_eq!(unsafe { unshare(CLONE_NEWNET) }, 0);
        let mut ip = Command::new("ip");
        let ip = ip.args(["link", "set", "lo", "mtu", "1500", "up"]);
        assert!(ip.status().unwrap().success());
        for buffer in ["tcp_wmem", "tcp_rmem"] {
            fs::write(format!("/proc/sys/net/ipv4/{}", buffer), "4096 4096 4096").unwrap();
        }
        let ask_and_not_read = |server: &Server| {
            let mut stream = connect(server.address);
            stream.write_all(REQUEST).unwrap();
            stream
        };

        let mut server = Server::start(&["-f", &policy, "-t", "1"]);
        server.expect("1400 bytes");
        let stuck = ask_and_not_read(&server);
        server.wait_for_counter("timed-out", 1);
        assert!(read_all(&stuck).map_or(true, |read| read.len() < answer.len()));
        assert_eq!(ask(server.address, REQUEST).unwrap(), answer);
        server.stop();

        let mut server = Server::start(&["-f", &policy, "-t", "60", "-c", "2"]);
        server.expect("1400 bytes");
        let stuck: Vec<_> = (0..2).map(|_| ask_and_not_read(&server)).collect();
        wait_until("both are waited for", || server.count("task") > 3);
        // It is waited for too, and takes the place of the first.
        let third = ask_and_not_read(&server);
        server.wait_for_counter("evicted", 1);
        for player in [&third, &stuck[1]] {
            assert_eq!(read_all(player).unwrap(), answer);
        }
        assert_eq!(server.stop()["answered"], 2);
    };
    thread::spawn(in_namespace).join().unwrap();
}

#[test]
fn clients_that_vanish_harm_nobody() {
    let mut server = Server::start(&[]);
    for _ in 0..100 {
        // Closing with the answer unread makes the client's kernel send a reset.
        let mut stream = connect(server.address);
        stream.write_all(REQUEST).unwrap();
        stream.peek(&mut [0]).unwrap();
        drop(stream);
        let mut stream = connect(server.address);
        stream.write_all(&REQUEST[..10]).unwrap();
        drop(stream);
    }
    assert_eq!(ask(server.address, REQUEST).unwrap(), answer());
    server.wait_for_counter("open", 0);
    server.stop();
}

#[test]
fn ipv4_and_ipv6_are_answered() {
    if TcpStream::connect("[::1]:1").map_or_else(|e| e.raw_os_error() != Some(111), |_| false) {
        return skip("no IPv6 on this machine");
    }
    // A mere port is both families, as is the default port.
    let mut command = Command::new(BIN);
    command.args([
        "-l",
        "0",
        "-l",
        "[::1]:0",
        "-l",
        "127.0.0.1:0",
        "-v",
        "-f",
        POLICY,
    ]);
    let mut server = Server::spawn(&mut command);
    let everywhere = server.address;
    let only6 = server.listening();
    let only4 = server.listening();
    assert_eq!(everywhere.ip().to_string(), "::");
    let port = everywhere.port();
    for address in [
        format!("127.0.0.1:{}", port),
        format!("[::1]:{}", port),
        only4.to_string(),
        only6.to_string(),
    ] {
        let address = address.parse().unwrap();
        let mut stream = connect(address);
        stream.write_all(REQUEST).unwrap();
        assert_eq!(read_all(&stream).unwrap(), answer());
        // An IPv4 peer is called by its IPv4 address on the IPv6 socket too.
        server.expect(&format!("serv: {} answered", stream.local_addr().unwrap()));
    }
    assert!(TcpStream::connect(("127.0.0.1", only6.port())).is_err());
    server.stop();
}

/// How operators ask, with each `nc` there is.
#[test]
fn netcat_gets_the_policy() {
    let mut server = Server::start(&[]);
    let ask = format!(
        "printf '<policy-file-request/>\\0' | $NC 127.0.0.1 {}",
        server.address.port()
    );
    for (program, nc) in [
        ("nc.openbsd", "nc.openbsd"),
        ("nc.traditional", "nc.traditional"),
        ("busybox", "busybox nc"),
    ] {
        if !have(program) {
            skip(&format!("{} is not installed", program));
            continue;
        }
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", &ask])
            .env("NC", nc)
            .stderr(Stdio::inherit())
            .output();
        assert_eq!(output.unwrap().stdout, answer(), "{}", nc);
    }
    server.stop();
}

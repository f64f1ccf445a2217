//! `--probe` against this server and against small servers that misbehave.

mod common;

use common::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The exit status and standard output. Nothing may be on standard error.
fn probe(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(BIN)
        .arg("--probe")
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

/// Serves one connection on a thread: reads the request first, unless it is not to be read.
fn serve_once(reading: bool, serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        if reading {
            let mut request = [0; 23];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(request, REQUEST);
        }
        serve(stream);
    });
    address
}

/// Probes a server that sends `pieces`, with gaps between them, and closes.
fn probe_answer(pieces: &'static [&'static str]) -> (i32, String) {
    let address = serve_once(true, move |mut stream| {
        stream.set_nodelay(true).unwrap();
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                thread::sleep(Duration::from_millis(100));
            }
            stream.write_all(piece.as_bytes()).unwrap();
        }
    });
    probe(&[&address.to_string()])
}

#[test]
fn this_server_is_ok() {
    let scratch = Scratch::new();
    let file = scratch.file("policy.xml", NARROW);
    let mut server = Server::start(&["-f", &file, "-l", "[::1]:0"]);
    let six = server.listening().to_string();
    let port = server.address.port();
    let forms = [
        server.address.to_string(),
        six,
        format!("localhost:{}", port),
        port.to_string(),
    ];
    for form in &forms {
        let (status, text) = probe(&[form]);
        assert_eq!(status, 0, "{}", text);
        let (verdict, data) = text.strip_suffix('\n').unwrap().split_once(" | ").unwrap();
        let size = NARROW.len() + 1;
        let head = format!("POLICY OK - {} bytes in ", size);
        let tail = " ms, ends with NUL, game.example.com may connect to port 5222";
        assert!(
            verdict.starts_with(&head) && verdict.ends_with(tail),
            "{}",
            text
        );
        let (time, rest) = data
            .strip_prefix("time=")
            .unwrap()
            .split_once("s;1;3;0 size=")
            .unwrap();
        assert!(time.parse::<f64>().unwrap() < 1.0, "{}", text);
        assert_eq!(rest, format!("{}B", size));
    }
    let (status, text) = probe(&[&forms[0], "-v"]);
    assert_eq!((status, text.lines().count()), (0, 2));
    assert!(text.ends_with(NARROW), "{}", text);
    assert_eq!(server.stop()["answered"], 5);
}

/// The shipped policy, on the port that it is for.
#[test]
fn open_policy_on_port_843_is_ok() {
    if !is_root() || !have("ip") {
        return skip("needs root and ip to make a network namespace");
    }
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    let mut server = Server::spawn(command.args(["-n", "sh", "-c", script, BIN, "-f", POLICY]));
    let pid = server.pid().to_string();
    for form in ["localhost", "127.0.0.1", "::1", "[::1]", "[::1]:843", "843"] {
        let mut command = Command::new("nsenter");
        let output = command
            .args(["-n", "-t", &pid, BIN, "--probe", form])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text);
        assert!(text.starts_with("POLICY OK - 258 bytes in "), "{}", text);
        assert!(
            text.contains("ends with NUL, any site may connect to any port | time="),
            "{}",
            text
        );
    }
    server.stop();
}

#[test]
fn what_some_players_mind_is_a_warning() {
    const SPLIT: &[&str] = &[
        "<cross-domain-policy><allow-access-from domain='a.example' ",
        "to-ports='5222'/></cross-domain-policy>\0",
    ];
    const BARE: &[&str] = &["<cross-domain-policy><allow-access-from domain='a.example' to-ports='5222'/></cross-domain-policy>"];
    const AFTER: &[&str] = &["<cross-domain-policy><allow-access-from domain='a.example' to-ports='5222'/></cross-domain-policy>\0\n"];
    const RANGE: &[&str] = &["<cross-domain-policy><allow-access-from domain='a.example' to-ports='5222-5333'/></cross-domain-policy>\0"];
    let (status, text) = probe_answer(&["<cross-domain-policy/>\0"]);
    assert_eq!(status, 1, "{}", text);
    assert!(text.contains("this grants nothing"), "{}", text);
    for (answer, reason) in [
        (SPLIT, "came in 2 pieces"),
        (BARE, "no NUL at its end"),
        (AFTER, "bytes after its NUL"),
        (RANGE, "line 1 column "),
    ] {
        let (status, text) = probe_answer(answer);
        assert_eq!(status, 1, "{}", text);
        assert!(
            text.starts_with(&format!("POLICY WARNING - {}", reason)),
            "{}",
            text
        );
        assert!(text.contains("a.example may connect to port"), "{}", text);
    }
}

#[test]
fn reset_after_the_answer_is_a_warning() {
    let address = serve_once(false, |mut stream| {
        // Closed with the request unread, as the C server did.
        stream.peek(&mut [0; 23]).unwrap();
        stream.write_all(NARROW.as_bytes()).unwrap();
        stream.write_all(b"\0").unwrap();
    });
    let (status, text) = probe(&[&address.to_string()]);
    // What the reset overtakes is lost: then there is no answer at all.
    let warned = status == 1 && text.contains("reset instead of a clean end");
    let lost = status == 2 && text.contains("reset without an answer");
    assert!(warned || lost, "{}", text);
}

#[test]
fn slow_answer_and_open_end_are_warnings() {
    let address = serve_once(true, |mut stream| {
        thread::sleep(Duration::from_millis(1100));
        stream
            .write_all([NARROW, "\0"].concat().as_bytes())
            .unwrap();
        thread::sleep(PATIENCE);
    });
    let (status, text) = probe(&[&address.to_string(), "--timeout=2"]);
    assert_eq!(status, 1, "{}", text);
    assert!(
        text.starts_with("POLICY WARNING - slow, connection left open - "),
        "{}",
        text
    );
    assert!(text.contains("s;1;2;0 size="), "{}", text);
}

#[test]
fn no_policy_is_critical() {
    let nobody = free_address();
    let silent = serve_once(true, |_stream| thread::sleep(PATIENCE));
    let closing = serve_once(true, drop);
    let resetting = serve_once(false, |stream| {
        stream.peek(&mut [0; 23]).unwrap();
    });
    let endless = serve_once(
        true,
        |mut stream| while stream.write_all(&[b' '; 4096]).is_ok() {},
    );
    let trickling = serve_once(true, |mut stream| {
        while stream.write_all(b"<").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    for (address, reason) in [
        (nobody, "Connection refused"),
        (silent, "no answer in 1 s"),
        (closing, "closed without an answer"),
        (resetting, "reset without an answer"),
        (endless, "more than 20480 bytes"),
        (trickling, "no policy, line 1 column 2: "),
    ] {
        let (status, text) = probe(&[&address.to_string(), "-t", "1"]);
        assert_eq!((status, text.lines().count()), (2, 1), "{}", text);
        assert!(
            text.starts_with("POLICY CRITICAL - ") && text.contains(reason),
            "{}",
            text
        );
    }
    let http = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>\x1b[2J|</html>";
    let garbage = serve_once(true, move |mut stream| {
        stream.write_all(http.as_bytes()).unwrap()
    });
    let (status, text) = probe(&[&garbage.to_string(), "-v"]);
    assert_eq!(status, 2);
    assert!(
        text.starts_with("POLICY CRITICAL - no policy, line "),
        "{}",
        text
    );
    assert!(!text.contains('\x1b') && text.lines().next().unwrap().matches('|').count() == 1);
}

#[test]
fn wrong_use_is_unknown() {
    for arguments in [
        &["example.com"][..],
        &["127.0.0.1:x"],
        &["localhost5"],
        &["1", "-t", "0"],
        &["1", "2"],
        &[],
    ] {
        let (status, text) = probe(arguments);
        assert_eq!((status, text.lines().count()), (3, 1), "{}", text);
        assert!(text.starts_with("POLICY UNKNOWN - "), "{}", text);
    }
}

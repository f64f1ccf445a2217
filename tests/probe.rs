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
fn probe_answer(pieces: &'static [&'static str], options: &[&str]) -> (i32, String) {
    let address = serve_once(true, move |mut stream| {
        stream.set_nodelay(true).unwrap();
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                thread::sleep(Duration::from_millis(100));
            }
            stream.write_all(piece.as_bytes()).unwrap();
        }
    });
    probe(&[&[&*address.to_string()], options].concat())
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
    for (answer, reason) in [
        (SPLIT, "came in 2 pieces"),
        (BARE, "no NUL at its end"),
        (AFTER, "bytes after its NUL"),
        (RANGE, "1:60: Lightspark reads only the first port"),
    ] {
        let (status, text) = probe_answer(answer, &[]);
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
    let warned = status == 1 && text.contains("connection reset");
    let lost = status == 2 && text.contains("no answer, connection reset");
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

    // Of an answer about a site too; and on port 843 Flash Player waits no longer than 3 s.
    for (wait, status, start) in [
        (
            1100,
            0,
            "POLICY OK - allowed: by line 1; but slow; but came in 2 pieces - ",
        ),
        (
            3100,
            2,
            "POLICY CRITICAL - after 3 s, when Flash Player has given up - ",
        ),
    ] {
        let address = serve_once(true, move |mut stream| {
            stream.write_all(NARROW.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(wait));
            stream.write_all(b"\0").unwrap();
        });
        let question = ["--site", "game.example.com", "--to-port", "5222"];
        let port = if status == 2 { "-p843" } else { "-p8430" };
        let answer =
            probe(&[&[&*address.to_string(), "--timeout=9", port], &question[..]].concat());
        assert_eq!(answer.0, status, "{}", answer.1);
        assert!(answer.1.starts_with(start), "{}", answer.1);
    }
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
        (silent, "no answer, connection left open"),
        (closing, "no answer, connection closed"),
        (resetting, "no answer, connection reset"),
        (endless, "more than 20480 bytes"),
        (trickling, "not a policy: <"),
    ] {
        let (status, text) = probe(&[&address.to_string(), "-t", "1"]);
        assert_eq!((status, text.lines().count()), (2, 1), "{}", text);
        assert!(
            text.starts_with("POLICY CRITICAL - ") && text.contains(reason),
            "{}",
            text
        );
    }
}

/// An answer that stops in the middle is not blamed on the policy file; nor is one without bytes
/// said to have come at once.
#[test]
fn incomplete_answer_is_said_to_be_incomplete() {
    let half = &NARROW[..NARROW.len() - 30];
    let open = serve_once(true, move |mut stream| {
        stream.write_all(half.as_bytes()).unwrap();
        thread::sleep(PATIENCE);
    });
    let closed = serve_once(true, move |mut stream| {
        stream.write_all(half.as_bytes()).unwrap();
    });
    let begun = serve_once(true, |mut stream| {
        stream.write_all(b"<?xml version='1.0'?>\n").unwrap();
        thread::sleep(PATIENCE);
    });
    let incomplete = format!("incomplete after {} bytes, connection ", half.len());
    for (address, reason) in [
        (open, incomplete.clone() + "left open - "),
        (closed, incomplete + "closed - "),
        (
            begun,
            "not a policy: <?xml version='1.0'?>, connection left open - ".into(),
        ),
    ] {
        let (status, text) = probe(&[&address.to_string(), "-t", "1"]);
        let start = format!("POLICY CRITICAL - {}", reason);
        assert!(status == 2 && text.starts_with(&start), "{}", text);
    }
    let silent = serve_once(true, |_stream| thread::sleep(PATIENCE));
    let (_, text) = probe(&[&silent.to_string(), "-t", "1"]);
    let (_, time) = text.split_once(" | time=").unwrap();
    let (time, _) = time.split_once("s;").unwrap();
    assert!(time.parse::<f64>().unwrap() >= 1.0, "{}", text);
}

/// Something that is not a policy server answers.
#[test]
fn what_else_answers_is_shown() {
    let rows: &[(&[u8], &str)] = &[
        (
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>\x1b[2J|</html>",
            "not a policy: HTTP/1.1 400 Bad Request - ",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2|x\r\n",
            "not a policy: SSH-2.0-OpenSSH_9.2/x - ",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "not a policy: 16 03 01 02 00 01 00 01 ..., which looks like TLS - ",
        ),
        (
            b"\x15\x03\x03\0\x02\x02\x46",
            "not a policy: 15 03 03 00 02 02 46 ..., which looks like TLS - ",
        ),
        (b"\x03\xff", "not a policy: 03 ff ... - "),
        (b"\x1b[2Jx\n", "not a policy: 1b 5b 32 4a 78 0a ... - "),
        (b"\0", "not a policy: 00 ... - "),
    ];
    for (answer, expected) in rows {
        let address = serve_once(true, move |mut stream| stream.write_all(answer).unwrap());
        let (status, text) = probe(&[&address.to_string()]);
        let expected = format!("POLICY CRITICAL - {}", expected);
        assert!(status == 2 && text.starts_with(&expected), "{}", text);
        assert_eq!(text.matches('|').count(), 1, "{}", text);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(char::is_control), "{}", text);
    }
}

#[test]
fn a_policy_that_lets_nobody_in_is_critical() {
    const EMPTY: &[&str] = &["<cross-domain-policy/>\0"];
    const UNKNOWN: &[&str] = &["<cross-domain-policy><site-control permitted-cross-domain-policies='x'/><allow-access-from domain='a.example' to-ports='5222'/></cross-domain-policy>\0"];
    const BROKEN: &[&str] = &["<cross-domain-policy>\0"];
    const WRONG: &[&str] = &["<cross-domain-policy></a></cross-domain-policy>"];
    const NO_PORTS: &[&str] =
        &["<cross-domain-policy><allow-access-from domain='a.example'/></cross-domain-policy>\0"];
    const DROPPED: &[&str] = &["<cross-domain-policy><site-control permitted-cross-domain-policies='master-only'/><allow-access-from to-ports='80,x' domain=' a.example'/></cross-domain-policy>\0"];
    const SILVERLIGHT: &[&str] = &["<access-policy/>\0"];
    for (answer, expected) in [
        (EMPTY, "nobody can play, 1:1: this grants nothing: write "),
        (
            UNKNOWN,
            "nobody can play, 1:36: \"x\" makes every player refuse everything: ",
        ),
        (
            BROKEN,
            "nobody can play, 1:22: write </cross-domain-policy> here",
        ),
        (
            WRONG,
            "nobody can play, 1:22: </a> closes nothing: write </cross-domain-policy>",
        ),
        // Each player drops it for a reason of its own.
        (
            DROPPED,
            "nobody can play, 1:102: to-ports: \"x\" is no port",
        ),
        // The cause, before what is only a remark beside it.
        (NO_PORTS, "nobody can play, 1:22: to-ports: \"\" is no port"),
        (
            SILVERLIGHT,
            "nobody can play, 1:1: Silverlight asks port 943",
        ),
    ] {
        let (status, text) = probe_answer(answer, &["-p", "843"]);
        let expected = format!("POLICY CRITICAL - {}", expected);
        assert!(status == 2 && text.starts_with(&expected), "{}", text);
    }
    // What Lightspark alone minds comes after what nobody can play for.
    let low: &[&str] = &["<cross-domain-policy><site-control permitted-cross-domain-policies='master-only'/><allow-access-from domain='a.example' to-ports='80'/></cross-domain-policy>\0"];
    for (question, start) in [
        (&[][..], "nobody can play, 1:121: 80 has ports below 1024"),
        (
            &["--site", "b.example", "--to-port", "8000"],
            "refused: no entry names b.example",
        ),
        (
            &["--site", "a.example", "--to-port", "80"],
            "refused: only a policy from a port below 1024 can grant",
        ),
    ] {
        let (status, text) = probe_answer(low, &[&["-p", "8430"], question].concat());
        let start = format!("POLICY CRITICAL - {}", start);
        assert!(status == 2 && text.starts_with(&start), "{}", text);
    }
}

/// On port 943 without a NUL, in both directions.
#[test]
fn port_943_is_asked_as_silverlight_asks() {
    const POLICY: &[u8] = b"<access-policy><cross-domain-access><policy><allow-from>\
        <domain uri='*'/></allow-from><grant-to><socket-resource port='4502' protocol='tcp'/>\
        </grant-to></policy></cross-domain-access></access-policy>\0";
    let flash = [NARROW.as_bytes(), b"\0"].concat();
    for (answer, status, start) in [
        (&POLICY[..POLICY.len() - 1], 0, "OK - 1"),
        (POLICY, 2, "CRITICAL - a NUL, which Silverlight refuses - "),
        (
            &flash[..flash.len() - 1],
            2,
            "CRITICAL - nobody can play, 1:1: Silverlight asks port 943",
        ),
    ] {
        let answer = answer.to_vec();
        let address = serve_once(false, move |mut stream| {
            let mut request = [0; 23];
            let length = stream.read(&mut request).unwrap();
            assert_eq!(&request[..length], &REQUEST[..22]);
            stream.write_all(&answer).unwrap();
        });
        let found = probe(&[&address.to_string(), "--public-port", "943"]);
        assert_eq!(found.0, status, "{}", found.1);
        assert!(
            found.1.starts_with(&format!("POLICY {}", start)),
            "{}",
            found.1
        );
    }
}

#[test]
fn what_no_player_minds_is_no_warning() {
    const REMARKS: &[&str] = &["<cross-domain-policy>text<allow-access-from domain='*' to-ports='*' \
        x='y'/><x/><site-control permitted-cross-domain-policies='master-only'/></cross-domain-policy>\0"];
    let (status, text) = probe_answer(REMARKS, &["--public-port=843", "-v"]);
    assert!(status == 0 && text.starts_with("POLICY OK - "), "{}", text);
    assert_eq!(text.lines().count(), 1 + 4 + 1, "{}", text);
}

#[test]
fn a_question_is_answered_from_what_the_server_sends() {
    let mut server = Server::start(&["-f", &Scratch::new().file("policy.xml", NARROW)]);
    let address = server.address.to_string();
    for (site, port, status, expected) in [
        (
            "game.example.com",
            "5222",
            0,
            "POLICY OK - allowed: by line 1 - ",
        ),
        (
            "game.example.com",
            "5223",
            2,
            "POLICY CRITICAL - refused: line 1 names game.example.com, but not port 5223 - ",
        ),
        (
            "a.example",
            "5222",
            2,
            "POLICY CRITICAL - refused: no entry names a.example - ",
        ),
    ] {
        let found = probe(&[&address, "--site", site, "--to-port", port]);
        assert_eq!(found.0, status, "{}", found.1);
        assert!(found.1.starts_with(expected), "{}", found.1);
    }
    server.stop();
}

#[test]
fn wrong_use_is_unknown() {
    for arguments in [
        &["example.com"][..],
        &["127.0.0.1:x"],
        &["0"],
        &["[::1]:0"],
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

/// A file that ends in a NUL of its own, and what editors put after that, is sent with one NUL.
#[test]
fn a_nul_at_the_end_of_the_file_is_not_sent_twice() {
    let scratch = Scratch::new();
    let file = scratch.file("policy.xml", [NARROW, "\0\n"].concat());
    let mut server = Server::start(&["-f", &file]);
    server.expect("policy.xml:2:1: warning: the NUL here is left out");
    let answer = ask(server.address, REQUEST).unwrap();
    assert_eq!(answer, [NARROW.as_bytes(), b"\0"].concat());
    server.stop();
}

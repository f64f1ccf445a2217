//! The command line: what is right, what is wrong, and that the wrong is said in one clear line.

mod common;

use assert_cmd::Command;
use common::*;
use std::fs;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(BIN);
    let output = command
        .args(arguments)
        .env_remove("LISTENQ")
        .timeout(PATIENCE)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn usage_errors_name_option_value_and_range() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--port", "843"], &["unknown option \"--port\"", "--help"]),
        (&["-x"], &["unknown option \"-x\""]),
        (&["-"], &["\"-\" is not an option"]),
        (&["--"], &["unknown option \"--\""]),
        (&["--listening=1"], &["unknown option \"--listening=1\""]),
        (&["843"], &["\"843\" is not an option"]),
        (&["-v", "policy.xml"], &["\"policy.xml\" is not an option"]),
        (&["-l"], &["-l needs a value"]),
        (&["--policy="], &["--policy needs a value"]),
        (&["-f", ""], &["-f needs a value"]),
        (&["--verbose=1"], &["--verbose takes no value"]),
        (&["-vv"], &["-v takes no value"]),
        (&["--stdin=0"], &["--stdin takes no value"]),
        (
            &["-l", "65536"],
            &[
                "-l \"65536\"",
                "PORT, IP, IP:PORT or [IP6]:PORT",
                "at most 65535",
            ],
        ),
        (&["-l", "70000"], &["-l \"70000\""]),
        (&["-l", "-1"], &["-l \"-1\""]),
        (&["-l", "+843"], &["-l \"+843\""]),
        (&["-l", "843x"], &["-l \"843x\""]),
        (&["-l", " 843"], &["-l \" 843\""]),
        (&["-l", "0x10"], &["-l \"0x10\""]),
        (
            &["-l", "localhost:843"],
            &["-l \"localhost:843\"", "no name"],
        ),
        (&["-l", "127.0.0.1:"], &["-l \"127.0.0.1:\""]),
        (&["-l", "127.0.0.1:99999"], &["-l \"127.0.0.1:99999\""]),
        (&["-l", "127.0.0:1"], &["-l \"127.0.0:1\""]),
        (&["-l", "[127.0.0.1]:1"], &["-l \"[127.0.0.1]:1\""]),
        (&["-l", "[::1"], &["-l \"[::1\""]),
        (&["--listen=*:843"], &["--listen \"*:843\""]),
        (&["-t", "0"], &["-t \"0\"", "from 1 to 60"]),
        (&["-t", "61"], &["-t \"61\"", "from 1 to 60"]),
        (&["--timeout=5s"], &["--timeout \"5s\"", "from 1 to 60"]),
        (&["-t", "1.5"], &["-t \"1.5\""]),
        (
            &["-t", "18446744073709551617"],
            &["-t \"18446744073709551617\""],
        ),
        (&["-c", "0"], &["-c \"0\"", "from 1 to 30000"]),
        (
            &["--max-connections", "30001"],
            &["--max-connections \"30001\"", "from 1 to 30000"],
        ),
        (&["-b", "0"], &["-b \"0\"", "from 1 to 65535"]),
        (&["-b", "65536"], &["-b \"65536\"", "from 1 to 65535"]),
        (&["--backlog", ""], &["--backlog needs a value"]),
        (&["--stdin", "-l", "843"], &["--stdin", "--listen"]),
        (&["--stdin", "--backlog=5"], &["--stdin", "--backlog"]),
        (&["--stdin", "--check"], &["only one of"]),
        (&["--check", "a", "b"], &["\"b\" is one too many"]),
    ];
    for (arguments, parts) in cases {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!(status, Some(2), "{:?}: {}", arguments, stderr);
        assert_eq!(
            (stdout.as_str(), stderr.lines().count()),
            ("", 1),
            "{:?}: {}",
            arguments,
            stderr
        );
        assert!(stderr.starts_with("flash-policy-serv: "), "{}", stderr);
        for part in *parts {
            assert!(
                stderr.contains(part),
                "{:?}: {:?} not in {}",
                arguments,
                part,
                stderr
            );
        }
    }
}

#[test]
fn bad_listenq_is_a_usage_error_unless_the_option_is_given() {
    for value in ["", "0", "65536", "many", "10 "] {
        let mut command = Command::new(BIN);
        command.env("LISTENQ", value).timeout(PATIENCE);
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        let named = format!(
            "LISTENQ {:?}: must be a whole number from 1 to 65535",
            value
        );
        assert!(stderr.contains(&named), "{}", stderr);
    }
    let mut command = std::process::Command::new("env");
    command.args([
        "LISTENQ=many",
        BIN,
        "-b",
        "5",
        "-l",
        "127.0.0.1:0",
        "-f",
        POLICY,
    ]);
    Server::spawn(&mut command).stop();
}

#[test]
fn options_may_be_written_in_each_way() {
    let ways: &[&[&str]] = &[
        &["-l", "127.0.0.1:0", "-t", "9", "-c", "7", "-b", "5"],
        &["-l127.0.0.1:0", "-t9", "-c7", "-b5", "-v"],
        &[
            "--listen=127.0.0.1:0",
            "--timeout=9",
            "--max-connections=7",
            "--backlog=5",
        ],
        &[
            "--listen",
            "127.0.0.1:0",
            "--timeout",
            "60",
            "--max-connections",
            "30000",
        ],
        &["--verbose", "--backlog", "65535", "--listen", "127.0.0.1:0"],
    ];
    for way in ways {
        let policy = format!("--policy={}", POLICY);
        let mut command = std::process::Command::new(BIN);
        Server::spawn(command.args(*way).arg(policy)).stop();
    }
}

#[test]
fn help_and_version_come_before_anything_else() {
    for arguments in [&["-h"][..], &["--help"], &["--bad", "-t", "0", "--help"]] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!((status, stderr.as_str()), (Some(0), ""));
        assert!(
            stdout.starts_with("usage: flash-policy-serv "),
            "{}",
            stdout
        );
        assert!(
            stdout.contains("/usr/local/flash-policy-serv/etc/crossdomain.xml"),
            "{}",
            stdout
        );
        let wide = |line: &&str| line.len() > 80 && !line.contains("/crossdomain.xml");
        assert_eq!(stdout.lines().find(wide), None);
    }
    for arguments in [&["-V"][..], &["--version"], &["-t", "0", "-V"]] {
        let version = format!("flash-policy-serv {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(run(arguments), (Some(0), version, String::new()));
    }
    // To a place that is full or gone, a failure and not a panic.
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", "exec \"$0\" --help > /dev/full", BIN])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
}

#[test]
fn policy_file_that_will_not_do_ends_it_before_it_listens() {
    let scratch = Scratch::new();
    let large = scratch.file("large.xml", vec![b' '; 20_481]);
    let cases = [
        (scratch.file("empty.xml", ""), "empty"),
        (large, "over 20480 bytes"),
        (
            scratch.file("nul.xml", "<cross-domain-policy>\0</cross-domain-policy>"),
            "NUL",
        ),
        (
            scratch.path("missing.xml").display().to_string(),
            "No such file",
        ),
        (scratch.path("").display().to_string(), "not a regular file"),
        ("/dev/zero".to_owned(), "not a regular file"),
        (fifo(&scratch), "not a regular file"),
        (scratch.file("not\nxml", "policy"), "error"),
    ];
    // An address that another holds: it must never come so far as to try.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (file, reason) in &cases {
        let (status, _, stderr) = run(&["-f", file, "-l", &taken]);
        let named = stderr.contains(&file.replace('\n', "\\n"));
        assert!(
            status == Some(1) && named && stderr.contains(reason),
            "{:?} {}",
            status,
            stderr
        );
        assert!(!stderr.contains("listen"), "{}", stderr);
    }
}

/// A FIFO that nobody writes to would keep the server waiting for ever.
fn fifo(scratch: &Scratch) -> String {
    let path = scratch.path("fifo.xml").display().to_string();
    Command::new("mkfifo").arg(&path).assert().success();
    path
}

#[test]
fn largest_policy_is_served() {
    let scratch = Scratch::new();
    let pad = " ".repeat(20_480 - NARROW.len());
    let file = scratch.file("largest.xml", format!("{}{}", NARROW, pad));
    let mut server = Server::start(&["-f", &file]);
    server.expect("1400 bytes");
    assert_eq!(ask(server.address, REQUEST).unwrap().len(), 20_481);
    server.stop();
}

#[test]
fn address_that_cannot_be_listened_on_is_named_with_the_reason() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, reason) in [
        (taken.as_str(), "Address already in use"),
        ("192.0.2.1:0", "Cannot assign requested address"),
    ] {
        let (status, _, stderr) = run(&["-f", POLICY, "-l", "127.0.0.1:0", "-l", address]);
        assert_eq!(status, Some(1));
        assert!(
            stderr.contains(&format!("cannot listen on {}: {}", address, reason)),
            "{}",
            stderr
        );
        assert!(!stderr.contains("listening"), "{}", stderr);
    }
}

#[test]
fn user_that_will_not_do_is_an_error() {
    let cases = [
        ("no-such-user", 1, "no such user in /etc/passwd"),
        ("nobody:no-such-group", 1, "no such group in /etc/group"),
        ("4000000", 1, "needs a group"),
        ("4294967295:1", 1, "no such user"),
        ("root", 1, "is root"),
        ("0:0", 1, "is root"),
        (":daemon", 1, "no such user"),
        ("", 2, "needs a value"),
    ];
    for (user, expected, reason) in cases {
        let (status, _, stderr) = run(&["-l", "127.0.0.1:0", "-f", POLICY, "--user", user]);
        assert_eq!(status, Some(expected), "{}", stderr);
        assert!(
            stderr.contains(reason) && !stderr.contains("listening"),
            "{}",
            stderr
        );
    }
    if !is_root() {
        return skip("needs root to try without it");
    }
    let scratch = std::env::temp_dir().join(format!("flash-policy-serv-{}", std::process::id()));
    fs::create_dir(&scratch).unwrap();
    let copies = [
        (BIN, scratch.join("serv")),
        (POLICY, scratch.join("policy.xml")),
    ];
    for (from, to) in &copies {
        fs::copy(from, to).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=daemon", "--clear-groups"]);
    command
        .arg(&copies[0].1)
        .args(["-l", "127.0.0.1:0", "-u", "daemon", "-f"])
        .arg(&copies[1].1);
    let output = command.timeout(PATIENCE).output().unwrap();
    fs::remove_dir_all(&scratch).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("cannot become --user daemon: Operation not permitted"),
        "{}",
        stderr
    );
}

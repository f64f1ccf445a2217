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
        (&["-"], &["\"-\" is not an option: write --check -,"]),
        (
            &["/dev/stdin"],
            &["is not an option: write --check /dev/stdin,"],
        ),
        (&[""], &["unknown option \"\""]),
        (&["--check", ""], &["unknown option \"\""]),
        (&["--"], &["unknown option \"--\""]),
        (&["--listening=1"], &["unknown option \"--listening=1\""]),
        (&["843"], &["\"843\" is not an option: write --listen 843,"]),
        (
            &["check", "x"],
            &["\"check\" is not an option: write --check"],
        ),
        (&["--check", "a", "-f", "b"], &["name the file once"]),
        (
            &["-v", "policy.xml"],
            &["\"policy.xml\" is not an option", "--policy policy.xml"],
        ),
        (&["127.0.0.1:843"], &["write --listen 127.0.0.1:843"]),
        (&["-l"], &["-l needs a value"]),
        (&["--policy="], &["--policy needs a value"]),
        (&["-f", ""], &["-f needs a value"]),
        (&["--verbose=1"], &["write --verbose by itself"]),
        (&["-vv"], &["\"-vv\": write -v by itself"]),
        (&["-sx"], &["unknown option \"-sx\""]),
        (&["--check=a"], &["write --check by itself"]),
        (&["--stdin=0"], &["write --stdin by itself"]),
        (&["-l", "::1:843"], &["write [::1]:843 or [::1:843]"]),
        (&["-p", "0"], &["-p \"0\"", "from 1 to 65535"]),
        (
            &["--public-port", "x"],
            &["--public-port \"x\"", "from 1 to 65535"],
        ),
        (&["-f", "-"], &["only --check reads standard input"]),
        (&["-f/dev/stdin"], &["only --check reads standard input"]),
        (
            &["--site", "a", "--to-port", "1"],
            &["--site does not go with serving"],
        ),
        (
            &["--check", "--site", "a"],
            &["--site and --to-port go together"],
        ),
        (
            &["--check", "--to-port", "1"],
            &["--site and --to-port go together"],
        ),
        (
            &["--check", "--site", "a", "--to-port", "0"],
            &["--to-port \"0\"", "from 1 to 65535"],
        ),
        (
            &["--stdin", "--site", "a"],
            &["--site does not go with --stdin"],
        ),
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
        (&["--stdin", "-l", "843"], &["-l does not go with --stdin"]),
        (
            &["--stdin", "--backlog=5"],
            &["--backlog does not go with --stdin"],
        ),
        (
            &["--stdin", "--check"],
            &["--stdin does not go with --check"],
        ),
        (
            &["--check", "--stdin"],
            &["--check does not go with --stdin"],
        ),
        (&["--check", "a", "b"], &["name the file once"]),
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

/// As monitoring expects it of a plugin.
#[test]
fn probe_refuses_what_does_not_go_with_it() {
    for option in [
        "-l1", "-fx", "-c1", "-b1", "--syslog", "843", "--stdin", "--check",
    ] {
        let (status, stdout, stderr) = run(&["--probe", "127.0.0.1:1", option]);
        assert_eq!((status, stderr.as_str()), (Some(3), ""), "{}", option);
        let named = stdout.contains("--probe") && stdout.starts_with("POLICY UNKNOWN - ");
        assert!(named && stdout.lines().count() == 1, "{}", stdout);
    }
}

#[test]
fn check_takes_the_options_of_a_service_and_reads_standard_input() {
    let options = ["-v", "-t5", "-c5", "-b5", "-l843", "-p843", "--syslog"];
    let named = [&["--check", "-f", POLICY], &options[..]].concat();
    let (status, stdout, stderr) = run(&named);
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{}", stdout);
    for name in ["-", "/dev/stdin"] {
        for (input, expected) in [(answer(), 1), (fs::read(POLICY).unwrap(), 0)] {
            let mut command = Command::new(BIN);
            command.args(["--check", name]).write_stdin(input);
            let output = command.timeout(PATIENCE).output().unwrap();
            // A NUL at the end may be an error or not; the name is what counts here.
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.starts_with(&format!("{}:", name)), "{}", text);
            assert!(expected == 1 || output.status.code() == Some(0), "{}", text);
        }
    }
    // Endless input is read no further than to the largest policy file there may be.
    let mut shell = Command::new("sh");
    let script = "yes | exec \"$0\" --check -";
    let output = shell.args(["-c", script, BIN]).timeout(PATIENCE);
    let text = String::from_utf8(output.output().unwrap().stdout).unwrap();
    assert!(text.contains("over 20480 bytes"), "{}", text);
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
            "900",
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
        (
            taken.as_str(),
            "Address already in use (os error 98); something listens",
        ),
        (
            "192.0.2.1:0",
            "Cannot assign requested address (os error 99); no interface",
        ),
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

/// Where the program itself may be in its way, it says so.
#[test]
fn address_that_is_given_twice_is_named_as_such() {
    let address = free_address().to_string();
    let (status, _, stderr) = run(&["-f", POLICY, "-l", &address, "-l", &address]);
    let named = stderr.contains("perhaps another --listen");
    assert!(status == Some(1) && named, "{}", stderr);
}

/// Both in one: the IPv6 socket would be in the way of the other.
#[test]
fn all_ip4_and_all_ip6_addresses_with_the_same_port_are_served() {
    if !is_root() || !have("ip") {
        return skip("needs root and ip to make a network namespace");
    }
    for listen in [
        "-l 0.0.0.0:843 -l [::]:843",
        "-l [::]:843 -l 0.0.0.0:843 -l 844",
    ] {
        let script = format!("ip link set lo up && exec \"$0\" -f {} {}", POLICY, listen);
        let mut command = std::process::Command::new("unshare");
        let mut server = Server::spawn(command.args(["-n", "sh", "-c", &script, BIN]));
        for address in ["127.0.0.1", "[::1]"] {
            let mut command = Command::new("nsenter");
            command.args(["-n", "-t", &server.pid().to_string(), BIN, "--probe"]);
            let output = command.arg(format!("{}:843", address)).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("258 bytes"), "{} {}", listen, text);
        }
        if listen.contains("844") {
            server.expect("listening on [::]:844");
        }
        server.stop();
    }
}

#[test]
fn user_that_will_not_do_is_an_error() {
    let cases = [
        ("no-such-user", "no user \"no-such-user\" in /etc/passwd"),
        (
            "nobody:no-such-group",
            "no group \"no-such-group\" in /etc/group",
        ),
        ("nobody:", "no group \"\" in /etc/group"),
        ("4000000", "needs a group: write 4000000:GROUP"),
        ("4294967295:1", "no user \"4294967295\""),
        ("root", "is root"),
        ("0:0", "is root"),
        ("nobody:root", "group 0 is root's"),
        ("nobody:0", "group 0 is root's"),
        (":daemon", "no user \"\""),
        ("", "needs a value"),
    ];
    for (user, reason) in cases {
        // Before the policy is read, and before anything is bound.
        let (status, _, stderr) = run(&["-l", "192.0.2.1:0", "-f", "/nowhere", "--user", user]);
        assert_eq!(status, Some(2), "{}", stderr);
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
    // Not by this process: others that it starts meanwhile would keep the copy open for writing.
    let mut copy = Command::new("cp");
    copy.args([BIN, POLICY]).arg(&scratch).assert().success();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=daemon", "--clear-groups"]);
    command
        .arg(scratch.join("flash-policy-serv"))
        .args(["-l", "127.0.0.1:0", "-u", "daemon", "-f"])
        .arg(scratch.join("policy.xml"));
    let output = command.timeout(PATIENCE).output().unwrap();
    fs::remove_dir_all(&scratch).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("cannot give up root: Operation not permitted"),
        "{}",
        stderr
    );
}

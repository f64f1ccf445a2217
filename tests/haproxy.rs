//! The two HAProxy configurations, run as they are but for addresses and the place of the
//! certificate.

mod common;

use common::*;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

struct HaProxy {
    child: Child,
    address: SocketAddr,
}

impl HaProxy {
    /// Runs a configuration with each `from` in it replaced, and `bind :843` by a free port.
    fn start(scratch: &Scratch, name: &str, replacements: &[(&str, &str)]) -> HaProxy {
        let address = free_address();
        let mut text = fs::read_to_string(format!("{}/tests/haproxy/{}", ROOT, name)).unwrap();
        let bind = format!("bind {}\n", address);
        for (from, to) in replacements.iter().chain(&[("bind :843\n", bind.as_str())]) {
            assert!(text.contains(from), "{} is not in {}", from, name);
            text = text.replace(from, to);
        }
        let file = scratch.file(name, text);
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f", &file]).stdout(Stdio::null());
        let child = command
            .stderr(fs::File::create(scratch.path("log")).unwrap())
            .spawn()
            .unwrap();
        let proxy = HaProxy { child, address };
        wait_until("HAProxy listens", || TcpStream::connect(address).is_ok());
        proxy
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_backend_that_stops_is_taken_out() {
    if !have("haproxy") {
        return skip("needs haproxy");
    }
    let scratch = Scratch::new();
    let (mut first, second) = (Server::start(&[]), Server::start(&[]));
    // Listens, and is no policy server: the check of its content must keep it out.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other_address = other.local_addr().unwrap();
    thread::spawn(move || {
        for stream in other.incoming() {
            let _ = stream
                .unwrap()
                .write_all(b"HTTP/1.0 400 Bad request\r\n\r\n");
        }
    });
    let third = format!("{}\n    server other {}", second.address, other_address);
    let proxy = HaProxy::start(
        &scratch,
        "tcp.cfg",
        &[
            ("192.0.2.11:843", &first.address.to_string()),
            ("192.0.2.12:843", &third),
            ("inter 2s", "inter 100ms"),
        ],
    );
    let log = || fs::read_to_string(scratch.path("log")).unwrap();
    wait_until("other is down", || {
        log().contains("Server policy/other is DOWN")
    });
    for _ in 0..20 {
        assert_eq!(ask(proxy.address, REQUEST).unwrap(), answer());
    }
    // While one stops, and after, clients are answered. Only the one that is on its way to the
    // listener in the very moment in which it goes is not: HAProxy has no other place for it then.
    let unanswered = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut unanswered = 0;
            while !log().contains("Server policy/policy1 is DOWN") {
                let same = ask(proxy.address, REQUEST).map_or(false, |got| got == answer());
                unanswered += u32::from(!same);
            }
            unanswered
        });
        assert!(first.stop()["answered"] > 1, "had no share");
        client.join().unwrap()
    });
    assert!(unanswered <= 1, "{} clients", unanswered);
    for _ in 0..20 {
        assert_eq!(ask(proxy.address, REQUEST).unwrap(), answer());
    }
    drop(second);
}

#[test]
fn tls_and_plain_on_one_port() {
    if !have("haproxy") || !have("openssl") {
        return skip("needs haproxy and openssl");
    }
    let scratch = Scratch::new();
    let server = Server::start(&[]);
    let certificate = scratch
        .path("policy.pem")
        .into_os_string()
        .into_string()
        .unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
    ]);
    let key = scratch.path("key.pem");
    openssl
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    assert!(openssl.output().unwrap().status.success());
    let pem = [fs::read(&certificate).unwrap(), fs::read(&key).unwrap()].concat();
    fs::write(&certificate, pem).unwrap();

    // Abstract socket names are the machine's: one of its own for each run.
    let name = format!("abns@flash-policy-tls-{}", std::process::id());
    let proxy = HaProxy::start(
        &scratch,
        "tls.cfg",
        &[
            ("127.0.0.1:8430", &server.address.to_string()),
            ("/etc/haproxy/policy.pem", &certificate),
            ("abns@flash-policy-tls", &name),
        ],
    );
    for _ in 0..10 {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-CAfile",
            &certificate,
        ]);
        client.args(["-connect", &proxy.address.to_string()]);
        client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        let mut stdin = client.stdin.take().unwrap();
        stdin.write_all(REQUEST).unwrap();
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.stdout, answer());
        assert_eq!(ask(proxy.address, REQUEST).unwrap(), answer());
    }
}

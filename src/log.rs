//! What the program says: one line an event, on standard error.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::io::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::sys;

static SILENT: AtomicBool = AtomicBool::new(false);

/// Says nothing from now on if standard error is a TCP connection: under inetd it is the player's.
pub fn keep_off_connections() {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let peer = stderr.and_then(|stderr| TcpStream::from(stderr).peer_addr());
    SILENT.store(peer.is_ok(), Relaxed);
}

/// What happened to the connection of `peer`.
pub fn connection(peer: SocketAddr, what: &str) {
    // On an IPv6 socket that takes IPv4 too, such peers are called ::ffff:192.0.2.1.
    let ip4 = match peer.ip() {
        IpAddr::V6(ip6) => ip6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let peer = ip4.map_or(peer, |ip4| SocketAddr::from((ip4, peer.port())));
    line(&format!("{peer} {what}"));
}

/// Writes `flash-policy-serv: EVENT` and a newline in one piece. A line that standard error does not
/// take at once is lost: a closed or full pipe must not hold up the service.
pub fn line(event: &str) {
    let text = format!("flash-policy-serv: {}\n", harmless(event));
    let mut stderr = io::stderr().lock();
    let writable = sys::ready([(stderr.as_raw_fd(), sys::POLLOUT)], Duration::ZERO) == [true];
    if writable && !SILENT.load(Relaxed) {
        let _ = stderr.write_all(text.as_bytes());
    }
}

/// The first of `bytes` that somebody else sent: its first line, or numbers where that is no text.
pub fn beginning(bytes: &[u8]) -> String {
    let line = bytes
        .split(|byte| b"\r\n".contains(byte))
        .next()
        .unwrap_or_default();
    match std::str::from_utf8(line) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => {
            text.chars().take(60).collect()
        }
        _ => bytes
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x} "))
            .collect(),
    }
}

/// `text` with what does not print escaped, so that it stays on its line and does nothing to a
/// terminal.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::new();
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => harmless.push(c),
            _ => harmless.extend(c.escape_debug()),
        }
    }
    harmless
}

//! What the program says: one line an event, on standard error or in the system log.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::io::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys;

/// More lines than these are lost.
const MAX_LINES: usize = 512;

const SYSTEM_LOG: &str = "/dev/log";

/// How long a line to the system log waits to be taken.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the end of the program waits for what is yet to be written: on a machine with hundreds of
/// threads to run, the one that writes may have to wait for its turn.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// The system log, if lines go there, and whether standard error is a player's connection.
static SYSTEM: Mutex<Option<(UnixDatagram, bool)>> = Mutex::new(None);

/// Whether there is a thread that writes, and the lines that it is yet to have written.
static WRITER: AtomicBool = AtomicBool::new(false);
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

/// Lines go to the system log from now on if they are to, or if standard error is a TCP connection:
/// under inetd it is the player's. An error means that they are to, and that there is none.
pub fn open(to_system: bool) -> io::Result<()> {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let players = stderr.map_or(false, |fd| TcpStream::from(fd).peer_addr().is_ok());
    if to_system || players {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let there = socket.connect(SYSTEM_LOG);
        there.or_else(|e| if players { Ok(()) } else { Err(e) })?;
        *lock(&SYSTEM) = Some((socket, players));
    }
    Ok(())
}

/// From now on lines are queued for a thread that writes them, so that nothing else waits for a
/// terminal, a pipe, a disk or a daemon that takes no more. Without a thread all stays as it was.
pub fn start_writer() {
    WRITER.store(sys::start_thread(write_lines).is_ok(), Relaxed);
}

fn write_lines() {
    loop {
        let lines = CHANGED.wait_while(lock(&LINES), |lines| lines.is_empty());
        let lines = lines.unwrap_or_else(PoisonError::into_inner);
        let line = lines.first().cloned().unwrap_or_default();
        drop(lines);
        write(&line, true);
        lock(&LINES).remove(0);
        CHANGED.notify_all();
    }
}

/// Waits a moment until what is queued is written.
pub fn finish() {
    let _ = CHANGED.wait_timeout_while(lock(&LINES), LAST_PATIENCE, |lines| !lines.is_empty());
}

/// What happened to the connection of `peer`.
pub fn connection(peer: SocketAddr, what: &str) {
    // On an IPv6 socket that takes IPv4 too, such peers are called ::ffff:192.0.2.1.
    let ip4 = match peer.ip() {
        IpAddr::V6(ip6) => ip6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let peer = ip4.map_or(peer, |ip4| (ip4, peer.port()).into());
    line(&format!("{peer} {what}"));
}

/// Says `event` in one line. It is lost where too many are yet to be written, or without the writer
/// where it would have to wait.
pub fn line(event: &str) {
    let mut lines = lock(&LINES);
    match WRITER.load(Relaxed) {
        true if lines.len() < MAX_LINES => lines.push(harmless(event)),
        true => {}
        false => write(&harmless(event), false),
    }
    CHANGED.notify_all();
}

/// Writes a line in one piece. One that cannot be written is lost.
fn write(line: &str, by_writer: bool) {
    // Before there is a writer the program starts, and who started it waits for what it says.
    let mut aloud = true;
    if let Some((socket, players)) = &*lock(&SYSTEM) {
        // Informational, of facility daemon, see syslog(3). By name, so that a log daemon that was
        // started again is found.
        let text = format!("<30>flash-policy-serv[{}]: {line}", std::process::id());
        let _ = socket.send_to(text.as_bytes(), SYSTEM_LOG);
        aloud = !by_writer && !players;
    }
    if aloud && (by_writer || sys::ready(&io::stderr(), sys::POLLOUT, Duration::ZERO)) {
        let _ = io::stderr().write_all(format!("flash-policy-serv: {line}\n").as_bytes());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The beginning of what somebody else sent: its first line, or numbers where that is no text, or
/// that there is nothing.
pub fn beginning(bytes: &[u8]) -> String {
    let mut lines = bytes.split(|byte| b"\r\n\0".contains(byte));
    match lines.next().map(std::str::from_utf8) {
        Some(Ok(line)) if !line.is_empty() && !line.contains(char::is_control) => {
            line.chars().take(60).collect()
        }
        _ => {
            let numbers = bytes.iter().take(8).map(|byte| format!("{byte:02x} "));
            let end = match bytes {
                [] => "asked for nothing",
                [20..=23, 3, ..] => "..., which looks like TLS",
                _ => "...",
            };
            numbers.collect::<String>() + end
        }
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

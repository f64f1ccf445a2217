//! What the program says: one line an event, on standard error or in the system log.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::io::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::sys;

const SYSTEM_LOG: &str = "/dev/log";

/// How long the end of the program, or a line to the system log, waits to be written.
const PATIENCE: Duration = Duration::from_millis(100);

/// What takes the lines; standard error where there is none.
static SYSTEM: Mutex<Option<UnixDatagram>> = Mutex::new(None);

/// The queue of the thread that writes, and what is closed when all is written.
static WRITER: Mutex<Option<(SyncSender<String>, Receiver<()>)>> = Mutex::new(None);

/// Lines go to the system log from now on if they are to, or if standard error is a TCP connection:
/// under inetd it is the player's. An error means that they are to, and that there is none.
pub fn open(to_system: bool) -> io::Result<()> {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let players = stderr.map_or(false, |fd| TcpStream::from(fd).peer_addr().is_ok());
    if to_system || players {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket
            .connect(SYSTEM_LOG)
            .or_else(|e| if players { Ok(()) } else { Err(e) })?;
        *lock(&SYSTEM) = Some(socket);
    }
    Ok(())
}

/// From now on lines are queued for a thread that writes them, so that nothing else waits for a
/// terminal, a pipe, a disk or a daemon that takes no more. Without a thread all stays as it was.
pub fn start_writer() {
    let (queue, lines) = mpsc::sync_channel::<String>(256);
    let (all_written, ended) = mpsc::channel();
    let write_all = move || {
        lines.iter().for_each(|line| write(&line));
        drop(all_written);
    };
    let thread = thread::Builder::new().stack_size(64 * 1024);
    let started = thread.spawn(write_all).is_ok();
    *lock(&WRITER) = started.then_some((queue, ended));
}

/// Waits a moment until what is queued is written.
pub fn finish() {
    let writer = lock(&WRITER).take();
    if let Some((queue, ended)) = writer {
        drop(queue);
        let _ = ended.recv_timeout(PATIENCE);
    }
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

/// Says `event` in one line. It is lost where the queue, or without one standard error, is full.
pub fn line(event: &str) {
    let line = harmless(event);
    match &*lock(&WRITER) {
        Some((queue, _)) => drop(queue.try_send(line)),
        None if sys::ready([(io::stderr().as_raw_fd(), sys::POLLOUT)], Duration::ZERO)
            == [true] =>
        {
            write(&line)
        }
        None => {}
    }
}

/// Writes a line in one piece. One that cannot be written is lost.
fn write(line: &str) {
    let _ = match &*lock(&SYSTEM) {
        // Informational, of facility daemon, see syslog(3). By name, so that a log daemon that was
        // started again is found.
        Some(socket) => {
            let text = format!("<30>flash-policy-serv[{}]: {line}", std::process::id());
            socket.send_to(text.as_bytes(), SYSTEM_LOG).map(drop)
        }
        None => io::stderr().write_all(format!("flash-policy-serv: {line}\n").as_bytes()),
    };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

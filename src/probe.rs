//! `--probe`: asks a running server as a player does, and judges what came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::check::{self, MAX_SIZE};
use crate::connection::REQUEST;
use crate::xml::Fault;

/// A slower answer is a warning.
const SLOW: Duration = Duration::from_secs(1);

/// What came back, how many reads it took to get it, the time from the start of connecting to the
/// last byte, and what was wrong with the end of the connection, if anything.
type Answer = (Vec<u8>, usize, Duration, &'static str);

/// Asks the server at `address`. Returns the exit status and the lines that monitoring plugins are
/// to give: 0 OK, 1 WARNING, 2 CRITICAL; one line, and with `verbose` every finding and the policy.
pub fn probe(address: SocketAddr, timeout: Duration, verbose: bool) -> (i32, Vec<String>) {
    let (bytes, pieces, time, end) = match ask(address, timeout) {
        Ok(answer) => answer,
        Err(e) => return (2, vec![format!("POLICY CRITICAL - {address}: {e}")]),
    };
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (policy, after_nul) = (parts.next().unwrap_or_default(), parts.next());
    let more = after_nul.map_or(0, <[u8]>::len);
    let report = check::check(policy, &[address.port()]);

    // Why some player may not be content with a policy that is none the less one.
    let mut concerns = Vec::new();
    let mut concern = |is: bool, text: &str| concerns.extend(is.then(|| text.to_owned()));
    concern(time > SLOW, "slow");
    concern(after_nul.is_none(), "no NUL at its end");
    concern(more > 0, "bytes after its NUL");
    concern(pieces > 1, &format!("came in {pieces} pieces"));
    concern(!end.is_empty(), end);
    for fault in &report.warnings {
        // No player minds that it is open to all.
        concern(!fault.1.starts_with("any site may use "), &placed(fault));
    }

    let (status, verdict) = match &report.error {
        Some(fault) => (2, format!("CRITICAL - no policy, {}", placed(fault))),
        None if concerns.is_empty() => (0, "OK".to_owned()),
        None => (1, format!("WARNING - {}", concerns.join(", "))),
    };
    let size = bytes.len();
    let nul = after_nul.map_or("no NUL", |_| "ends with NUL");
    let grants = report.grants.join(", ");
    let micros = time.as_micros() as u64;
    let (ms, tenths) = (micros / 1000, micros / 100 % 10);
    let summary = format!("POLICY {verdict} - {size} bytes in {ms}.{tenths} ms, {nul}, {grants}");
    // A bar begins the performance data, so there must be no other.
    let summary = summary.replace('|', "/");
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (slow, limit) = (SLOW.as_secs(), timeout.as_secs());
    let data = format!("time={seconds}.{micros:06}s;{slow};{limit};0 size={size}B");
    let mut lines = vec![format!("{summary} | {data}")];
    if verbose {
        let policy = String::from_utf8_lossy(policy);
        lines.extend(report.findings());
        lines.extend(policy.lines().map(str::to_owned));
    }
    (status, lines)
}

/// A fault and its place.
fn placed(((line, column), text): &Fault) -> String {
    format!("line {line} column {column}: {text}")
}

/// Sends the request and reads to the end, for `timeout` at the most.
fn ask(address: SocketAddr, timeout: Duration) -> Result<Answer, String> {
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&address, timeout).map_err(|e| e.to_string())?;
    let mut conversation = &stream;
    let _ = stream.set_read_timeout(Some(timeout));
    let request = [REQUEST, b"\0"].concat();
    conversation
        .write_all(&request)
        .map_err(|e| e.to_string())?;

    let (mut bytes, mut pieces, mut time) = (Vec::new(), 0, Duration::ZERO);
    let mut buffer = [0; MAX_SIZE + 1];
    let late = format!("no answer in {} s", timeout.as_secs());
    // How it ended: what to say where there is no answer, and where there is one.
    let (without, end) = loop {
        match conversation.read(&mut buffer) {
            Ok(0) => break ("closed without an answer", ""),
            Ok(length) => {
                bytes.extend(buffer.iter().take(length));
                pieces += 1;
                time = start.elapsed();
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => break (&late, "connection left open"),
            Err(_) => break ("reset without an answer", "reset instead of a clean end"),
        }
        if bytes.len() > buffer.len() {
            return Err(format!("an answer of more than {MAX_SIZE} bytes"));
        }
    };
    match bytes.is_empty() {
        true => Err(without.into()),
        false => Ok((bytes, pieces, time, end)),
    }
}

//! `--probe`: asks a running server as a player does, and judges what came back.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::check::{self, Report};
use crate::connection::{Conversation, REQUEST};
use crate::policy::MAX_SIZE;
use crate::xml::Fault;

/// A slower answer is a warning.
const SLOW: Duration = Duration::from_secs(1);

/// What came back, and how.
struct Answer {
    bytes: Vec<u8>,
    /// How many reads it took to get it.
    pieces: usize,
    /// From the start of connecting to the last byte.
    time: Duration,
    /// What was wrong with the end of the connection, if anything.
    end: &'static str,
}

/// Asks the server at `address`. Returns the exit status and the lines that monitoring plugins are
/// to give: 0 OK, 1 WARNING, 2 CRITICAL; one line, and with `verbose` every finding and the policy.
pub fn probe(address: SocketAddr, timeout: Duration, verbose: bool) -> (i32, Vec<String>) {
    let answer = match ask(address, timeout) {
        Ok(answer) => answer,
        Err(e) => return (2, vec![format!("POLICY CRITICAL - {}: {}", address, e)]),
    };
    let mut parts = answer.bytes.splitn(2, |byte| *byte == 0);
    let policy = parts.next().unwrap_or_default();
    let after_nul = parts.next();
    let report = check::check(policy, &[address.port()]);
    let concerns = concerns(&answer, after_nul, &report);

    let (status, verdict) = match &report.error {
        Some(fault) => (2, format!("CRITICAL - no policy, {}", placed(fault))),
        None if concerns.is_empty() => (0, "OK".to_owned()),
        None => (1, format!("WARNING - {}", concerns.join(", "))),
    };
    let size = answer.bytes.len();
    let nul = after_nul.map_or("no NUL", |_| "ends with NUL");
    let micros = answer.time.as_micros() as u64;
    let summary = format!(
        "POLICY {} - {} bytes in {}.{} ms, {}, {}",
        verdict,
        size,
        micros / 1000,
        micros / 100 % 10,
        nul,
        report.grants.join(", "),
    );
    // A bar begins the performance data, so there must be no other.
    let mut lines = vec![format!(
        "{} | time={}.{:06}s;{};{};0 size={}B",
        summary.replace('|', "/"),
        micros / 1_000_000,
        micros % 1_000_000,
        SLOW.as_secs(),
        timeout.as_secs(),
        size,
    )];
    if verbose {
        let policy = String::from_utf8_lossy(policy);
        lines.extend(report.findings());
        lines.extend(policy.lines().map(str::to_owned));
    }
    (status, lines)
}

/// Why some player may not be content with a policy that is none the less one.
fn concerns(answer: &Answer, after_nul: Option<&[u8]>, report: &Report) -> Vec<String> {
    let pieces = format!("came in {} pieces", answer.pieces);
    let concerns = [
        (answer.time > SLOW, "slow"),
        (after_nul.is_none(), "no NUL at its end"),
        (after_nul.map_or(0, <[u8]>::len) > 0, "bytes after its NUL"),
        (answer.pieces > 1, &pieces),
        (!answer.end.is_empty(), answer.end),
    ];
    let concerns = concerns.iter().filter(|(is, _)| *is);
    let concerns = concerns.map(|(_, text)| text.to_string());
    concerns.chain(report.stumbles().map(placed)).collect()
}

/// A fault and its place.
fn placed(((line, column), text): &Fault) -> String {
    format!("line {} column {}: {}", line, column, text)
}

/// Sends the request and reads to the end, for `timeout` at the most.
fn ask(address: SocketAddr, timeout: Duration) -> Result<Answer, String> {
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&address, timeout).map_err(|e| e.to_string())?;
    let mut conversation = Conversation {
        stream: &stream,
        deadline: start + timeout,
        patience: &mut |_| timeout,
    };
    let request = [REQUEST, b"\0"].concat();
    conversation.write(&request).map_err(|e| e.to_string())?;

    let mut bytes = Vec::new();
    let mut pieces = 0;
    let mut time = Duration::ZERO;
    let mut buffer = [0; MAX_SIZE + 1];
    let end = loop {
        match conversation.read(&mut buffer) {
            Ok(0) if bytes.is_empty() => return Err("closed without an answer".into()),
            Ok(0) => break "",
            Ok(length) => {
                bytes.extend(buffer.iter().take(length));
                pieces += 1;
                time = start.elapsed();
            }
            Err(e) => match (e.kind() == ErrorKind::TimedOut, bytes.is_empty()) {
                (true, true) => return Err(format!("no answer in {} s", timeout.as_secs())),
                (true, false) => break "connection left open",
                (false, true) => return Err("reset without an answer".into()),
                (false, false) => break "reset instead of a clean end",
            },
        }
        if bytes.len() > buffer.len() {
            return Err(format!("an answer of more than {} bytes", MAX_SIZE));
        }
    };
    Ok(Answer {
        bytes,
        pieces,
        time,
        end,
    })
}

//! `--probe`: asks a running server as a player does, and judges what came back.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::check::{self, Report};
use crate::connection::{Conversation, REQUEST};
use crate::log;
use crate::policy::MAX_SIZE;

/// A slower answer is a warning.
const SLOW: Duration = Duration::from_secs(1);

/// What came back, and how.
struct Answer {
    bytes: Vec<u8>,
    /// How many reads it took to get it.
    pieces: usize,
    /// From the start of connecting to the last byte.
    time: Duration,
    end: End,
}

enum End {
    Clean,
    Reset,
    /// The connection was still open when the time was up.
    None,
}

/// Asks the server at `address`. Returns the exit status and the text that monitoring plugins are
/// to give: 0 OK, 1 WARNING, 2 CRITICAL; one line, and with `verbose` every finding and the policy.
pub fn probe(address: SocketAddr, timeout: Duration, verbose: bool) -> (i32, String) {
    let answer = match ask(address, timeout) {
        Ok(answer) => answer,
        Err(e) => return (2, format!("POLICY CRITICAL - {}: {}\n", address, e)),
    };
    let mut parts = answer.bytes.splitn(2, |byte| *byte == 0);
    let policy = parts.next().unwrap_or_default();
    let after_nul = parts.next();
    let report = check::check(policy, &[address.port()]);

    let (status, verdict) = match (&report.error, concerns(&answer, after_nul, &report)) {
        (Some((at, text)), _) => (
            2,
            format!(
                "CRITICAL - no policy, line {} column {}: {}",
                at.0, at.1, text
            ),
        ),
        (None, concerns) if concerns.is_empty() => (0, "OK".to_owned()),
        (None, concerns) => (1, format!("WARNING - {}", concerns.join(", "))),
    };
    let size = answer.bytes.len();
    let nul = if after_nul.is_some() {
        "ends with NUL"
    } else {
        "no NUL"
    };
    let micros = answer.time.as_micros();
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
    let mut text = format!(
        "{} | time={}.{:06}s;{};{};0 size={}B\n",
        summary.replace('|', "/"),
        micros / 1_000_000,
        micros % 1_000_000,
        SLOW.as_secs(),
        timeout.as_secs(),
        size,
    );
    if verbose {
        let policy = String::from_utf8_lossy(policy);
        for line in report.findings().chain(policy.lines().map(str::to_owned)) {
            text.push_str(&log::harmless(&line));
            text.push('\n');
        }
    }
    (status, text)
}

/// Why some player may not be content with a policy that is none the less one.
fn concerns(answer: &Answer, after_nul: Option<&[u8]>, report: &Report) -> Vec<String> {
    let mut concerns = Vec::new();
    let mut concern = |is: bool, text: &str| concerns.extend(Some(text.to_owned()).filter(|_| is));
    concern(answer.time > SLOW, "slow");
    concern(after_nul.is_none(), "no NUL at its end");
    concern(
        after_nul.map_or(false, |rest| !rest.is_empty()),
        "bytes after its NUL",
    );
    concern(
        answer.pieces > 1,
        &format!("came in {} pieces", answer.pieces),
    );
    concern(
        matches!(answer.end, End::Reset),
        "reset instead of a clean end",
    );
    concern(matches!(answer.end, End::None), "connection left open");
    for ((line, column), text) in report.stumbles() {
        concern(true, &format!("line {} column {}: {}", line, column, text));
    }
    concerns
}

/// Sends the request and reads to the end, for `timeout` at the most.
fn ask(address: SocketAddr, timeout: Duration) -> Result<Answer, String> {
    let start = Instant::now();
    let deadline = start + timeout;
    let stream = TcpStream::connect_timeout(&address, timeout).map_err(|e| e.to_string())?;
    let mut conversation = Conversation {
        stream: &stream,
        deadline,
        patience: &mut |_| timeout,
    };
    let request = [REQUEST, b"\0"].concat();
    conversation.write(&request).map_err(|e| e.to_string())?;

    let mut answer = Answer {
        bytes: Vec::new(),
        pieces: 0,
        time: Duration::ZERO,
        end: End::None,
    };
    let mut buffer = [0; MAX_SIZE + 1];
    loop {
        match conversation.read(&mut buffer) {
            Ok(0) => answer.end = End::Clean,
            Ok(length) => {
                answer.bytes.extend(buffer.iter().take(length));
                answer.pieces += 1;
                answer.time = start.elapsed();
                if answer.bytes.len() > buffer.len() {
                    return Err(format!("an answer of more than {} bytes", MAX_SIZE));
                }
                continue;
            }
            Err(e) if e.kind() == ErrorKind::TimedOut => {}
            Err(_) => answer.end = End::Reset,
        }
        break;
    }
    match (answer.bytes.is_empty(), &answer.end) {
        (false, _) => Ok(answer),
        (true, End::Clean) => Err("closed without an answer".to_owned()),
        (true, End::Reset) => Err("reset without an answer".to_owned()),
        (true, End::None) => Err(format!("no answer in {} s", timeout.as_secs())),
    }
}

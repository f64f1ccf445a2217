//! `--probe`: asks a running server as a player does, and judges what came back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::check::{self, Lost, MAX_SIZE};
use crate::conversation::REQUEST;
use crate::log;
use crate::options::Options;

/// A slower answer is a warning.
const SLOW: Duration = Duration::from_secs(1);

/// Flash Player waits no longer for port 843 (Adobe, "Policy file changes in Flash Player 9 and 10").
const PATIENCE: Duration = Duration::from_secs(3);

/// What came back, how many reads it took to get it, the time from the start of connecting to the
/// last byte, or without one to the end, and how the connection ended.
type Answer = (Vec<u8>, usize, Duration, &'static str);

/// Asks the server at `address`. Returns the exit status and the lines that monitoring plugins are
/// to give: 0 OK, 1 WARNING, 2 CRITICAL; one line, and with `verbose` every finding and the policy.
pub fn probe(address: SocketAddr, options: &Options) -> (i32, Vec<String>) {
    let port = options.public_port.unwrap_or_else(|| address.port());
    // Silverlight asks without a NUL, and refuses one in the answer.
    let nul: &[u8] = if port == 943 { b"" } else { b"\0" };
    let request = [REQUEST, nul].concat();
    let (bytes, pieces, time, end) = match ask(address, &request, options.timeout) {
        Ok(answer) => answer,
        Err(e) => return (2, vec![format!("POLICY CRITICAL - {address}: {e}")]),
    };
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (policy, after_nul) = (parts.next().unwrap_or_default(), parts.next());
    let report = check::check(policy, &[port]);
    let text = String::from_utf8_lossy(policy);

    // Why some player may not be content with a policy that is none the less one.
    let mut concerns = Vec::new();
    let mut concern = |is: bool, text: &str| concerns.extend(is.then(|| text.to_owned()));
    concern(time > SLOW, "slow");
    concern(after_nul.is_none() && port != 943, "no NUL at its end");
    let more = after_nul.map_or(false, |more| !more.is_empty());
    concern(more, "bytes after its NUL");
    concern(pieces > 1, &format!("came in {pieces} pieces"));
    concern(end != "closed", &format!("connection {end}"));
    let but: String = concerns
        .iter()
        .map(|what| format!("; but {what}"))
        .collect();
    let minded = report.warnings.iter().filter(|w| w.1 != Lost::Nothing);
    concerns.extend(minded.map(|w| report.placed("", &w.0)));

    let concerns = concerns.join(", ");
    let beginning = log::beginning(&bytes);
    let is_policy = text.contains("cross-domain-policy") || text.contains("access-policy");
    let is_whole = text.contains("</cross-domain-policy>") || text.contains("</access-policy>");
    let is_cut = report.error.is_some() && after_nul.is_none() && !is_whole;
    let (size, grants) = (bytes.len(), report.grants());
    let (status, verdict) = match (&grants, &options.question) {
        _ if bytes.is_empty() => (2, format!("no answer, connection {end}")),
        _ if bytes.len() > MAX_SIZE + 1 => (2, format!("more than {MAX_SIZE} bytes")),
        _ if !is_policy && end == "closed" => (2, format!("not a policy: {beginning}")),
        _ if !is_policy => (2, format!("not a policy: {beginning}, connection {end}")),
        _ if is_cut => {
            let what = format!("incomplete after {size} bytes, connection {end}");
            (2, what)
        }
        _ if port == 843 && time > PATIENCE => {
            (2, "after 3 s, when Flash Player has given up".into())
        }
        _ if port == 943 && after_nul.is_some() => (2, "a NUL, which Silverlight refuses".into()),
        (_, Some((site, to_port))) => match report.may_connect(site, *to_port) {
            Ok(how) => (0, format!("allowed: {how}{but}")),
            Err(why) => (2, format!("refused: {why}")),
        },
        (Err(fault), _) => (2, format!("nobody can play, {}", report.placed("", fault))),
        _ => (i32::from(!concerns.is_empty()), concerns),
    };
    let label = match status {
        0 => "OK",
        1 => "WARNING",
        _ => "CRITICAL",
    };
    let dash = if verdict.is_empty() { "" } else { " - " };
    let nul = after_nul.map_or("no NUL", |_| "ends with NUL");
    let micros = time.as_micros() as u64;
    let (ms, tenths) = (micros / 1000, micros / 100 % 10);
    let grants = grants.map_or("grants nothing".into(), |grants| grants.join("; "));
    let found = format!("{size} bytes in {ms}.{tenths} ms, {nul}, {grants}");
    // A bar begins the performance data, so there must be no other.
    let summary = format!("POLICY {label}{dash}{verdict} - {found}").replace('|', "/");
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (slow, limit) = (SLOW.as_secs(), options.timeout.as_secs());
    let data = format!("time={seconds}.{micros:06}s;{slow};{limit};0 size={size}B");
    let mut lines = vec![format!("{summary} | {data}")];
    if options.verbose {
        lines.extend(report.findings());
        lines.extend(text.lines().map(str::to_owned));
    }
    (status, lines)
}

/// Sends the request and reads to the end, for `timeout` at the most.
fn ask(address: SocketAddr, request: &[u8], timeout: Duration) -> io::Result<Answer> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(request)?;
    let (mut bytes, mut pieces, mut time) = (Vec::new(), 0, Duration::ZERO);
    let mut buffer = [0; MAX_SIZE + 2];
    let end = loop {
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            break "left open";
        } else if bytes.len() >= buffer.len() {
            break "closed";
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => break "closed",
            Ok(length) => {
                bytes.extend(buffer.iter().take(length));
                pieces += 1;
                time = start.elapsed();
            }
            Err(e) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&e.kind()) => {}
            Err(_) => break "reset",
        }
    };
    if bytes.is_empty() {
        time = start.elapsed();
    }
    Ok((bytes, pieces, time, end))
}

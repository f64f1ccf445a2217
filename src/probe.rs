//! `--probe`: asks a running server as a player does, and judges what came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::check::{self, Lost, MAX_SIZE};
use crate::connection::REQUEST;
use crate::log::harmless;
use crate::options::Options;

/// A slower answer is a warning.
const SLOW: Duration = Duration::from_secs(1);

/// What came back, how many reads it took to get it, the time from the start of connecting to the
/// last byte, and what was wrong with the end of the connection, if anything.
type Answer = (Vec<u8>, usize, Duration, &'static str);

/// Asks the server at `address`. Returns the exit status and the lines that monitoring plugins are
/// to give: 0 OK, 1 WARNING, 2 CRITICAL; one line, and with `verbose` every finding and the policy.
pub fn probe(address: SocketAddr, options: &Options) -> (i32, Vec<String>) {
    // Silverlight asks without a NUL, and takes none.
    let port = options.public_port.unwrap_or_else(|| address.port());
    let request = if port == 943 {
        REQUEST.to_vec()
    } else {
        [REQUEST, b"\0"].concat()
    };
    let (bytes, pieces, time, end) = match ask(address, &request, options.timeout) {
        Ok(answer) => answer,
        Err(e) => return (2, vec![format!("POLICY CRITICAL - {address}: {e}")]),
    };
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (policy, after_nul) = (parts.next().unwrap_or_default(), parts.next());
    let more = after_nul.map_or(0, <[u8]>::len);
    let report = check::check(policy, &[port]);

    // Why some player may not be content with a policy that is none the less one.
    let mut concerns = Vec::new();
    let mut concern = |is: bool, text: &str| concerns.extend(is.then(|| text.to_owned()));
    concern(time > SLOW, "slow");
    concern(after_nul.is_none() && port != 943, "no NUL at its end");
    concern(more > 0, "bytes after its NUL");
    concern(pieces > 1, &format!("came in {pieces} pieces"));
    concern(!end.is_empty(), end);
    for (fault, lost) in &report.warnings {
        concern(*lost != Lost::Nothing, &report.placed("", fault));
    }

    let concerns = concerns.join(", ");
    let text = String::from_utf8_lossy(policy);
    let is_policy = ["cross-domain-policy", "access-policy"]
        .iter()
        .any(|root| text.contains(root));
    let (status, verdict) = match (&report.error, &options.question) {
        (Some(_), _) if !is_policy => {
            (2, format!("CRITICAL - not a policy: {}", beginning(&bytes)))
        }
        (Some(fault), _) => (
            2,
            format!("CRITICAL - no policy, {}", report.placed("", fault)),
        ),
        _ if port == 943 && after_nul.is_some() => {
            (2, "CRITICAL - a NUL, which Silverlight refuses".into())
        }
        (_, Some((site, to_port))) => match report.may_connect(site, *to_port) {
            Ok(how) => (0, format!("OK - allowed: {how}")),
            Err(why) => (2, format!("CRITICAL - refused: {why}")),
        },
        _ if report.grants == ["grants nothing"] => (2, format!("CRITICAL - {concerns}")),
        _ if concerns.is_empty() => (0, "OK".to_owned()),
        _ => (1, format!("WARNING - {concerns}")),
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
    let (slow, limit) = (SLOW.as_secs(), options.timeout.as_secs());
    let data = format!("time={seconds}.{micros:06}s;{slow};{limit};0 size={size}B");
    let mut lines = vec![format!("{summary} | {data}")];
    if options.verbose {
        lines.extend(report.findings());
        lines.extend(text.lines().map(str::to_owned));
    }
    (status, lines)
}

/// The first line or bytes of an answer of another kind.
fn beginning(answer: &[u8]) -> String {
    let start = answer.get(..60).unwrap_or(answer);
    let start = start
        .split(|byte| b"\r\n".contains(byte))
        .next()
        .unwrap_or_default();
    match std::str::from_utf8(start) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => return harmless(text),
        _ => {}
    }
    let bytes = answer.iter().take(8).map(|byte| format!("{byte:02x} "));
    let tls = matches!(answer, [20..=23, 3, ..]);
    let what = if tls {
        "..., which looks like TLS"
    } else {
        "..."
    };
    bytes.collect::<String>() + what
}

/// Sends the request and reads to the end, for `timeout` at the most.
fn ask(address: SocketAddr, request: &[u8], timeout: Duration) -> Result<Answer, String> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, timeout).map_err(|e| e.to_string())?;
    stream
        .set_write_timeout(Some(timeout))
        .map_err(|e| e.to_string())?;
    stream.write_all(request).map_err(|e| e.to_string())?;

    let (mut bytes, mut pieces, mut time) = (Vec::new(), 0, Duration::ZERO);
    let mut buffer = [0; MAX_SIZE + 2];
    let late = format!("no answer in {} s", timeout.as_secs());
    // How it ended: what to say where there is no answer, and where there is one.
    let (without, end) = loop {
        // A timeout of zero would be none.
        let left = timeout
            .saturating_sub(start.elapsed())
            .max(Duration::from_millis(1));
        stream
            .set_read_timeout(Some(left))
            .map_err(|e| e.to_string())?;
        match stream.read(&mut buffer) {
            _ if start.elapsed() >= timeout => break (&*late, "connection left open"),
            Ok(0) => break ("closed without an answer", ""),
            Ok(length) => {
                bytes.extend(buffer.iter().take(length));
                pieces += 1;
                time = start.elapsed();
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break ("reset without an answer", "reset instead of a clean end"),
        }
        if bytes.len() >= buffer.len() {
            return Err(format!(
                "an answer of more than {MAX_SIZE} bytes: {}",
                beginning(&bytes)
            ));
        }
    };
    match bytes.is_empty() {
        true => Err(without.into()),
        false => Ok((bytes, pieces, time, end)),
    }
}

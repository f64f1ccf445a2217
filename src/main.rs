//! flash-policy-serv: serves a socket policy file. This file is the life of the program. Each of the
//! others uses only those before it: sys, log, privileges, options, xml, check, policy, conversation,
//! listeners, serve, probe.

#![deny(unsafe_code)]

mod check;
mod conversation;
mod listeners;
mod log;
mod options;
mod policy;
mod privileges;
mod probe;
mod serve;
#[allow(unsafe_code)]
mod sys;
mod xml;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use options::{Options, Task};
use serve::Server;
use sys::{SignalSet, SIGHUP, SIGINT, SIGTERM, SIGTTOU, SIGUSR1, SIGXFSZ};

const VERSION: &str = concat!("flash-policy-serv ", env!("CARGO_PKG_VERSION"));

/// Descriptors beside those of connections and listeners: the standard ones, those about to close.
const SPARE_DESCRIPTORS: usize = 128;

/// With fewer of those, clients give way slowly, and the policy file cannot be read again.
const LEAST_SPARE_DESCRIPTORS: usize = 16;

fn main() {
    // First, so that none ends the program before it can do what they ask. SIGTTOU would stop it when
    // it writes to a terminal from the background, SIGXFSZ end it when a log has reached the limit of
    // a file's size: then lines are lost, and that is all.
    let signals = sys::block(&[SIGHUP, SIGUSR1, SIGTERM, SIGINT, SIGTTOU, SIGXFSZ]);
    sys::close_inherited();
    let _ = log::open(false);
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let is_given = |names: &[&str]| arguments.iter().any(|a| names.iter().any(|name| a == name));
    let is_probe = |argument: &OsString| argument.as_bytes().starts_with(b"--probe");
    let status = match Options::parse(&arguments, std::env::var_os("LISTENQ")) {
        _ if is_given(&["-h", "--help"]) => print(&options::help()),
        _ if is_given(&["-V", "--version"]) => print(&[VERSION.into()]),
        Ok(options) => run(options, signals).unwrap_or_else(|e| {
            log::line(&e);
            1
        }),
        // What monitoring expects of a plugin that was called in a wrong way.
        Err(e) if arguments.iter().any(is_probe) => {
            3.max(print(&[format!("POLICY UNKNOWN - {e}")]))
        }
        Err(e) => {
            log::line(&e);
            2
        }
    };
    log::finish();
    std::process::exit(status);
}

/// Does what was asked and returns the exit status. An error is one line that says what could not
/// be done and why.
fn run(options: Options, signals: SignalSet) -> Result<i32, String> {
    match options.task {
        Task::Serve | Task::ServeStdin => return serve(options, signals),
        _ => sys::unblock(&signals),
    }
    if let Task::Probe(address) = options.task {
        let (status, lines) = probe::probe(address, &options);
        return Ok(status.max(print(&lines)));
    }
    check(&options)
}

/// Prints the findings and grants of a policy file, or the answer to the question about a site; the
/// exit status is 1 with an error, or if it is no.
fn check(options: &Options) -> Result<i32, String> {
    let report = check::check(&policy::read_file(&options.policy)?, &options.ports());
    if let Some((site, port)) = &options.question {
        return Ok(match report.may_connect(site, *port) {
            Ok(how) => print(&[format!("allowed: {how}")]),
            Err(why) => print(&[format!("refused: {why}")]).max(1),
        });
    }
    let file = options.policy.display();
    let nothing = |_| vec!["grants nothing".into()];
    let grants = report.grants().unwrap_or_else(nothing);
    let grants = grants.iter().map(|grant| format!(" {grant}"));
    let lines = report.findings().into_iter().chain(grants);
    let lines: Vec<String> = lines.map(|line| format!("{file}:{line}")).collect();
    Ok(print(&lines).max(i32::from(report.error.is_some())))
}

fn serve(mut options: Options, signals: SignalSet) -> Result<i32, String> {
    // A port alone may take two listeners.
    let descriptors = options.max_connections + 2 * options.listen.len();
    let limit = sys::raise_descriptor_limit(descriptors + SPARE_DESCRIPTORS);
    let least = descriptors + LEAST_SPARE_DESCRIPTORS;
    if options.syslog {
        log::open(true).map_err(|e| format!("--syslog: no system log at /dev/log: {e}"))?;
    }
    let (mut listeners, mut client) = (Vec::new(), None);
    if options.task == Task::ServeStdin {
        let hint = "--stdin is for inetd, systemd and the like";
        let address;
        (listeners, client, address) = listeners::from_stdin()
            .map_err(|e| format!("standard input is not a TCP socket in use: {e}; {hint}"))?;
        // The policy is to be one for that port.
        options.listen = vec![address];
    }
    let (policy, mut warnings) = policy::read(&options)?;
    if options.task == Task::Serve {
        listeners = listeners::bind(&options.listen, options.backlog)?;
    }
    if limit < least {
        let most = options.max_connections;
        let few = format!("{limit} descriptors are too few for --max-connections {most}");
        warnings.push(few + &format!(", which takes {least}: raise the hard limit"));
    }
    if let Some((user, group)) = options.user {
        let hint = "only root can become another user: start as root, or leave --user out";
        sys::become_user(user, group).map_err(|e| format!("cannot give up root: {e}; {hint}"))?;
        if let Err(e) = policy::read_file(&options.policy) {
            log::line(&format!("{e}; --user cannot read it again on SIGHUP"));
        }
    }
    let server = Server::start(policy, listeners, options)?;
    if let Some(client) = client {
        sys::unblock(&signals);
        server.serve_one(client);
        return Ok(0);
    }
    log::start_writer();
    for listener in &server.listeners {
        log::line(&format!("listening on {}", listener.address));
    }
    warnings.iter().for_each(|warning| log::line(warning));
    notify_supervisor();
    loop {
        match sys::wait_for(&signals) {
            SIGHUP => server.reload(),
            SIGUSR1 => log::line(&server.counters()),
            SIGTERM | SIGINT => break,
            _ => {}
        }
    }
    let as_asked = server.stop();
    log::line(&server.counters());
    Ok(i32::from(!as_asked))
}

/// Tells systemd or whoever else started this that it listens, see sd_notify(3).
fn notify_supervisor() {
    let socket = std::env::var_os("NOTIFY_SOCKET").zip(UnixDatagram::unbound().ok());
    if let Some((path, socket)) = socket {
        let _ = socket.set_write_timeout(Some(Duration::from_secs(1)));
        let _ = socket.send_to(b"READY=1", path);
    }
}

/// Writes to standard output, and returns the exit status.
fn print(lines: &[String]) -> i32 {
    let escaped = |line: &String| log::harmless(line) + "\n";
    let text: String = lines.iter().map(escaped).collect();
    i32::from(std::io::stdout().write_all(text.as_bytes()).is_err())
}

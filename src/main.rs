//! flash-policy-serv: serves a socket policy file. This file is the life of the program.

#![deny(unsafe_code)]

mod check;
mod connection;
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

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection::Conversation;
use listeners::Sockets;
use options::{Options, Task};
use policy::Policy;
use serve::Server;

/// All the time that one client gets.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// All the time that a probed server gets: Flash Player waits for port 843 no longer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Descriptors beside one for each connection: the standard ones, listeners, those about to close.
const SPARE_DESCRIPTORS: u32 = 128;

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let probing = arguments
        .iter()
        .any(|a| a.as_bytes().starts_with(b"--probe"));
    let status = match Options::parse(arguments, std::env::var_os("LISTENQ")) {
        Ok(options) => run(&options).unwrap_or_else(|e| {
            log::line(&e);
            1
        }),
        // What monitoring expects of a plugin that was called in a wrong way.
        Err(e) if probing => 3.max(print(&[format!("POLICY UNKNOWN - {}", e)])),
        Err(e) => {
            log::line(&e);
            2
        }
    };
    std::process::exit(status);
}

/// Does what was asked and returns the exit status. An error is one line that says what could not
/// be done and why.
fn run(options: &Options) -> Result<i32, String> {
    match options.task {
        Task::Help => Ok(print(&options::help())),
        Task::Version => Ok(print(&[concat!(
            "flash-policy-serv ",
            env!("CARGO_PKG_VERSION")
        )
        .into()])),
        Task::Check => check(options),
        Task::Probe(address) => {
            let timeout = options.timeout.unwrap_or(PROBE_TIMEOUT);
            let (status, lines) = probe::probe(address, timeout, options.verbose);
            Ok(status.max(print(&lines)))
        }
        Task::Serve | Task::ServeStdin => serve(options),
    }
}

/// Prints the findings and grants of a policy file; the exit status is 1 with an error.
fn check(options: &Options) -> Result<i32, String> {
    let report = check::check(&policy::read_file(&options.policy)?, &options.ports());
    let mut lines = report.findings();
    lines.extend(report.grants.iter().map(|grant| format!(" {}", grant)));
    for line in &mut lines {
        *line = format!("{}:{}", options.policy.display(), line);
    }
    Ok(print(&lines).max(i32::from(report.error.is_some())))
}

fn serve(options: &Options) -> Result<i32, String> {
    if options.task == Task::ServeStdin {
        log::keep_off_connections();
    }
    let ports = options.ports();
    let policy = Policy::read(&options.policy, &ports)?;
    let timeout = options.timeout.unwrap_or(DEFAULT_TIMEOUT);

    let sockets = match options.task {
        Task::ServeStdin => listeners::from_stdin()?,
        _ => Sockets::Listeners(listeners::bind(&options.listen, options.backlog)?),
    };
    if let Some(user) = &options.user {
        privileges::give_up_root_for(user)?;
        if File::open(&options.policy).is_err() {
            let file = options.policy.display();
            log::line(&format!(
                "{}: warning: {} cannot read it again on SIGHUP",
                file, user
            ));
        }
    }
    let listeners = match sockets {
        Sockets::Listeners(listeners) => listeners,
        Sockets::Connection(stream, peer) => {
            let conversation = Conversation {
                stream: &stream,
                deadline: Instant::now() + timeout,
                patience: &mut |_| timeout,
            };
            let outcome = conversation.hold(&policy);
            if options.verbose {
                log::connection(peer, outcome);
            }
            return Ok(0);
        }
    };

    sys::raise_descriptor_limit(options.max_connections as u32 + SPARE_DESCRIPTORS);
    let signals = sys::block(&[
        sys::SIGHUP,
        sys::SIGUSR1,
        sys::SIGTERM,
        sys::SIGINT,
        // A log that has reached the limit of a file's size loses lines, and nothing else happens.
        sys::SIGXFSZ,
    ]);
    let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
    let server = Server::start(
        policy,
        &listeners,
        timeout,
        options.max_connections,
        options.verbose,
    )?;
    for listener in &listeners {
        log::line(&format!("listening on {}", listener.address));
    }
    loop {
        match sys::wait_for(&signals) {
            sys::SIGHUP => match Policy::read(&options.policy, &ports) {
                Ok(policy) => {
                    server.reload(policy);
                    log::line(&format!("{}: in service", options.policy.display()));
                }
                Err(e) => log::line(&format!("{}; the last good policy stays in service", e)),
            },
            sys::SIGUSR1 => log::line(&server.counters()),
            sys::SIGTERM | sys::SIGINT => break,
            _ => {}
        }
    }
    server.stop(&listeners);
    log::line(&server.counters());
    Ok(0)
}

/// Writes to standard output, and returns the exit status.
fn print(lines: &[String]) -> i32 {
    let mut text = String::new();
    for line in lines {
        text += &(log::harmless(line) + "\n");
    }
    i32::from(std::io::stdout().write_all(text.as_bytes()).is_err())
}

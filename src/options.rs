//! The command line: a strict stream of options, all errors of which are usage errors.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::privileges::User;

/// The port on which Flash Player asks for the master policy file.
pub const POLICY_PORT: u16 = 843;

/// The policy file that is served unless `--policy` names another; `make` sets the place.
pub const POLICY_FILE: &str = match option_env!("FLASH_POLICY_FILE") {
    Some(path) => path,
    None => "/usr/local/flash-policy-serv/etc/crossdomain.xml",
};

/// The lines that `--help` prints.
pub fn help() -> Vec<String> {
    let text = include_str!("help.txt").replace("@policy@", POLICY_FILE);
    text.lines().map(str::to_owned).collect()
}

/// An address to listen on or to ask.
#[derive(Clone, Copy, PartialEq)]
pub enum Address {
    /// This port on all addresses, IPv6 and IPv4.
    Everywhere(u16),
    At(SocketAddr),
}

/// What the program is asked to do.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Task {
    #[default]
    Serve,
    ServeStdin,
    Check,
    Probe(SocketAddr),
    Help,
    Version,
}

#[derive(Default)]
pub struct Options {
    pub task: Task,
    pub listen: Vec<Address>,
    /// The port that players see, where it is not the one listened on or asked.
    pub public_port: Option<u16>,
    /// With `--check`, `-` and `/dev/stdin` are standard input.
    pub policy: PathBuf,
    /// All the time that one client, or a probed server, gets.
    pub timeout: Duration,
    pub max_connections: usize,
    pub backlog: u16,
    pub user: Option<User>,
    /// Events go to the system log.
    pub syslog: bool,
    pub verbose: bool,
    /// May a Flash file from this site connect to this port?
    pub question: Option<(String, u16)>,
}

impl Options {
    /// Reads the command line after the program's name; `listenq` is the value of the environment
    /// variable `LISTENQ`, which the C server knew. An error is one sentence that names the option,
    /// what was given and what is right.
    pub fn parse(arguments: Vec<OsString>, listenq: Option<OsString>) -> Result<Options, String> {
        let mut options = Options::default();
        for argument in &arguments {
            options.task = match argument.to_str() {
                Some("-h" | "--help") => Task::Help,
                Some("-V" | "--version") => Task::Version,
                _ => continue,
            };
            return Ok(options);
        }
        options.policy = POLICY_FILE.into();
        options.max_connections = 1000;
        let (mut tasks, mut given) = (Vec::new(), Vec::new());
        let (mut timeout, mut backlog, mut operand) = (None, None, None);
        let (mut site, mut to_port) = (None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, attached) = split(&argument);
            let alone = ["-v", "--verbose", "--syslog", "--stdin", "--check"];
            if attached.is_some() && alone.contains(&name) {
                return Err(format!("{argument:?}: write {name} by itself"));
            }
            let mut value = || match attached.map(OsStr::to_owned).or_else(|| arguments.next()) {
                Some(value) if !value.is_empty() => Ok(value),
                _ => Err(format!("{name} needs a value")),
            };
            let mut number_to = |highest| ranged(name, &value()?, highest);
            match name {
                "-l" | "--listen" => options.listen.push(address(name, &value()?)?),
                "-p" | "--public-port" => options.public_port = Some(number_to(65535)?),
                "-f" | "--policy" => options.policy = value()?.into(),
                "-t" | "--timeout" => timeout = Some(number_to(60)?),
                "-c" | "--max-connections" => options.max_connections = number_to(30000)?.into(),
                "-b" | "--backlog" => backlog = Some(number_to(65535)?),
                "-u" | "--user" => options.user = Some(User::look_up(name, &value()?)?),
                "-v" | "--verbose" => options.verbose = true,
                "--syslog" => options.syslog = true,
                "--site" => site = Some(value()?.to_string_lossy().into_owned()),
                "--to-port" => to_port = Some(number_to(65535)?),
                "--stdin" => tasks.push((Task::ServeStdin, "--stdin")),
                "--check" => tasks.push((Task::Check, "--check")),
                "--probe" => tasks.push((Task::Probe(peer(name, &value()?)?), "--probe")),
                _ if argument != "-" && argument.as_bytes().starts_with(b"-") => {
                    return Err(format!("unknown option {argument:?}; --help lists them"))
                }
                _ if operand.is_none() => operand = Some(argument.clone()),
                _ => {
                    return Err(format!(
                        "{argument:?} is one too many: --check takes one FILE"
                    ))
                }
            }
            given.push(name.to_owned());
        }
        tasks.dedup();
        if tasks.len() > 1 {
            return Err("only one of --stdin, --check and --probe can be given".into());
        }
        let (task, task_name) = tasks
            .pop()
            .unwrap_or((Task::Serve, "serving, only with --check and --probe"));
        if let Some(name) = given.iter().find(|name| !goes_with(name, task)) {
            return Err(format!("{name} does not go with {task_name}"));
        }
        match operand {
            Some(file) if task == Task::Check => options.policy = file.into(),
            Some(other) => return Err(no_option(&other)),
            None => {}
        }
        if task != Task::Check && is_stdin(&options.policy) {
            return Err("--policy: only --check reads standard input".into());
        }
        options.task = task;
        options.question = match (site, to_port) {
            (Some(site), Some(port)) => Some((site, port)),
            (None, None) => None,
            _ => return Err("--site and --to-port go together".into()),
        };
        let (address, default_timeout) = match task {
            // Flash Player waits for port 843 no longer.
            Task::Probe(server) => (Address::At(server), 3),
            _ => (Address::Everywhere(POLICY_PORT), 5),
        };
        if options.listen.is_empty() {
            options.listen.push(address);
        }
        options.timeout = Duration::from_secs(timeout.unwrap_or(default_timeout).into());
        options.backlog = match (backlog, listenq) {
            (Some(given), _) => given,
            (_, Some(given)) if task == Task::Serve => ranged("LISTENQ", &given, 65535)?,
            _ => 4096,
        };
        Ok(options)
    }

    /// The ports that players see the policy file come from; 0 is one that the system will choose.
    pub fn ports(&self) -> Vec<u16> {
        let port = |address: &Address| match address {
            Address::Everywhere(port) => *port,
            Address::At(address) => address.port(),
        };
        let listened_on = || self.listen.iter().map(port).collect();
        self.public_port.map_or_else(listened_on, |port| vec![port])
    }
}

/// What to write instead of an operand.
fn no_option(operand: &OsStr) -> String {
    let plain = operand.to_string_lossy();
    match address("", operand) {
        Ok(_) => format!("{operand:?} is not an option: write --listen {plain}"),
        Err(_) => format!("{operand:?} is not an option: write --policy {plain}"),
    }
}

/// Whether an option has a meaning for a task. All those of a service have one for `--check`, which
/// so tells whether it would start.
fn goes_with(option: &str, task: Task) -> bool {
    let question = ["--site", "--to-port"].contains(&option);
    match option {
        _ if task == Task::Check => true,
        "-l" | "--listen" | "-b" | "--backlog" => task == Task::Serve,
        "-p" | "--public-port" | "-t" | "--timeout" | "-v" | "--verbose" | "--probe" => true,
        _ => question == matches!(task, Task::Probe(_)),
    }
}

/// Parts `--name=value` and `-nvalue`. What is not UTF-8 has no name that is known.
fn split(argument: &OsStr) -> (&str, Option<&OsStr>) {
    let bytes = argument.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => (&bytes[..at], Some(&bytes[at + 1..])),
        _ if bytes.starts_with(b"--") || bytes.len() < 3 => (bytes, None),
        _ if bytes.starts_with(b"-") => (&bytes[..2], Some(&bytes[2..])),
        _ => (bytes, None),
    };
    let name = std::str::from_utf8(name).unwrap_or_default();
    (name, value.map(OsStr::from_bytes))
}

/// A whole number up to 65535: digits only.
pub fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn ranged(name: &str, value: &OsStr, highest: u16) -> Result<u16, String> {
    let given = value.to_str().and_then(number);
    let number = given.filter(|number| (1..=highest).contains(number));
    number.ok_or_else(|| format!("{name} {value:?}: must be a whole number from 1 to {highest}"))
}

/// `PORT`, `IP`, `IP:PORT` or `[IP6]:PORT`. Literals only: no name is ever looked up.
fn address(name: &str, value: &OsStr) -> Result<Address, String> {
    let text = value.to_str().unwrap_or_default();
    // The port would be the last part of the address.
    if let Some((ip, port)) = text.rsplit_once(':') {
        if ip.parse::<Ipv6Addr>().is_ok() && number(port).is_some() {
            let right = format!("[{ip}]:{port} or [{text}]");
            return Err(format!("{name} {value:?}: write {right}"));
        }
    }
    let with_port = format!("{text}:{POLICY_PORT}");
    let bracketed = format!("[{text}]:{POLICY_PORT}");
    let forms = [text, &with_port, &bracketed];
    let literal = forms.iter().find_map(|form| form.parse().ok());
    let right = "PORT, IP, IP:PORT or [IP6]:PORT, no name, and PORT at most 65535";
    match (number(text), literal) {
        (Some(port), _) => Ok(Address::Everywhere(port)),
        (_, Some(address)) => Ok(Address::At(address)),
        _ => Err(format!("{name} {value:?}: must be {right}")),
    }
}

/// Whether `--check` is to read standard input.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// The server to probe: `localhost` and a mere port mean 127.0.0.1.
fn peer(name: &str, value: &OsStr) -> Result<SocketAddr, String> {
    let text = value.to_string_lossy();
    let literal = match text.strip_prefix("localhost") {
        Some(port) if port.is_empty() || port.starts_with(':') => format!("127.0.0.1{port}"),
        _ => text.into_owned(),
    };
    match address(name, OsStr::new(&literal))? {
        Address::Everywhere(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        Address::At(address) => Ok(address),
    }
}

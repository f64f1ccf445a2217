//! The command line: a strict stream of options, all errors of which are usage errors.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// The port on which Flash Player asks for the master policy file.
pub const POLICY_PORT: u16 = 843;

/// The policy file that is served unless `--policy` names another; `make` sets the place.
pub const POLICY_FILE: &str = match option_env!("FLASH_POLICY_FILE") {
    Some(path) => path,
    None => "/usr/local/flash-policy-serv/etc/crossdomain.xml",
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Flash Player waits for port 843 no longer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

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
    pub user: Option<String>,
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
        let given = |short, long| arguments.iter().any(|a| a == short || a == long);
        let mut options = Options {
            task: match (given("-h", "--help"), given("-V", "--version")) {
                (true, _) => Task::Help,
                (_, true) => Task::Version,
                _ => Task::Serve,
            },
            policy: POLICY_FILE.into(),
            max_connections: 1000,
            ..Options::default()
        };
        if options.task != Task::Serve {
            return Ok(options);
        }
        let (mut tasks, mut timeout, mut backlog, mut operand) = (Vec::new(), None, None, None);
        let (mut site, mut to_port) = (None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, attached) = split(&argument);
            if attached.is_some()
                && ["--stdin", "--syslog", "-v", "--verbose", "--check"].contains(&name)
            {
                return Err(format!("{name} takes no value"));
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
                "-t" | "--timeout" => timeout = Some(Duration::from_secs(number_to(60)?.into())),
                "-c" | "--max-connections" => options.max_connections = number_to(30000)?.into(),
                "-b" | "--backlog" => backlog = Some(number_to(65535)?),
                "-u" | "--user" => {
                    let wrong = |user| format!("{name} {user:?}: must be USER or USER:GROUP");
                    options.user = Some(value()?.into_string().map_err(wrong)?)
                }
                "-v" | "--verbose" => options.verbose = true,
                "--syslog" => options.syslog = true,
                "--site" => {
                    let wrong = |site| format!("{name} {site:?}: must be such as www.example.com");
                    site = Some(value()?.into_string().map_err(wrong)?)
                }
                "--to-port" => to_port = Some(number_to(65535)?),
                "--stdin" => tasks.push(Task::ServeStdin),
                "--check" => tasks.push(Task::Check),
                "--probe" => tasks.push(Task::Probe(peer(name, &value()?)?)),
                _ if argument.as_bytes().starts_with(b"-") && argument != "-" => {
                    return Err(format!("unknown option {argument:?}; --help lists them"))
                }
                _ if operand.is_some() => return Err(format!("{argument:?} is one too many")),
                _ => operand = Some(argument),
            }
        }
        tasks.dedup();
        if tasks.len() > 1 {
            return Err("only one of --stdin, --check and --probe can be given".into());
        }
        options.task = tasks.pop().unwrap_or_default();
        match operand {
            Some(file) if options.task == Task::Check => options.policy = file.into(),
            Some(other) => return Err(format!("{other:?} is not an option; --help lists them")),
            None => {}
        }
        if options.task == Task::ServeStdin && (backlog.is_some() || !options.listen.is_empty()) {
            return Err(
                "--stdin brings its own socket: --listen and --backlog do not go with it".into(),
            );
        }
        options.question = match (site, to_port, options.task) {
            (None, None, _) => None,
            (Some(site), Some(port), Task::Check | Task::Probe(_)) => Some((site, port)),
            _ => return Err("--site and --to-port go together, with --check or --probe".into()),
        };
        if options.listen.is_empty() {
            options.listen.push(Address::Everywhere(POLICY_PORT));
        }
        options.timeout = timeout.unwrap_or(match options.task {
            Task::Probe(_) => PROBE_TIMEOUT,
            _ => DEFAULT_TIMEOUT,
        });
        options.backlog = match (backlog, listenq) {
            (Some(given), _) => given,
            (_, Some(given)) if options.task == Task::Serve => ranged("LISTENQ", &given, 65535)?,
            _ => 4096,
        };
        Ok(options)
    }

    /// The ports that players see the policy file come from; 0 is one that the system will choose.
    pub fn ports(&self) -> Vec<u16> {
        match (self.public_port, self.task) {
            (Some(port), _) => return vec![port],
            (_, Task::Probe(server)) => return vec![server.port()],
            _ => {}
        }
        let port = |address: &Address| match address {
            Address::Everywhere(port) => *port,
            Address::At(address) => address.port(),
        };
        self.listen.iter().map(port).collect()
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

/// The server to probe: `localhost` and a mere port mean 127.0.0.1.
fn peer(name: &str, value: &OsStr) -> Result<SocketAddr, String> {
    let port = value
        .to_str()
        .and_then(|text| text.strip_prefix("localhost"));
    let literal = match port {
        Some(port) if port.is_empty() || port.starts_with(':') => format!("127.0.0.1{port}").into(),
        _ => value.to_owned(),
    };
    match address(name, &literal)? {
        Address::Everywhere(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        Address::At(address) => Ok(address),
    }
}

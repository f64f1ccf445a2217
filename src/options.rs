//! The command line: a strict stream of options, all errors of which are usage errors.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
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

const HELP: &str = "\
usage: flash-policy-serv [OPTION]...
       flash-policy-serv --check [FILE]
       flash-policy-serv --probe ADDR

Serves a socket policy file to Flash Player, AIR, Lightspark and Silverlight.

  -l, --listen ADDR          PORT, IP, IP:PORT or [IP6]:PORT; may be given more
                             than once; port 0 is a free one (default: port 843
                             on all IPv4 and IPv6 addresses)
  -f, --policy FILE          the policy file
                             (default: @POLICY@)
  -t, --timeout SECONDS      all the time that one client gets, 1 to 60
                             (default: 5; with --probe 3)
  -c, --max-connections N    open at once, 1 to 30000 (default: 1000)
  -b, --backlog N            waiting to be accepted, 1 to 65535 (default: the
                             environment variable LISTENQ, else 4096)
  -u, --user USER[:GROUP]    give up root for this once the ports are bound
      --stdin                serve the socket on standard input: a listener or
                             one connection
  -v, --verbose              a line for each connection; with --probe the policy
                             and what is wrong with it
      --check [FILE]         say what is wrong with a policy file and what it
                             grants
      --probe ADDR           ask a running server as a player does; exit status
                             0 good, 1 warning, 2 critical, 3 unknown
  -h, --help                 print this
  -V, --version              print the version

SIGHUP reads the policy file again, SIGUSR1 writes the counters, SIGTERM stops.
Exit status: 0 stopped as asked, 1 could not do it, 2 usage.
";

/// The lines that `--help` prints.
pub fn help() -> Vec<String> {
    let line = |line: &str| line.replace("@POLICY@", POLICY_FILE);
    HELP.lines().map(line).collect()
}

/// An address to listen on or to ask.
#[derive(Clone, Copy, PartialEq)]
pub enum Address {
    /// This port on all addresses, IPv6 and IPv4.
    Everywhere(u16),
    At(SocketAddr),
}

/// What the program is asked to do.
#[derive(Clone, Copy, PartialEq)]
pub enum Task {
    Serve,
    ServeStdin,
    Check,
    Probe(SocketAddr),
    Help,
    Version,
}

pub struct Options {
    pub task: Task,
    pub listen: Vec<Address>,
    pub policy: PathBuf,
    /// All the time that one client, or a probed server, gets.
    pub timeout: Duration,
    pub max_connections: usize,
    pub backlog: u16,
    pub user: Option<String>,
    pub verbose: bool,
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
            listen: Vec::new(),
            policy: PathBuf::from(POLICY_FILE),
            timeout: Duration::ZERO,
            max_connections: 1000,
            backlog: 0,
            user: None,
            verbose: false,
        };
        if options.task != Task::Serve {
            return Ok(options);
        }
        let (mut timeout, mut backlog) = (None, None);
        let mut operand = None;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, attached) = split(&argument);
            let flag = matches!(name, "--stdin" | "-v" | "--verbose" | "--check");
            if flag && attached.is_some() {
                return Err(format!("{} takes no value", name));
            }
            let mut value = || {
                let value = attached.map(OsStr::to_owned).or_else(|| arguments.next());
                value
                    .filter(|v| !v.is_empty())
                    .ok_or(format!("{} needs a value", name))
            };
            let mut task = None;
            match name {
                "-l" | "--listen" => options.listen.push(address(name, &value()?)?),
                "-f" | "--policy" => options.policy = value()?.into(),
                "-t" | "--timeout" => {
                    timeout = Some(Duration::from_secs(ranged(name, &value()?, 1, 60)?))
                }
                "-c" | "--max-connections" => {
                    options.max_connections = ranged(name, &value()?, 1, 30000)?
                }
                "-b" | "--backlog" => backlog = Some(ranged(name, &value()?, 1, 65535)?),
                "-u" | "--user" => {
                    options.user = Some(value()?.into_string().map_err(|user| {
                        format!("{} {:?}: must be USER or USER:GROUP", name, user)
                    })?)
                }
                "-v" | "--verbose" => options.verbose = true,
                "--stdin" => task = Some(Task::ServeStdin),
                "--check" => task = Some(Task::Check),
                "--probe" => task = Some(Task::Probe(peer(name, &value()?)?)),
                _ if argument.as_bytes().starts_with(b"-") => {
                    return Err(format!("unknown option {:?}; --help lists them", argument))
                }
                _ if operand.is_some() => return Err(format!("{:?} is one too many", argument)),
                _ => operand = Some(argument),
            }
            if let Some(task) = task {
                if options.task != Task::Serve && options.task != task {
                    return Err("only one of --stdin, --check and --probe can be given".into());
                }
                options.task = task;
            }
        }
        match operand {
            Some(file) if options.task == Task::Check => options.policy = file.into(),
            Some(other) => return Err(format!("{:?} is not an option; --help lists them", other)),
            None => {}
        }
        if options.task == Task::ServeStdin && (backlog.is_some() || !options.listen.is_empty()) {
            return Err(
                "--stdin brings its own socket: --listen and --backlog do not go with it".into(),
            );
        }
        if options.listen.is_empty() {
            options.listen.push(Address::Everywhere(POLICY_PORT));
        }
        options.timeout = timeout.unwrap_or(match options.task {
            Task::Probe(_) => PROBE_TIMEOUT,
            _ => DEFAULT_TIMEOUT,
        });
        options.backlog = match (backlog, listenq) {
            (Some(given), _) => given,
            (None, Some(given)) if options.task == Task::Serve => {
                ranged("LISTENQ", &given, 1, 65535)?
            }
            _ => 4096,
        };
        Ok(options)
    }

    /// The ports that the policy file is served from; 0 is one that the system will choose.
    pub fn ports(&self) -> Vec<u16> {
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
        _ if bytes.starts_with(b"-") && !bytes.starts_with(b"--") && bytes.len() > 2 => {
            (&bytes[..2], Some(&bytes[2..]))
        }
        _ => (bytes, None),
    };
    let name = std::str::from_utf8(name).unwrap_or_default();
    (name, value.map(OsStr::from_bytes))
}

/// `text` as a whole number from `low` to `high`: digits and nothing else.
fn number<T: FromStr + PartialOrd>(text: &str, low: T, high: T) -> Option<T> {
    let number = text.parse().ok().filter(|n| (low..=high).contains(n));
    number.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn ranged<T>(name: &str, value: &OsStr, low: T, high: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + Copy + std::fmt::Display,
{
    number(value.to_str().unwrap_or_default(), low, high).ok_or_else(|| {
        format!(
            "{} {:?}: must be a whole number from {} to {}",
            name, value, low, high
        )
    })
}

/// `PORT`, `IP`, `IP:PORT` or `[IP6]:PORT`. Literals only: no name is ever looked up.
fn address(name: &str, value: &OsStr) -> Result<Address, String> {
    let text = value.to_str().unwrap_or_default();
    let at = |ip| Address::At(SocketAddr::new(ip, POLICY_PORT));
    let bracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = match bracketed {
        Some(ip6) => ip6.parse().map(|ip| at(IpAddr::V6(ip))).ok(),
        None => number(text, 0, u16::MAX)
            .map(Address::Everywhere)
            .or_else(|| text.parse().map(at).ok())
            .or_else(|| text.parse().map(Address::At).ok()),
    };
    address.ok_or_else(|| {
        format!(
            "{} {:?}: must be PORT, IP, IP:PORT or [IP6]:PORT, no name, and PORT at most 65535",
            name, value
        )
    })
}

/// The server to probe: `localhost` and a mere port mean 127.0.0.1.
fn peer(name: &str, value: &OsStr) -> Result<SocketAddr, String> {
    let local = Ipv4Addr::LOCALHOST;
    let text = value.to_str().unwrap_or_default();
    let literal = match text.strip_prefix("localhost") {
        Some(rest) => format!("{}{}", local, rest),
        None => text.to_owned(),
    };
    match address(name, OsStr::new(&literal))? {
        Address::Everywhere(port) => Ok(SocketAddr::from((local, port))),
        Address::At(address) => Ok(address),
    }
}

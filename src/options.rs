//! The command line: a strict stream of options, all errors of which are usage errors.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::privileges::{self, User};

/// The port on which Flash Player asks for the master policy file.
pub const POLICY_PORT: u16 = 843;

/// All addresses, IPv6 and IPv4.
pub const EVERYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

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

/// What the program is asked to do.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Task {
    #[default]
    Serve,
    ServeStdin,
    Check,
    Probe(SocketAddr),
}

#[derive(Default)]
pub struct Options {
    pub task: Task,
    pub listen: Vec<SocketAddr>,
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
    pub question: Option<(Site, u16)>,
}

/// Where a Flash file was loaded from.
pub struct Site {
    pub over_https: bool,
    /// A name in lower case, or an address.
    pub host: String,
}

impl Options {
    /// Reads the command line after the program's name; `listenq` is the value of the environment
    /// variable `LISTENQ`, which the C server knew. An error is one sentence that names the option,
    /// what was given and what is right.
    pub fn parse(arguments: &[OsString], listenq: Option<OsString>) -> Result<Options, String> {
        let mut options = Options {
            max_connections: 1000,
            ..Options::default()
        };
        let mut task = (Task::Serve, "serving, only with --check and --probe");
        let (mut given, mut operands, mut policy) = (Vec::new(), Vec::new(), None);
        let (mut timeout, mut backlog, mut site, mut to_port) = (None, None, None, None);
        let mut arguments = arguments.iter().map(OsString::as_os_str);
        while let Some(argument) = arguments.next() {
            let (name, mut attached) = split(argument);
            let mut value = || match attached.take().or_else(|| arguments.next()) {
                Some(value) if !value.is_empty() => Ok(value),
                _ => Err(format!("{name} needs a value")),
            };
            let mut number_to = |highest| ranged(name, value()?, highest);
            match name {
                "-l" | "--listen" => options.listen.push(address(name, value()?, EVERYWHERE)?),
                "-p" | "--public-port" => options.public_port = Some(number_to(65535)?),
                "-f" | "--policy" => policy = Some(value()?),
                "-t" | "--timeout" => timeout = Some(number_to(60)?),
                "-c" | "--max-connections" => options.max_connections = number_to(30000)?.into(),
                "-b" | "--backlog" => backlog = Some(number_to(65535)?),
                "-u" | "--user" => options.user = Some(privileges::user(name, value()?)?),
                "-v" | "--verbose" => options.verbose = true,
                "--syslog" => options.syslog = true,
                "--site" => site = Some(origin(name, value()?)?),
                "--to-port" => to_port = Some(number_to(65535)?),
                "--stdin" => task = (Task::ServeStdin, name),
                "--check" => task = (Task::Check, name),
                "--probe" => task = (Task::Probe(peer(name, value()?)?), name),
                _ if matches!(argument.as_bytes(), [] | [b'-', _, ..]) => {
                    return Err(format!("unknown option {argument:?}; --help lists them"))
                }
                _ => operands.push(argument),
            }
            if attached.is_some() {
                return Err(format!("{argument:?}: write {name} by itself"));
            }
            given.push(name);
        }
        let (task, task_name) = task;
        if let Some(name) = given.iter().find(|name| !goes_with(name, task)) {
            return Err(format!("{name} does not go with {task_name}"));
        }
        if task == Task::Check {
            // FILE is another way to write --policy FILE.
            operands.extend(policy);
            policy = operands.pop();
            if !operands.is_empty() {
                return Err("--check: name the file once".into());
            }
        }
        if let Some(operand) = operands.first() {
            let plain = operand.to_string_lossy();
            let option = match address("", operand, EVERYWHERE) {
                Ok(_) => "--listen ",
                Err(_) if is_stdin(operand.as_ref()) => "--check ",
                Err(_) if ["check", "probe", "stdin"].contains(&&*plain) => "--",
                Err(_) => "--policy ",
            };
            let right = format!("write {option}{plain}, or see --help");
            return Err(format!("{operand:?} is not an option: {right}"));
        }
        options.policy = policy.unwrap_or_else(|| POLICY_FILE.as_ref()).into();
        if task != Task::Check && is_stdin(&options.policy) {
            return Err("--policy: only --check reads standard input".into());
        }
        if site.is_some() != to_port.is_some() {
            return Err("--site and --to-port go together".into());
        }
        options.task = task;
        options.question = site.zip(to_port);
        if options.listen.is_empty() {
            options.listen.push((EVERYWHERE, POLICY_PORT).into());
        }
        // Flash Player waits for port 843 no longer than 3 s.
        let default_timeout = if matches!(task, Task::Probe(_)) { 3 } else { 5 };
        options.timeout = Duration::from_secs(timeout.unwrap_or(default_timeout).into());
        options.backlog = match (backlog, listenq) {
            (Some(given), _) => given,
            (_, Some(given)) if goes_with("--backlog", task) => ranged("LISTENQ", &given, 65535)?,
            _ => 4096,
        };
        Ok(options)
    }

    /// The ports that players see the policy file come from; 0 is one that the system will choose.
    pub fn ports(&self) -> Vec<u16> {
        match self.public_port {
            Some(port) => vec![port],
            None => self.listen.iter().map(SocketAddr::port).collect(),
        }
    }
}

/// Whether an option, or an operand, has a meaning for a task. All those of a service have one for
/// `--check`, which so tells whether it would start.
fn goes_with(option: &str, task: Task) -> bool {
    let probing = matches!(task, Task::Probe(_));
    match option {
        "--stdin" => task == Task::ServeStdin,
        "--probe" => probing,
        _ if task == Task::Check => true,
        "--check" => false,
        "-l" | "--listen" | "-b" | "--backlog" => task == Task::Serve,
        "-p" | "--public-port" | "-t" | "--timeout" | "-v" | "--verbose" => true,
        "--site" | "--to-port" => probing,
        _ => !probing,
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

/// `PORT`, which is one at `ip`, `IP`, `IP:PORT` or `[IP6]:PORT`. Literals only: no name is ever
/// looked up.
fn address(name: &str, value: &OsStr, ip: IpAddr) -> Result<SocketAddr, String> {
    let text = value.to_str().unwrap_or_default();
    // The port would be the last part of the address.
    if let Some((ip, port)) = text.rsplit_once(':') {
        if ip.parse::<Ipv6Addr>().is_ok() && number(port).is_some() {
            return Err(format!("{name} {value:?}: write [{ip}]:{port} or [{text}]"));
        }
    }
    let with_port = format!("{text}:{POLICY_PORT}");
    let bracketed = format!("[{text}]:{POLICY_PORT}");
    let forms = [text, &with_port, &bracketed];
    let literal = forms.iter().find_map(|form| form.parse().ok());
    let right = "PORT, IP, IP:PORT or [IP6]:PORT, no name, and PORT at most 65535";
    let address = number(text).map(|port| (ip, port).into()).or(literal);
    address.ok_or_else(|| format!("{name} {value:?}: must be {right}"))
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
    let peer = address(name, OsStr::new(&literal), Ipv4Addr::LOCALHOST.into())?;
    match peer.port() {
        0 => Err(format!("{name} {value:?}: must have a port above 0")),
        _ => Ok(peer),
    }
}

/// The site of a URL of http or https, of which user, port and path do not count, or of a mere host,
/// which is taken as http.
fn origin(name: &str, value: &OsStr) -> Result<Site, String> {
    let text = value.to_string_lossy().to_ascii_lowercase();
    let secure = text.strip_prefix("https://");
    let rest = secure.or_else(|| text.strip_prefix("http://"));
    let rest = rest.unwrap_or(&text).split(['/', '?', '#']).next();
    let place = rest.and_then(|rest| rest.rsplit('@').next());
    let place = place.unwrap_or_default();
    let host = match place.rsplit_once(':') {
        Some((host, port)) if number(port).is_some() => host,
        _ => place,
    };
    // An IPv6 address has brackets in a URL, but not alone.
    let bracketed = format!("{host}:0").parse().map(|a: SocketAddr| a.ip());
    let ip = place.parse().or(bracketed).ok();
    if ip.is_none() && !is_name(host) {
        let right = "must be a site such as https://www.example.com, or a host, in ASCII";
        return Err(format!("{name} {value:?}: {right}"));
    }
    Ok(Site {
        over_https: secure.is_some(),
        host: ip.map_or_else(|| host.into(), |ip: IpAddr| ip.to_string()),
    })
}

/// A host's name in ASCII. Its last label is no number, or it would be an address.
pub fn is_name(host: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| !label.is_empty() && label.chars().all(is_sign);
    let last = host.rsplit('.').next().unwrap_or_default();
    host.len() < 254 && host.split('.').all(is_label) && last.parse::<u32>().is_err()
}

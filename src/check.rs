//! What is wrong with a policy file, what to write instead, what it grants, and to whom.

use std::net::IpAddr;

use crate::options::{is_name, number, Site};
use crate::xml::{self, refuse, shown, Fault, Node};

/// The largest policy file in bytes: the C server's buffer.
pub const MAX_SIZE: usize = 20_480;

/// A range whose last port is so far from its first, or farther, is as good as *.
const ANY: u16 = 65535 - 1024;

/// More warnings are left out.
const MAX_WARNINGS: usize = 100;

/// The elements that count: name, parent, attributes. Sources: Adobe's cross-domain policy file
/// specification; for Silverlight's `access-policy` Microsoft's cc645032.
type Element = (&'static str, &'static str, &'static [&'static str]);
#[rustfmt::skip]
const ELEMENTS: &[Element] = &[
    ("cross-domain-policy", "", &[]),
    ("site-control", "cross-domain-policy", &["permitted-cross-domain-policies"]),
    ("allow-access-from", "cross-domain-policy", &["domain", "to-ports", "secure"]),
    ("access-policy", "", &[]),
    ("cross-domain-access", "access-policy", &[]),
    ("policy", "cross-domain-access", &[]),
    ("allow-from", "policy", &["http-request-headers", "http-methods"]),
    ("domain", "allow-from", &["uri"]),
    ("grant-to", "policy", &[]),
    ("socket-resource", "grant-to", &["protocol", "port"]),
    ("resource", "grant-to", &["path", "include-subpaths"]),
];

/// Ports that Flash Player has refused since version 24, whatever the policy says (Adobe's staff
/// in issue 1261 of scratch-flash).
const NEVER: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 21, 22, 23, 25, 37, 42, 43, 53, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 139, 143, 179, 389, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 556, 563, 587, 601, 636, 993, 995, 1720, 1723, 2049, 3659, 4045, 5060,
    6000, 6566, 6665, 6666, 6667, 6668, 6669,
];

// What is wrong, and what to write instead. {} stands for text from the file.
const INNER_NUL: &str = "a NUL would end the policy here: remove it, or save it as UTF-8";
const NUL: &str = "the NUL here is left out, since the server adds its own: remove it";
const LONG: &str = "an answer over 1400 bytes may come in parts, and then fail: shorten the file";
const HANGS: &str = "with its NUL a multiple of 4096 bytes, this hangs Lightspark: add a blank";
const ENCODING: &str = "Silverlight and other strict readers know UTF-8, not {}: write UTF-8";
const ATTRIBUTE: &str = "no attribute {} counts here: remove it, or correct it (in lower case)";
const STOPS: &str = "Lightspark ignores {} because of this: correct it, or remove it";
const ELSEWHERE: &str = "Lightspark ignores a policy with site-control unless from port 843: \
    remove it, serve port 843 alone, or say --public-port 843";
const ALSO_ASKED: &str = "players also ask the port they want, and may hang there: \
    write <site-control permitted-cross-domain-policies=\"master-only\"/>";
const REFUSED: &str = "\"{}\" makes every player refuse everything: write \"master-only\"";
const CASE: &str = "Lightspark refuses everything for \"{}\": write it in lower case alone";
const MISSING: &str = "without {} this counts for nothing: write that in";
const DOMAIN: &str = "domain=\"{}\" is not one name (ASCII, no http://, no port), an address, \
    * or such as *.example.com";
const WIDE: &str = "some players (swf2es) refuse {} as too wide: write such as *.example.com";
const HOST: &str = "\"{}\" is a host of that name: for any site write *";
const SECURE: &str = "\"{}\" may be taken as either: write \"true\" or \"false\"";
const OPEN_TO_ALL: &str = "any site may use any port of this host: name the sites or the ports";
const LOW: &str = "{} has ports below 1024, which only a policy from such a port can grant: \
    serve it on port 843, or say --public-port 843";
const CLOSED: &str = "Flash Player refuses {} since version 24: use another port";
const BLANKS: &str = "Lightspark drops the entry for blanks in \"{}\": remove them";
const LIST: &str = "\"{}\" is no port or range, and some players (swf2es) drop the entry: ";
const RANGE: &str = "Lightspark reads only the first port of {}: write the ports, or *";
const MISPLACED: &str = "Silverlight asks port 943, Flash Player any other: serve this on port {}";
const URI: &str = "uri=\"{}\" is not an origin: write such as http://game.example.com or *";
const PROTOCOL: &str = "without protocol=\"tcp\" this counts for nothing: write that";
const PORT: &str = "Silverlight refuses all for port=\"{}\": write 4502 to 4534, one or a range";
const EMPTY: &str = "this grants nothing: write {} in it";

/// What is lost for what a warning says: with Lightspark alone a range but for its first port, the
/// entry that it is about, what follows, or everything; with other players the policy, the sites
/// that are not loaded over HTTPS, the ports or the entry; with all of them everything.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Lost {
    Nothing,
    Range,
    Line,
    Following,
    Lightspark,
    Policy,
    Secure,
    Ports,
    Entry,
    Everything,
}
use Lost::{Entry, Everything, Following, Lightspark, Line, Nothing, Policy, Ports};

/// What the check found; a fault's text is one line that says what to write instead.
#[derive(Default)]
pub struct Report {
    /// Why Flash Player, or Silverlight for its own format, does not read the file.
    pub error: Option<Fault>,
    /// In the order of the file.
    pub warnings: Vec<(Fault, Lost)>,
    text: String,
    /// The ports on which players reach the server.
    ports: Vec<u16>,
    is_flash: bool,
    entries: Vec<Access>,
}

/// Whom an `allow-access-from`, or a Silverlight `policy`, lets in, and to which ports.
#[derive(Default)]
struct Access {
    /// From its start to that of its last attribute.
    tag: std::ops::Range<usize>,
    sites: Vec<String>,
    ranges: Vec<Range>,
    is_secure: bool,
}

/// The first and the last port.
type Range = (u16, u16);

/// The policy in `file`: without a NUL at its end, blanks beside it, and more of them.
pub fn content(file: &[u8]) -> &[u8] {
    let is_gap = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let nul = file.iter().position(|byte| *byte == 0);
    let end = nul.filter(|nul| file.iter().skip(*nul).all(is_gap));
    file.split_at(end.unwrap_or(file.len())).0
}

/// Checks a policy file that players get from `ports`, where 0 is one that the system will choose.
pub fn check(file: &[u8], ports: &[u16]) -> Report {
    let content = content(file);
    let plain = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let text = String::from_utf8_lossy(plain);
    let mut report = Report::default();
    report.text.push_str(&text);
    report.ports.extend(ports);
    report.rule(content.len() < file.len(), Nothing, (text.len(), ""), NUL);
    report.rule(content.len() + 1 > 1400, Policy, (0, ""), LONG);
    report.rule((content.len() + 1) % 4096 == 0, Policy, (0, ""), HANGS);
    report.error = report.file(file.len(), plain, &text).err();
    if report.warnings.len() >= MAX_WARNINGS {
        let fault = (text.len(), "further warnings are left out".into());
        report.warnings.push((fault, Nothing));
    }
    report.warnings.sort_by_key(|warning| warning.0 .0);
    report.warnings.dedup();
    report
}

impl Report {
    /// The error and the warnings as `LINE:COLUMN: error|warning: TEXT`.
    pub fn findings(&self) -> Vec<String> {
        let error = self.error.iter().map(|fault| self.placed("error: ", fault));
        let warnings = self.warnings.iter().map(|w| self.placed("warning: ", &w.0));
        error.chain(warnings).collect()
    }

    /// In plain words what each entry grants, or why nobody at all is let in.
    pub fn grants(&self) -> Result<Vec<String>, &Fault> {
        let mut grants = Vec::new();
        let is_whole = |entry: &&Access| !entry.sites.is_empty() && !entry.ranges.is_empty();
        // Nobody knows whether a site is asked for over HTTPS, or which port of a range.
        let counts = |lost| lost >= Line && lost != Lost::Secure;
        let is_taken = |entry: &&Access| self.drops(entry, counts).0 < 2;
        for entry in self.entries.iter().filter(is_whole).filter(is_taken) {
            let sites = entry.sites.iter();
            let sites = sites.map(|site| match site.strip_prefix("*.") {
                Some(name) => format!("{name} and its subdomains"),
                None if site == "*" => "any site".into(),
                None => shown(site),
            });
            let over = entry.is_secure.then_some(", over HTTPS only,");
            let sites = sites.collect::<Vec<String>>().join(", ") + over.unwrap_or_default();
            let grant = format!("{sites} may connect to {}", in_words(&entry.ranges));
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
        let least = if grants.is_empty() { Ports } else { Everything };
        self.cause(least).map_or(Ok(grants), Err)
    }

    /// Why the file is not read, or the first warning for which that much is lost.
    fn cause(&self, least: Lost) -> Option<&Fault> {
        let cause = self.warnings.iter().find(|(_, lost)| *lost >= least);
        self.error.as_ref().or(cause.map(|(fault, _)| fault))
    }

    /// `LINE:COLUMN: KIND TEXT`.
    pub fn placed(&self, kind: &str, (at, text): &Fault) -> String {
        let (line, column) = self.position(*at);
        format!("{line}:{column}: {kind}{text}")
    }

    /// Line and column from 1, columns in characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// May a Flash file from `site` open a socket to `port` of this host? Names the line that allows
    /// it and what readers differ about, or the nearest reason why not.
    pub fn may_connect(&self, site: &Site, port: u16) -> Result<String, String> {
        if let Some(fault) = self.cause(Everything) {
            return Err(self.placed("", fault));
        } else if !self.is_flash {
            return Err("this is for Silverlight, and Flash Player does not read it".into());
        } else if NEVER.contains(&port) {
            return Err(format!("Flash Player refuses port {port} since version 24"));
        } else if port < 1024 && self.ports.iter().all(is_high) {
            return Err("only a policy from a port below 1024 can grant such a port".into());
        }
        let answer = |entry| self.answer(entry, site, port);
        match self.entries.iter().map(answer).min_by_key(|a| a.0) {
            Some((0 | 1, how)) => Ok(how),
            Some((_, why)) => Err(why),
            None => Err(format!("no entry names {}", site.host)),
        }
    }

    /// What that is by an entry, and how far from what all players grant.
    fn answer(&self, entry: &Access, site: &Site, port: u16) -> (usize, String) {
        let host = &site.host;
        // An address has no name, and no suffix.
        let is_host = |site: &String| match site.to_ascii_lowercase().strip_prefix('*') {
            Some(suffix) => format!(".{host}").ends_with(suffix),
            None => site.eq_ignore_ascii_case(host),
        };
        let is_named = entry.sites.iter().any(is_host);
        let has_port = entry.ranges.iter().any(|r| (r.0..=r.1).contains(&port));
        let is_barred = entry.is_secure && !site.over_https;
        let (drops, but) = self.drops(entry, |lost| match lost {
            _ if !is_named || !has_port => lost >= Ports,
            Lost::Range => !entry.ranges.iter().any(|r| r.0 == port),
            Lost::Secure => !site.over_https,
            lost => lost != Nothing && lost != Ports,
        });
        let line = format!("line {}", self.position(entry.tag.start).0);
        match drops {
            _ if entry.sites.is_empty() => (4, format!("no entry names {host}{but}")),
            _ if !is_named => (5, format!("no entry names {host}")),
            _ if !has_port => (3, format!("{line} names {host}, but not port {port}{but}")),
            _ if is_barred => (2, format!("{line} is for sites loaded over https only")),
            0 | 1 => (drops, format!("by {line}{but}")),
            _ => (2, format!("{line} names {host}{but}")),
        }
    }

    /// By how many an entry is dropped, Lightspark and others, for warnings of such a grade, and what
    /// they say.
    fn drops(&self, entry: &Access, is_such: impl Fn(Lost) -> bool) -> (usize, String) {
        let (mut lightspark, mut others, mut but) = (0, 0, String::new());
        for (fault, lost) in self.warnings.iter().filter(|w| is_such(w.1)) {
            let concerns = match lost {
                Following => fault.0 <= entry.tag.start,
                Lightspark | Policy => true,
                _ => entry.tag.contains(&fault.0),
            };
            if concerns {
                but += &format!("; but {}", self.placed("", fault));
                lightspark |= usize::from(*lost < Policy);
                others |= usize::from(*lost == Entry);
            }
        }
        (lightspark + others, but)
    }

    /// Warns if `wrong`: `text`, in which {} stands for `value`.
    fn rule(&mut self, wrong: bool, lost: Lost, (at, value): (usize, &str), text: &str) {
        let is_worst = lost == Everything && self.warnings.iter().all(|w| w.1 != lost);
        if wrong && (is_worst || self.warnings.len() < MAX_WARNINGS) {
            let fault = (at, text.replace("{}", &shown(value)));
            self.warnings.push((fault, lost));
        }
    }

    fn file(&mut self, size: usize, plain: &[u8], text: &str) -> Result<(), Fault> {
        let too_large = format!("over {MAX_SIZE} bytes: shorten it");
        refuse(size > MAX_SIZE, 0, &too_large)?;
        let nul = text.find('\0');
        refuse(nul.is_some(), nul.unwrap_or(0), INNER_NUL)?;
        let (mut document, read) = xml::read(text);
        let root = match document.nodes.first() {
            None => return read.and(Err((0, "the file is empty: write a policy".into()))),
            Some(root) => (root.at, root.name),
        };
        let is_root = ELEMENTS.iter().any(|e| (e.0, e.1) == (root.1, ""));
        refuse(!is_root, root.0, &stray(root.1, ""))?;
        read?;
        self.is_flash = root.1 == "cross-domain-policy";
        let encoding = document.encoding.to_ascii_lowercase();
        let is_utf8 = ["", "utf-8"].contains(&&*encoding);
        let is_read = is_utf8 || self.is_flash && ["us-ascii", "iso-8859-1"].contains(&&*encoding);
        self.rule(!is_read, Policy, (0, &document.encoding), ENCODING);
        if let (Err(e), true) = (std::str::from_utf8(plain), is_utf8) {
            let what = "bytes that are not UTF-8: save it as UTF-8";
            document.mind(true, e.valid_up_to(), what);
        }
        // The names of the open elements, ! for one that is not in its place, ? for one that nobody
        // knows; what is in them does not count.
        let mut path = vec![""];
        for node in &document.nodes {
            path.truncate(node.depth + 1);
            let parent = path.last().copied().unwrap_or_default();
            let known = ELEMENTS.iter().find(|e| e.0 == node.name);
            let mut place = known.map_or("?", |_| "!");
            if let Some(element) = known.filter(|e| e.1 == parent) {
                self.element(node, element);
                place = element.0;
            } else if parent != "!" && parent != place && !node.name.contains('=') {
                self.rule(true, Nothing, (node.at, ""), &stray(node.name, parent));
            }
            path.push(place);
        }
        // Silverlight passes over blanks before the declaration (Moonlight's sources).
        let start = text.len() - text.trim_start().len();
        for (at, what) in &document.minded {
            let is_passed = start > 0 && *at == start;
            refuse(!self.is_flash && !is_passed, *at, what)?;
            self.rule(self.is_flash, Policy, (*at, ""), what);
        }
        self.lightspark(&document.nodes);
        let mut nodes = document.nodes.iter();
        let controlled = nodes.any(|node| node.depth == 1 && node.name == "site-control");
        // On other ports it would do harm.
        let asked = self.is_flash && !controlled && self.ports.iter().all(|port| *port == 843);
        let write = [ALSO_ASKED, " in it"].concat();
        self.rule(asked, Policy, (root.0, ""), &write);
        let empty = self.grants().map_or(false, |grants| grants.is_empty());
        let fits = |port: &u16| (*port == 943) != self.is_flash;
        let (some, all) = (self.ports.iter().any(fits), self.ports.iter().all(fits));
        let lost = if some { Ports } else { Everything };
        let (port, entry) = match self.is_flash {
            true => ("843", "<allow-access-from>"),
            false => ("943", "<policy> with <domain> and <socket-resource>"),
        };
        self.rule(!all, lost, (root.0, port), MISPLACED);
        self.rule(empty, Everything, (root.0, entry), EMPTY);
        Ok(())
    }

    /// Lightspark reads up to what it does not know; without a `site-control` before that it has no
    /// policy at all.
    fn lightspark(&mut self, nodes: &[Node]) {
        let mut lost = (Lightspark, "the whole policy");
        for node in nodes.iter().filter(|node| node.depth == 1) {
            let given = &node.attributes;
            let lacks = |name| given.get(name).map_or(true, |(_, value)| value.is_empty());
            let stops = match node.name {
                "site-control" => lost.0 == Following || given.len() != 1,
                "allow-access-from" => given.len() > 3 || lacks("domain") || lacks("to-ports"),
                name => name == "allow-http-request-headers-from",
            };
            if stops {
                return self.rule(true, lost.0, (node.at, lost.1), STOPS);
            } else if node.name == "site-control" {
                lost = (Following, "what follows");
            }
        }
    }

    /// An element in its place. Without an attribute that it needs it has no effect.
    fn element(&mut self, node: &Node, (name, _, known): &Element) {
        let mut entry = Access {
            tag: node.at..node.at + 1,
            ..Access::default()
        };
        for (name, (at, _)) in &node.attributes {
            let is_schema = name.starts_with("xmlns") || name.starts_with("xsi:");
            let counts = is_schema || known.contains(name);
            self.rule(!counts, Nothing, (*at, name), ATTRIBUTE);
            entry.tag.end = entry.tag.end.max(at + 1);
        }
        let protocol = node.attributes.get("protocol");
        let is_tcp = protocol.map_or(false, |(_, value)| value == "tcp");
        for name in *known {
            let given = node.attributes.get(name);
            let value = given.map_or((node.at, ""), |(at, value)| (*at, value.as_str()));
            match *name {
                "domain" | "to-ports" | "uri" | "port" if given.is_none() => {
                    self.rule(true, Entry, (node.at, name), MISSING)
                }
                "permitted-cross-domain-policies" => {
                    let master = self.ports.contains(&843);
                    let elsewhere = self.ports.iter().any(|port| *port != 843);
                    self.rule(elsewhere, Lightspark, value, ELSEWHERE);
                    let plain = value.1.trim().to_ascii_lowercase();
                    let known = ["all", "master-only", "by-content-type", "by-ftp-filename"];
                    let known = known.contains(&&*plain);
                    self.rule(master && !known, Everything, value, REFUSED);
                    self.rule(master && plain == "all", Policy, value, ALSO_ASKED);
                    self.rule(master && known && plain != value.1, Lightspark, value, CASE);
                }
                "domain" => {
                    let domain = value.1.trim();
                    let name = domain.strip_prefix("*.").unwrap_or(domain);
                    let is_address = domain.parse::<IpAddr>().is_ok();
                    let is_right = domain == "*" || is_name(name) || is_address;
                    self.rule(!is_right, Entry, value, DOMAIN);
                    self.rule(is_right && domain != value.1, Line, value, BLANKS);
                    let is_wide = is_right && name != domain && !name.contains('.');
                    self.rule(is_wide, Entry, value, WIDE);
                    let plain = domain.to_ascii_lowercase();
                    let is_all = ["all", "any", "everyone"].contains(&&*plain);
                    self.rule(is_all, Nothing, value, HOST);
                    entry.sites.extend(is_right.then(|| domain.into()));
                }
                "to-ports" => entry.ranges = self.port_list(value),
                "secure" => {
                    entry.is_secure = value.1 == "true";
                    let is_clear = ["", "true", "false"].contains(&value.1);
                    self.rule(!is_clear, Lost::Secure, value, SECURE);
                }
                "uri" => {
                    let (scheme, host) = value.1.split_once("://").unwrap_or_default();
                    let is_scheme = ["http", "https", "file"].contains(&scheme);
                    let is_host = is_scheme && !host.is_empty() && !host.contains(' ');
                    let is_origin = value.1 == "*" || is_host;
                    self.rule(!is_origin, Entry, value, URI);
                    entry.sites.extend(is_origin.then(|| value.1.into()));
                }
                "protocol" => self.rule(!is_tcp, Entry, value, PROTOCOL),
                "port" if is_tcp => {
                    let usable = |r: &Range| 4502 <= r.0 && r.1 <= 4534;
                    entry.ranges.extend(range(value.1).filter(usable));
                    self.rule(entry.ranges.is_empty(), Everything, value, PORT);
                }
                _ => {}
            }
        }
        let open = entry.sites == ["*"] && entry.ranges.iter().any(|r| r.1 - r.0 >= ANY);
        let place = node.attributes.get("domain").map_or(0, |domain| domain.0);
        self.rule(open, Nothing, (place, ""), OPEN_TO_ALL);
        if ["allow-access-from", "policy"].contains(name) {
            self.entries.push(entry);
        } else if let Some(policy) = self.entries.last_mut() {
            policy.sites.append(&mut entry.sites);
            policy.ranges.append(&mut entry.ranges);
        }
    }

    /// The ports that are read from a list, as far as they may be granted from here.
    fn port_list(&mut self, (at, list): (usize, &str)) -> Vec<Range> {
        let alone = list.trim() == "*";
        let mut ranges = if alone { vec![(1, 65535)] } else { vec![] };
        self.rule(alone && list != "*", Line, (at, list), BLANKS);
        for given in list.split(',').filter(|_| !alone) {
            let item = given.trim();
            let right = range(item);
            let is_parted = item.contains([' ', ';']) && !item.contains(char::is_alphabetic);
            let tail = match &*item.to_ascii_lowercase() {
                "*" | "all" | "any" | "0-65535" => "write * alone",
                _ if is_parted => "separate ports with commas",
                _ => "write ports from 1 to 65535, such as 5222,8000-8010",
            };
            self.rule(right.is_none(), Entry, (at, item), &[LIST, tail].concat());
            let is_long = right.map_or(false, |r| r.0 < r.1);
            self.rule(is_long, Lost::Range, (at, item), RANGE);
            // Of what is none Lightspark takes the number that it begins with, and * without blanks.
            let lead = item.split(|c: char| !c.is_ascii_digit()).next();
            let read = if given == "*" { Some("1-65535") } else { lead };
            ranges.extend(right.or_else(|| read.and_then(range)));
        }
        let named = || ranges.iter().filter(|r| r.1 - r.0 < ANY);
        let low = named().any(|r| r.0 < 1024) && self.ports.iter().any(is_high);
        self.rule(low, Ports, (at, list), LOW);
        let is_named = |port: &&u16| named().any(|r| (r.0..=r.1).contains(port));
        let closed: Vec<String> = NEVER.iter().filter(is_named).map(u16::to_string).collect();
        self.rule(!closed.is_empty(), Ports, (at, &closed.join(", ")), CLOSED);
        if self.ports.iter().all(is_high) {
            ranges.retain(|r| r.1 >= 1024);
            ranges.iter_mut().for_each(|r| r.0 = r.0.max(1024));
        }
        ranges
    }
}

fn is_high(port: &u16) -> bool {
    !(1..1024).contains(port)
}

/// `PORT` or `FIRST-LAST`.
fn range(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first.trim()).zip(number(last.trim()));
    range.filter(|range| 0 < range.0 && range.0 <= range.1)
}

fn in_words(ranges: &[Range]) -> String {
    let words = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let words = words.collect::<Vec<_>>().join(", ");
    match ranges {
        _ if ranges.contains(&(1, 65535)) => "any port".into(),
        [(first, last)] if first == last => format!("port {words}"),
        _ => format!("ports {words}"),
    }
}

/// What is wrong with an element that does not count in `parent`.
fn stray(name: &str, parent: &str) -> String {
    let local = name.rsplit(':').next().unwrap_or(name);
    let found = shown(name);
    match ELEMENTS.iter().find(|e| e.0.eq_ignore_ascii_case(local)) {
        Some(e) if e.0 != name => format!("<{found}> is not read: write <{}>", e.0),
        Some(e) if !e.1.is_empty() => format!("<{found}> must be in <{}>: move it", e.1),
        _ if name.is_empty() => "text has no meaning in a policy: remove it".into(),
        _ if parent.is_empty() => format!("<{found}> is no policy: write <cross-domain-policy>"),
        _ => format!("<{found}> has no meaning in a socket policy: remove it"),
    }
}

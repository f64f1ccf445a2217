//! What is wrong with a policy file, what to write instead, what it grants, and to whom.

use std::net::IpAddr;

use crate::options::{is_name, number, Site};
use crate::xml::{self, shown, Attribute, Event, Fault};

/// The largest policy file in bytes: the C server's buffer.
pub const MAX_SIZE: usize = 20_480;

/// The only one of the grants where there is none.
pub const NO_GRANT: &str = "grants nothing";

/// More warnings are left out.
const MAX_WARNINGS: usize = 100;

/// The elements that count: name, parent, attributes. An attribute that must be there has an
/// example. Sources: Adobe's cross-domain policy file specification; for Silverlight's
/// `access-policy` Microsoft's cc645032.
type Element = (Text, Text, &'static [(Text, Text)]);
type Text = &'static str;
#[rustfmt::skip]
const ELEMENTS: &[Element] = &[
    ("cross-domain-policy", "", &[]),
    ("site-control", "cross-domain-policy", &[("permitted-cross-domain-policies", "")]),
    ("allow-access-from", "cross-domain-policy",
        &[("domain", "game.example.com"), ("to-ports", "5222,8000"), ("secure", "")]),
    ("access-policy", "", &[]),
    ("cross-domain-access", "access-policy", &[]),
    ("policy", "cross-domain-access", &[]),
    ("allow-from", "policy", &[("http-request-headers", "")]),
    ("domain", "allow-from", &[("uri", "http://game.example.com")]),
    ("grant-to", "policy", &[]),
    ("socket-resource", "grant-to", &[("port", "4502-4534"), ("protocol", "tcp")]),
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
const NUL: &str = "the NUL here is left out, since the server adds its own: remove it";
const LONG: &str = "an answer over 1400 bytes may come in parts, and then fail: shorten the file";
const HANGS: &str = "with its NUL a multiple of 4096 bytes, this hangs Lightspark: add a blank";
const STRICT: &str = "Silverlight and other strict readers refuse ";
const ENCODING: &str = "Silverlight and other strict readers know UTF-8, not {}: write UTF-8";
const TEXT: &str = "text has no meaning in a policy: remove it";
const ATTRIBUTE: &str = "no attribute {} counts here: remove it, or correct it (in lower case)";
const MISSING: &str = "without {} this counts for nothing: write that in";
const STOPS: &str = "Lightspark ignores {} because of this: correct it, or remove it";
const TWICE: &str = "a second site-control: remove it";
const ELSEWHERE: &str =
    "Lightspark ignores a policy with site-control unless it is from port 843: \
    remove it, serve port 843 alone, or say --public-port 843";
const ALSO_ASKED: &str = "players also ask the port they want, and may hang there: \
    write <site-control permitted-cross-domain-policies=\"master-only\"/>";
const REFUSED: &str = "\"{}\" makes every player refuse everything: write \"master-only\"";
const CASE: &str = "Lightspark refuses everything for \"{}\": write it in lower case alone";
const DOMAIN: &str =
    "\"{}\" is not a name in ASCII, an address, * or such as *.example.com: write one";
const WIDE: &str = "some players (swf2es) refuse {} as too wide: write such as *.example.com";
const SECURE: &str = "\"{}\" may be taken as either: write \"true\" or \"false\"";
const OPEN_TO_ALL: &str = "any site may use {} of this host: name the sites or the ports";
const LOW: &str = "{} has ports below 1024, which only a policy from such a port can grant: \
    serve it on port 843, or say --public-port 843";
const CLOSED: &str = "Flash Player refuses port {} since version 24: use another";
const STAR: &str = "Lightspark refuses blanks beside *: remove them";
const LIST: &str =
    "\"{}\" is not a port or a range, and some players (swf2es) drop the entry: write ";
const RANGE: &str = "Lightspark reads only the first port of {}: write the ports, or *";
const MISPLACED: &str = "Silverlight asks port 943, Flash Player any other: serve this on port {}";
const URI: &str = "\"{}\" is not an origin: write such as http://game.example.com or *";
const PROTOCOL: &str = "\"{}\" cannot be granted: write tcp";
const PORT: &str = "Silverlight refuses the file for \"{}\": write 4502 to 4534, one or a range";
const EMPTY: &str = "this grants nothing: write <{}> in it";
const NOTHING: &str = "this grants nothing: write a domain and a socket-resource in the policy";

/// What is lost for what a warning says: with some players the ports, the entry or the policy that
/// it is about, with Lightspark alone what it says; with all of them everything.
#[derive(Clone, Copy, PartialEq)]
pub enum Lost {
    Nothing,
    Lightspark,
    Ports,
    Entry,
    Policy,
    Everything,
}
use Lost::{Entry, Everything, Lightspark, Nothing, Policy, Ports};

/// What the check found; a fault's text is one line that says what to write instead.
#[derive(Default)]
pub struct Report {
    /// Why Flash Player, or Silverlight for its own format, does not read the file.
    pub error: Option<Fault>,
    /// In the order of the file.
    pub warnings: Vec<(Fault, Lost)>,
    /// In plain words what each entry grants, or [`NO_GRANT`].
    pub grants: Vec<String>,
    text: String,
    /// The ports on which players reach the server.
    ports: Vec<u16>,
    /// The names of the known elements so far.
    seen: Vec<Text>,
    entries: Vec<Access>,
    /// From where on Lightspark ignores the policy.
    lightspark: Option<usize>,
    /// What the current Silverlight `policy` has named so far.
    sites: Vec<String>,
    ranges: Vec<Range>,
}

/// An `allow-access-from`.
struct Access {
    at: usize,
    /// Where its last attribute begins.
    end: usize,
    domain: String,
    ranges: Vec<Range>,
    is_secure: bool,
}

/// The first and the last port; from 0 is `*`.
type Range = (u16, u16);

/// An attribute's place and value.
type Value<'a> = (usize, &'a str);

/// The policy in `file`: without a NUL at its end, blanks beside it, and more of them.
pub fn content(file: &[u8]) -> &[u8] {
    let end = file.iter().position(|byte| *byte == 0);
    let (content, rest) = file.split_at(end.unwrap_or(file.len()));
    let gap = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    if rest.iter().all(gap) {
        content
    } else {
        file
    }
}

/// Checks a policy file that players get from `ports`, where 0 is one that the system will choose.
pub fn check(file: &[u8], ports: &[u16]) -> Report {
    let content = content(file);
    let plain = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let text = String::from_utf8_lossy(plain).into_owned();
    let mut report = Report {
        ports: ports.to_vec(),
        ..Report::default()
    };
    report.rule(content.len() < file.len(), Nothing, (text.len(), ""), NUL);
    report.rule(content.len() + 1 > 1400, Policy, (0, ""), LONG);
    report.rule((content.len() + 1) % 4096 == 0, Policy, (0, ""), HANGS);
    report.error = match file.len() > MAX_SIZE {
        true => Some((0, format!("over {MAX_SIZE} bytes: shorten it"))),
        false => report.file(plain, &text).err(),
    };
    if report.warnings.len() >= MAX_WARNINGS {
        let fault = (text.len(), "further warnings are left out".into());
        report.warnings.push((fault, Nothing));
    }
    report.text = text;
    if report.useless().is_some() || report.grants.is_empty() {
        report.grants = vec![NO_GRANT.into()];
    }
    report
}

impl Report {
    /// The error and the warnings as `LINE:COLUMN: error|warning: TEXT`.
    pub fn findings(&self) -> Vec<String> {
        let error = self.error.iter().map(|fault| self.placed("error: ", fault));
        let warnings = self.warnings.iter().map(|w| self.placed("warning: ", &w.0));
        error.chain(warnings).collect()
    }

    /// Why nobody at all is let in.
    pub fn useless(&self) -> Option<&Fault> {
        let nothing = self.grants == [NO_GRANT] && self.entries.is_empty();
        let is_cause = |lost| lost == Everything || nothing && (lost == Entry || lost == Ports);
        let mut warnings = self.warnings.iter();
        let warning = warnings.find(|(_, lost)| is_cause(*lost));
        self.error.as_ref().or(warning.map(|(fault, _)| fault))
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
        let host = &site.host;
        if let Some(fault) = self.useless() {
            return Err(self.placed("", fault));
        } else if !self.is_flash() {
            return Err("this is for Silverlight, and Flash Player does not read it".into());
        } else if NEVER.contains(&port) {
            return Err(format!("Flash Player refuses port {port} since version 24"));
        } else if port < 1024 && self.ports.iter().all(is_high) {
            return Err("only a policy from a port below 1024 can grant such a port".into());
        }
        let mut refused = format!("no entry names {host}");
        let named = |entry: &&Access| names(&entry.domain, host);
        for entry in self.entries.iter().filter(named) {
            let (line, _) = self.position(entry.at);
            if !entry.ranges.iter().any(|r| (r.0..=r.1).contains(&port)) {
                refused = format!("line {line} names {host}, but not port {port}");
            } else if entry.is_secure && !site.over_https {
                refused = format!("line {line} is for sites loaded over https only");
            } else {
                let mut allowed = format!("by line {line}");
                if port < 1024 && self.ports.iter().any(is_high) {
                    allowed += "; but only where players ask a port below 1024";
                }
                if self.lightspark.map_or(false, |at| at <= entry.at) {
                    allowed += "; but Lightspark ignores this line";
                } else if !entry.ranges.iter().any(|r| r.0 == 0 || r.0 == port) {
                    allowed += "; but Lightspark reads only the first port of a range";
                }
                for (fault, lost) in &self.warnings {
                    let is_in = (entry.at..=entry.end).contains(&fault.0) && *lost == Entry;
                    if is_in || *lost == Policy {
                        allowed += &format!("; but {}", self.placed("", fault));
                    }
                }
                return Ok(allowed);
            }
        }
        Err(refused)
    }

    fn is_flash(&self) -> bool {
        self.seen.first() == Some(&"cross-domain-policy")
    }

    /// Warns if `wrong`: `text`, in which {} stands for `value`.
    fn rule(&mut self, wrong: bool, lost: Lost, (at, value): Value, text: &str) {
        if wrong && (self.warnings.len() < MAX_WARNINGS || lost == Everything) {
            // Most are found in the order of the file.
            let place = self.warnings.partition_point(|w| w.0 .0 <= at);
            let fault = (at, text.replace("{}", &shown(value)));
            self.warnings.insert(place, (fault, lost));
        }
    }

    fn file(&mut self, plain: &[u8], text: &str) -> Result<(), Fault> {
        if let Some(at) = text.find('\0') {
            let what = "a NUL would end the policy here: remove it, or save it as UTF-8";
            return Err((at, what.into()));
        } else if text.trim().is_empty() {
            return Err((0, "the file is empty: write a policy".into()));
        }
        let mut document = xml::read(text)?;
        let encoding = document.encoding.unwrap_or("UTF-8");
        let other = !encoding.eq_ignore_ascii_case("utf-8");
        self.rule(other, Policy, (0, encoding), ENCODING);
        if let (Err(e), false) = (std::str::from_utf8(plain), other) {
            let what = "bytes that are not UTF-8: save it as UTF-8".into();
            xml::add(&mut document.minded, (e.valid_up_to(), what));
        }
        // The names of the open elements, ? for one that does not count; nor does what is in it.
        let mut path: Vec<Text> = Vec::new();
        let root = document.events.first().map_or(0, |event| event.0);
        for (at, event) in document.events {
            let parent = path.last().copied().unwrap_or_default();
            match event {
                Event::Text => self.rule(parent != "?", Nothing, (at, ""), TEXT),
                Event::Start(name, attributes) => {
                    let known = ELEMENTS.iter().find(|e| e.0 == name && e.1 == parent);
                    match known {
                        Some(element) => self.element(at, element, &attributes),
                        None if parent.is_empty() => {
                            return Err((at, stray(name, "write <cross-domain-policy>")))
                        }
                        None if parent == "?" || name.contains('=') => {}
                        None => self.rule(true, Nothing, (at, ""), &stray(name, "remove it")),
                    }
                    let headers = name == "allow-http-request-headers-from";
                    self.lightspark_stops(at, path.len() > 1 || headers && path.len() == 1);
                    path.push(known.map_or("?", |e| e.0));
                }
                Event::End if path.pop() == Some("policy") => {
                    let nothing = !self.grant(at);
                    self.rule(nothing, Entry, (at, ""), NOTHING);
                }
                Event::End => {}
            }
        }
        let flash = self.is_flash();
        for (at, what) in document.minded {
            let what = STRICT.to_owned() + &what;
            if !flash {
                return Err((at, what));
            }
            self.rule(true, Policy, (at, ""), &what);
        }
        let (port, entry) = match flash {
            true => ("843", "allow-access-from"),
            false => ("943", "policy"),
        };
        let mut ports = self.ports.clone();
        ports.retain(|port| (*port == 943) == flash);
        let all = ports.len() == self.ports.len();
        let lost = if all { Everything } else { Ports };
        self.rule(!ports.is_empty(), lost, (root, port), MISPLACED);
        let uncontrolled = flash && !self.seen.contains(&"site-control");
        let asked = uncontrolled && self.ports.contains(&843);
        self.rule(asked, Policy, (root, ""), ALSO_ASKED);
        let empty = !self.seen.contains(&entry);
        self.rule(empty, Everything, (root, entry), EMPTY);
        Ok(())
    }

    /// Lightspark reads no further than `at`, if `stops`; without a `site-control` before that it
    /// has no policy at all.
    fn lightspark_stops(&mut self, at: usize, stops: bool) {
        if stops && self.is_flash() && self.lightspark.is_none() {
            let controlled = self.seen.contains(&"site-control");
            let (from, lost) = match controlled {
                true => (at, "what follows"),
                false => (0, "the whole policy"),
            };
            self.rule(true, Lightspark, (at, lost), STOPS);
            self.lightspark = Some(from);
        }
    }

    /// An element in its place. Without an attribute that it needs it has no effect.
    fn element(&mut self, at: usize, element: &Element, given: &[Attribute]) {
        let (name, _, known) = *element;
        for a in given.iter().filter(|a| known.iter().all(|k| k.0 != a.name)) {
            let schema = a.name.starts_with("xmlns") || a.name.starts_with("xsi:");
            self.rule(!schema, Nothing, (a.at, a.name), ATTRIBUTE);
        }
        let mut values = Vec::new();
        for (name, example) in known {
            let a = given.iter().find(|a| a.name == *name);
            let missing = a.is_none() && !example.is_empty();
            let example = format!("{name}=\"{example}\"");
            self.rule(missing, Entry, (at, &example), MISSING);
            values.push(a.map(|a| (a.at, a.value.as_str())));
        }
        let empty = |value: &Option<Value>| value.map_or(true, |(_, text)| text.is_empty());
        let twice = name == "site-control" && self.seen.contains(&name);
        self.rule(twice, Lightspark, (at, ""), TWICE);
        let stops = match name {
            "site-control" => twice || given.len() != 1 || values.iter().any(empty),
            "allow-access-from" => given.len() > 3 || values.iter().take(2).any(empty),
            _ => false,
        };
        self.lightspark_stops(at, stops);
        match (name, values.as_slice()) {
            ("site-control", [permitted]) => self.site_control(permitted.unwrap_or((at, ""))),
            ("allow-access-from", [Some(domain), Some(to_ports), secure]) => {
                self.allow_access_from(*domain, *to_ports, secure.unwrap_or((at, "false")));
            }
            ("domain", [Some((_, "*"))]) => self.sites.push("any site".into()),
            ("domain", [Some(uri)]) if uri.1.contains("://") => self.sites.push(shown(uri.1)),
            ("domain", [Some(uri)]) => self.rule(true, Entry, *uri, URI),
            ("socket-resource", [Some(port), Some((_, "tcp"))]) => {
                let range = range(port.1).filter(|r| 4502 <= r.0 && r.0 <= r.1 && r.1 <= 4534);
                self.rule(range.is_none(), Everything, *port, PORT);
                self.ranges.extend(range);
            }
            ("socket-resource", [_, Some(other)]) if other.1 != "tcp" => {
                self.rule(true, Entry, *other, PROTOCOL)
            }
            _ => {}
        }
        self.seen.push(name);
    }

    fn site_control(&mut self, permitted: Value) {
        let elsewhere = self.ports.iter().any(|port| *port != 843);
        self.rule(elsewhere, Lightspark, permitted, ELSEWHERE);
        if !self.ports.contains(&843) {
            self.lightspark = Some(0);
            return;
        }
        let plain = permitted.1.trim().to_ascii_lowercase();
        let mut known = "all master-only by-content-type by-ftp-filename".split(' ');
        let known = known.any(|known| known == plain);
        self.rule(!known, Everything, permitted, REFUSED);
        self.rule(plain == "all", Policy, permitted, ALSO_ASKED);
        self.rule(known && plain != permitted.1, Lightspark, permitted, CASE);
        if plain != permitted.1 {
            self.lightspark = Some(0);
        }
    }

    fn allow_access_from(&mut self, domain: Value, to_ports: Value, secure: Value) {
        let ranges = self.port_list(to_ports);
        let mut some = ranges.clone();
        some.retain(|r| r.0 > 1 || r.1 < 65535);
        let low = some.iter().any(|r| r.0 < 1024) && self.ports.iter().any(is_high);
        self.rule(low, Ports, to_ports, LOW);
        let mut closed = NEVER.to_vec();
        closed.retain(|port| some.iter().any(|r| (r.0..=r.1).contains(port)));
        let closed: Vec<String> = closed.iter().map(u16::to_string).collect();
        let closed = listed(&closed);
        self.rule(!closed.is_empty(), Ports, (to_ports.0, &closed), CLOSED);
        let is_secure = secure.1 == "true";
        self.rule(!is_secure && secure.1 != "false", Entry, secure, SECURE);
        if !is_domain(domain.1) {
            return self.rule(true, Entry, domain, DOMAIN);
        }
        let suffix = domain.1.strip_prefix("*.");
        let wide = suffix.map_or(false, |suffix| !suffix.contains('.'));
        self.rule(wide, Entry, domain, WIDE);
        let site = match suffix {
            Some(suffix) => format!("{suffix} and its subdomains"),
            None => domain.1.replace('*', "any site"),
        };
        self.sites = vec![site + if is_secure { ", over HTTPS only," } else { "" }];
        let high = self.ports.iter().all(is_high);
        let lowest = if high { 1024 } else { 1 };
        let open = ranges.iter().filter(|r| r.1 >= lowest);
        self.ranges = open.map(|r| (r.0.max(lowest), r.1)).collect();
        self.grant(domain.0);
        self.entries.push(Access {
            at: domain.0.min(to_ports.0),
            end: domain.0.max(to_ports.0).max(secure.0),
            domain: domain.1.into(),
            ranges,
            is_secure,
        });
    }

    /// The ports in a list, as far as they are right.
    fn port_list(&mut self, (at, list): Value) -> Vec<Range> {
        let mut ranges = Vec::new();
        let alone = list.trim() == "*";
        self.rule(alone && list != "*", Entry, (at, ""), STAR);
        for item in list.split(',').map(str::trim) {
            let ports = item.split([' ', ';']).filter(|port| !port.is_empty());
            let ports: Vec<&str> = ports.collect();
            let right = match range(item) {
                Some((first, last)) if first > last => format!("{last}-{first}"),
                Some((first, last)) if first > 0 => {
                    self.rule(first < last, Lightspark, (at, item), RANGE);
                    xml::add(&mut ranges, (first, last));
                    continue;
                }
                _ if item == "*" => {
                    xml::add(&mut ranges, (0, 65535));
                    "* alone".into()
                }
                _ if ["all", "any", "0-65535"].contains(&&*item.to_ascii_lowercase()) => "*".into(),
                _ if ports.len() > 1 => ports.join(",") + ", with commas",
                _ => "ports from 1 to 65535, or *".into(),
            };
            let text = LIST.to_owned() + &right;
            self.rule(!alone, Entry, (at, item), &text);
        }
        ranges
    }

    /// Grants the named sites the named ports, and returns whether there were any of both.
    fn grant(&mut self, at: usize) -> bool {
        let sites = listed(&std::mem::take(&mut self.sites));
        let ports = in_words(&std::mem::take(&mut self.ranges));
        let open = sites.starts_with("any site") && ports.starts_with("any port");
        self.rule(open, Nothing, (at, &ports), OPEN_TO_ALL);
        let granted = !sites.is_empty() && !ports.is_empty();
        let grant = format!("{sites} may connect to {ports}");
        if granted && !self.grants.contains(&grant) {
            self.grants.push(grant);
        }
        granted
    }
}

fn is_high(port: &u16) -> bool {
    !(1..1024).contains(port)
}

/// `PORT` or `FIRST-LAST`.
fn range(text: &str) -> Option<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    number(first.trim()).zip(number(last.trim()))
}

/// What is wrong with an element that does not count where it stands.
fn stray(name: &str, instead: &str) -> String {
    let local = name.rsplit(':').next().unwrap_or(name);
    let found = shown(name);
    match ELEMENTS.iter().find(|e| e.0.eq_ignore_ascii_case(local)) {
        Some(e) if e.0 != name => format!("<{found}> is not read: write <{}>", e.0),
        Some(e) if !e.1.is_empty() => format!("<{found}> must be in <{}>: move it", e.1),
        _ => format!("<{found}> has no meaning in a socket policy: {instead}"),
    }
}

fn is_domain(domain: &str) -> bool {
    let name = domain.strip_prefix("*.").unwrap_or(domain);
    domain == "*" || domain.parse::<IpAddr>().is_ok() || is_name(name)
}

/// Does `domain` name `host`, which is in lower case? An address has no name, and no suffix.
fn names(domain: &str, host: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    match domain.strip_prefix('*') {
        Some(suffix) => suffix.is_empty() || format!(".{host}").ends_with(suffix),
        None => domain == host,
    }
}

/// Ranges of ports in words; nothing for none.
fn in_words(ranges: &[Range]) -> String {
    let words = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let words: Vec<String> = words.collect();
    match ranges {
        [] => String::new(),
        _ if ranges.contains(&(1, 65535)) => "any port".into(),
        _ if ranges.contains(&(1024, 65535)) => "any port from 1024".into(),
        [(first, last)] if first == last => format!("port {first}"),
        _ => format!("ports {}", listed(&words)),
    }
}

/// `a, b and c`.
fn listed(items: &[String]) -> String {
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

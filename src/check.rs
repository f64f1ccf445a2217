//! What is wrong with a policy file, what to write instead, and what it grants.

use crate::policy::MAX_SIZE;
use crate::xml::{self, shown, Attribute, Event, Fault, Position};
use std::net::{Ipv4Addr, Ipv6Addr};

/// More warnings than these are only counted.
const MAX_WARNINGS: usize = 100;

/// The elements that count: name, parent, attributes. An attribute that must be there has an
/// example. Sources: Adobe's cross-domain policy file specification; for Silverlight's
/// `access-policy` Microsoft's cc645032.
type Element = (Text, Text, &'static [(Text, Text)]);
type Text = &'static str;
#[rustfmt::skip]
const ELEMENTS: &[Element] = &[
    ("cross-domain-policy", "", &[]),
    ("site-control", "cross-domain-policy", &[("permitted-cross-domain-policies", "master-only")]),
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

// The warnings: what is wrong, and what to write instead. {} stands for text from the file.
const LONG: &str = "an answer over 1400 bytes may come in parts, and then fail: shorten the file";
const HANGS: &str = "with its NUL a multiple of 4096 bytes, this hangs Lightspark: add a blank";
const BLANKS: &str = "some players refuse blanks before <?xml: remove them";
const ENCODING: &str = "players read UTF-8, not {}: write UTF-8";
const TEXT: &str = "text has no meaning in a policy: remove it";
const ATTRIBUTE: &str = "no attribute {} counts here: remove it, or correct it (in lower case)";
const MISSING: &str = "without {} this counts for nothing: write that in";
const REPEATED: &str = "a second site-control: remove it";
const LATE: &str = "site-control must be first: move it before allow-access-from";
const ELSEWHERE: &str = "Lightspark refuses site-control from a port other than 843: remove it";
const ALSO_ASKED: &str = "players also ask the port they want, and may hang there: \
    write <site-control permitted-cross-domain-policies=\"master-only\"/>";
const FORBIDDEN: &str = "\"none\" forbids this policy too: write \"master-only\"";
const NOT_FOR_SOCKETS: &str = "\"{}\" is not for sockets: write \"master-only\"";
const DOMAIN: &str = "\"{}\" is not a name, an address, * or such as *.example.com: write ";
const SECURE: &str = "\"{}\" is taken as \"false\": write \"true\" or \"false\"";
const OPEN_TO_ALL: &str = "any site may use {} of this host: name the sites or the ports";
const LOW_PORT: &str = "{} has ports below 1024, which only a policy from such a port can grant: \
    serve it with --listen 843";
const LIST_BLANKS: &str = "\"{}\" has blanks, which some players refuse: remove them";
const BACKWARDS: &str = "{} runs backwards: write the lower port first";
const NO_PORT: &str = "\"{}\" is no port or range: write 1 to 65535 (Silverlight: 4502 to 4534)";
const RANGE: &str = "Lightspark reads only the first port of {}: write the ports, or *";
const NOT_943: &str = "Silverlight asks port 943 only: serve it with --listen 943";
const URI: &str = "\"{}\" is not an origin: write such as http://game.example.com or *";
const PROTOCOL: &str = "\"{}\" cannot be granted: write tcp";
const NOTHING: &str = "this grants nothing: write a domain and a socket-resource in the policy";

/// What the check found; a fault's text is one line that says what to write instead.
#[derive(Default)]
pub struct Report {
    /// Why the whole file is useless to Flash Player.
    pub error: Option<Fault>,
    /// What some players refuse, or what surprises, in the order of the file.
    pub warnings: Vec<Fault>,
    /// In plain words what each entry grants, or `grants nothing`.
    pub grants: Vec<String>,
}

impl Report {
    /// The warnings but those on being open to all, which no player minds.
    pub fn stumbles(&self) -> impl Iterator<Item = &Fault> {
        let (open, _) = OPEN_TO_ALL.split_once("{}").unwrap_or_default();
        let stumbles = move |(_, text): &&Fault| !text.starts_with(open);
        self.warnings.iter().filter(stumbles)
    }

    /// The error and the warnings as `LINE:COLUMN: error|warning: TEXT`.
    pub fn findings(&self) -> Vec<String> {
        let errors = self.error.iter().map(|fault| ("error", fault));
        let all = errors.chain(self.warnings.iter().map(|fault| ("warning", fault)));
        all.map(|(kind, (at, text))| format!("{}:{}: {}: {}", at.0, at.1, kind, text))
            .collect()
    }
}

/// Checks a policy file that is served from `ports`, where 0 is one that the system will choose.
pub fn check(file: &[u8], ports: &[u16]) -> Report {
    let mut checker = Checker {
        ports: ports.to_vec(),
        ..Checker::default()
    };
    checker.report.error = checker.file(file).err();
    let mut report = checker.report;
    if checker.forbidden || report.grants.is_empty() {
        report.grants = vec!["grants nothing".into()];
    }
    if checker.left_out > 0 {
        let text = format!("{} further warnings left out", checker.left_out);
        report.warnings.push(((1, 1), text));
    }
    report
}

/// An attribute's place and value.
type Value<'a> = (Position, &'a str);

#[derive(Default)]
struct Checker {
    report: Report,
    left_out: usize,
    ports: Vec<u16>,
    /// The names of the known elements so far.
    seen: Vec<&'static str>,
    /// The master policy says `none`.
    forbidden: bool,
    /// What the current Silverlight `policy` has named so far.
    sites: Vec<String>,
    sockets: Vec<(u16, u16)>,
}

impl Checker {
    /// Warns if `wrong`: `text`, in which {} stands for `value`.
    fn rule(&mut self, wrong: bool, (at, value): Value, text: &str) {
        if wrong && self.report.warnings.len() < MAX_WARNINGS {
            let text = text.replace("{}", &shown(value));
            let warnings = &mut self.report.warnings;
            // Most are found in the order of the file.
            let place = warnings.partition_point(|(earlier, _)| *earlier <= at);
            warnings.insert(place, (at, text));
        } else if wrong {
            self.left_out += 1;
        }
    }

    fn is_on(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    fn file(&mut self, file: &[u8]) -> Result<(), Fault> {
        let start = (1, 1);
        if file.len() > MAX_SIZE {
            return Err((start, format!("over {} bytes: shorten it", MAX_SIZE)));
        } else if file.iter().all(u8::is_ascii_whitespace) {
            return Err((start, "the file is empty: write a policy".into()));
        }
        self.rule(file.len() + 1 > 1400, (start, ""), LONG);
        self.rule((file.len() + 1) % 4096 == 0, (start, ""), HANGS);
        let mut root = None;
        let mut path: Vec<&str> = Vec::new();
        let mut ignored = 0;
        for (at, event) in xml::read(file)? {
            let parent = path.last().copied().unwrap_or_default();
            match event {
                Event::Declaration(attributes) => {
                    self.rule(at != start, (at, ""), BLANKS);
                    for a in attributes.iter().filter(|a| a.name == "encoding") {
                        let other = !a.value.eq_ignore_ascii_case("utf-8");
                        self.rule(other, (a.at, &a.value), ENCODING);
                    }
                }
                Event::Text => self.rule(ignored == 0, (at, ""), TEXT),
                Event::Start(..) if ignored > 0 => ignored += 1,
                Event::End if ignored > 0 => ignored -= 1,
                Event::End if path.pop() == Some("policy") => self.end_of_policy(at),
                Event::End => {}
                Event::Start(name, attributes) => {
                    let known = |e: &&Element| e.0 == name && e.1 == parent;
                    if let Some(element) = ELEMENTS.iter().find(known) {
                        root = root.or(Some((at, element.0)));
                        path.push(element.0);
                        self.element(at, element, &attributes);
                    } else if parent.is_empty() {
                        return Err((at, stray(name, "write <cross-domain-policy>")));
                    } else {
                        ignored = 1;
                        self.rule(true, (at, ""), &stray(name, "remove it"));
                    }
                }
            }
        }
        let root = root.unwrap_or_default();
        let silverlight = root.1 == "access-policy";
        let uncontrolled = !silverlight && !self.seen.contains(&"site-control");
        let forbidden = self.forbidden && !self.report.grants.is_empty();
        self.rule(silverlight && !self.is_on(943), root, NOT_943);
        self.rule(uncontrolled && self.is_on(843), root, ALSO_ASKED);
        self.rule(forbidden, root, FORBIDDEN);
        Ok(())
    }

    /// An element in its place. Without an attribute that it needs it has no effect.
    fn element(&mut self, at: Position, element: &Element, given: &[Attribute]) {
        let (name, _, known) = *element;
        for a in given.iter().filter(|a| known.iter().all(|k| k.0 != a.name)) {
            let schema = a.name.starts_with("xmlns:") || a.name.starts_with("xsi:");
            self.rule(!schema, (a.at, a.name), ATTRIBUTE);
        }
        let mut values = Vec::new();
        for (name, example) in known {
            let a = given.iter().find(|a| a.name == *name);
            let missing = a.is_none() && !example.is_empty();
            self.rule(missing, (at, &format!("{}=\"{}\"", name, example)), MISSING);
            values.push(a.map(|a| (a.at, a.value.as_str())));
        }
        let repeated = self.seen.contains(&name);
        self.seen.push(name);
        match (name, values.as_slice()) {
            ("site-control", _) if repeated => self.rule(true, (at, ""), REPEATED),
            ("site-control", [Some(permitted)]) => self.site_control(at, *permitted),
            ("allow-access-from", [Some(domain), Some(to_ports), secure]) => {
                let secure = secure.unwrap_or((at, "false"));
                self.allow_access_from(*domain, *to_ports, secure);
            }
            ("domain", [Some((_, "*"))]) => self.sites.push("any site".into()),
            ("domain", [Some(uri)]) if uri.1.contains("://") => self.sites.push(shown(uri.1)),
            ("domain", [Some(uri)]) => self.rule(true, *uri, URI),
            ("socket-resource", [Some(_), Some(protocol)]) if protocol.1 != "tcp" => {
                self.rule(true, *protocol, PROTOCOL);
            }
            ("socket-resource", [Some(port), _]) => {
                let ranges = self.port_list(*port, 4502, 4534);
                self.sockets.extend(ranges);
            }
            _ => {}
        }
    }

    fn site_control(&mut self, at: Position, permitted: Value) {
        let master = self.is_on(843);
        let elsewhere = self.ports.iter().any(|port| *port != 843);
        let known = ["all", "master-only", "none"].contains(&permitted.1);
        let late = self.seen.contains(&"allow-access-from");
        self.forbidden = master && permitted.1 == "none";
        self.rule(late, (at, ""), LATE);
        self.rule(elsewhere, (at, ""), ELSEWHERE);
        self.rule(master && permitted.1 == "all", permitted, ALSO_ASKED);
        self.rule(!known, permitted, NOT_FOR_SOCKETS);
    }

    fn allow_access_from(&mut self, domain: Value, to_ports: Value, secure: Value) {
        let high = |port: &u16| !(1..1024).contains(port);
        let mut ranges = self.port_list(to_ports, 1, 65535);
        let low = ranges.iter().any(|r| r.0 < 1024 && *r != (1, 65535));
        self.rule(low && self.ports.iter().any(high), to_ports, LOW_PORT);
        if self.ports.iter().all(high) {
            ranges.retain(|range| range.1 >= 1024);
            for range in &mut ranges {
                range.0 = range.0.max(1024);
            }
        }
        self.rule(!["true", "false"].contains(&secure.1), secure, SECURE);
        let ports = in_words(ranges);
        let mut who = match domain.1.strip_prefix("*.") {
            _ if domain.1 == "*" => "any site".to_owned(),
            Some(suffix) => format!("{} and its subdomains", suffix),
            None => domain.1.to_owned(),
        };
        if secure.1 == "true" {
            who += ", over HTTPS only,";
        }
        let open = domain.1 == "*" && ports.starts_with("any");
        self.rule(open, (domain.0, &ports), OPEN_TO_ALL);
        if is_domain(domain.1) {
            self.grant(&who, &ports);
        } else {
            self.rule(true, domain, &(DOMAIN.to_owned() + &instead(domain.1)));
        }
    }

    /// The ranges in a list of ports, as far as they are from `low` to `high`.
    fn port_list(&mut self, list: Value, low: u16, high: u16) -> Vec<(u16, u16)> {
        let flash = low == 1;
        let mut ranges = Vec::new();
        self.rule(list.1.contains(' '), list, LIST_BLANKS);
        for item in list.1.split(',').map(str::trim) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last) = match (port(first), port(last)) {
                _ if item == "*" => (low, high),
                (Some(first), Some(last)) => (first, last),
                _ => (0, 0),
            };
            let backwards = first > last;
            let good = low <= first && first <= last && last <= high;
            let range = good && flash && first < last && item != "*";
            let item = (list.0, item);
            self.rule(backwards, item, BACKWARDS);
            self.rule(!good && !backwards, item, NO_PORT);
            self.rule(range, item, RANGE);
            ranges.extend(Some((first, last)).filter(|_| good));
        }
        ranges
    }

    /// The end of a Silverlight `policy`.
    fn end_of_policy(&mut self, at: Position) {
        let sites = listed(&std::mem::take(&mut self.sites));
        let ports = in_words(std::mem::take(&mut self.sockets));
        let nothing = sites.is_empty() || ports.is_empty();
        self.rule(nothing, (at, ""), NOTHING);
        self.grant(&sites, &ports);
    }

    fn grant(&mut self, who: &str, ports: &str) {
        if !who.is_empty() && !ports.is_empty() {
            let grant = format!("{} may connect to {}", who, ports);
            self.report.grants.push(grant);
        }
    }
}

/// What is wrong with an element that does not count where it stands.
fn stray(name: &str, instead: &str) -> String {
    let local = name.rsplit(':').next().unwrap_or(name);
    let found = shown(name);
    match ELEMENTS.iter().find(|e| e.0.eq_ignore_ascii_case(local)) {
        Some(e) if e.0 != name => format!("<{}> is not read: write <{}>", found, e.0),
        Some(e) if !e.1.is_empty() => format!("<{}> must be in <{}>: move it", found, e.1),
        _ => format!("<{}> has no meaning in a socket policy: {}", found, instead),
    }
}

/// What may have been meant by a wrong `domain`.
fn instead(domain: &str) -> String {
    let host = domain.trim().rsplit("://").next().unwrap_or_default();
    let host = host.split(&[':', '/'][..]).next().unwrap_or_default();
    let suffix = format!("*.{}", host.trim_start_matches(&['*', '.'][..]));
    let mut meant = [host, &suffix, "game.example.com"].into_iter();
    meant.find(|d| is_domain(d)).unwrap_or_default().to_owned()
}

fn is_domain(domain: &str) -> bool {
    let address = domain.parse::<Ipv4Addr>().is_ok() || domain.parse::<Ipv6Addr>().is_ok();
    let name = domain.strip_prefix("*.").unwrap_or(domain);
    let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| !label.is_empty() && label.chars().all(is_sign);
    // A name's last label is no number, or it would be an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = name.split('.').all(is_label) && last.parse::<u32>().is_err();
    domain == "*" || address || is_name && name.len() < 254
}

/// A port number: digits only.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// Ranges of ports in words, in order and joined where they touch; nothing for none.
fn in_words(given: Vec<(u16, u16)>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for mut new in given {
        ranges.retain(|old| {
            let apart = old.1.saturating_add(1) < new.0 || new.1.saturating_add(1) < old.0;
            if !apart {
                new = (old.0.min(new.0), old.1.max(new.1));
            }
            apart
        });
        ranges.insert(ranges.partition_point(|old| *old < new), new);
    }
    let words = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{}-{}", first, last),
    });
    match ranges.as_slice() {
        [] => String::new(),
        [(1, 65535)] => "any port".into(),
        [(1024, 65535)] => "any port from 1024".into(),
        [(first, last)] if first == last => format!("port {}", first),
        _ => format!("ports {}", listed(&words.collect::<Vec<_>>())),
    }
}

/// `a, b and c`.
fn listed(items: &[String]) -> String {
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {}", rest.join(", "), last),
        _ => items.concat(),
    }
}

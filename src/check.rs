//! What is wrong with a policy file, what to write instead, and what it grants.

use crate::options::number;
use crate::xml::{self, shown, Attribute, Event, Fault, Position};
use std::net::IpAddr;

/// The largest policy file in bytes: the C server's buffer.
pub const MAX_SIZE: usize = 20_480;

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
const APART: &str = "Lightspark refuses site-control from a port other than 843: \
    serve port 843 with a file of its own";
const ALSO_ASKED: &str = "players also ask the port they want, and may hang there: \
    write <site-control permitted-cross-domain-policies=\"master-only\"/>";
const FORBIDDEN: &str = "\"none\" forbids this policy too: write \"master-only\"";
const NOT_FOR_SOCKETS: &str = "\"{}\" is not for sockets: write \"master-only\"";
const DOMAIN: &str = "\"{}\" is not a name, an address, * or such as *.example.com: write ";
const SECURE: &str = "\"{}\" is taken as \"false\": write \"true\" or \"false\"";
// No player minds this one: `--probe` lets it pass by its beginning.
const OPEN_TO_ALL: &str = "any site may use {} of this host: name the sites or the ports";
const LOW_PORT: &str = "{} has ports below 1024, which only a policy from such a port can grant: \
    serve it with --listen 843";
const LIST_BLANKS: &str = "\"{}\" has blanks, which some players refuse: remove them";
const BACKWARDS: &str = "{} runs backwards: write the lower port first";
const NO_PORT: &str =
    "\"{}\" cannot be granted: write ports from 1 to 65535 (Silverlight: 4502 to 4534)";
const RANGE: &str = "Lightspark reads only the first port of {}: write the ports, or *";
const NOT_943: &str = "Silverlight asks port 943 only: serve it with --listen 943";
const URI: &str = "\"{}\" is not an origin: write such as http://game.example.com or *";
const PROTOCOL: &str = "\"{}\" cannot be granted: write tcp";
const EMPTY: &str = "this grants nothing: write <{}> in it";
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
    left_out: usize,
    /// What the file is served from.
    ports: Vec<u16>,
    /// The names of the known elements so far.
    seen: Vec<Text>,
    /// The master policy says `none`.
    forbidden: bool,
    /// What the current entry or Silverlight `policy` has named so far.
    sites: Vec<String>,
    ranges: Vec<(u16, u16)>,
}

/// Checks a policy file that is served from `ports`, where 0 is one that the system will choose.
pub fn check(file: &[u8], ports: &[u16]) -> Report {
    let mut report = Report {
        ports: ports.to_vec(),
        ..Report::default()
    };
    report.error = report.file(file).err();
    if report.left_out > 0 {
        let text = format!("{} further warnings left out", report.left_out);
        report.warnings.push(((1, 1), text));
    }
    if report.forbidden || report.grants.is_empty() {
        report.grants = vec!["grants nothing".into()];
    }
    report
}

/// An attribute's place and value.
type Value<'a> = (Position, &'a str);

impl Report {
    /// The error and the warnings as `LINE:COLUMN: error|warning: TEXT`.
    pub fn findings(&self) -> Vec<String> {
        let errors = self.error.iter().map(|fault| ("error", fault));
        let all = errors.chain(self.warnings.iter().map(|fault| ("warning", fault)));
        let line = |(kind, (at, text)): (_, &Fault)| format!("{}:{}: {kind}: {text}", at.0, at.1);
        all.map(line).collect()
    }

    /// Warns if `wrong`: `text`, in which {} stands for `value`.
    fn rule(&mut self, wrong: bool, (at, value): Value, text: &str) {
        if wrong && self.warnings.len() < MAX_WARNINGS {
            // Most are found in the order of the file.
            let place = self.warnings.partition_point(|(earlier, _)| *earlier <= at);
            self.warnings
                .insert(place, (at, text.replace("{}", &shown(value))));
        } else if wrong {
            self.left_out += 1;
        }
    }

    fn file(&mut self, file: &[u8]) -> Result<(), Fault> {
        let start = (1, 1);
        if file.len() > MAX_SIZE {
            return Err((start, format!("over {MAX_SIZE} bytes: shorten it")));
        } else if file.iter().all(u8::is_ascii_whitespace) {
            return Err((start, "the file is empty: write a policy".into()));
        }
        self.rule(file.len() + 1 > 1400, (start, ""), LONG);
        self.rule((file.len() + 1) % 4096 == 0, (start, ""), HANGS);
        let mut root = None;
        // The names of the open elements, ? for one that does not count; nor does what is in it.
        let mut path: Vec<Text> = Vec::new();
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
                Event::Text => self.rule(parent != "?", (at, ""), TEXT),
                Event::Start(name, attributes) => {
                    let known = ELEMENTS.iter().find(|e| e.0 == name && e.1 == parent);
                    path.push(known.map_or("?", |e| e.0));
                    root = root.or(Some((at, name)));
                    match known {
                        Some(element) => self.element(at, element, &attributes),
                        None if parent.is_empty() => {
                            return Err((at, stray(name, "write <cross-domain-policy>")))
                        }
                        None if parent == "?" => {}
                        None => self.rule(true, (at, ""), &stray(name, "remove it")),
                    }
                }
                Event::End if path.pop() == Some("policy") => {
                    let nothing = !self.grant(at);
                    self.rule(nothing, (at, ""), NOTHING);
                }
                Event::End => {}
            }
        }
        let root = root.unwrap_or_default();
        let flash = root.1 == "cross-domain-policy";
        let uncontrolled = flash && !self.seen.contains(&"site-control");
        self.rule(!flash && !self.ports.contains(&943), root, NOT_943);
        self.rule(uncontrolled && self.ports.contains(&843), root, ALSO_ASKED);
        self.rule(self.forbidden && !self.grants.is_empty(), root, FORBIDDEN);
        let entry = if flash { "allow-access-from" } else { "policy" };
        let empty = !self.forbidden && !self.seen.contains(&entry);
        self.rule(empty, (root.0, entry), EMPTY);
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
            self.rule(missing, (at, &format!("{name}=\"{example}\"")), MISSING);
            values.push(a.map(|a| (a.at, a.value.as_str())));
        }
        let repeated = self.seen.contains(&name);
        self.seen.push(name);
        match (name, values.as_slice()) {
            ("site-control", _) if repeated => self.rule(true, (at, ""), REPEATED),
            ("site-control", [Some(permitted)]) => self.site_control(at, *permitted),
            ("allow-access-from", [Some(domain), Some(to_ports), secure]) => {
                self.allow_access_from(*domain, *to_ports, secure.unwrap_or((at, "false")));
            }
            ("domain", [Some((_, "*"))]) => self.sites.push("any site".into()),
            ("domain", [Some(uri)]) if uri.1.contains("://") => self.sites.push(shown(uri.1)),
            ("domain", [Some(uri)]) => self.rule(true, *uri, URI),
            ("socket-resource", [Some(port), Some((_, "tcp"))]) => self.list(*port, 4502, 4534),
            ("socket-resource", [Some(_), Some(protocol)]) => self.rule(true, *protocol, PROTOCOL),
            _ => {}
        }
    }

    fn site_control(&mut self, at: Position, permitted: Value) {
        let master = self.ports.contains(&843);
        let elsewhere = self.ports.iter().any(|port| *port != 843);
        let known = ["all", "master-only", "none"].contains(&permitted.1);
        self.forbidden = master && permitted.1 == "none";
        self.rule(self.seen.contains(&"allow-access-from"), (at, ""), LATE);
        self.rule(elsewhere && !master, (at, ""), ELSEWHERE);
        self.rule(elsewhere && master, (at, ""), APART);
        self.rule(master && permitted.1 == "all", permitted, ALSO_ASKED);
        self.rule(!known, permitted, NOT_FOR_SOCKETS);
    }

    fn allow_access_from(&mut self, domain: Value, to_ports: Value, secure: Value) {
        let high = |port: &u16| !(1..1024).contains(port);
        self.list(to_ports, 1, 65535);
        let low = self.ranges.iter().any(|r| r.0 < 1024 && *r != (1, 65535));
        self.rule(low && self.ports.iter().any(high), to_ports, LOW_PORT);
        if self.ports.iter().all(high) {
            self.ranges.retain(|range| range.1 >= 1024);
            for range in &mut self.ranges {
                range.0 = range.0.max(1024);
            }
        }
        self.rule(!["true", "false"].contains(&secure.1), secure, SECURE);
        let only = ", over HTTPS only,";
        let only = if secure.1 == "true" { only } else { "" };
        match domain.1.strip_prefix("*.") {
            _ if !is_domain(domain.1) => self.rule(true, domain, &instead(domain.1)),
            _ if domain.1 == "*" => self.sites.push(format!("any site{only}")),
            Some(suffix) => self
                .sites
                .push(format!("{suffix} and its subdomains{only}")),
            None => self.sites.push(format!("{}{only}", domain.1)),
        }
        self.grant(domain.0);
    }

    /// The ranges in a list of ports, as far as they are from `low` to `high`.
    fn list(&mut self, (at, list): Value, low: u16, high: u16) {
        self.rule(list.contains(' '), (at, list), LIST_BLANKS);
        for item in list.split(',').map(str::trim) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            match (number(first), number(last)) {
                _ if item == "*" => self.ranges.push((low, high)),
                (Some(first), Some(last)) if first > last => self.rule(true, (at, item), BACKWARDS),
                (Some(first), Some(last)) if low <= first && last <= high => {
                    self.rule(low == 1 && first < last, (at, item), RANGE);
                    self.ranges.push((first, last));
                }
                _ => self.rule(true, (at, item), NO_PORT),
            }
        }
    }

    /// Grants the named sites the named ports, and returns whether there were any of both.
    fn grant(&mut self, at: Position) -> bool {
        let sites = listed(&std::mem::take(&mut self.sites));
        let ports = in_words(std::mem::take(&mut self.ranges));
        let open = sites.starts_with("any site") && ports.starts_with("any port");
        self.rule(open, (at, &ports), OPEN_TO_ALL);
        let granted = !sites.is_empty() && !ports.is_empty();
        if granted {
            self.grants.push(format!("{sites} may connect to {ports}"));
        }
        granted
    }
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

/// What is wrong with a `domain`, and what may have been meant.
fn instead(domain: &str) -> String {
    let host = domain.trim().rsplit("://").next().unwrap_or_default();
    let host = host.split([':', '/']).next().unwrap_or_default();
    let suffix = format!("*.{}", host.trim_start_matches(['*', '.']));
    let mut meant = [host, &suffix, "game.example.com"].into_iter();
    DOMAIN.to_owned() + meant.find(|d| is_domain(d)).unwrap_or_default()
}

fn is_domain(domain: &str) -> bool {
    let name = domain.strip_prefix("*.").unwrap_or(domain);
    let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| !label.is_empty() && label.chars().all(is_sign);
    // A name's last label is no number, or it would be an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = name.split('.').all(is_label) && last.parse::<u32>().is_err();
    domain == "*" || domain.parse::<IpAddr>().is_ok() || is_name && name.len() < 254
}

/// Ranges of ports in words, in order and joined where they touch; nothing for none.
fn in_words(given: Vec<(u16, u16)>) -> String {
    let mut ranges = Vec::new();
    for range in given {
        ranges.insert(ranges.partition_point(|earlier| *earlier < range), range);
    }
    ranges.dedup_by(|next, range| {
        let touches = next.0 <= range.1.saturating_add(1);
        range.1 = range.1.max(if touches { next.1 } else { 0 });
        touches
    });
    let words = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let words: Vec<String> = words.collect();
    match ranges.as_slice() {
        [] => String::new(),
        [(1, 65535)] => "any port".into(),
        [(1024, 65535)] => "any port from 1024".into(),
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

//! What is wrong with a policy file, what to write instead, what it grants, and to whom.

use std::net::IpAddr;

use crate::options::number;
use crate::xml::{self, shown, Attribute, Document, Event, Fault};

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
const NEVER: &str = "1,7,9,11,13,15,17,19,21-23,25,37,42,43,53,77,79,87,95,101-104,109-111,113,\
    115,117,119,123,135,139,143,179,389,465,512-515,526,530-532,540,556,563,587,601,636,993,995,\
    1720,1723,2049,3659,4045,5060,6000,6566,6665-6669";

/// `to-ports="*"`.
const ANY_PORT: Range = (0, 65535);
type Range = (u16, u16);

// What is wrong, and what to write instead. {} stands for text from the file.
const NUL: &str = "the NUL here is left out, since the server adds its own: remove it";
const LONG: &str = "an answer over 1400 bytes may come in parts, and then fail: shorten the file";
const HANGS: &str = "with its NUL a multiple of 4096 bytes, this hangs Lightspark: add a blank";
const STRICT: &str = "Silverlight and other strict readers refuse {}";
const ENCODING: &str = "Silverlight and other strict readers know UTF-8, not {}: write UTF-8";
const TEXT: &str = "text has no meaning in a policy: remove it";
const ATTRIBUTE: &str = "no attribute {} counts here: remove it, or correct it (in lower case)";
const MISSING: &str = "without {} this counts for nothing: write that in";
const STOPS: &str = "here Lightspark stops reading and ignores {}: correct this, or remove it";
const TWICE: &str = "a second site-control: remove it";
const ELSEWHERE: &str =
    "Lightspark ignores a policy with site-control from a port other than 843: \
    remove it, serve port 843 alone, or say --public-port 843";
const ALSO_ASKED: &str = "players also ask the port they want, and may hang there: \
    write <site-control permitted-cross-domain-policies=\"master-only\"/>";
const NONE: &str = "\"none\" forbids this policy too: write \"master-only\"";
const UNKNOWN: &str = "\"{}\" makes every player refuse everything: write \"master-only\"";
const CASE: &str =
    "Lightspark refuses everything for \"{}\": write it in lower case, without blanks";
const DOMAIN: &str =
    "\"{}\" is not a name, an address, * or such as *.example.com: write one of them";
const WIDE: &str = "some players refuse {} as too wide: write such as *.example.com";
const SECURE: &str = "players differ about \"{}\": write \"true\" or \"false\"";
const OPEN_TO_ALL: &str = "any site may use {} of this host: name the sites or the ports";
const LOW: &str = "{} has ports below 1024, which only a policy from such a port can grant: \
    serve it on port 843, or say --public-port 843";
const NEVER_OPEN: &str = "Flash Player refuses {} since version 24: use another port";
const LIST: &str = "some players drop the entry for \"{}\" among its ports: write ";
const BLANKS: &str = "Lightspark refuses blanks beside the *: remove them";
const RANGE: &str = "Lightspark reads only the first port of {}: write the ports, or *";
const NOT_943: &str = "only Silverlight asks port 943, and no other: serve this on port {}";
const URI: &str = "\"{}\" is not an origin: write such as http://game.example.com or *";
const PROTOCOL: &str = "\"{}\" cannot be granted: write tcp";
const PORT: &str =
    "Silverlight refuses the file for port \"{}\": write 4502 to 4534, one or a range";
const EMPTY: &str = "this grants nothing: write <{}> in it";
const NOTHING: &str = "this grants nothing: write a domain and a socket-resource in the policy";

/// Which players a warning is about.
#[derive(Clone, Copy, PartialEq)]
pub enum Minded {
    ByNobody,
    BySome,
    /// Nobody is let in.
    ByAll,
}
use Minded::{ByAll, ByNobody, BySome};

/// What the check found; a fault's text is one line that says what to write instead.
#[derive(Default)]
pub struct Report {
    /// Why Flash Player, or Silverlight for its own format, does not read the file.
    pub error: Option<Fault>,
    /// In the order of the file.
    pub warnings: Vec<(Fault, Minded)>,
    /// In plain words what each entry grants, or `grants nothing`.
    pub grants: Vec<String>,
    /// Why nobody is let in by a policy that can be read.
    useless: Option<Fault>,
    text: String,
    /// The ports on which players reach the server.
    ports: Vec<u16>,
    /// The names of the known elements so far.
    seen: Vec<Text>,
    entries: Vec<Entry>,
    /// Who ignores the whole policy, and why.
    refusers: Vec<Text>,
    /// From where on Lightspark ignores the policy.
    lightspark: Option<usize>,
    /// The policy says `none`.
    forbidden: bool,
    /// What the current entry or Silverlight `policy` has named so far.
    sites: Vec<String>,
    ranges: Vec<Range>,
}

/// An `allow-access-from`, and who ignores it.
struct Entry {
    at: usize,
    domain: String,
    ports: Vec<Range>,
    secure: bool,
    refusers: Vec<Text>,
}

/// An attribute's place and value.
type Value<'a> = (usize, &'a str);

/// The policy in `file`: without a NUL at its end, blanks around it, and more of them.
pub fn content(file: &[u8]) -> &[u8] {
    let end = file.iter().position(|byte| *byte == 0);
    let (content, rest) = file.split_at(end.unwrap_or(file.len()));
    let is_end = rest.iter().all(|byte| b"\0 \t\r\n".contains(byte));
    if is_end {
        content
    } else {
        file
    }
}

/// Checks a policy file that players get from `ports`, where 0 is one that the system will choose.
pub fn check(file: &[u8], ports: &[u16]) -> Report {
    let mut report = Report::default();
    report.ports = ports.to_vec();
    let plain = content(file);
    let plain = plain.strip_prefix(b"\xef\xbb\xbf").unwrap_or(plain);
    let text = String::from_utf8_lossy(plain).into_owned();
    report.error = report.file(file, plain, &text).err();
    report.text = text;
    if report.error.is_some()
        || report.useless.is_some()
        || report.forbidden
        || report.grants.is_empty()
    {
        report.grants = vec!["grants nothing".into()];
    }
    report
}

impl Report {
    /// The error and the warnings as `LINE:COLUMN: error|warning: TEXT`.
    pub fn findings(&self) -> Vec<String> {
        let line = |kind: &str, (at, text): &Fault| {
            let (line, column) = self.position(*at);
            format!("{line}:{column}: {kind}: {text}")
        };
        let errors = self.error.iter().map(|fault| line("error", fault));
        errors
            .chain(
                self.warnings
                    .iter()
                    .map(|(fault, _)| line("warning", fault)),
            )
            .collect()
    }

    /// A fault and its place.
    pub fn placed(&self, (at, text): &Fault) -> String {
        let (line, column) = self.position(*at);
        format!("line {line} column {column}: {text}")
    }

    /// Line and column from 1, columns in characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// May a Flash file from `site`, a host or a URL, open a socket to `port` of this host? Names
    /// the line that allows it and the readers that differ, or the nearest reason why not.
    pub fn may_connect(&self, site: &str, port: u16) -> Result<String, String> {
        let (scheme, rest) = site.split_once("://").unwrap_or(("http", site));
        let host = rest.split('/').next().unwrap_or_default();
        let end = host
            .find(']')
            .or(host.find(':').filter(|at| host.rfind(':') == Some(*at)));
        let host = host.get(..end.unwrap_or(host.len())).unwrap_or_default();
        let host = host.trim_start_matches('[').to_ascii_lowercase();
        let holds = |range: &Range| (range.0..=range.1).contains(&port);
        if let Some(fault) = self.error.as_ref().or(self.useless.as_ref()) {
            return Err(self.placed(fault));
        } else if self.seen.contains(&"access-policy") {
            return Err(
                "Flash Player does not read <access-policy>, which is Silverlight's".into(),
            );
        } else if NEVER
            .split(',')
            .filter_map(range)
            .any(|range| holds(&range))
        {
            return Err(format!("Flash Player refuses port {port} since version 24"));
        } else if port < 1024 && self.is_high() {
            return Err("only a policy from a port below 1024 grants such ports".into());
        }
        let mut why = format!("no entry names {host}");
        let mut allowed = None;
        for entry in self
            .entries
            .iter()
            .filter(|entry| names(&entry.domain, &host))
        {
            let (line, _) = self.position(entry.at);
            if !entry.ports.iter().any(holds) {
                why = format!("line {line} names {host}, but not port {port}");
            } else if entry.secure && !scheme.eq_ignore_ascii_case("https") {
                why = format!("line {line} is for sites loaded over https only (secure)");
            } else {
                let mut refusers = [entry.refusers.as_slice(), &self.refusers].concat();
                if !entry.ports.iter().any(|r| *r == ANY_PORT || r.0 == port) {
                    refusers.push("Lightspark, which reads only the first port of a range");
                }
                if self.lightspark.map_or(false, |at| at <= entry.at) {
                    refusers.push("Lightspark, which stops reading before that");
                }
                if allowed.as_ref().map_or(true, |(_, least): &(_, Vec<_>)| {
                    refusers.len() < least.len()
                }) {
                    allowed = Some((line, refusers));
                }
            }
        }
        let (line, refusers) = allowed.ok_or(why)?;
        let except = refusers.iter().map(|refuser| format!("; not by {refuser}"));
        Ok(format!("by line {line}{}", except.collect::<String>()))
    }

    /// Warns if `wrong`: `text`, in which {} stands for `value`.
    fn rule(&mut self, wrong: bool, minded: Minded, (at, value): Value, text: &str) {
        if !wrong {
            return;
        }
        let fault = (at, text.replace("{}", &shown(value)));
        if minded == ByAll {
            self.useless.get_or_insert(fault.clone());
        }
        match self.warnings.len() {
            // Most are found in the order of the file.
            0..=MAX_WARNINGS => {
                let place = self
                    .warnings
                    .partition_point(|((earlier, _), _)| *earlier <= at);
                self.warnings.insert(place, (fault, minded));
            }
            _ => self.warnings[MAX_WARNINGS].0 .1 = "and further warnings".into(),
        }
    }

    fn file(&mut self, file: &[u8], plain: &[u8], text: &str) -> Result<(), Fault> {
        let content = content(file);
        if file.len() > MAX_SIZE {
            return Err((0, format!("over {MAX_SIZE} bytes: shorten it")));
        } else if let Some(at) = text.find('\0') {
            return Err((
                at,
                "a NUL would end the policy here: remove it, or save as UTF-8".into(),
            ));
        } else if content.iter().all(u8::is_ascii_whitespace) {
            return Err((0, "the file is empty: write a policy".into()));
        }
        self.rule(content.len() < file.len(), ByNobody, (text.len(), ""), NUL);
        self.rule(content.len() + 1 > 1400, BySome, (0, ""), LONG);
        self.rule((content.len() + 1) % 4096 == 0, BySome, (0, ""), HANGS);
        let Document {
            events,
            mut minded,
            encoding,
            ..
        } = xml::read(text)?;
        let encoding = encoding.filter(|name| !name.eq_ignore_ascii_case("utf-8"));
        match (encoding, std::str::from_utf8(plain)) {
            (Some(name), _) => self.rule(true, BySome, (0, name), ENCODING),
            (_, Err(e)) => minded.push((
                e.valid_up_to(),
                "bytes that are not UTF-8: save as UTF-8".into(),
            )),
            _ => {}
        }
        // The names of the open elements, ? for one that does not count; nor does what is in it.
        let mut path: Vec<Text> = Vec::new();
        for (at, event) in events {
            let parent = path.last().copied().unwrap_or_default();
            match event {
                Event::Text => self.rule(parent != "?", ByNobody, (at, ""), TEXT),
                Event::Start(name, attributes) => {
                    let known = ELEMENTS.iter().find(|e| e.0 == name && e.1 == parent);
                    let flash = path.first() == Some(&"cross-domain-policy");
                    let last =
                        flash && (path.len() > 1 || name == "allow-http-request-headers-from");
                    self.lightspark_stops(last, at);
                    let together = ELEMENTS
                        .iter()
                        .find(|e| name.starts_with(e.0) && name.contains('='));
                    if let Some((known, ..)) = together {
                        let what =
                            "an element's name run together with an attribute: write a blank here";
                        minded.push((at + 1 + known.len(), what.into()));
                    }
                    path.push(known.map_or("?", |e| e.0));
                    match known {
                        Some(element) => self.element(at, element, &attributes),
                        None if parent.is_empty() => {
                            return Err((at, stray(name, "write <cross-domain-policy>")))
                        }
                        None if parent == "?" || together.is_some() => {}
                        None => self.rule(true, ByNobody, (at, ""), &stray(name, "remove it")),
                    }
                }
                Event::End if path.pop() == Some("policy") => {
                    let grants = self.grants.len();
                    self.grant(at);
                    self.rule(self.grants.len() == grants, BySome, (at, ""), NOTHING);
                }
                Event::End => {}
            }
        }
        let flash = self.seen.first() == Some(&"cross-domain-policy");
        let first = minded.iter().min();
        if let Some((at, what)) = first.filter(|_| !flash) {
            return Err((*at, STRICT.replace("{}", what)));
        }
        for (at, what) in &minded {
            self.rule(true, BySome, (*at, ""), &STRICT.replace("{}", what));
        }
        let root = text.find(if flash {
            "<cross-domain-policy"
        } else {
            "<access-policy"
        });
        let root = root.unwrap_or_default();
        let uncontrolled = flash && !self.seen.contains(&"site-control");
        let port = if flash { "843" } else { "943" };
        let misplaced = match flash {
            true => self.ports.iter().all(|port| *port == 943),
            false => !self.ports.contains(&943),
        };
        self.rule(misplaced, ByAll, (root, port), NOT_943);
        self.rule(
            uncontrolled && self.ports.contains(&843),
            BySome,
            (root, ""),
            ALSO_ASKED,
        );
        self.rule(
            self.forbidden && !self.grants.is_empty(),
            ByAll,
            (root, ""),
            NONE,
        );
        let entry = if flash { "allow-access-from" } else { "policy" };
        let empty = !self.forbidden && !self.seen.contains(&entry);
        self.rule(empty, ByAll, (root, entry), EMPTY);
        Ok(())
    }

    /// Lightspark reads no further than `at`, if `last`: without a `site-control` before that it
    /// has no policy at all.
    fn lightspark_stops(&mut self, last: bool, at: usize) {
        if last && self.lightspark.is_none() {
            let controlled = self.seen.contains(&"site-control");
            let lost = if controlled {
                "what follows"
            } else {
                "the whole policy"
            };
            self.rule(true, BySome, (at, lost), STOPS);
            self.lightspark = Some(if controlled { at } else { 0 });
        }
    }

    /// An element in its place. Without an attribute that it needs it has no effect.
    fn element(&mut self, at: usize, element: &Element, given: &[Attribute]) {
        let (name, _, known) = *element;
        for a in given.iter().filter(|a| known.iter().all(|k| k.0 != a.name)) {
            let schema = a.name.starts_with("xmlns") || a.name.starts_with("xsi:");
            self.rule(!schema, ByNobody, (a.at, a.name), ATTRIBUTE);
        }
        let mut values = Vec::new();
        for (name, example) in known {
            let a = given.iter().find(|a| a.name == *name);
            let missing = a.is_none() && !example.is_empty();
            self.rule(
                missing,
                BySome,
                (at, &format!("{name}=\"{example}\"")),
                MISSING,
            );
            values.push(a.map(|a| (a.at, a.value.as_str())));
        }
        let is_empty = |value: &Option<Value>| value.map_or(true, |(_, text)| text.is_empty());
        let last = match name {
            "site-control" => {
                given.len() != 1 || values.iter().any(is_empty) || self.seen.contains(&name)
            }
            "allow-access-from" => given.len() > 3 || values.iter().take(2).any(is_empty),
            _ => false,
        };
        self.lightspark_stops(last, at);
        match (name, values.as_slice()) {
            ("site-control", [permitted]) => self.site_control(at, permitted.unwrap_or((at, ""))),
            ("allow-access-from", [Some(domain), Some(to_ports), secure]) => {
                self.allow_access_from(*domain, *to_ports, secure.unwrap_or((at, "false")));
            }
            ("domain", [Some((_, "*"))]) => self.sites.push("any site".into()),
            ("domain", [Some(uri)]) if uri.1.contains("://") => self.sites.push(shown(uri.1)),
            ("domain", [Some(uri)]) => self.rule(true, BySome, *uri, URI),
            ("socket-resource", [Some(port), Some((_, "tcp"))]) => {
                let range = range(port.1).filter(|r| r.0 >= 4502 && r.1 <= 4534 && r.0 <= r.1);
                self.rule(range.is_none(), ByAll, *port, PORT);
                self.ranges.extend(range);
            }
            ("socket-resource", [Some(_), Some(protocol)]) => {
                self.rule(true, BySome, *protocol, PROTOCOL)
            }
            _ => {}
        }
        self.seen.push(name);
    }

    fn site_control(&mut self, at: usize, permitted: Value) {
        let master = self.ports.contains(&843);
        let elsewhere = self.ports.iter().any(|port| *port != 843);
        self.rule(elsewhere, BySome, (at, ""), ELSEWHERE);
        self.rule(self.seen.contains(&"site-control"), BySome, (at, ""), TWICE);
        if !master {
            self.lightspark = Some(0);
            return;
        }
        let plain = permitted.1.trim().to_ascii_lowercase();
        let known = [
            "all",
            "master-only",
            "none",
            "by-content-type",
            "by-ftp-filename",
        ];
        let known = known.contains(&plain.as_str());
        self.forbidden |= plain == "none";
        self.rule(plain == "all", BySome, permitted, ALSO_ASKED);
        self.rule(!known, ByAll, permitted, UNKNOWN);
        self.rule(known && plain != permitted.1, BySome, permitted, CASE);
        if plain != permitted.1 {
            self.refusers
                .push("Lightspark, which does not know such a site-control");
        }
    }

    fn allow_access_from(&mut self, domain: Value, to_ports: Value, secure: Value) {
        let mut refusers = Vec::new();
        let ranges = self.to_ports(to_ports, &mut refusers);
        let any = |r: &Range| r.0 <= 1 && r.1 == 65535;
        let low = ranges.iter().any(|r| r.0 < 1024 && !any(r));
        let lowest = if self.is_high() { 1024 } else { 1 };
        self.rule(low && self.ports.iter().any(is_high), BySome, to_ports, LOW);
        let mut never = Vec::new();
        for r in ranges.iter().filter(|r| !any(r)) {
            let closed = NEVER.split(',').filter_map(range);
            let closed = closed.map(|n| (n.0.max(r.0), n.1.min(r.1)));
            never.extend(closed.filter(|r| r.0 <= r.1));
        }
        self.rule(
            !never.is_empty(),
            BySome,
            (to_ports.0, &in_words(&never)),
            NEVER_OPEN,
        );
        self.rule(
            !["true", "false"].contains(&secure.1),
            BySome,
            secure,
            SECURE,
        );
        let is_domain = is_domain(domain.1);
        let (suffix, name) = match domain.1.strip_prefix("*.") {
            Some(suffix) => (Some(suffix), format!("{suffix} and its subdomains")),
            None => (None, domain.1.replace('*', "any site")),
        };
        let wide = is_domain && suffix.map_or(false, |suffix| !suffix.contains('.'));
        self.rule(!is_domain, BySome, domain, DOMAIN);
        self.rule(wide, BySome, domain, WIDE);
        if wide {
            refusers.push("swf2es, which refuses * before a top-level name");
        }
        if is_domain {
            let secure = secure.1 == "true";
            let only = if secure { ", over HTTPS only," } else { "" };
            self.sites.push(name + only);
            self.ranges = ranges
                .iter()
                .map(|r| (r.0.max(lowest), r.1))
                .filter(|r| r.0 <= r.1)
                .collect();
            self.grant(domain.0);
            let domain = domain.1.to_ascii_lowercase();
            let at = to_ports.0;
            self.entries.push(Entry {
                at,
                domain,
                ports: ranges,
                secure,
                refusers,
            });
        }
    }

    /// The ports in a list; who ignores an entry with such a list goes to `refusers`.
    fn to_ports(&mut self, (at, list): Value, refusers: &mut Vec<Text>) -> Vec<Range> {
        let mut ranges = Vec::new();
        let blanks = list != "*" && list.trim() == "*";
        self.rule(blanks, BySome, (at, ""), BLANKS);
        if blanks {
            refusers.push("Lightspark, which refuses blanks beside *");
        }
        for item in list.split(',').map(str::trim) {
            let right = match range(item) {
                Some((first, last)) if first > last => format!("{last}-{first}"),
                Some((first, last)) if first > 0 => {
                    self.rule(first < last, BySome, (at, item), RANGE);
                    ranges.push((first, last));
                    continue;
                }
                _ if item == "*" => {
                    ranges.push(ANY_PORT);
                    if !list.contains(',') {
                        continue;
                    }
                    "* alone".into()
                }
                _ if ["all", "any", "0-65535"].contains(&item.to_ascii_lowercase().as_str()) => {
                    "*".into()
                }
                _ if item.contains([' ', ';']) => {
                    let ports = item.split([' ', ';']).filter(|port| !port.is_empty());
                    ports.collect::<Vec<&str>>().join(",") + ", with commas between ports"
                }
                _ => "ports from 1 to 65535, or *".into(),
            };
            self.rule(true, BySome, (at, item), &(LIST.to_owned() + &right));
            refusers.push("swf2es, which drops an entry with such a list of ports");
        }
        refusers.dedup();
        ranges
    }

    /// Grants the named sites the named ports, if there are any of both.
    fn grant(&mut self, at: usize) {
        let sites = listed(&std::mem::take(&mut self.sites));
        let ports = in_words(&std::mem::take(&mut self.ranges));
        let open = sites.starts_with("any site") && ports.starts_with("any port");
        self.rule(open, ByNobody, (at, &ports), OPEN_TO_ALL);
        let grant = format!("{sites} may connect to {ports}");
        if !sites.is_empty() && !ports.is_empty() && !self.grants.contains(&grant) {
            self.grants.push(grant);
        }
    }

    /// Do players get the policy from ports above 1023 only?
    fn is_high(&self) -> bool {
        self.ports.iter().all(is_high)
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
    let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| !label.is_empty() && label.chars().all(is_sign);
    // A name's last label is no number, or it would be an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = name.split('.').all(is_label) && last.parse::<u32>().is_err();
    domain == "*" || domain.parse::<IpAddr>().is_ok() || is_name && name.len() < 254
}

/// Does `domain`, in lower case, name `host`? An address has no name, and no suffix.
fn names(domain: &str, host: &str) -> bool {
    match domain.strip_prefix("*.") {
        Some(suffix) => host == suffix || host.ends_with(&domain[1..]),
        None => domain == "*" || domain == host,
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

//! A tolerant reader of XML: it reads what Adobe's published parser reads (avmplus, `XMLParser`),
//! and remembers what a strict reader of XML 1.0 minds. No recursion; memory in proportion to the
//! text. Of entities it knows the five standard ones and character references.

use std::collections::BTreeSet;

use crate::log;

const BLANKS: &[char] = &[' ', '\t', '\r', '\n'];

/// What < and > do not count in, in a DOCTYPE.
const QUOTES: &[(&str, &str)] = &[("<!--", "-->"), ("<?", "?>"), ("\"", "\""), ("'", "'")];

/// A place in the text, in bytes; what is wrong there, and what to write instead.
pub type Fault = (usize, String);

/// An attribute; in its value references are replaced, and newlines and tabs are blanks.
pub struct Attribute<'a> {
    pub at: usize,
    pub name: &'a str,
    pub value: String,
}

pub enum Event<'a> {
    Start(&'a str, Vec<Attribute<'a>>),
    /// Text other than blanks in an element.
    Text,
    End,
}

#[derive(Default)]
pub struct Document<'a> {
    /// In the order of the text, each with its place.
    pub events: Vec<(usize, Event<'a>)>,
    /// What a strict reader minds.
    pub minded: Vec<Fault>,
    /// What the declaration says of the encoding, or nothing.
    pub encoding: Option<&'a str>,
    text: &'a str,
    /// What comes before this is read.
    at: usize,
    open: Vec<(usize, &'a str)>,
    has_doctype: bool,
}

/// Text from the file fit for a message: on one line, printable, at most 60 characters of it.
pub fn shown(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    let more = if start.len() < text.len() { "..." } else { "" };
    log::harmless(&start) + more
}

/// Adds an item to those in order, once.
pub fn add<T: Ord>(items: &mut Vec<T>, item: T) {
    let place = items.partition_point(|other| *other < item);
    if items.get(place) != Some(&item) {
        items.insert(place, item);
    }
}

/// Reads a whole file. An error is what Adobe's parser does not read.
pub fn read(text: &str) -> Result<Document<'_>, Fault> {
    let mut document = Document {
        text,
        ..Document::default()
    };
    document.blanks();
    while !document.rest().is_empty() {
        document.next()?;
        document.blanks();
    }
    if let Some(control) = text.find(|c| !is_xml(c)) {
        document.mind(control, "a control character: remove it");
    }
    let missing = match document.open.last() {
        Some((_, name)) => format!("</{}>", shown(name)),
        None if document.events.is_empty() => "<cross-domain-policy>".into(),
        None => return Ok(document),
    };
    Err((document.at, format!("write {missing} here")))
}

impl<'a> Document<'a> {
    /// Reads what begins here: a tag, text, or one of the others.
    fn next(&mut self) -> Result<(), Fault> {
        let at = self.at;
        let outside = self.open.is_empty();
        let rest = self.rest().strip_prefix('<');
        let is_tag = rest.map_or(false, |rest| !rest.starts_with(['!', '/']));
        if self.take("<!--") {
            let comment = self.until("-->")?;
            if comment.contains("--") || comment.ends_with('-') {
                let place = comment.find("--").unwrap_or(comment.len() - 1);
                self.mind(at + 4 + place, "two hyphens in a comment: write one");
            }
        } else if self.take("<?") {
            let instruction = self.until("?>")?;
            let name = instruction.split(BLANKS).next().unwrap_or_default();
            match name.eq_ignore_ascii_case("xml") {
                true => self.declaration(at, instruction),
                false => self.mind_name(at + 2, name),
            }
        } else if self.take("<!DOCTYPE") {
            self.doctype(at)?;
        } else if outside && !(is_tag && self.events.is_empty()) {
            return Err((at, "outside the root element: remove this".into()));
        } else if !outside && self.take("<![CDATA[") {
            self.until("]]>")?;
            self.events.push((at, Event::Text));
        } else if self.take("<") {
            self.tag(at)?;
        } else {
            self.text("<");
            self.events.push((at, Event::Text));
        }
        Ok(())
    }

    fn declaration(&mut self, at: usize, declaration: &'a str) {
        let outline = outline(declaration).replace(" =", "=").replace("= ", "=");
        let rest = outline.strip_prefix("xml version=\"").unwrap_or("?");
        let with_encoding = rest.strip_prefix(" encoding=\"");
        let mut values = declaration.split(['"', '\'']).skip(1).step_by(2);
        let is_sign = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if at > 0 {
            self.mind(at, "<?xml ...?> after the start: remove it");
        } else if !["", " standalone=\""].contains(&with_encoding.unwrap_or(rest))
            || !values.all(|value| value.chars().all(is_sign))
        {
            self.mind(at, "this declaration: write <?xml version=\"1.0\"?>");
        }
        let encoding = declaration.split(['"', '\'']).nth(3);
        self.encoding = encoding.filter(|_| with_encoding.is_some());
    }

    /// The DOCTYPE after its first word. What is declared in it does not count.
    fn doctype(&mut self, at: usize) -> Result<(), Fault> {
        let start = self.at;
        let is_strict = self.skip_doctype(QUOTES) && is_doctype(self.text.get(at..self.at));
        if !is_strict {
            // Adobe's parser counts each < and >, wherever it stands.
            self.at = start;
            if !self.skip_doctype(&[]) {
                return Err((at, "no end of this DOCTYPE: write >".into()));
            }
        }
        if self.has_doctype || !self.events.is_empty() {
            self.mind(at, "a second or late DOCTYPE: remove it");
        } else if !is_strict {
            self.mind(at, "this DOCTYPE: remove it, no player needs one");
        }
        self.has_doctype = true;
        Ok(())
    }

    /// Skips to where as many > as < have come, and returns whether that is in the text.
    fn skip_doctype(&mut self, quotes: &[(&str, &str)]) -> bool {
        let mut depth = 1;
        while depth > 0 && !self.rest().is_empty() {
            self.run(|c| "<>\"'".contains(c));
            match quotes.iter().find(|(mark, _)| self.take(mark)) {
                Some((_, end)) if self.until(end).is_err() => return false,
                Some(_) => {}
                None if self.take(">") => depth -= 1,
                None => depth += i32::from(self.skip(1) == "<"),
            }
        }
        depth == 0
    }

    /// A tag after its `<`, which is at `at`. Adobe's parser takes as a name what comes before a
    /// blank, `>` or `/>`, and reads an end tag as it reads a start tag.
    fn tag(&mut self, at: usize) -> Result<(), Fault> {
        let mut name = self.run(|c| c == '>' || BLANKS.contains(&c));
        if self.rest().starts_with('>') && name.ends_with('/') {
            self.at -= 1;
            name = name.get(..name.len() - 1).unwrap_or_default();
        }
        if name.is_empty() || name == "/" {
            return Err((at, "no name right after <: write it, or &lt;".into()));
        }
        let attributes = self.attributes()?;
        let is_empty = self.take("/");
        if !self.take(">") {
            return Err((at, "no end of this tag: write >".into()));
        }
        if let Some(name) = name.strip_prefix('/') {
            let (start, due) = self.open.pop().unwrap_or_default();
            if name != due {
                // Where the end tag fits one further out, the start tag is at fault.
                let inner = self.open.iter().any(|(_, open)| *open == name);
                let what = match inner {
                    true => format!("<{0}> is open: write </{0}>, or /> for its >", shown(due)),
                    false => format!(
                        "</{}> where </{}> is due: write that",
                        shown(name),
                        shown(due)
                    ),
                };
                return Err((if inner { start } else { at }, what));
            } else if !attributes.is_empty() || is_empty {
                self.mind(at, "more than a name in an end tag: remove it");
            }
            self.events.push((at, Event::End));
            return Ok(());
        }
        self.mind_name(at + 1, name);
        self.events.push((at, Event::Start(name, attributes)));
        match is_empty {
            true => self.events.push((at, Event::End)),
            false => self.open.push((at, name)),
        }
        Ok(())
    }

    /// The attributes of a tag, up to its end or that of the text.
    fn attributes(&mut self) -> Result<Vec<Attribute<'a>>, Fault> {
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut names = BTreeSet::new();
        loop {
            let apart = self.blanks();
            let (at, rest) = (self.at, self.rest());
            if rest.is_empty() || rest.starts_with('>') || rest.starts_with("/>") {
                return Ok(attributes);
            }
            let name = self.run(|c| "=>".contains(c) || BLANKS.contains(&c));
            if name == "/" {
                return Err((at, "write /> here, without a blank in it".into()));
            }
            self.blanks();
            let is_named = !name.is_empty() && self.take("=");
            self.blanks();
            let mut quotes = ["\"", "'"].into_iter().filter(|_| is_named);
            let quote = quotes.find(|quote| self.take(quote)).ok_or_else(|| {
                // With doubled marks the value is empty, without the last one this is in quotes.
                let ends_wrong = |a: &&Attribute| a.value.is_empty() || name.contains(['"', '\'']);
                let last = attributes.last().filter(|_| !apart).filter(ends_wrong);
                let (at, name) = last.map_or((at, name), |a| (a.at, a.name));
                let name = name.trim_end_matches('/');
                if !is_name(name) {
                    return (at, "this is no attribute: remove it".into());
                }
                let right = "with one pair of straight quotation marks";
                (at, format!("write {name}=\"...\" here, {right}"))
            })?;
            let value = self.text(quote);
            if !self.take(quote) {
                return Err((at, format!("no end of this value: write {quote} after it")));
            } else if !apart {
                self.mind(at, "attributes without a blank between: write one here");
            } else if !names.insert(name) {
                self.mind(at, "a repeated attribute: remove one");
            }
            self.mind_name(at, name);
            attributes.push(Attribute { at, name, value });
        }
    }

    /// Text up to `end`, a `<` or the end of the text, with its references replaced.
    fn text(&mut self, end: &str) -> String {
        let mut text = String::new();
        loop {
            let plain = self.run(|c| c == '<' || c == '&' || end.contains(c));
            if end == "<" && plain.contains("]]>") {
                self.mind(self.at, "]]> before this: write ]]&gt;");
            }
            text += &plain.replace(BLANKS, " ");
            let at = self.at;
            if !self.take("&") {
                return text;
            }
            let c = referred(self.run(|c| !c.is_alphanumeric() && !"#._:-".contains(c)));
            let is_whole = self.take(";");
            if let (Some(c), true) = (c, is_whole) {
                text.push(c);
                continue;
            }
            // A DOCTYPE may declare what is not known here.
            if !is_whole || !self.has_doctype {
                self.mind(at, "& as text: write &amp;");
            }
            self.at = at;
            text += self.skip(1);
        }
    }

    fn mind(&mut self, at: usize, what: &str) {
        add(&mut self.minded, (at, what.into()));
    }

    fn mind_name(&mut self, at: usize, name: &str) {
        if name.contains('=') {
            self.mind(at, "a name and an attribute in one: write a blank between");
        } else if !is_name(name) {
            self.mind(at, &format!("\"{}\" as a name: correct it", shown(name)));
        }
    }

    /// Skips and returns what comes before `mark`, and skips the mark.
    fn until(&mut self, mark: &str) -> Result<&'a str, Fault> {
        let error = (self.at, format!("no end of this: write {mark}"));
        let (text, _) = self.rest().split_once(mark).ok_or(error)?;
        self.skip(text.len() + mark.len());
        Ok(text)
    }

    /// Takes `mark`, in any case.
    fn take(&mut self, mark: &str) -> bool {
        let found = self.rest().get(..mark.len());
        let found = found.filter(|found| found.eq_ignore_ascii_case(mark));
        self.skip(found.map_or(0, str::len));
        found.is_some()
    }

    fn blanks(&mut self) -> bool {
        !self.run(|c| !BLANKS.contains(&c)).is_empty()
    }

    /// Skips and returns the characters before the first that is an `end`.
    fn run(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        self.skip(self.rest().find(end).unwrap_or(self.rest().len()))
    }

    /// Skips and returns `n` bytes, which end between two characters.
    fn skip(&mut self, n: usize) -> &'a str {
        let skipped = self.rest().get(..n).unwrap_or_default();
        self.at += skipped.len();
        skipped
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// `text` with a single " for each value in quotation marks, and one blank for many.
fn outline(text: &str) -> String {
    let (mut outline, mut quote) = (String::new(), None);
    for c in text.chars() {
        match quote {
            Some(open) if open == c => {
                outline.push('"');
                quote = None;
            }
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None => outline.push(c),
        }
    }
    outline.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// Is it a DOCTYPE as XML has it? What is declared in it does not count.
fn is_doctype(text: Option<&str>) -> bool {
    let outline = outline(text.unwrap_or_default());
    let outline = outline
        .split(['[', '>'])
        .next()
        .unwrap_or_default()
        .trim_end();
    let mut words = outline.splitn(3, ' ');
    let is_right = words.next() == Some("<!DOCTYPE") && words.next().map_or(false, is_name);
    let external = words.next().unwrap_or_default();
    is_right && ["", "SYSTEM \"", "PUBLIC \" \""].contains(&external)
}

/// Is it a name, as near as that is without XML's tables of characters?
fn is_name(name: &str) -> bool {
    let mut signs = name.chars();
    let first = signs.next().unwrap_or('-');
    (first.is_alphabetic() || first == '_' || first == ':')
        && signs.all(|c| c.is_alphanumeric() || "-._:".contains(c))
}

/// The character that `reference` stands for: what is between its `&` and its `;`.
fn referred(reference: &str) -> Option<char> {
    let known = ["<lt", ">gt", "&amp", "'apos", "\"quot"];
    if let Some(known) = known.iter().find(|known| known.get(1..) == Some(reference)) {
        return known.chars().next();
    }
    let number = reference.strip_prefix('#')?;
    let hex = number.strip_prefix('x');
    let code = u32::from_str_radix(hex.unwrap_or(number), hex.map_or(10, |_| 16));
    char::from_u32(code.ok()?).filter(|c| is_xml(*c))
}

fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

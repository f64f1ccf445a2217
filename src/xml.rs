//! A tolerant reader of XML: it reads what Adobe's published parser reads (avmplus, `XMLParser`),
//! and remembers what a strict reader of XML 1.0 minds. No recursion; memory in proportion to the
//! text. Of entities it knows the five standard ones and character references.

use std::collections::BTreeMap;

use crate::log;

/// What < and > do not count in, in a DOCTYPE.
const QUOTES: &[(&str, &str)] = &[("<!--", "-->"), ("<?", "?>"), ("\"", "\""), ("'", "'")];

const BARE: &str = "no name right after <: write it, or &lt;, or for a comment <!-- ... -->";
const NO_END: &str = "no end of the tag before this: write > or />";
const NAME: &str = "this as a name: correct it, or part it from an attribute";
const OUTSIDE: &str = "outside the root element: move this in, or remove it";
const VALUE: &str = "one pair of straight quotes, no < between, a blank after";

/// A place in the text, in bytes; what is wrong there, and what to write instead.
pub type Fault = (usize, String);

/// By their names the places and the values, in which references are replaced, and newlines and tabs
/// are blanks. Of a repeated attribute the first counts.
pub type Attributes<'a> = BTreeMap<&'a str, (usize, String)>;

/// An element, or text other than blanks, which has no name.
pub struct Node<'a> {
    pub at: usize,
    /// In how many elements it is.
    pub depth: usize,
    pub name: &'a str,
    pub attributes: Attributes<'a>,
}

#[derive(Default)]
pub struct Document<'a> {
    /// In the order of the text.
    pub nodes: Vec<Node<'a>>,
    /// What a strict reader minds.
    pub minded: Vec<Fault>,
    /// What the declaration says, or nothing.
    pub encoding: String,
    text: &'a str,
    /// What comes before this is read.
    at: usize,
    /// Where each open element begins, and its name.
    open: Vec<(usize, &'a str)>,
    has_doctype: bool,
}

/// Text from the file fit for a message: on one line, printable, at most 60 characters of it.
pub fn shown(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    let more = if start.len() < text.len() { "..." } else { "" };
    log::harmless(&start) + more
}

/// An error, if `wrong`.
pub fn refuse(wrong: bool, at: usize, what: &str) -> Result<(), Fault> {
    match wrong {
        true => Err((at, what.into())),
        false => Ok(()),
    }
}

/// Reads a whole file, or up to what Adobe's parser does not read.
pub fn read(text: &str) -> (Document<'_>, Result<(), Fault>) {
    let mut document = Document {
        text,
        ..Document::default()
    };
    let mut read = Ok(());
    document.blanks();
    while read.is_ok() && !document.rest().is_empty() {
        read = document.next();
        document.blanks();
    }
    if let (Ok(()), Some((_, name))) = (&read, document.open.last()) {
        read = Err((document.at, format!("write </{}> here", shown(name))));
    }
    if let Some(at) = text.find(|c: char| c < ' ' && !"\t\r\n".contains(c)) {
        document.mind(true, at, "a control character: remove it");
    }
    (document, read)
}

impl<'a> Document<'a> {
    /// Reads what begins here: a tag, text, or one of the others.
    fn next(&mut self) -> Result<(), Fault> {
        let at = self.at;
        if self.take("<!--") {
            let comment = self.until("-->")?;
            if let Some(place) = format!("{comment}-").find("--") {
                self.mind(true, at + 4 + place, "two hyphens in a comment: write one");
            }
        } else if self.take("<?") {
            let instruction = self.until("?>")?;
            self.instruction(at, instruction);
        } else if self.take("<!DOCTYPE") {
            self.doctype(at)?;
        } else if self.open.is_empty() && !self.nodes.is_empty() {
            return Err((at, OUTSIDE.into()));
        } else if self.take("<![CDATA[") {
            self.until("]]>")?;
            self.node(at, "", Attributes::new());
        } else if self.take("<") {
            self.tag(at)?;
        } else {
            self.text("<");
            self.node(at, "", Attributes::new());
        }
        Ok(())
    }

    /// What is between <? and ?>, of which only the declaration counts.
    fn instruction(&mut self, at: usize, instruction: &str) {
        let name = instruction.split(char::is_whitespace).next();
        let name = name.unwrap_or_default();
        if !name.eq_ignore_ascii_case("xml") {
            return self.mind(!is_name(name), at + 2, NAME);
        }
        let words: Vec<&str> = instruction.split_whitespace().collect();
        let words = words.join(" ").replace(" =", "=").replace("= ", "=");
        let parts: Vec<&str> = words.split(['"', '\'']).collect();
        let encoding = match parts[..] {
            ["xml version=", _, ""] | ["xml version=", _, " standalone=", _, ""] => Some(""),
            ["xml version=", _, " encoding=", encoding, ""]
            | ["xml version=", _, " encoding=", encoding, " standalone=", _, ""] => Some(encoding),
            _ => None,
        };
        let is_sign = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let mut values = parts.iter().skip(1).step_by(2);
        let is_right = encoding.is_some() && values.all(|value| value.chars().all(is_sign));
        let what = "this declaration: begin with <?xml version=\"1.0\"?>, or remove it";
        self.mind(at > 0 || !is_right, at, what);
        self.encoding = encoding.unwrap_or_default().into();
    }

    /// The DOCTYPE at `at`. What is declared in it does not count.
    fn doctype(&mut self, at: usize) -> Result<(), Fault> {
        let outline = self.skip_doctype(at, QUOTES).unwrap_or_default();
        let head = outline.split('[').next().unwrap_or_default();
        let words: Vec<&str> = head.split_whitespace().collect();
        let is_right = match words[..] {
            ["!DOCTYPE", name] | ["!DOCTYPE", name, "SYSTEM", "\""] => is_name(name),
            ["!DOCTYPE", name, "PUBLIC", "\"", "\""] => is_name(name),
            _ => false,
        };
        // Adobe's parser counts each < and >, wherever it stands.
        let is_open = !is_right && self.skip_doctype(at, &[]).is_none();
        refuse(is_open, at, "no end of this DOCTYPE: write >")?;
        let wrong = !is_right || self.has_doctype || !self.nodes.is_empty();
        self.mind(wrong, at, "this DOCTYPE: remove it, no player needs one");
        self.has_doctype = true;
        Ok(())
    }

    /// Skips what begins at `at`, up to where as many > as < have come. Returns what else there is,
    /// with a " for what is in `quotes`.
    fn skip_doctype(&mut self, at: usize, quotes: &[(&str, &str)]) -> Option<String> {
        let (mut outline, mut depth) = (String::new(), 0);
        self.at = at;
        loop {
            outline += self.run("<>\"'");
            if let Some((_, end)) = quotes.iter().find(|(mark, _)| self.take(mark)) {
                self.until(end).ok()?;
                outline.push('"');
                continue;
            }
            match self.skip(1) {
                "<" => depth += 1,
                ">" if depth > 1 => depth -= 1,
                ">" => return Some(outline),
                "" => return None,
                _ => {}
            }
        }
    }

    /// A tag after its `<`, which is at `at`. Adobe's parser takes as a name what comes before a
    /// blank, `>` or `/>`, and reads an end tag as it reads a start tag.
    fn tag(&mut self, at: usize) -> Result<(), Fault> {
        let word = self.run("> \t\r\n");
        self.at -= usize::from(word.ends_with('/') && self.rest().starts_with('>'));
        let name = self.text.get(at + 1..self.at).unwrap_or_default();
        refuse(["", "/"].contains(&name) || name.starts_with('!'), at, BARE)?;
        let attributes = self.attributes()?;
        let end = self.at;
        let is_empty = self.take("/");
        refuse(!self.take(">"), end, NO_END)?;
        if let Some(name) = name.strip_prefix('/') {
            let (start, due) = self.open.pop().ok_or((at, OUTSIDE.into()))?;
            if name != due {
                // Where the end tag fits one further out, the start tag is at fault.
                let is_outer = self.open.iter().any(|(_, open)| *open == name);
                let (name, due) = (shown(name), shown(due));
                let what = match is_outer {
                    true => format!("<{due}> is open: write </{due}>, or /> for its >"),
                    false => format!("</{name}> closes nothing: write </{due}>, or remove it"),
                };
                return Err((if is_outer { start } else { at }, what));
            }
            let has_more = is_empty || !attributes.is_empty();
            self.mind(has_more, at, "more than a name in an end tag: remove it");
        } else {
            self.mind(!is_name(name), at + 1, NAME);
            self.node(at, name, attributes);
            self.open.extend((!is_empty).then_some((at, name)));
        }
        Ok(())
    }

    /// The attributes of a tag, up to its end, or where it has none, to what comes instead.
    fn attributes(&mut self) -> Result<Attributes<'a>, Fault> {
        let mut attributes = Attributes::new();
        let mut start = (0, "");
        loop {
            let apart = self.blanks();
            let (at, rest) = (self.at, self.rest());
            let ends = |rest: &str| rest.is_empty() || rest.starts_with(['<', '>']);
            let closing = rest.strip_prefix('/').map(str::trim_start);
            if ends(rest) || closing.map_or(false, ends) {
                return Ok(attributes);
            }
            let name = self.run("=> \t\r\n");
            self.blanks();
            let is_named = !name.is_empty() && self.take("=");
            self.blanks();
            let quote = self.skip(1);
            let value = self.text(quote);
            let is_right = is_named && ["\"", "'"].contains(&quote) && self.take(quote);
            // What is not apart belongs to the one before: its quotes are doubled, or one is missing.
            start = if apart { (at, name) } else { start };
            if !is_right {
                let (at, name) = (start.0, start.1.trim_end_matches('/'));
                refuse(!is_name(name), at, "this is no attribute: remove it")?;
                return Err((at, format!("write {name}=\"...\" here: {VALUE}")));
            }
            self.mind(!apart, at, "attributes without a blank between: write one");
            let again = attributes.contains_key(name);
            self.mind(again, at, "a repeated attribute: remove one");
            self.mind(!is_name(name), at, NAME);
            attributes.entry(name).or_insert((at, value));
        }
    }

    /// Text up to `end`, a `<` or the end of the text, with its references replaced.
    fn text(&mut self, end: &str) -> String {
        let mut at = self.at;
        let raw = self.run(&format!("<{end}"));
        let has_end = end == "<" && raw.contains("]]>");
        self.mind(has_end, at, "]]> in text: write ]]&gt;");
        let mut parts = raw.split('&');
        let mut text = parts.next().unwrap_or_default().to_owned();
        at += text.len();
        for part in parts {
            let whole = part.split_once(';');
            if let Some((c, rest)) = whole.and_then(|(name, rest)| Some((referred(name)?, rest))) {
                text.push(c);
                text += rest;
            } else {
                // A DOCTYPE may declare what is not known here.
                let is_text = whole.is_none() || !self.has_doctype;
                self.mind(is_text, at, "& as text: write &amp;");
                text = text + "&" + part;
            }
            at += 1 + part.len();
        }
        text.replace(['\t', '\r', '\n'], " ")
    }

    fn node(&mut self, at: usize, name: &'a str, attributes: Attributes<'a>) {
        self.nodes.push(Node {
            at,
            depth: self.open.len(),
            name,
            attributes,
        });
    }

    pub fn mind(&mut self, wrong: bool, at: usize, what: &str) {
        let fault = || format!("Silverlight and other strict readers refuse {what}");
        self.minded.extend(wrong.then(|| (at, fault())));
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
        let more = self.rest().trim_start_matches([' ', '\t', '\r', '\n']);
        !self.skip(self.rest().len() - more.len()).is_empty()
    }

    /// Skips and returns the characters before the first that is in `ends`.
    fn run(&mut self, ends: &str) -> &'a str {
        let end = self.rest().find(|c| ends.contains(c));
        self.skip(end.unwrap_or(self.rest().len()))
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

/// Is it a name, as near as that is without XML's tables of characters?
fn is_name(name: &str) -> bool {
    let is_first = |c: char| c.is_alphabetic() || "_:".contains(c);
    let is_sign = |c: char| c.is_alphanumeric() || "-._:".contains(c);
    name.starts_with(is_first) && name.chars().all(is_sign)
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
    char::from_u32(code.ok()?)
}

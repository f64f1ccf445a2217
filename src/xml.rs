//! A small, strict reader of XML 1.0 in UTF-8: is a file well-formed, and if not, where not?
//!
//! The DOCTYPE is skipped: the only entities are the five standard ones and character references.
//! No recursion; memory in proportion to the file, whatever it holds.

use crate::log;
use crate::options::number;

const BLANKS: &[char] = &[' ', '\t', '\r', '\n'];

/// A place in the file: line and column from 1, columns in characters.
pub type Position = (u32, u32);

/// Where the file is not well-formed; what is wrong there, and what to write instead.
pub type Fault = (Position, String);

/// An attribute; in its value references are replaced, and newlines and tabs are blanks.
pub struct Attribute<'a> {
    pub at: Position,
    pub name: &'a str,
    pub value: String,
}

pub enum Event<'a> {
    /// The XML declaration. Blanks before it are let pass.
    Declaration(Vec<Attribute<'a>>),
    Start(&'a str, Vec<Attribute<'a>>),
    /// Text other than blanks in an element.
    Text,
    End,
}

/// Text from the file fit for a message: on one line, printable, at most 60 characters of it.
pub fn shown(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    let more = if start.len() < text.len() { "..." } else { "" };
    log::harmless(&start) + more
}

/// Reads a whole file: its events in order, each with its place.
pub fn read(file: &[u8]) -> Result<Vec<(Position, Event<'_>)>, Fault> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let valid = std::str::from_utf8(file).map_or_else(|e| e.valid_up_to(), str::len);
    let rest = std::str::from_utf8(file.get(..valid).unwrap_or_default()).unwrap_or_default();
    let mut cursor = Cursor { rest, at: (1, 1) };
    let events = match file.get(cursor.run(|c| !is_xml(c)).len()) {
        Some(0) => Err("a NUL would end the policy here: remove it, the server adds one".into()),
        Some(_) => Err("no character of UTF-8 text: save as UTF-8, or remove it".into()),
        None => {
            cursor = Cursor { rest, at: (1, 1) };
            document(&mut cursor)
        }
    };
    events.map_err(|text| (cursor.at, text))
}

fn document<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<(Position, Event<'a>)>, String> {
    cursor.blanks();
    let first = cursor.at;
    let mut events = Vec::new();
    let mut open = Vec::new();
    let mut doctype_seen = false;
    loop {
        cursor.blanks();
        let at = cursor.at;
        let root_closed = open.is_empty() && matches!(events.last(), Some((_, Event::End)));
        if cursor.rest.is_empty() {
            return match open.pop().map(shown) {
                Some(name) => Err(format!("<{name}> is open: write </{name}>")),
                None if root_closed => Ok(events),
                None => Err("no element: write <cross-domain-policy>".into()),
            };
        } else if cursor.take("<!--") {
            cursor.until("--")?;
            cursor.expect(">")?;
        } else if cursor.take("<?") {
            let name = cursor.name()?;
            if !name.eq_ignore_ascii_case("xml") {
                if !cursor.rest.starts_with("?>") {
                    cursor.blank()?;
                }
                cursor.until("?>")?;
                continue;
            }
            let attributes = cursor.attributes()?;
            cursor.expect("?>")?;
            if name != "xml" || at != first || !is_declaration(&attributes) {
                cursor.at = at;
                return Err(r#"write <?xml version="1.0"?>, at the start of the file only"#.into());
            }
            events.push((at, Event::Declaration(attributes)));
        } else if !doctype_seen && !root_closed && open.is_empty() && cursor.take("<!DOCTYPE") {
            doctype_seen = true;
            cursor.doctype()?;
        } else if root_closed || open.is_empty() && !cursor.rest.starts_with('<') {
            return Err("outside the root element: remove this".into());
        } else if cursor.take("</") {
            let name = cursor.name()?;
            cursor.blanks();
            cursor.expect(">")?;
            let due = open.pop().unwrap_or_default();
            if name != due {
                cursor.at = at;
                return Err(format!("</{}> where </{}> is due", shown(name), shown(due)));
            }
            events.push((at, Event::End));
        } else if !open.is_empty() && cursor.take("<![CDATA[") {
            cursor.until("]]>")?;
            events.push((at, Event::Text));
        } else if cursor.take("<") {
            let name = cursor.name()?;
            events.push((at, Event::Start(name, cursor.attributes()?)));
            match cursor.take("/") {
                true => events.push((at, Event::End)),
                false => open.push(name),
            }
            cursor.expect(">")?;
        } else {
            cursor.text("<")?;
            events.push((at, Event::Text));
        }
    }
}

/// What is still to be read of the file, and where that begins; after a failure, where that is.
struct Cursor<'a> {
    rest: &'a str,
    at: Position,
}

impl<'a> Cursor<'a> {
    /// The attributes of a tag.
    fn attributes(&mut self) -> Result<Vec<Attribute<'a>>, String> {
        let mut attributes: Vec<Attribute> = Vec::new();
        while self.blanks() && !self.rest.starts_with(['/', '>', '?']) {
            let at = self.at;
            let name = self.name()?;
            if attributes.iter().any(|a| a.name == name) {
                self.at = at;
                return Err(format!("a second {}: remove one", shown(name)));
            }
            self.blanks();
            self.expect("=")?;
            let quote = self.quote()?;
            let value = self.text(quote)?;
            self.expect(quote)?;
            attributes.push(Attribute { at, name, value });
        }
        Ok(attributes)
    }

    /// A straight quotation mark, after blanks.
    fn quote(&mut self) -> Result<&'static str, String> {
        self.blanks();
        let quote = if self.rest.starts_with('\'') {
            "'"
        } else {
            "\""
        };
        self.expect(quote).map(|()| quote)
    }

    /// Text up to `end`, a `<` or the end of the file, with its references replaced.
    fn text(&mut self, end: &str) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let plain = self.run(|c| c == '<' || c == '&' || end.contains(c));
            if end == "<" && plain.contains("]]>") {
                return Err("]]> before this: write ]]&gt;".into());
            }
            text += &plain.replace(BLANKS, " ");
            if !self.rest.starts_with('&') {
                return Ok(text);
            }
            let (reference, _) = self.rest.split_once(';').unwrap_or_default();
            text.push(referred(reference).ok_or("this & refers to nothing: write &amp;")?);
            self.skip(reference.len() + 1);
        }
    }

    /// The DOCTYPE after its first word. What is declared in it does not count.
    fn doctype(&mut self) -> Result<(), String> {
        self.blank()?;
        self.name()?;
        self.blanks();
        let identifiers = match self.take("PUBLIC") {
            true => 2,
            false => u8::from(self.take("SYSTEM")),
        };
        for _ in 0..identifiers {
            self.blank()?;
            let quote = self.quote()?;
            self.until(quote)?;
        }
        self.blanks();
        if self.take("[") {
            let quotes = [("\"", "\""), ("'", "'"), ("<!--", "-->"), ("<?", "?>")];
            while !self.rest.is_empty() && !self.take("]") {
                match quotes.iter().find(|(start, _)| self.take(start)) {
                    Some((_, end)) => self.until(end)?,
                    None => drop(self.take("<")),
                }
                self.run(|c| "\"'<]".contains(c));
            }
            self.blanks();
        }
        self.expect(">")
    }

    fn name(&mut self) -> Result<&'a str, String> {
        if !self.rest.starts_with(starts_name) {
            return Err("no name: write one here, or &lt; for a < that is text".into());
        }
        Ok(self.run(|c| !continues_name(c)))
    }

    fn blank(&mut self) -> Result<(), String> {
        match self.blanks() {
            true => Ok(()),
            false => Err("write a blank here".into()),
        }
    }

    fn blanks(&mut self) -> bool {
        !self.run(|c| !BLANKS.contains(&c)).is_empty()
    }

    /// Skips what comes before `mark`, and the mark.
    fn until(&mut self, mark: &str) -> Result<(), String> {
        let n = self.rest.find(mark);
        self.skip(n.ok_or(format!("no end of this: write {mark}"))? + mark.len());
        Ok(())
    }

    fn expect(&mut self, mark: &str) -> Result<(), String> {
        let taken = self.take(mark).then_some(());
        taken.ok_or_else(|| format!("write {mark} here"))
    }

    fn take(&mut self, mark: &str) -> bool {
        self.rest.starts_with(mark) && !self.skip(mark.len()).is_empty()
    }

    /// Skips and returns the characters before the first that is an `end`.
    fn run(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        self.skip(self.rest.find(end).unwrap_or(self.rest.len()))
    }

    /// Skips and returns `n` bytes, which end between two characters.
    fn skip(&mut self, n: usize) -> &'a str {
        let skipped = self.rest.get(..n).unwrap_or_default();
        self.rest = self.rest.get(n..).unwrap_or_default();
        for c in skipped.chars() {
            self.at = match c {
                '\n' => (self.at.0 + 1, 1),
                _ => (self.at.0, self.at.1 + 1),
            };
        }
        skipped
    }
}

fn is_declaration(attributes: &[Attribute]) -> bool {
    let mut order = ["version", "encoding", "standalone"].iter();
    let right = |a: &Attribute| match a.name {
        "version" => a.value.strip_prefix("1.").and_then(number).is_some(),
        "standalone" => a.value == "yes" || a.value == "no",
        _ => a
            .value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
    };
    let mut attributes = attributes.iter().peekable();
    attributes.peek().map_or(false, |a| a.name == "version")
        && attributes.all(|a| right(a) && order.any(|name| *name == a.name))
}

/// The character that `reference` stands for: from its `&` to before its `;`.
fn referred(reference: &str) -> Option<char> {
    match reference {
        "&lt" => Some('<'),
        "&gt" => Some('>'),
        "&amp" => Some('&'),
        "&apos" => Some('\''),
        "&quot" => Some('"'),
        _ => {
            let number = reference.strip_prefix("&#").filter(|n| !n.contains('+'))?;
            let hex = number.strip_prefix('x');
            let code = u32::from_str_radix(hex.unwrap_or(number), hex.map_or(10, |_| 16));
            char::from_u32(code.ok()?).filter(|c| is_xml(*c))
        }
    }
}

/// The characters that a name begins with (XML 1.0, fifth edition).
fn starts_name(c: char) -> bool {
    matches!(c, ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}'
        | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}'
        | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

fn continues_name(c: char) -> bool {
    let marks = ('\u{300}'..='\u{36f}').contains(&c) || "\u{b7}\u{203f}\u{2040}".contains(c);
    starts_name(c) || c.is_ascii_digit() || "-.".contains(c) || marks
}

fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

//! `--check` against what readers were seen to do with a policy file, and against expat; and its
//! answer about a site.

mod common;

use common::*;
use std::fs;
use std::process::Command;

/// Lightspark grants, swf2es grants, Adobe's published parser reads, expat calls it well-formed;
/// what the finding points at, or -; and the file, asked for on port 843. `o` is another root, `?`
/// what does not matter; {R}, {/R}, {S}, {A} and {P} are as in `policy`.
const MEASURED: &str = r#"
nnyy|<allow|{R}{S}<allow-access-from domain="*" To-Ports="8000"/>{/R}
yyyy|<allow-access-from domain="*" to-ports="9|{R}{S}<allow-access-from domain="*" to-ports="8000"><allow-access-from domain="*" to-ports="9000"/></allow-access-from>{/R}
ynnn|/ >|{R}{S}<allow-access-from domain="*" to-ports="8000"/ >{/R}
ynyn|&b|{R}{S}{A}<allow-access-from domain="a&b" to-ports="1"/>{/R}
yyyn|& b|{R}{S}{A}a & b{/R}
ynnn|<allow|{R}{S}<allow-access-from domain="*" to-ports="8000">{/R}
nnnn|domain=|{R}{S}<allow-access-from domain=“*” to-ports=“8000”/>{/R}
yyyn|<?xml|<!-- crossdomain -->\n<?xml version="1.0"?>\n{P}
yyyn|<?xml|<?xml version="1.0"encoding="UTF-8"?>\n{P}
yyyn|<?xml|<?xml encoding="UTF-8"?>\n{P}
yyyn|<?xml|<?xml encoding="UTF-8" version="1.0"?>\n{P}
yyyn|<?xml|<?xml version="1.0"?>\n<?xml version="1.0"?>\n{P}
yyyn|<?xml|<?xml version=1.0?>\n{P}
yyyy|-|<!-- c -->\n<!DOCTYPE cross-domain-policy SYSTEM "x">\n{P}
yyyy|-|<!DOCTYPE cross-domain-policy>\n{P}
ynyn|<!doctype|<?xml version="1.0"?>\n<!doctype cross-domain-policy SYSTEM "/xml/dtds/cross-domain-policy.dtd">\n{P}
yyyn|<!DOCTYPE|<!DOCTYPE>\n{P}
nnyy|domain=|{R}{S}<allow-access-from domain="http://example.com" to-ports="8000"/>{/R}
nnyy|domain=|{R}{S}<allow-access-from domain="bücher.example" to-ports="8000"/>{/R}
nnyy|domain=|{R}{S}<allow-access-from domain="a.example.com,b.example.com" to-ports="8000"/>{/R}
nnyy|domain=|{R}{S}<allow-access-from domain="example.com:8080" to-ports="8000"/>{/R}
nnyy|domain=|{R}{S}<allow-access-from domain="*.1.2.3" to-ports="8000"/>{/R}
nnyy|domain=|{R}{S}<allow-access-from domain="example.com." to-ports="8000"/>{/R}
yyyy|-|{R}{S}<allow-access-from domain="Game.Example.COM" to-ports="8000"/>{/R}
nnnn|domain=|{R}{S}<allow-access-from domain=""*"" to-ports=""8000""/>{/R}
yyyn|<?xml|<?xml version="1.0" encoding="GB2312"?>\n<!-- \xd4\xca\xd0\xed\xcb\xf9\xd3\xd0\xd3\xf2 -->\n{P}
yyyn|<?xml|<?xml version="1.0" encoding="GB2312"?>\n{P}
nyyy|<allow-http|{R}{A}<allow-http-request-headers-from domain="*" headers="*"/>{/R}
yyyy|<allow-http|{R}{S}{A}<allow-http-request-headers-from domain="*" headers="*"/>{/R}
nnny|<html|<html><head><title>400 Bad Request</title></head><body>400</body></html>
yyyy|-|\xef\xbb\xbf{P}
yyyn|&nbsp;|{R}{S}{A}&nbsp;{/R}
nnyy|<allow|{R}{S}<x>{A}</x>{/R}
ynyn|to-ports|{R}{S}<allow-access-from domain="*"to-ports="8000"/>{/R}
nyyy|<allow-access-from domain="x|{R}{S}<allow-access-from domain="x.example"/>{A}{/R}
yyyy|-|{R}{S}<allow-access-from domain="*" to-ports="80, 8000"/>{/R}
nnyy|to-ports|{R}{S}<allow-access-from domain="*" to-ports=""/>{/R}
ynyy|to-ports|{R}{S}<allow-access-from domain="*" to-ports="8000,99999"/>{/R}
yyyy|to-ports|{R}{S}<allow-access-from domain="*" to-ports="8000 - 8010"/>{/R}
nyyy|to-ports|{R}{S}<allow-access-from domain="*" to-ports=" * "/>{/R}
ynyy|to-ports|{R}{S}<allow-access-from domain="*" to-ports="8000,"/>{/R}
nnyy|permitted|{R}<site-control permitted-cross-domain-policies="masteronly"/>{A}{/R}
nnyy|<site|{R}<site-control/>{A}{/R}
nnyy|permitted|{R}<site-control permitted-cross-domain-policies="*"/>{A}{/R}
nyyy|<site|{R}{S}{S}{A}{/R}
yyyy|<site|{R}{S}{A}{S}{/R}
nyyy|permitted|{R}<site-control permitted-cross-domain-policies="Master-Only"/>{A}{/R}
yyyy|secure|{R}{S}<allow-access-from domain="*" to-ports="8000" secure="1"/>{/R}
ynyy|secure|{R}{S}<allow-access-from domain="*" to-ports="8000" secure="TRUE"/>{/R}
nnnn|< site|{R}< site-control permitted-cross-domain-policies="master-only"/>{A}{/R}
yyyy|allow all|{R}allow all{S}{A}{/R}
yyyy|ports="x|{R}{S}<allow-access-from domain="*" to-ports="8000" ports="x"/>{/R}
nnyy|to-port=|{R}{S}<allow-access-from domain="*" to-port="8000"/>{/R}
ynnn|\\0|{P}\\0\n
yyy?|\x00|{P}\x00\n
ynnn|;|{P};\n
ynnn||{R}{S}{A}
nnnn|domain=|{R}{S}<allow-access-from domain=* to-ports=8000/>{/R}
nnny|<CROSS|<CROSS-DOMAIN-POLICY><SITE-CONTROL PERMITTED-CROSS-DOMAIN-POLICIES="MASTER-ONLY"/><ALLOW-ACCESS-FROM DOMAIN="*" TO-PORTS="8000"/></CROSS-DOMAIN-POLICY>
nnoy|<cross|<cross-domain-policies>{A}</cross-domain-policies>
yyyy|-|<cross-domain-policy xmlns="http://localhost">{S}{A}{/R}
nnoy|<p:|<p:cross-domain-policy xmlns:p="x">{S}{A}</p:cross-domain-policy>
"#;

/// A file as a table writes it: names for the usual elements, and \n, \xHH and \\ for bytes.
fn policy(text: &str) -> Vec<u8> {
    let mut text = text.replace("{P}", "{R}{S}{A}{/R}");
    for (name, element) in [
        ("{R}", "<cross-domain-policy>"),
        ("{/R}", "</cross-domain-policy>"),
        (
            "{S}",
            r#"<site-control permitted-cross-domain-policies="master-only"/>"#,
        ),
        ("{A}", r#"<allow-access-from domain="*" to-ports="8000"/>"#),
    ] {
        text = text.replace(name, element);
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, escaped)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let length = if escaped.starts_with('x') { 3 } else { 1 };
        bytes.push(match &escaped[..1] {
            "n" => b'\n',
            "x" => u8::from_str_radix(&escaped[1..3], 16).unwrap(),
            other => other.as_bytes()[0],
        });
        rest = &escaped[length..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// The lines that `--check` prints of a file, without its name.
fn findings(file: &[u8], port: &str) -> (Vec<String>, i32) {
    let (text, status) = check(file, &["--public-port", port]);
    let line = |line: &str| line.strip_prefix("-:").unwrap().trim_start().to_owned();
    (text.lines().map(line).collect(), status)
}

/// The beginning of a finding at the last `mark` in `file`.
fn place(file: &[u8], mark: &str) -> String {
    let text = String::from_utf8_lossy(file).replace('\u{feff}', "");
    let before = &text[..text
        .rfind(&*String::from_utf8(policy(mark)).unwrap())
        .unwrap()];
    let line = before.rsplit('\n').next().unwrap();
    format!(
        "{}:{}: ",
        before.matches('\n').count() + 1,
        line.chars().count() + 1
    )
}

#[test]
fn each_measured_file_is_judged_as_readers_do() {
    for row in MEASURED.lines().filter(|row| !row.is_empty()) {
        let (readers, rest) = row.split_once('|').unwrap();
        let (mark, text) = rest.split_once('|').unwrap();
        let file = policy(text);
        let (lines, status) = findings(&file, "843");
        let is_error = !readers[2..].starts_with('y');
        assert_eq!(status, i32::from(is_error), "{}\n{:#?}", row, lines);
        let kind = if is_error { "error: " } else { "warning: " };
        let found = match mark {
            "-" => lines.len() == 1,
            _ => {
                let place = place(&file, mark) + kind;
                let at_fault = |line: &&String| line.starts_with(&place);
                let strict = |line: &&String| is_error || line.contains("strict readers");
                match readers.ends_with('n') {
                    true => lines.iter().filter(at_fault).any(|line| strict(&line)),
                    false => lines.iter().any(|line| at_fault(&line)),
                }
            }
        };
        assert!(found, "{}\n{:#?}", row, lines);
        let strict = lines.iter().any(|line| line.contains("strict readers"));
        assert!(!(strict && readers.ends_with('y')), "{}\n{:#?}", row, lines);
        let granted = !is_error && readers[..2].contains('y');
        let grant = lines.last().unwrap();
        assert_eq!(
            grant.contains(" may connect to "),
            granted,
            "{}\n{:#?}",
            row,
            lines
        );
        assert_eq!(grant == "grants nothing", !granted, "{}\n{:#?}", row, lines);
    }
}

/// Each case: a site and a port, `--public-port`, and the answer as far as `...`.
#[test]
fn may_a_site_connect() {
    let policy = r#"<cross-domain-policy>
<site-control permitted-cross-domain-policies="master-only"/>
<allow-access-from domain="www.example.com" to-ports="80,8000-8010"/>
<allow-access-from domain="*.example.com" to-ports="5222" secure="true"/>
<allow-access-from domain="192.0.2.7" to-ports="25,443"/>
<allow-access-from domain="2001:db8::7" to-ports="443,x"/>
<allow-access-from domain="*.org" to-ports="*"/>
<allow-access-from domain="a.example" to-ports="80"
    secure="false" x="y"/>
<allow-access-from domain="b.example" to-ports="80"/>
</cross-domain-policy>"#;
    let table = r#"
=www.example.com 80 843
    allowed: by line 3
=http://WWW.Example.COM:8080/game.swf 8000 843
    allowed: by line 3
=www.example.com 8001 843
    allowed: by line 3; but 3:45: Lightspark reads only the first port of 8000-8010...
=www.example.com 8011 843
    refused: line 3 names www.example.com, but not port 8011
=www.example.com 5222 843
    refused: line 4 is for sites loaded over https only
=https://www.example.com 5222 843
    allowed: by line 4
=https://example.com 5222 843
    allowed: by line 4
=https://badexample.com 5222 843
    refused: no entry names badexample.com
=192.0.2.7 443 843
    allowed: by line 5
=192.0.2.7 25 843
    refused: Flash Player refuses port 25 since version 24
=http://[2001:db8::7]:80/ 443 843
    allowed: by line 6; but 6:41: "x" is no port or range, and some players (swf2es) drop the entry...
=a.org 6000 843
    refused: Flash Player refuses port 6000 since version 24
=a.org 6001 843
    allowed: by line 7; but 7:20: some players (swf2es) refuse *.org as too wide...
=b.example 80 843
    allowed: by line 10; but 8:1: Lightspark ignores what follows because of this...
=www.example.com 80 5000
    refused: only a policy from a port below 1024 can grant such a port
=https://www.example.com 5222 5000
    allowed: by line 4; but 2:15: Lightspark ignores a policy with site-control unless...
"#;
    let answer = |policy: &str, case: &str| {
        let words: Vec<&str> = case.split(' ').collect();
        let mut options = vec!["--site", words[0], "--to-port", words[1]];
        options.extend(["--public-port", words[2]]);
        let (text, status) = check(policy.as_bytes(), &options);
        let refused = i32::from(!text.starts_with("allowed: "));
        assert_eq!((status, text.lines().count()), (refused, 1), "{}", text);
        text.trim_end().to_owned()
    };
    for case in table.split("\n=").skip(1) {
        let (case, expected) = case.trim_end().split_once("\n    ").unwrap();
        let text = answer(policy, case);
        match expected.strip_suffix("...") {
            Some(start) => assert!(text.starts_with(start), "{}: {}", case, text),
            None => assert_eq!(text, expected, "{}", case),
        }
    }
    for (part, changed, why) in [
        (
            "master-only",
            "masteronly",
            "refused: 2:15: \"masteronly\" makes every player refuse...",
        ),
        (
            "</cross-domain-policy>",
            "",
            "refused: 11:1: write </cross-domain-policy> here...",
        ),
        (
            "<site",
            "a & b<site",
            "allowed: by line 3; but 2:3: Silverlight and other strict readers refuse...",
        ),
        (
            "only",
            "Only",
            "allowed: by line 3; but 2:15: Lightspark refuses everything for \"master-Only\"...",
        ),
    ] {
        let text = answer(&policy.replacen(part, changed, 1), "www.example.com 80 843");
        assert!(
            text.starts_with(why.strip_suffix("...").unwrap()),
            "{}",
            text
        );
    }
    for (entries, expected) in [
        // What Lightspark reads of a list that swf2es drops.
        (
            "<allow-access-from domain='a.example' to-ports='80 81'/>",
            "allowed: by line 2; but 2:39: \"80 81\" is no port or range",
        ),
        // What swf2es reads, and Lightspark does not.
        (
            "<allow-access-from domain=' * ' to-ports='80'/>",
            "allowed: by line 2; but 2:20: Lightspark drops the entry for blanks",
        ),
        // Each drops it for a reason of its own.
        (
            "<allow-access-from domain=' * ' to-ports='80,x'/>",
            "refused: line 2 names a.example; but 2:20: Lightspark drops the entry",
        ),
        // What keeps an entry from naming a site, or a port.
        (
            "<allow-access-from domain='http://a.example' to-ports='80'/>",
            "refused: no entry names a.example; but 2:20: domain=\"http://a.example\" is not one name",
        ),
        (
            "<allow-access-from domain='a.example' to-port='80'/>",
            "refused: line 2 names a.example, but not port 80; but 2:1: without to-ports",
        ),
        (
            "<allow-access-from/>",
            "refused: no entry names a.example; but 2:1: without domain",
        ),
        // The nearest reason is that of the entry that names the port.
        (
            "<allow-access-from domain='a.example' to-ports='80' secure='true'/>\n\
             <allow-access-from domain='*' to-ports='90'/>",
            "refused: line 2 is for sites loaded over https only",
        ),
        // An entry that all of them read comes before one that only some do.
        (
            "<allow-access-from domain='*' to-ports='80 81'/>\n\
             <allow-access-from domain='*' to-ports='80'/>",
            "allowed: by line 3",
        ),
    ] {
        let control = "<site-control permitted-cross-domain-policies='master-only'/>";
        let root = "cross-domain-policy";
        let policy = format!("<{}>{}\n{}</{}>", root, control, entries, root);
        let text = answer(&policy, "a.example 80 843");
        assert!(text.starts_with(expected), "{}", text);
    }
    for url in [
        "www.example.com:8080",
        "http://user:pass@word@www.example.com:8080?q=http://a.example/#x",
        "HTTP://www.example.com/a:b@c.example",
        "www.example.com/game.html",
    ] {
        let text = answer(policy, &format!("{} 80 843", url));
        assert_eq!(text, "allowed: by line 3", "{}", url);
    }
    for url in [
        "https://[2001:db8:0::7]/",
        "2001:DB8::7",
        "[2001:db8::7]:8080",
    ] {
        let text = answer(policy, &format!("{} 443 843", url));
        assert!(
            text.starts_with("allowed: by line 6; "),
            "{}: {}",
            url,
            text
        );
    }
    let text = answer("<access-policy/>", "www.example.com 80 943");
    assert!(text.starts_with("refused: "), "{}", text);
}

/// What is no site is a wrong use, and not answered as if it were one.
#[test]
fn no_site_is_a_usage_error() {
    for site in [
        "a b",
        "http://",
        "https:///game.swf",
        "file:///x.swf",
        "ftp://www.example.com",
        "javascript:alert(1)",
        "example.com.",
        ".example.com",
        "a..example.com",
        "*",
        "*.example.com",
        "http://www.example.com:x/",
        "http://www.example.com:65536/",
        "192.0.2",
        "192.0.2.300",
        "[192.0.2.7]",
        "[2001:db8::7",
        "b\u{fc}cher.example",
        "a.example,b.example",
    ] {
        let options = [
            ("--check", "flash-policy-serv: ", 2),
            ("--probe=1", "POLICY UNKNOWN - ", 3),
        ];
        for (task, start, status) in options {
            let mut command = Command::new(BIN);
            let output = command
                .args([task, "--site", site, "--to-port", "80"])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(status), "{:?}", output);
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            let right = "must be a site such as https://www.example.com, or a host, in ASCII\n";
            assert!(text.starts_with(start) && text.ends_with(right), "{}", text);
            assert!(
                text.contains("--site ") && text.lines().count() == 1,
                "{}",
                text
            );
        }
    }
}

/// xorshift: the same files in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

const SILVERLIGHT: &str = r#"<?xml version="1.0" encoding="utf-8"?>\n<access-policy><cross-domain-access><policy><allow-from http-request-headers="*"><domain uri="*"/></allow-from><grant-to><socket-resource port="4502-4534" protocol="tcp"/></grant-to></policy></cross-domain-access></access-policy>"#;

/// What is put into sound files to break them, or not.
const PIECES: &str = r#"<|>|/>|</|&|&#65;|;|&amp;|&lt;|&nbsp;|"|'|=| |\n|<!--|-->|--|-|<![CDATA[|]]>|<?|?>|<?xml |<?xml version="1.0"?>|<!DOCTYPE|<!DOCTYPE a SYSTEM "x">|<!DOCTYPE a [<!ENTITY d "]>"> <!-- ' --> <?e " ?>]>|[|]|*|/|x|ä|\xe4|\x01|\x00|\xef\xbb\xbf|<x>|</x>|<x/>|a="b"| a="b"|:|,|0|65536|“|\xe2\x80\xae|</cross-domain-policy>|<access-policy>"#;

/// Prints for each file in a folder its root element where expat calls it well-formed.
const EXPAT: &str = "
import os, sys, xml.parsers.expat as expat
for name in sorted(os.listdir(sys.argv[1])):
    roots = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: roots.append(name)
    try:
        parser.Parse(open(os.path.join(sys.argv[1], name), 'rb').read(), True)
        print(name, roots[0])
    except (expat.ExpatError, ValueError, LookupError):
        print(name, '-')
";

/// No mutation makes the program crash or hang, and what expat calls well-formed is no error.
#[test]
fn mutated_files() {
    let mut seeds: Vec<Vec<u8>> = MEASURED
        .lines()
        .filter_map(|row| row.splitn(3, '|').nth(2))
        .map(policy)
        .collect();
    for _ in 0..10 {
        seeds.push(policy(SILVERLIGHT));
        seeds.push(fs::read(POLICY).unwrap());
    }
    let pieces: Vec<Vec<u8>> = PIECES.split('|').map(policy).collect();
    let scratch = Scratch::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for n in 0..3000 {
        let mut file = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.below(4) {
            let at = random.below(file.len() + 1);
            let end = (at + random.below(7)).min(file.len());
            let piece = &pieces[random.below(pieces.len())];
            match random.below(3) {
                0 => drop(file.splice(at..end, piece.iter().copied())),
                1 => drop(file.drain(at..end)),
                _ => drop(file.splice(at..at, piece.iter().copied())),
            }
        }
        fs::write(scratch.path(&format!("{:04}", n)), file).unwrap();
    }
    let mut well_formed = String::new();
    if have("python3") {
        let mut expat = Command::new("python3");
        let output = expat
            .args(["-c", EXPAT])
            .arg(scratch.path(""))
            .output()
            .unwrap();
        well_formed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(well_formed.lines().count(), 3000, "{:?}", output.stderr);
    } else {
        skip("needs python3 for its expat");
    }
    for n in 0..3000 {
        let name = format!("{:04}", n);
        let file = fs::read(scratch.path(&name)).unwrap();
        let silverlight = file.windows(14).any(|part| part == b"<access-policy");
        let (lines, status) = findings(&file, if silverlight { "943" } else { "843" });
        let is_root = |root: &str| well_formed.contains(&format!("{} {}\n", name, root));
        let sound = is_root("cross-domain-policy") || is_root("access-policy");
        let text = String::from_utf8_lossy(&file);
        assert!(
            status == 0 || status == 1 && !sound,
            "{}\n{:#?}",
            text,
            lines
        );
        assert!(
            !lines.is_empty() && lines.len() <= 110,
            "{}\n{:#?}",
            text,
            lines
        );
        let printable = |line: &String| !line.contains(char::is_control);
        assert!(lines.iter().all(printable), "{}\n{:#?}", text, lines);
    }
}

/// Twenty kilobytes of anything are judged, whatever it takes the parser to.
#[test]
fn files_full_of_one_thing() {
    for unit in [
        "<",
        ">",
        "&",
        "&#65;",
        "\"",
        "'",
        "<a>",
        "<a",
        "</a>",
        "<!--",
        "<!---->",
        "<![CDATA[",
        "<?",
        "[",
        "<!DOCTYPE a [",
        "<!DOCTYPE a>",
        " a=''",
        " a=\"&",
        "x<a/>",
        "\n",
        "-",
        "=",
        "/",
        "\u{10ffff}",
        "<site-control/>",
        "<allow-access-from domain='*.' to-ports='1-9,9-1,x'/>",
        "<x:y z:w=''>",
        "<access-policy>",
        "<socket-resource port='x' protocol='tcp'/>",
        "&amp",
        "&a;",
        "]]>",
        "\0",
    ] {
        for (start, end) in [
            ("", ""),
            ("<cross-domain-policy>", "</cross-domain-policy>"),
            ("<cross-domain-policy ", "/>"),
            ("<!DOCTYPE ", ">"),
            ("<a b=\"", "\"/>"),
            (
                "<cross-domain-policy><allow-access-from domain='*' to-ports='",
                "'/></cross-domain-policy>",
            ),
            (
                "<access-policy><cross-domain-access><policy><allow-from>",
                "</allow-from>",
            ),
        ] {
            let room = 20_480 - start.len() - end.len();
            let file = [start, &unit.repeat(room / unit.len()), end].concat();
            let (lines, status) = findings(file.as_bytes(), "843");
            assert!(
                status <= 1 && lines.len() < 1500,
                "{}{}: {}",
                start,
                unit,
                lines.len()
            );
        }
    }
}

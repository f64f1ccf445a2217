//! `--check`: what it says of a policy file, of the port that it is served from, and of a site.

mod common;

use common::{check, BIN, NARROW as EVERYWHERE, POLICY};
use std::process::Command;

/// A policy without a warning on port 843.
const NARROW: &str = "<cross-domain-policy>\
    <site-control permitted-cross-domain-policies=\"master-only\"/>\
    <allow-access-from domain=\"game.example.com\" to-ports=\"5222\"/>\
    </cross-domain-policy>\n";

const GRANTED: &str = "game.example.com may connect to port 5222";

/// Compares the whole output with `expected`: its lines, each whole or as far as `...`.
fn compare(policy: &[u8], ports: &str, expected: &[&str]) {
    let ports = ports.split_whitespace().flat_map(|port| ["--listen", port]);
    let (text, status) = check(policy, &ports.collect::<Vec<&str>>());
    let line = |line: &str| line.strip_prefix("-:").unwrap().trim_start().to_owned();
    let lines: Vec<String> = text.lines().map(line).collect();
    let same = |(line, expected): (&String, &&str)| match expected.strip_suffix("...") {
        Some(start) => line.starts_with(start),
        None => line == expected,
    };
    let same = lines.len() == expected.len() && lines.iter().zip(expected).all(same);
    let policy = String::from_utf8_lossy(policy);
    assert!(same, "{}\n{:#?} is not {:#?}", policy, lines, expected);
    let error = expected.iter().any(|line| line.contains(": error: "));
    assert_eq!(status, i32::from(error), "{}", policy);
}

/// Goes through a table: a line that begins with `=` is a case, what follows it is expected.
fn cases(table: &str, try_case: impl Fn(&str, &[&str])) {
    for case in table.split("\n=").skip(1) {
        let mut lines = case.lines();
        let case = lines.next().unwrap();
        let lines: Vec<&str> = lines
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        try_case(case, &lines);
    }
}

/// Each case stands on line 3 of a Flash policy that is sound otherwise, served from port 843.
#[test]
fn entries() {
    let table = r#"
=
    1:1: warning: this grants nothing: write <allow-access-from> in it
    grants nothing
=<allow-access-from domain="LocalHost" to-ports="80"/>
    LocalHost may connect to port 80
=<allow-access-from domain="*.a-b.example" to-ports="80"/>
    a-b.example and its subdomains may connect to port 80
=<allow-access-from domain="192.0.2.7" to-ports="80"/>
    192.0.2.7 may connect to port 80
=<allow-access-from domain="2001:db8::7" to-ports="80"/>
    2001:db8::7 may connect to port 80
=<allow-access-from domain="*" to-ports="80"/>
    any site may connect to port 80
=<allow-access-from to-ports="80"/>
    3:1: warning: without domain this counts for nothing: write that in
    3:1: warning: Lightspark ignores what follows because of this...
    grants nothing
=<allow-access-from domain="" to-ports="80"/>
    3:1: warning: Lightspark ignores what follows because of this...
    3:20: warning: domain="" is not one name (ASCII, no http://, no port), an address, * or such as *.example.com...
    grants nothing
=<allow-access-from domain="http://a.example:80/b" to-ports="80"/>
    3:20: warning: domain="http://a.example:80/b" is not one name...
    grants nothing
=<allow-access-from domain="*foo.example" to-ports="80"/>
    3:20: warning: domain="*foo.example" is not one name...
    grants nothing
=<allow-access-from domain="a.*.example" to-ports="80"/>
    3:20: warning: domain="a.*.example" is not one name...
    grants nothing
=<allow-access-from domain="192.168.*" to-ports="80"/>
    3:20: warning: domain="192.168.*" is not one name...
    grants nothing
=<allow-access-from domain="*.192.168.0.1" to-ports="80"/>
    3:20: warning: domain="*.192.168.0.1" is not one name...
    grants nothing
=<allow-access-from domain=" a.example" to-ports="80"/>
    3:20: warning: Lightspark drops the entry for blanks in " a.example": remove them
    a.example may connect to port 80
=<allow-access-from domain="10.0.0.300" to-ports="80"/>
    3:20: warning: domain="10.0.0.300" is not one name...
    grants nothing
=<allow-access-from domain="*.com" to-ports="80"/>
    3:20: warning: some players (swf2es) refuse *.com as too wide: write such as *.example.com
    com and its subdomains may connect to port 80
=<allow-access-from domain="a.example" to-ports="8000,5222"/>
    a.example may connect to ports 8000, 5222
=<allow-access-from domain="everyone" to-ports="80"/>
    3:20: warning: "everyone" is a host of that name: for any site write *
    everyone may connect to port 80
=<allow-access-from domain="a.example" to-ports="*"/>
    a.example may connect to any port
=<allow-access-from domain="a.example"/>
    3:1: warning: without to-ports this counts for nothing: write that in
    3:1: warning: Lightspark ignores what follows because of this...
    grants nothing
=<allow-access-from domain="a.example" to-ports="5222,0"/>
    3:39: warning: "0" is no port or range, and some players (swf2es) drop the entry: write ports from 1 to 65535, such as 5222,8000-8010
    a.example may connect to port 5222
=<allow-access-from domain="a.example" to-ports="65536"/>
    3:39: warning: "65536" is no port...
    grants nothing
=<allow-access-from domain="a.example" to-ports="+80"/>
    3:39: warning: "+80" is no port...
    grants nothing
=<allow-access-from domain="a.example" to-ports="80;81"/>
    3:39: warning: "80;81" is no port or range, and some players (swf2es) drop the entry: separate ports with commas
    a.example may connect to port 80
=<allow-access-from domain="a.example" to-ports="80 81"/>
    3:39: warning: "80 81" is no port or range, and some players (swf2es) drop the entry: separate ports with commas
    a.example may connect to port 80
=<allow-access-from domain="a.example" to-ports="80 to 90"/>
    3:39: warning: "80 to 90" is no port or range, and some players (swf2es) drop the entry: write ports from 1 to 65535, such as 5222,8000-8010
    a.example may connect to port 80
=<allow-access-from domain="a.example" to-ports="80,,,"/>
    3:39: warning: "" is no port or range, and some players (swf2es) drop the entry: write ports from 1 to 65535, such as 5222,8000-8010
    a.example may connect to port 80
=<allow-access-from domain=" a.example" to-ports="80,x"/>
    3:20: warning: Lightspark drops the entry for blanks in " a.example": remove them
    3:40: warning: "x" is no port or range, and some players (swf2es) drop the entry...
    grants nothing
=<allow-access-from domain="a.example" to-ports="80-"/>
    3:39: warning: "80-" is no port...
    a.example may connect to port 80
=<allow-access-from domain="a.example" to-ports="80, *"/>
    3:39: warning: "*" is no port or range, and some players (swf2es) drop the entry: write * alone
    a.example may connect to port 80
=<allow-access-from domain="a.example" to-ports=" * "/>
    3:39: warning: Lightspark drops the entry for blanks in " * ": remove them
    a.example may connect to any port
=<allow-access-from domain="a.example" to-ports="5222, 8000"/>
    a.example may connect to ports 5222, 8000
=<allow-access-from domain="a.example" to-ports="ALL"/>
    3:39: warning: "ALL" is no port or range, and some players (swf2es) drop the entry: write * alone
    grants nothing
=<allow-access-from domain="a.example" to-ports="0-65535"/>
    3:39: warning: "0-65535" is no port or range, and some players (swf2es) drop the entry: write * alone
    grants nothing
=<allow-access-from domain="a.example" to-ports="8010-8000"/>
    3:39: warning: "8010-8000" is no port or range, and some players (swf2es) drop the entry: write ports from 1 to 65535, such as 5222,8000-8010
    a.example may connect to port 8010
=<allow-access-from domain="a.example" to-ports="5222,8000-8010"/>
    3:39: warning: Lightspark reads only the first port of 8000-8010: write the ports, or *
    a.example may connect to ports 5222, 8000-8010
=<allow-access-from domain="a.example" to-ports="80-80"/>
    a.example may connect to port 80
=<allow-access-from domain="*" to-ports="80,*"/>
    3:20: warning: any site may use any port of this host: name the sites or the ports
    3:31: warning: "*" is no port or range, and some players (swf2es) drop the entry: write * alone
    any site may connect to any port
=<allow-access-from domain="a.example" to-ports="25,80,6660-6666"/>
    3:39: warning: Lightspark reads only the first port of 6660-6666...
    3:39: warning: Flash Player refuses 25, 6665, 6666 since version 24: use another port
    a.example may connect to ports 25, 80, 6660-6666
=<allow-access-from domain="a.example" to-ports="80" secure="true"/>
    a.example, over HTTPS only, may connect to port 80
=<allow-access-from domain="a.example" to-ports="80" secure="TRUE"/>
    3:53: warning: "TRUE" may be taken as either: write "true" or "false"
    a.example may connect to port 80
=<allow-access-from domain='&#98;.&#x65;xample' to-ports='80'/><allow-access-from domain='c.example' to-ports='80'><!-- - --></allow-access-from>
    b.example may connect to port 80
    c.example may connect to port 80
=<allow-access-from domain='b.example' to-ports='80'/><allow-access-from domain='b.example' to-ports='80'/>
    b.example may connect to port 80
=<allow-access-from domain="a.example" to-ports="80" secure="false" x="y"/><allow-access-from domain="a.example"/>
    3:1: warning: Lightspark ignores what follows because of this: correct it, or remove it
    3:68: warning: no attribute x counts here: remove it, or correct it (in lower case)
    3:75: warning: without to-ports this counts for nothing: write that in
    a.example may connect to port 80
=<allow-access-from-identity><signatory>x</signatory></allow-access-from-identity>
    1:1: warning: this grants nothing...
    3:1: warning: <allow-access-from-identity> has no meaning in a socket policy: remove it
    grants nothing
=<x><allow-http-request-headers-from/></x><allow-access-from domain="a.example" to-ports="80"/>
    3:1: warning: <x> has no meaning in a socket policy: remove it
    a.example may connect to port 80
=<x><allow-access-from domain="a.example" to-ports="80"/></x>
    1:1: warning: this grants nothing...
    3:1: warning: <x> has no meaning in a socket policy: remove it
    3:4: warning: <allow-access-from> must be in <cross-domain-policy>: move it
    grants nothing
=é<Allow-Access-From domain="*" to-ports="*">x</Allow-Access-From><![CDATA[x]]>
    1:1: warning: this grants nothing...
    3:1: warning: text has no meaning in a policy: remove it
    3:2: warning: <Allow-Access-From> is not read: write <allow-access-from>
    3:66: warning: text has no meaning in a policy: remove it
    grants nothing
=<x/><x:allow-access-from domain="*" to-ports="*"/>
    1:1: warning: this grants nothing...
    3:1: warning: <x> has no meaning in a socket policy: remove it
    3:5: warning: <x:allow-access-from> is not read: write <allow-access-from>
    grants nothing
=<allow-access-fromdomain="*" to-ports="80"/>
    1:1: warning: this grants nothing...
    3:2: warning: Silverlight and other strict readers refuse this as a name: correct it, or part it from an attribute
    grants nothing
"#;
    let (start, _) = NARROW.split_once("<allow").unwrap();
    let start = start.replace("><", ">\n<");
    cases(table, |entry, expected| {
        let policy = format!("{}\n{}\n</cross-domain-policy>", start, entry);
        compare(policy.as_bytes(), "843", expected);
    });
}

/// Each case: the value of `site-control` on line 2, or -, what is on line 3, and the ports.
#[test]
fn served_from() {
    let table = r#"
=master-only 80,5222 843
    a.example may connect to ports 80, 5222
=master-only 80,5222 127.0.0.1:843 [::1]:843
    a.example may connect to ports 80, 5222
=master-only 80,5222 842
    2:15: warning: Lightspark ignores a policy with site-control unless from port 843: remove it, serve port 843 alone, or say --public-port 843
    a.example may connect to ports 80, 5222
=master-only 80,5222 0
    2:15: warning: Lightspark ignores a policy with site-control unless...
    3:39: warning: 80,5222 has ports below 1024, which only a policy from such a port can grant: serve it on port 843, or say --public-port 843
    a.example may connect to port 5222
=master-only 80,5222 843 5000
    2:15: warning: Lightspark ignores a policy with site-control unless...
    3:39: warning: 80,5222 has ports below 1024...
    a.example may connect to ports 80, 5222
=all 80,5222 843
    2:15: warning: players also ask the port they want, and may hang there: write <site-control permitted-cross-domain-policies="master-only"/>
    a.example may connect to ports 80, 5222
=none 80,5222 843
    2:15: warning: "none" makes every player refuse everything: write "master-only"
    grants nothing
=none 80,5222 842
    2:15: warning: Lightspark ignores a policy with site-control unless...
    a.example may connect to ports 80, 5222
=by-content-type 80 843
    a.example may connect to port 80
=MASTER-ONLY 80 843
    2:15: warning: Lightspark refuses everything for "MASTER-ONLY"...
    a.example may connect to port 80
=- 80,5222 843
    1:1: warning: players also ask the port they want, and may hang there...
    a.example may connect to ports 80, 5222
=- 80,5222 842
    a.example may connect to ports 80, 5222
=- 5222 843 5000
    a.example may connect to port 5222
=- 80 1024
    3:39: warning: 80 has ports below 1024...
    grants nothing
=- 80 1023
    a.example may connect to port 80
=- * 1024
    a.example may connect to ports 1024-65535
=- 1000-1100 1024
    3:39: warning: Lightspark reads only the first port of 1000-1100...
    3:39: warning: 1000-1100 has ports below 1024...
    a.example may connect to ports 1024-1100
=- 80 943
    1:1: warning: Silverlight asks port 943, Flash Player any other: serve this on port 843
    grants nothing
"#;
    cases(table, |case, expected| {
        let (control, case) = case.split_once(' ').unwrap();
        let (to_ports, ports) = case.split_once(' ').unwrap();
        let control = match control {
            "-" => String::new(),
            _ => format!(
                "<site-control permitted-cross-domain-policies='{}'/>",
                control
            ),
        };
        let entry = format!(
            "<allow-access-from domain='a.example' to-ports='{}'/>",
            to_ports
        );
        let root = "cross-domain-policy";
        let policy = format!("<{}>\n{}\n{}</{}>", root, control, entry, root);
        compare(policy.as_bytes(), ports, expected);
        if !ports.contains(' ') && ports != "0" {
            let by_option = check(policy.as_bytes(), &["-l", "5555", "--public-port", ports]);
            assert_eq!(by_option, check(policy.as_bytes(), &["--listen", ports]));
        }
    });
}

/// Each case: what is in `allow-from`, and in `grant-to` on the next line.
#[test]
fn silverlight() {
    let table = r#"
=<domain uri='*'/> <socket-resource port='4502-4534' protocol='tcp'/>
    any site may connect to ports 4502-4534
=<domain uri='http://a.example'/><domain uri='file:///'/> <socket-resource port='4502' protocol='tcp'/><socket-resource port='4510-4520' protocol='tcp'/>
    http://a.example, file:/// may connect to ports 4502, 4510-4520
=<domain uri='a.example'/> <socket-resource port='4502' protocol='tcp'/>
    1:65: warning: uri="a.example" is not an origin: write such as http://game.example.com or *
    grants nothing
=<domain uri='http://a b'/><domain uri='ftp://a.example'/> <socket-resource port='4502' protocol='tcp'/>
    1:65: warning: uri="http://a b" is not an origin: write such as http://game.example.com or *
    1:91: warning: uri="ftp://a.example" is not an origin...
    grants nothing
=<domain uri='*'/> <socket-resource port='*' protocol='tcp'/><socket-resource port='4502' protocol='tcp'/>
    2:18: warning: Silverlight refuses all for port="*": write 4502 to 4534, one or a range
    grants nothing
=<domain uri='*'/> <socket-resource port='4502,4503' protocol='tcp'/><socket-resource port='4502' protocol='tcp'/>
    2:18: warning: Silverlight refuses all for port="4502,4503"...
    grants nothing
=<domain uri='*'/> <socket-resource port='4502' protocol='tcp'/><socket-resource port='4530-4535' protocol='tcp'/>
    2:63: warning: Silverlight refuses all for port="4530-4535"...
    grants nothing
=<domain uri='*'/> <socket-resource port='4502' protocol='udp'/>
    2:30: warning: without protocol="tcp" this counts for nothing: write that
    grants nothing
=<domain uri='*'/> <socket-resource port='80' protocol='udp'/><socket-resource port='4502' protocol='tcp'/>
    2:28: warning: without protocol="tcp" this counts for nothing: write that
    any site may connect to port 4502
=<domain uri='*'/> <resource path='/' include-subpaths='true'/><socket-resource port='4502' protocol='tcp'/>
    any site may connect to port 4502
=<domain uri='*'/> <socket-resource protocol='tcp'/>
    2:1: warning: without port this counts for nothing: write that in
    grants nothing
=</allow-from><domain uri='*'/><allow-from> <socket-resource port='4502' protocol='tcp'/>
    1:1: warning: this grants nothing: write <policy> with <domain> and <socket-resource> in it
    1:70: warning: <domain> must be in <allow-from>: move it
    grants nothing
=<domain uri='*'/><!-- a -- b --> <socket-resource port='4502' protocol='tcp'/>
    1:81: error: Silverlight and other strict readers refuse two hyphens in a comment: write one
    grants nothing
=<domain uri='*'uri='*'/> <socket-resource port='4502' protocol='tcp'/>
    1:72: error: Silverlight and other strict readers refuse attributes without a blank between: write one
    grants nothing
"#;
    let policy = |case: &str| {
        let start = "<access-policy><cross-domain-access><policy><allow-from>";
        let end = "</grant-to></policy></cross-domain-access></access-policy>";
        let middle = case.replace("> <", "></allow-from><grant-to>\n<");
        format!("{}{}{}", start, middle, end)
    };
    cases(table, |case, expected| {
        compare(policy(case).as_bytes(), "943", expected)
    });
    let case = policy("<domain uri='*'/> <socket-resource port='4502' protocol='tcp'/>");
    let other = [
        &b"<?xml version='1.0' encoding='ISO-8859-1'?><!-- \xe4 -->"[..],
        case.as_bytes(),
    ];
    let expected =
        "1:1: warning: Silverlight and other strict readers know UTF-8, not ISO-8859-1...";
    let granted = "any site may connect to port 4502";
    compare(&other.concat(), "943", &[expected, granted]);
    let expected =
        "1:1: warning: Silverlight asks port 943, Flash Player any other: serve this on port 943";
    compare(case.as_bytes(), "843", &[expected, "grants nothing"]);
    let grant = "any site may connect to port 4502";
    let methods = case.replace("<allow-from", "<allow-from http-methods='*'");
    compare(methods.as_bytes(), "943", &[grant]);
    let inner = case.replace("<cross-domain-access>", "");
    let inner = inner.replace("</cross-domain-access>", "");
    let expected = [
        "1:1: warning: this grants nothing: write <policy> with...",
        "1:16: warning: <policy> must be in <cross-domain-access>: move it",
        "grants nothing",
    ];
    compare(inner.as_bytes(), "943", &expected);
    // Silverlight passes over blanks before the declaration, and over nothing else.
    for (start, end) in [("\n <?xml version='1.0'?>", &[grant][..]), ("<!---->\n<?xml version='1.0'?>", &[
        "2:1: error: Silverlight and other strict readers refuse this declaration: begin with <?xml version=\"1.0\"?>, or remove it", "grants nothing"])] {
        compare((start.to_owned() + &case).as_bytes(), "943", end);
    }
}

/// Each case: a file that Adobe's parser does not read, where |, and why; {r} is a root.
#[test]
fn errors() {
    let table = r#"
=|
    the file is empty: write a policy
=|<allow-access-from/>
    <allow-access-from> must be in <cross-domain-policy>: move it
=|x<{r}/>
    text has no meaning in a policy: remove it
=<{r}/> |x
    outside the root element: move this in, or remove it
=<{r}/>|<{r}/>
    outside the root element...
=|</{r}>
    outside the root element...
=|<![CDATA[x]]><{r}/>
    text has no meaning in a policy...
=<{r}>|
    write </{r}> here
=<{r}>|<b></{r}></b>
    <b> is open: write </b>, or /> for its >
=<{r}>|</b>
    </b> closes nothing: write </{r}>, or remove it
=<{r}>|</ {r}>
    no name right after <: write it, or &lt;, or for a comment <!-- ... -->
=<{r} |b="1", c="2"/>
    write b="..." here: one pair of straight quotes, no < between, a blank after
=<{r}></{r}|
    no end of the tag before this: write > or />
=<{r}|
    no end of the tag before this: write > or />
=<{r} |/ >
    no end of the tag before this: write > or />
=<{r} |/	>
    no end of the tag before this: write > or />
=|< {r}/>
    no name right after <: write it, or &lt;, or for a comment <!-- ... -->
=<{r} |b/>
    write b="..." here: one pair of straight quotes, no < between, a blank after
=<{r} |b=1/>
    write b="..." here: ...
=<{r} c='' |b=“1”/>
    write b="..." here: ...
=<{r} |b=""1"" c="d"/>
    write b="..." here: ...
=<{r} |b="1 c="2"/>
    write b="..." here: ...
=<{r} |b="1""/>
    write b="..." here: ...
=<{r} |b="1/>
    write b="..." here: ...
=<{r} |b='1/><c d='2'/></{r}>
    write b="..." here: ...
=<{r}><![CDATA[|</{r}>
    no end of this: write ]]>
=<!--| <{r}/>
    no end of this: write -->
=<?|a <{r}/>
    no end of this: write ?>
=|<!DOCTYPE a [ <{r}/>
    no end of this DOCTYPE: write >
=|<!-- only -->
    the file is empty: write a policy
=<{r}><b/>|</b></{r}>
    </b> closes nothing: write </{r}>, or remove it
=<{r}><b c="1" |<d/></{r}>
    no end of the tag before this: write > or />
=|<site-control/><{r}/>
    <site-control> must be in <cross-domain-policy>: move it
=<{r}>|<!–x–></{r}>
    no name right after <: write it, or &lt;, or for a comment <!-- ... -->
=<{r}>|<!–x–>
    no name right after <: write it, or &lt;, or for a comment <!-- ... -->
=|<html><br></html>
    <html> is no policy: write <cross-domain-policy>
"#;
    cases(table, |case, expected| {
        let root = "cross-domain-policy";
        let case = case.replace("{r}", root);
        let (before, after) = case.split_once('|').unwrap();
        let column = before.chars().count() + 1;
        let error = format!("1:{}: error: {}", column, expected[0].replace("{r}", root));
        compare(
            (before.to_owned() + after).as_bytes(),
            "843",
            &[&error, "grants nothing"],
        );
    });
    let nul = "2:1: error: a NUL would end the policy here: remove it, or save it as UTF-8";
    compare(b"<a>\n\0</a>", "843", &[nul, "grants nothing"]);
    compare(
        b" \r\n\t",
        "843",
        &["1:1: error: the file is empty...", "grants nothing"],
    );
    let large = NARROW.to_owned() + &" ".repeat(20_481 - NARROW.len());
    let parts = "1:1: warning: an answer over 1400 bytes...";
    let over = "1:1: error: over 20480 bytes: shorten it";
    compare(large.as_bytes(), "843", &[over, parts, "grants nothing"]);
    let mut command = Command::new(BIN);
    let output = command
        .args(["--check", "/nonexistent/policy"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}

/// Each case: what a sound policy on line 2 is put between, where strict readers mind it, and what.
#[test]
fn what_strict_readers_mind() {
    let rows: &[(&[u8], &[u8], &str, &str)] = &[
        (b"<!-- a --->", b"", "1:8", "two hyphens in a comment"),
        (b"<!-- a -- b -->", b"", "1:8", "two hyphens in a comment"),
        (b"<!-- \xd4\xca -->", b"", "1:6", "bytes that are not UTF-8"),
        (b"<!-- a\x01 -->", b"", "1:7", "a control character"),
        (b" <?xml version='1.0'?>", b"", "1:2", "this declaration"),
        (b"<?XML version='1.0'?>", b"", "1:1", "this declaration"),
        (
            b"<?xml standalone='yes' version='1.0'?>",
            b"",
            "1:1",
            "this declaration",
        ),
        (b"<?xml version='1.0?>", b"", "1:1", "this declaration"),
        (b"<?xml version='1.0 '?>", b"", "1:1", "this declaration"),
        (b"<? xml version='1.0'?>", b"", "1:3", "this as a name"),
        (b"<?a+b?>", b"", "1:3", "this as a name"),
        (
            b"<!DOCTYPE a SYSTEM \"x>\n<!-- \" -->",
            b"",
            "1:1",
            "this DOCTYPE",
        ),
        (
            b"<!DOCTYPE a SYSTEM\"http://x\">",
            b"",
            "1:1",
            "this DOCTYPE",
        ),
        (b"<!DOCTYPE a SYSTEM \"x>", b"", "1:1", "this DOCTYPE"),
        (b"<!DOCTYPE a PUBLIC 'x'>", b"", "1:1", "this DOCTYPE"),
        (b"<!DOCTYPE a><!DOCTYPE a>", b"", "1:13", "this DOCTYPE"),
        (b"", b"<!DOCTYPE a>", "3:1", "this DOCTYPE"),
        (b"", b"<?xml version='1.0'?>", "3:1", "this declaration"),
    ];
    for (before, after, place, what) in rows {
        let file = [*before, b"\n", NARROW.as_bytes(), *after].concat();
        let expected = format!(
            "{}: warning: Silverlight and other strict readers refuse {}...",
            place, what
        );
        compare(&file, "843", &[&expected, GRANTED]);
    }
    for (part, changed, place, what) in [
        (
            "5222\"",
            "5222\"secure='false'",
            "1:143",
            "attributes without a blank",
        ),
        (
            "5222\"",
            "5222\" to-ports='5222'",
            "1:144",
            "a repeated attribute",
        ),
    ] {
        let expected = format!(
            "{}: warning: Silverlight and other strict readers refuse {}...",
            place, what
        );
        compare(
            NARROW.replace(part, changed).as_bytes(),
            "843",
            &[&expected, GRANTED],
        );
    }
    for before in [
        "<?xml version = '1.1' encoding='UTF-8' standalone='yes' ?>",
        "<!DOCTYPE a PUBLIC 'b' \"c\" [<!ENTITY d \"]>\"> <!-- ' --> <?e \" ?>] >",
        "<!DOCTYPE a SYSTEM '<&>[\"'>",
        "<?p?><?q <a> ?><!----><!-- <a> & - -->",
        "\u{feff}<?xml version='1.0'?>\r\n",
        "<?xml version='1.0' encoding='ISO-8859-1'?>",
    ] {
        compare([before, NARROW].concat().as_bytes(), "843", &[GRANTED]);
    }
}

#[test]
fn ends_and_sizes() {
    let nul = "2:1: warning: the NUL here is left out, since the server adds its own: remove it";
    for end in ["\0", "\0\n", "\0 \0\r\n\t"] {
        compare([NARROW, end].concat().as_bytes(), "843", &[nul, GRANTED]);
    }
    let parts = "1:1: warning: an answer over 1400 bytes...";
    let hangs = "1:1: warning: with its NUL a multiple of 4096 bytes...";
    let rows: &[(usize, &[&str])] = &[
        (1399, &[GRANTED]),
        (1400, &[parts, GRANTED]),
        (4095, &[parts, hangs, GRANTED]),
        (4096, &[parts, GRANTED]),
        (20_480, &[parts, GRANTED]),
    ];
    for (size, expected) in rows {
        let file = NARROW.to_owned() + &" ".repeat(size - NARROW.len());
        compare(file.as_bytes(), "843", expected);
    }
    let shipped = std::fs::read(POLICY).unwrap();
    let open = "5:24: warning: any site may use any port of this host: name the sites or the ports";
    compare(&shipped, "843", &[open, "any site may connect to any port"]);
    compare(EVERYWHERE.as_bytes(), "5000", &[GRANTED]);
    let bare = NARROW.replace(" permitted-cross-domain-policies=\"master-only\"", "");
    let expected = [
        "1:22: warning: \"\" makes every player refuse everything: write...",
        "1:22: warning: Lightspark ignores the whole policy because of this...",
        "grants nothing",
    ];
    compare(bare.as_bytes(), "843", &expected);
}

/// Text from the file can neither begin a line of its own nor flood the operator.
#[test]
fn harmless_output() {
    let many = "<x/>".repeat(200) + "<allow-access-from domain='a' to-ports='80'/>";
    let policy = format!("<cross-domain-policy>{}</cross-domain-policy>", many);
    let (text, _) = check(policy.as_bytes(), &["-l", "842"]);
    assert_eq!(text.lines().count(), 102, "{}", text);
    // The error is not left out.
    let (text, status) = check(policy.replace("</", "<").as_bytes(), &["-l", "842"]);
    assert_eq!((text.lines().count(), status), (2, 1));

    let long = "y".repeat(1000);
    let domain = format!("&#10;\u{9b}\u{202e}{}", long);
    let policy = NARROW
        .replace("game.example.com", &domain)
        .replace("5222", &long);
    let (text, _) = check(policy.as_bytes(), &["-l", "843"]);
    assert!(
        text.contains(r#""\n\u{9b}\u{202e}yyy"#) || text.contains(r#"" \u{9b}"#),
        "{}",
        text
    );
    for line in text.lines() {
        assert!(
            line.len() < 250 && !line.contains(char::is_control),
            "{}",
            line
        );
    }
}

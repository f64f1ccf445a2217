//! `--check`: what it says of a policy file, and that no file can make it slow or crash.

#![allow(dead_code)]

mod common;

#[path = "../src/check.rs"]
mod check;
#[path = "../src/connection.rs"]
mod connection;
#[path = "../src/log.rs"]
mod log;
#[path = "../src/options.rs"]
mod options;
#[path = "../src/policy.rs"]
mod policy;
#[path = "../src/privileges.rs"]
mod privileges;
#[path = "../src/sys.rs"]
mod sys;
#[path = "../src/xml.rs"]
mod xml;

use common::{Scratch, BIN, PATIENCE, POLICY};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A policy without a warning on port 843.
const NARROW: &str = "<cross-domain-policy>\
    <site-control permitted-cross-domain-policies=\"master-only\"/>\
    <allow-access-from domain=\"game.example.com\" to-ports=\"5222\"/>\
    </cross-domain-policy>\n";

/// Runs `--check` and returns what it printed, without `FILE:` before each line, and its status.
fn check_file(scratch: &Scratch, policy: &[u8], ports: &str) -> (Vec<String>, Option<i32>) {
    let file = scratch.file("policy.xml", policy);
    let mut command = Command::new(BIN);
    command.args(["--check", &file]);
    for port in ports.split_whitespace() {
        command.args(["--listen", port]);
    }
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{:?}", output);
    let text = String::from_utf8(output.stdout).unwrap();
    let prefix = format!("{}:", file);
    let line = |line: &str| match line.strip_prefix(&prefix) {
        Some(rest) => rest.trim_start().to_owned(),
        None => panic!("no {} before {}", prefix, line),
    };
    (text.lines().map(line).collect(), output.status.code())
}

/// Compares the whole output with `expected`: its lines, each whole or as far as `...`.
fn compare(policy: &str, ports: &str, expected: &[&str]) {
    let (lines, status) = check_file(&Scratch::new(), policy.as_bytes(), ports);
    let same = |(line, expected): (&String, &&str)| match expected.strip_suffix("...") {
        Some(start) => line.starts_with(start),
        None => line == expected,
    };
    let same = lines.len() == expected.len() && lines.iter().zip(expected).all(same);
    assert!(
        same,
        "{}\n{}\n{:#?} is not {:#?}",
        ports, policy, lines, expected
    );
    let error = expected.iter().any(|line| line.contains(": error: "));
    assert_eq!(status, Some(i32::from(error)), "{}", policy);
}

/// Goes through a table: a line that begins with `=` is a case, what follows it is expected.
fn cases(table: &str, try_case: impl Fn(&str, &[&str])) {
    for case in table.split("\n=").skip(1) {
        let mut lines = case.lines();
        let case = lines.next().unwrap();
        let expected: Vec<&str> = lines
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        try_case(case, &expected);
    }
}

/// Each case stands on line 3 of a Flash policy that is sound otherwise, served from port 843.
#[test]
fn entries() {
    let table = r#"
=
    1:1: warning: this grants nothing: write <allow-access-from> in it
    grants nothing
=<allow-access-from domain="LocalHost" to-ports="1"/>
    LocalHost may connect to port 1
=<allow-access-from domain="*.a-b.example" to-ports="1"/>
    a-b.example and its subdomains may connect to port 1
=<allow-access-from domain="192.0.2.7" to-ports="1"/>
    192.0.2.7 may connect to port 1
=<allow-access-from domain="2001:db8::7" to-ports="1"/>
    2001:db8::7 may connect to port 1
=<allow-access-from domain="*" to-ports="1"/>
    any site may connect to port 1
=<allow-access-from to-ports="1"/>
    3:1: warning: without domain="game.example.com" this counts for nothing: write that in
    grants nothing
=<allow-access-from domain="" to-ports="1"/>
    3:20: warning: "" is not a name, an address, * or such as *.example.com: write game.example.com
    grants nothing
=<allow-access-from domain="http://a.example:80/b" to-ports="1"/>
    3:20: warning: "http://a.example:80/b" is not a name, an address, * or such as *.example.com: write a.example
    grants nothing
=<allow-access-from domain="a.example:80" to-ports="1"/>
    3:20: warning: "a.example:80" is not a name, an address, * or such as *.example.com: write a.example
    grants nothing
=<allow-access-from domain="a.example/b" to-ports="1"/>
    3:20: warning: "a.example/b" is not a name, an address, * or such as *.example.com: write a.example
    grants nothing
=<allow-access-from domain="*foo.example" to-ports="1"/>
    3:20: warning: "*foo.example" is not a name, an address, * or such as *.example.com: write *.foo.example
    grants nothing
=<allow-access-from domain="a.*.example" to-ports="1"/>
    3:20: warning: "a.*.example" is not a name, an address, * or such as *.example.com: write game.example.com
    grants nothing
=<allow-access-from domain="192.168.*" to-ports="1"/>
    3:20: warning: "192.168.*" is not a name, an address, * or such as *.example.com: write game.example.com
    grants nothing
=<allow-access-from domain="*.168.0.1" to-ports="1"/>
    3:20: warning: "*.168.0.1" is not a name, an address, * or such as *.example.com: write game.example.com
    grants nothing
=<allow-access-from domain="*.192.168.0.1" to-ports="1"/>
    3:20: warning: "*.192.168.0.1" is not a name, an address, * or such as *.example.com: write game.example.com
    grants nothing
=<allow-access-from domain=" a.example" to-ports="1"/>
    3:20: warning: " a.example" is not a name, an address, * or such as *.example.com: write a.example
    grants nothing
=<allow-access-from domain=".a.example" to-ports="1"/>
    3:20: warning: ".a.example" is not a name, an address, * or such as *.example.com: write *.a.example
    grants nothing
=<allow-access-from domain="10.0.0.300" to-ports="1"/>
    3:20: warning: "10.0.0.300" is not a name, an address, * or such as *.example.com: write game.example.com
    grants nothing
=<allow-access-from domain="ü.example" to-ports="x"/>
    3:20: warning: "ü.example" is not a name, an address, * or such as *.example.com: write game.example.com
    3:39: warning: "x" cannot be granted: write ports from 1 to 65535 (Silverlight: 4502 to 4534)
    grants nothing
=<allow-access-from domain="a.example" to-ports="5222,8000"/>
    a.example may connect to ports 5222 and 8000
=<allow-access-from domain="a.example" to-ports="3,2,1,65535,9,2"/>
    a.example may connect to ports 1-3, 9 and 65535
=<allow-access-from domain="a.example" to-ports="*"/>
    a.example may connect to any port
=<allow-access-from domain="a.example"/>
    3:1: warning: without to-ports="5222,8000" this counts for nothing: write that in
    grants nothing
=<allow-access-from domain="a.example" to-ports=""/>
    3:39: warning: "" cannot be granted...
    grants nothing
=<allow-access-from domain="a.example" to-ports="5222,0"/>
    3:39: warning: "0" cannot be granted...
    a.example may connect to port 5222
=<allow-access-from domain="a.example" to-ports="65536"/>
    3:39: warning: "65536" cannot be granted...
    grants nothing
=<allow-access-from domain="a.example" to-ports="+80"/>
    3:39: warning: "+80" cannot be granted...
    grants nothing
=<allow-access-from domain="a.example" to-ports="80;81"/>
    3:39: warning: "80;81" cannot be granted...
    grants nothing
=<allow-access-from domain="a.example" to-ports="80-"/>
    3:39: warning: "80-" cannot be granted...
    grants nothing
=<allow-access-from domain="a.example" to-ports="5222, 8000"/>
    3:39: warning: "5222, 8000" has blanks, which some players refuse: remove them
    a.example may connect to ports 5222 and 8000
=<allow-access-from domain="a.example" to-ports="5222,	8000"/>
    3:39: warning: "5222, 8000" has blanks...
    a.example may connect to ports 5222 and 8000
=<allow-access-from domain="a.example" to-ports="52 22"/>
    3:39: warning: "52 22" has blanks...
    3:39: warning: "52 22" cannot be granted...
    grants nothing
=<allow-access-from domain="a.example" to-ports="8010-8000"/>
    3:39: warning: 8010-8000 runs backwards: write the lower port first
    grants nothing
=<allow-access-from domain="a.example" to-ports="5222,8000-8010"/>
    3:39: warning: Lightspark reads only the first port of 8000-8010: write the ports, or *
    a.example may connect to ports 5222 and 8000-8010
=<allow-access-from domain="a.example" to-ports="80-80"/>
    a.example may connect to port 80
=<allow-access-from domain="*" to-ports="9,*"/>
    3:20: warning: any site may use any port of this host: name the sites or the ports
    any site may connect to any port
=<allow-access-from domain="a.example" to-ports="9" secure="true"/>
    a.example, over HTTPS only, may connect to port 9
=<allow-access-from domain="*.a.example" to-ports="9" secure="true"/>
    a.example and its subdomains, over HTTPS only, may connect to port 9
=<allow-access-from domain="a.example" to-ports="9" secure="false"/>
    a.example may connect to port 9
=<allow-access-from domain="a.example" to-ports="9" secure="TRUE"/>
    3:52: warning: "TRUE" is taken as "false": write "true" or "false"
    a.example may connect to port 9
=<allow-access-from domain='&#98;.&#x65;xample' to-ports='9'/><allow-access-from domain='c.example' to-ports='1'><!-- - --></allow-access-from>
    b.example may connect to port 9
    c.example may connect to port 1
=<allow-http-request-headers-from domain="*" headers="*"/>
    1:1: warning: this grants nothing: write <allow-access-from>...
    3:1: warning: <allow-http-request-headers-from> has no meaning in a socket policy: remove it
    grants nothing
=<allow-access-from-identity><signatory>x</signatory></allow-access-from-identity>
    1:1: warning: this grants nothing: write <allow-access-from>...
    3:1: warning: <allow-access-from-identity> has no meaning in a socket policy: remove it
    grants nothing
=é<Allow-Access-From domain="*" to-ports="*">x</Allow-Access-From><![CDATA[x]]>
    1:1: warning: this grants nothing: write <allow-access-from>...
    3:1: warning: text has no meaning in a policy: remove it
    3:2: warning: <Allow-Access-From> is not read: write <allow-access-from>
    3:66: warning: text has no meaning in a policy: remove it
    grants nothing
=<x><y><z/></y>text<allow-access-from domain="*" to-ports="*"/></x><allow-access-from domain="a.example" to-ports="9"/>
    3:1: warning: <x> has no meaning in a socket policy: remove it
    a.example may connect to port 9
=<x:allow-access-from domain="*" to-ports="*"/>
    1:1: warning: this grants nothing: write <allow-access-from>...
    3:1: warning: <x:allow-access-from> is not read: write <allow-access-from>
    grants nothing
=<allow-access-from domain="a.example" to-ports="9"><allow-access-from domain="*" to-ports="*"/></allow-access-from>
    3:52: warning: <allow-access-from> must be in <cross-domain-policy>: move it
    a.example may connect to port 9
=<allow-access-from domain="a.example" to-ports="9" headers="*"/>
    3:52: warning: no attribute headers counts here: remove it, or correct it (in lower case)
    a.example may connect to port 9
=<allow-access-from domain="a.example" to-ports="9" Secure="true"/>
    3:52: warning: no attribute Secure counts here: remove it, or correct it (in lower case)
    a.example may connect to port 9
=<site-control permitted-cross-domain-policies="none"/>
    1:1: warning: this grants nothing: write <allow-access-from>...
    3:1: warning: a second site-control: remove it
    grants nothing
"#;
    let (start, _) = NARROW.split_once("<allow").unwrap();
    let start = start.replace("><", ">\n<");
    cases(table, |entry, expected| {
        let policy = format!("{}\n{}\n</cross-domain-policy>", start, entry);
        compare(&policy, "843", expected);
    });
}

/// Each case: the value of `site-control` on line 2, or -, what is on line 3, and the ports.
#[test]
fn served_from() {
    let table = r#"
=master-only 80,5222 843
    a.example may connect to ports 80 and 5222
=master-only 80,5222 127.0.0.1:843 [::1]:843
    a.example may connect to ports 80 and 5222
=master-only 80,5222 842
    2:1: warning: Lightspark refuses site-control from a port other than 843: remove it
    a.example may connect to ports 80 and 5222
=master-only 80,5222 0
    2:1: warning: Lightspark refuses site-control...
    3:39: warning: 80,5222 has ports below 1024, which only a policy from such a port can grant: serve...
    a.example may connect to port 5222
=master-only 80,5222 843 5000
    2:1: warning: Lightspark refuses site-control from a port other than 843: serve port 843 with a file of its own
    3:39: warning: 80,5222 has ports below 1024...
    a.example may connect to ports 80 and 5222
=all 80,5222 843
    2:15: warning: players also ask the port they want, and may hang there: write <site-control permitted-cross-domain-policies="master-only"/>
    a.example may connect to ports 80 and 5222
=none 80,5222 843
    1:1: warning: "none" forbids this policy too: write "master-only"
    grants nothing
=none 0 843
    3:39: warning: "0" cannot be granted...
    grants nothing
=none 80,5222 842
    2:1: warning: Lightspark refuses site-control...
    a.example may connect to ports 80 and 5222
=by-content-type 80 843
    2:15: warning: "by-content-type" is not for sockets: write "master-only"
    a.example may connect to port 80
=by-ftp-filename 80 843
    2:15: warning: "by-ftp-filename" is not for sockets: write "master-only"
    a.example may connect to port 80
=Master-Only 80 843
    2:15: warning: "Master-Only" is not for sockets: write "master-only"
    a.example may connect to port 80
=- 80,5222 843
    1:1: warning: players also ask the port they want, and may hang there...
    a.example may connect to ports 80 and 5222
=- 80,5222 842
    a.example may connect to ports 80 and 5222
=- 80,5222 1024
    3:39: warning: 80,5222 has ports below 1024...
    a.example may connect to port 5222
=- 80 1024
    3:39: warning: 80 has ports below 1024...
    grants nothing
=- 80 1023
    a.example may connect to port 80
=- 1024 1023 1024
    a.example may connect to port 1024
=- * 1024
    a.example may connect to any port from 1024
=- 1000-2000 1024
    3:39: warning: Lightspark reads only the first port of 1000-2000...
    3:39: warning: 1000-2000 has ports below 1024...
    a.example may connect to ports 1024-2000
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
        compare(&policy, ports, expected);
    });
    let late = NARROW.replace(
        "policy><s",
        "policy><allow-access-from domain='*' to-ports='9'/><s",
    );
    let (late, _) = late.rsplit_once("<allow").unwrap();
    let expected = [
        "1:66: warning: site-control must be first: move...",
        "any site may connect to port 9",
    ];
    compare(&format!("{}</cross-domain-policy>", late), "843", &expected);
    let bare = "<cross-domain-policy><site-control/></cross-domain-policy>";
    let expected = "1:22: warning: without permitted-cross-domain-policies=\"master-only\" this...";
    let empty = "1:1: warning: this grants nothing...";
    compare(bare, "843", &[empty, expected, "grants nothing"]);
}

/// The shipped policy, and what may stand before and in the root.
#[test]
fn whole_files() {
    let shipped = std::fs::read_to_string(POLICY).unwrap();
    let open = "5:24: warning: any site may use any port of this host: name the sites or the ports";
    compare(&shipped, "", &[open, "any site may connect to any port"]);
    let granted = "game.example.com may connect to port 5222";
    compare(NARROW, "", &[granted]);
    let open = "5:24: warning: any site may use any port from 1024 of this host...";
    let control = "4:5: warning: Lightspark refuses site-control...";
    compare(
        &shipped,
        "1024",
        &[control, open, "any site may connect to any port from 1024"],
    );

    let declared = format!("\n <?xml version='1.0'?>{}", NARROW);
    let expected = "2:2: warning: some players refuse blanks before <?xml: remove them";
    compare(&declared, "843", &[expected, granted]);
    let declared = format!("<?xml version='1.0' encoding='ISO-8859-1'?>{}", NARROW);
    let expected = "1:21: warning: players read UTF-8, not ISO-8859-1: write UTF-8";
    compare(&declared, "843", &[expected, granted]);
    let declared = format!(
        "\u{feff}<?xml version='1.0' encoding='utf-8'?>\r\n{}",
        NARROW
    );
    compare(&declared, "843", &[granted]);
    let schema = "policy xmlns:xsi='x' xsi:noNamespaceSchemaLocation='y'";
    compare(&NARROW.replacen("policy", schema, 1), "843", &[granted]);
    let expected =
        "1:22: warning: no attribute xmlns counts here: remove it, or correct it (in lower case)";
    compare(
        &NARROW.replacen("policy", "policy xmlns='x'", 1),
        "843",
        &[expected, granted],
    );
}

/// Each case: what is in `allow-from`, and in `grant-to` on the next line.
#[test]
fn silverlight() {
    let table = r#"
=<domain uri='*'/> <socket-resource port='4502-4534' protocol='tcp'/>
    any site may connect to ports 4502-4534
=<domain uri='http://a.example'/><domain uri='file:///'/> <socket-resource port='*' protocol='tcp'/>
    http://a.example and file:/// may connect to ports 4502-4534
=<domain uri='a.example'/> <socket-resource port='4502' protocol='tcp'/>
    1:65: warning: "a.example" is not an origin: write such as http://game.example.com or *
    2:57: warning: this grants nothing: write a domain and a socket-resource in the policy
    grants nothing
=<domain uri='*'/> <socket-resource port='4501' protocol='tcp'/>
    2:18: warning: "4501" cannot be granted: write ports from 1 to 65535 (Silverlight: 4502 to 4534)
    2:57: warning: this grants nothing...
    grants nothing
=<domain uri='*'/> <socket-resource port='4502,4535' protocol='tcp'/>
    2:18: warning: "4535" cannot be granted...
    any site may connect to port 4502
=<domain uri='*'/> <socket-resource port='4502' protocol='udp'/>
    2:30: warning: "udp" cannot be granted: write tcp
    2:57: warning: this grants nothing...
    grants nothing
=<domain uri='*'/> <socket-resource protocol='tcp'/>
    2:1: warning: without port="4502-4534" this counts for nothing...
    2:45: warning: this grants nothing...
    grants nothing
=<domain uri='*'/> <resource/>
    2:1: warning: <resource> has no meaning in a socket policy: remove it
    2:23: warning: this grants nothing...
    grants nothing
=<domain uri='*'/> <socket-resource port='4502' protocol='tcp'/></grant-to></policy><policy><allow-from><domain uri='http://b.example'/></allow-from><grant-to>
    2:152: warning: this grants nothing...
    any site may connect to port 4502
=</allow-from><domain uri='*'/><allow-from> <socket-resource port='4502' protocol='tcp'/>
    1:70: warning: <domain> must be in <allow-from>: move it
    2:57: warning: this grants nothing...
    grants nothing
=<domain uri='*'/> <socket-resource port='4502' protocol='tcp'/></grant-to></policy><policy><grant-to><socket-resource port='4503' protocol='tcp'/>
    2:140: warning: this grants nothing...
    any site may connect to port 4502
"#;
    let policy = |case: &str| {
        let start = "<access-policy><cross-domain-access><policy><allow-from>";
        let end = "</grant-to></policy></cross-domain-access></access-policy>";
        let middle = case.replace("> <", "></allow-from><grant-to>\n<");
        format!("{}{}{}", start, middle, end)
    };
    cases(table, |case, expected| {
        compare(&policy(case), "943", expected)
    });
    let case = "<domain uri='*'/> <socket-resource port='4502' protocol='tcp'/>";
    let expected = "1:1: warning: Silverlight asks port 943 only: serve it with --listen 943";
    compare(
        &policy(case),
        "843",
        &[expected, "any site may connect to port 4502"],
    );
}

/// Each case: a file that is useless as a whole, where, and why.
#[test]
fn errors() {
    let table = r#"
=
    1:1: error: the file is empty: write a policy
=<html/>
    1:1: error: <html> has no meaning in a socket policy: write <cross-domain-policy>
=<!-- é --><x:cross-domain-policy/>
    1:11: error: <x:cross-domain-policy> is not read: write <cross-domain-policy>
=<Cross-Domain-Policy/>
    1:1: error: <Cross-Domain-Policy> is not read: write <cross-domain-policy>
=<allow-access-from/>
    1:1: error: <allow-access-from> must be in <cross-domain-policy>: move it
=x<a/>
    1:1: error: outside the root element: remove this
=&#32;<a/>
    1:1: error: outside the root element...
=<a/> x
    1:6: error: outside the root element...
=<a/><a/>
    1:5: error: outside the root element...
=<a/></a>
    1:5: error: outside the root element...
=</a>
    1:1: error: </a> where </> is due
=<![CDATA[x]]><a/>
    1:2: error: no name...
=<a>
    1:4: error: <a> is open: write </a>
=<a><b></a></b>
    1:7: error: </a> where </b> is due
=<a></a
    1:7: error: write > here
=<a
    1:3: error: write > here
=<a / >
    1:5: error: write > here
=< a/>
    1:2: error: no name: write one here, or &lt; for a < that is text
=<1/>
    1:2: error: no name...
=<a -b='1'/>
    1:4: error: no name...
=<a b/>
    1:5: error: write = here
=<a b=1/>
    1:6: error: write " here
=<a b='1'/>
    1:3: error: write > here
=<a b='1' ”c='2'/>
    1:10: error: no name...
=<a b·='1' ·c='2'/>
    1:11: error: no name...
=<×/>
    1:2: error: no name...
=<a b=“1”/>
    1:6: error: write " here
=<a b="1/>
    1:10: error: write " here
=<a b='1/><c d='2'/></a>
    1:10: error: write ' here
=<a b='1'c='2'/>
    1:9: error: write > here
=<a b='1' b='2'/>
    1:10: error: a second b: remove one
=<a b='&'/>
    1:7: error: this & refers to nothing: write &amp;
=<a>& </a>
    1:4: error: this & refers...
=<a>&nbsp;</a>
    1:4: error: this & refers...
=<a>&#0;</a>
    1:4: error: this & refers...
=<a>&#xD800;</a>
    1:4: error: this & refers...
=<a>&#+65;</a>
    1:4: error: this & refers...
=<a>&#99999999999;</a>
    1:4: error: this & refers...
=<a>]]></a>
    1:7: error: ]]> before this: write ]]&gt;
=<a><![CDATA[</a>
    1:13: error: no end of this: write ]]>
=<!-- <a/>
    1:5: error: no end of this: write --
=<!-- a -- b --><a/>
    1:10: error: write > here
=<? a?><a/>
    1:3: error: no name...
=<?a <a/>
    1:5: error: no end of this: write ?>
=<?a+b?><a/>
    1:4: error: write a blank here
=<a/><?xml version='1.0'?>
    1:5: error: write <?xml version="1.0"?>, at the start of the file only
=<!-- --><?xml version='1.0'?><a/>
    1:9: error: write <?xml...
=<?XML version='1.0'?><a/>
    1:1: error: write <?xml...
=<?xml?><a/>
    1:1: error: write <?xml...
=<?xml encoding='UTF-8' version='1.0'?><a/>
    1:1: error: write <?xml...
=<?xml version='1.0' encodin='UTF-8'?><a/>
    1:1: error: write <?xml...
=<?xml encoding='1.0'?><a/>
    1:1: error: write <?xml...
=<?xml version='2.0'?><a/>
    1:1: error: write <?xml...
=<?xml version='1.0 '?><a/>
    1:1: error: write <?xml...
=<?xml version='1.0' encoding='UTF 8'?><a/>
    1:1: error: write <?xml...
=<?xml version='1.0' standalone='maybe'?><a/>
    1:1: error: write <?xml...
=<?xml version='1.0'><a/>
    1:20: error: write ?> here
=<!DOCTYPE a
    1:12: error: write > here
=<!DOCTYPE a SYSTEM b><a/>
    1:20: error: write " here
=<!DOCTYPE a PUBLIC 'b'><a/>
    1:23: error: write a blank here
=<!DOCTYPE a PUBLIC 'b' ><a/>
    1:24: error: write " here
=<!DOCTYPE a PUBLIC'b' 'c'><a/>
    1:19: error: write a blank here
=<!DOCTYPEa><a/>
    1:10: error: write a blank here
=<!DOCTYPE a PUBLICSYSTEM 'b'><a/>
    1:19: error: write a blank here
=<!DOCTYPE a [ <a/>
    1:19: error: write > here
=<!DOCTYPE a><!DOCTYPE a><a/>
    1:14: error: no name...
=<a/><!DOCTYPE a>
    1:5: error: outside the root element...
=<a><!DOCTYPE a></a>
    1:5: error: no name...
=<!-- only -->
    1:14: error: no element: write <cross-domain-policy>
"#;
    cases(table, |policy, expected| {
        compare(policy, "843", &[expected[0], "grants nothing"]);
    });
    let large = NARROW.to_owned() + &" ".repeat(20_481 - NARROW.len());
    let rows: &[(&[u8], &str)] = &[
        (b" \r\n\t", "1:1: error: the file is empty"),
        (large.as_bytes(), "1:1: error: over 20480 bytes"),
        (
            b"<a>\n\0</a>",
            "2:1: error: a NUL would end the policy here: remove it",
        ),
        (b"<a/>\0", "1:5: error: a NUL would end the policy here"),
        (
            b"<a>\xc3\xa9\x01</a>",
            "1:5: error: no character of UTF-8 text",
        ),
        (
            b"<a>\xef\xbf\xbf</a>",
            "1:4: error: no character of UTF-8 text",
        ),
        (b"<a>\n\xff</a>", "2:1: error: no character of UTF-8 text"),
        (
            b"\xff\xfe<\0a\0/\0>\0",
            "1:1: error: no character of UTF-8 text",
        ),
    ];
    for (policy, expected) in rows {
        let (lines, status) = check_file(&Scratch::new(), policy, "843");
        assert!(
            lines[0].starts_with(expected),
            "{:?} is not {}",
            lines,
            expected
        );
        assert_eq!((lines[1].as_str(), status), ("grants nothing", Some(1)));
    }
    let mut command = Command::new(BIN);
    let output = command
        .args(["--check", "/nonexistent/policy"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}

/// Well-formed, though odd: no error.
#[test]
fn well_formed() {
    let (root, end) = ("<cross-domain-policy", "</cross-domain-policy>");
    for (before, inside) in [
        (
            "<?xml version = '1.1' encoding='UTF-8' standalone='yes' ?>",
            " >",
        ),
        (
            "<!DOCTYPE a PUBLIC 'b' \"c\" [<!ENTITY d \"]>\"> <!-- ' --> <?e \" ?>] >",
            ">",
        ),
        ("<!DOCTYPE a SYSTEM '<&>'>", "\n>"),
        ("<?p?><?q <a> ?><!----><!-- <a> & - -->", "><?p?><!-- -->"),
        ("\u{feff}\r\n", ">\r\n\t"),
        ("", " xsi:a='&lt;&gt;&amp;&apos;&quot;&#9;&#x1f600;\"'>"),
    ] {
        let entry = "<allow-access-from domain='a.example' to-ports='1'/>";
        let policy = format!("{}{}{}{}{}", before, root, inside, entry, end);
        compare(&policy, "842", &["a.example may connect to port 1"]);
    }
    for root in ["cross-domain-policy", "access-policy"] {
        let entry = match root {
            "access-policy" => "policy",
            _ => "allow-access-from",
        };
        let empty = format!("1:1: warning: this grants nothing: write <{}> in it", entry);
        compare(&format!("<{} />", root), "943", &[&empty, "grants nothing"]);
    }
}

/// The answer is the file and a NUL.
#[test]
fn sizes() {
    let granted = "game.example.com may connect to port 5222";
    let parts = "1:1: warning: an answer over 1400 bytes...";
    let hangs = "1:1: warning: with its NUL a multiple of 4096 bytes...";
    let rows: &[(usize, &[&str])] = &[
        (1399, &[granted]),
        (1400, &[parts, granted]),
        (4094, &[parts, granted]),
        (4095, &[parts, hangs, granted]),
        (4096, &[parts, granted]),
        (8191, &[parts, hangs, granted]),
        (20_480, &[parts, granted]),
    ];
    for (size, expected) in rows {
        compare(
            &(NARROW.to_owned() + &" ".repeat(size - NARROW.len())),
            "843",
            expected,
        );
    }
}

/// Text from the file can neither begin a line of its own nor flood the operator.
#[test]
fn harmless_output() {
    let long = "y".repeat(5000);
    let policy = format!(
        "<cross-domain-policy>{}</cross-domain-policy>",
        "<x/>".repeat(200) + "<allow-access-from domain='a' to-ports='1'/>"
    );
    let (lines, _) = check_file(&Scratch::new(), policy.as_bytes(), "842");
    assert_eq!(lines.len(), 102);
    assert_eq!(lines[100], "1:1: warning: 100 further warnings left out");

    // The error is not left out.
    let (lines, status) = check_file(&Scratch::new(), policy.replace("</", "<").as_bytes(), "842");
    assert_eq!((lines.len(), status), (2, Some(1)));

    let domain = format!("&#10;\u{9b}\u{202e}{}", long);
    let policy = NARROW
        .replace("game.example.com", &domain)
        .replace("5222", &long);
    let (lines, _) = check_file(&Scratch::new(), policy.as_bytes(), "843");
    assert_eq!(lines.len(), 4, "{:?}", lines);
    assert!(lines[1].contains(r#""\n\u{9b}\u{202e}yyy"#), "{}", lines[1]);
    for line in lines {
        assert!(
            line.len() < 250 && !line.contains(char::is_control),
            "{}",
            line
        );
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

/// Checks a file in this process, on a small stack's thread; what the report promises must hold.
fn survive(file: &[u8]) -> Duration {
    let start = Instant::now();
    let report = check::check(file, &[843, 5000]);
    let time = start.elapsed();
    let lines: Vec<String> = [report.findings(), report.grants.clone()].concat();
    let text = String::from_utf8_lossy(file).into_owned();
    let last = text.matches('\n').count() + 1;
    for ((line, column), _) in report.error.iter().chain(&report.warnings) {
        assert!(
            *line as usize <= last && *column as usize <= file.len() + 1,
            "{:?}",
            text
        );
    }
    assert!(report.warnings.len() <= 101);
    assert!(
        !lines.iter().any(|line| line.contains(char::is_control)),
        "{:?}",
        lines
    );
    assert!(
        report.error.is_none() || report.grants == ["grants nothing"],
        "{:?}",
        text
    );
    time
}

/// The best of many runs: a loaded machine must not fail the test.
fn is_quick(file: &[u8], limit: Duration) -> bool {
    (0..20).any(|_| survive(file) < limit)
}

#[test]
fn no_file_is_slow() {
    let fill = |start: &str, unit: &dyn Fn(usize) -> String, end: &str| {
        let mut file = start.to_owned();
        for n in 0.. {
            let next = unit(n);
            if file.len() + next.len() + end.len() > check::MAX_SIZE {
                break;
            }
            file += &next;
        }
        file + end
    };
    let root = "<cross-domain-policy>";
    let end = "</cross-domain-policy>";
    let entry = "<allow-access-from domain='*' to-ports='";
    let fixed = |unit: &'static str| move |_: usize| unit.to_owned();
    let files = [
        fill(root, &fixed("<a>"), ""),
        fill("", &fixed("<a>"), ""),
        fill("<cross-domain-policy", &|n| format!(" a{}=''", n), "/>"),
        fill(
            "<cross-domain-policy",
            &|n| format!(" {}=''", "a".repeat(n + 1)),
            "/>",
        ),
        fill(root, &fixed("<site-control/>"), end),
        fill(
            root,
            &fixed("<allow-access-from domain='a' to-ports='1-9'/>"),
            end,
        ),
        fill(root, &fixed("x<a/>"), end),
        fill(root, &fixed("&#65;"), end),
        fill(root, &fixed("&"), end),
        fill(root, &fixed("<!---->"), end),
        fill(root, &fixed("<"), end),
        fill(root, &fixed("\n"), end),
        fill("<!DOCTYPE a [", &fixed("<\"\""), ""),
        fill("<!DOCTYPE a [", &fixed("<!--"), ""),
        fill(root, &fixed("<![CDATA[]]>"), end),
        fill(
            &format!("{}{}", root, entry),
            &fixed(","),
            &format!("'/>{}", end),
        ),
        fill(
            &format!("{}{}", root, entry),
            &|n| format!("{},", 2 * n + 1),
            &format!("1'/>{}", end),
        ),
        fill(
            &format!("{}{}", root, entry),
            &fixed("9-1,"),
            &format!("1'/>{}", end),
        ),
        fill(
            &format!("{}<allow-access-from to-ports='1' domain='", root),
            &fixed("*."),
            &format!("'/>{}", end),
        ),
        fill(
            &format!("{}<allow-access-from to-ports='1' domain='", root),
            &fixed("a."),
            &format!("'/>{}", end),
        ),
        fill("\u{feff}", &fixed("\u{10ffff}"), ""),
        // Half of it names domains, the other half ports for all of them.
        fill(
            "<access-policy><cross-domain-access><policy><allow-from>",
            &|n| {
                let half = "</allow-from><grant-to>".to_owned();
                match n {
                    0..=499 => "<domain uri='://'/>".to_owned(),
                    500 => half,
                    _ => "<socket-resource port='4502' protocol='tcp'/>".to_owned(),
                }
            },
            "</grant-to></policy></cross-domain-access></access-policy>",
        ),
    ];
    // One to two milliseconds is usual; a debug build takes some twenty times as long.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 150 } else { 15 });
    let run = move || {
        for file in &files {
            assert!(file.len() <= check::MAX_SIZE);
            let start = file.chars().take(60).collect::<String>();
            assert!(is_quick(file.as_bytes(), limit), "{}", start);
        }
    };
    let small = thread::Builder::new().stack_size(64 * 1024);
    small.spawn(run).unwrap().join().unwrap();
}

#[test]
fn random_and_mutated_files() {
    const PIECES: &[&str] = &[
        "<",
        ">",
        "/>",
        "</",
        "&",
        "&#",
        ";",
        "&amp;",
        "\"",
        "'",
        "=",
        " ",
        "\n",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?xml version=\"1.0\"?>",
        "<?",
        "?>",
        "<!DOCTYPE",
        "[",
        "]",
        "*",
        ",",
        "-",
        "0",
        "65536",
        "99999999999999999999",
        "domain",
        "to-ports",
        " secure=\"true\"",
        ":",
        "<allow-access-from domain=\"*\" to-ports=\"1-9\">",
        "</cross-domain-policy>",
        "\0",
        "\u{1}",
        "é",
        "\u{feff}",
        "\u{202e}",
        "<access-policy>",
        "<site-control",
        "http://",
        "4502-4534",
    ];
    let silverlight = "<access-policy><cross-domain-access><policy><allow-from><domain uri=\"*\"/>\
        </allow-from><grant-to><socket-resource port=\"4502-4534\" protocol=\"tcp\"/></grant-to>\
        </policy></cross-domain-access></access-policy>";
    let shipped = std::fs::read_to_string(POLICY).unwrap();
    let run = move || {
        let seeds = [shipped.as_str(), NARROW, silverlight, "", "<a b='c'>d</a>"];
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let start = Instant::now();
        for _ in 0..20_000 {
            let mut file = seeds[random.below(seeds.len())].as_bytes().to_vec();
            for _ in 0..=random.below(6) {
                let at = random.below(file.len() + 1);
                let end = (at + random.below(9)).min(file.len());
                let piece = PIECES[random.below(PIECES.len())].as_bytes();
                match random.below(4) {
                    0 => drop(file.splice(at..end, piece.iter().copied())),
                    1 => drop(file.drain(at..end)),
                    2 => file.insert(at, random.below(256) as u8),
                    _ => drop(file.splice(at..at, piece.iter().copied())),
                }
            }
            assert!(is_quick(&file, Duration::from_millis(20)), "{:?}", file);
        }
        for _ in 0..200 {
            let bytes = random.below(check::MAX_SIZE);
            let file: Vec<u8> = (0..bytes).map(|_| random.below(256) as u8).collect();
            survive(&file);
            let pieces = (0..bytes / 9).map(|_| PIECES[random.below(PIECES.len())]);
            survive(pieces.collect::<String>().as_bytes());
        }
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    };
    let small = thread::Builder::new().stack_size(64 * 1024);
    small.spawn(run).unwrap().join().unwrap();
}

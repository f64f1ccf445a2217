//! The service files, each under the real thing: systemd, OpenRC, and a SysV script under Debian's
//! tools and under busybox, on a machine made of namespaces where port 843 is free.

mod common;

use common::*;
use std::path::PathBuf;
use std::process::Command;

/// Whether everything is there that a test needs.
fn ready(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|p| !have(p)).collect();
    if !is_root() {
        skip("needs root to make namespaces");
    } else if !missing.is_empty() {
        skip(&format!("needs {:?}", missing));
    }
    is_root() && missing.is_empty()
}

/// A folder for a root, and a built source.
fn built(scratch: &Scratch) -> (String, String) {
    let source = source(scratch, "source");
    make(&source, &[QUICK]);
    std::fs::create_dir(scratch.path("root")).unwrap();
    let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
    (text(scratch.path("root")), text(source))
}

#[test]
fn systemd_finds_nothing_to_complain_about() {
    if !have("systemd-analyze") {
        return skip("needs systemd-analyze");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let prefix = scratch
        .path("installed")
        .into_os_string()
        .into_string()
        .unwrap();
    let places = [
        format!("prefix={}", prefix),
        format!("unitdir={}/units", prefix),
    ];
    make(&source, &[&places[0], QUICK]);
    make(&source, &["install-systemd", &places[0], &places[1]]);
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .current_dir(scratch.path("installed/units"))
            .output();
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    for unit in [
        "serv.service",
        "serv-stdin.service",
        "serv-stdin.socket",
        "nat.service",
    ] {
        let unit = format!("./flash-policy-{}", unit);
        assert_eq!(
            analyze(&["verify", "--man=no", &unit]),
            (true, String::new())
        );
    }
}

#[test]
fn systemd_runs_both_kinds_of_service() {
    if !ready(&["systemctl", "busybox", "ip", "ss"]) {
        return;
    }
    let scratch = Scratch::new();
    let (root, source) = built(&scratch);
    on_machine(include_str!("services/systemd.sh"), &[&root, &source]);
}

#[test]
fn openrc_supervises_it() {
    if !ready(&["openrc-run", "supervise-daemon", "busybox", "ip"]) {
        return;
    }
    let scratch = Scratch::new();
    let (root, source) = built(&scratch);
    on_machine(include_str!("services/openrc.sh"), &[&root, &source]);
}

#[test]
fn sysv_script_under_debian() {
    sysv_script("debian \"$1\"", &["start-stop-daemon", "busybox", "ip"]);
}

#[test]
fn sysv_script_under_busybox() {
    sysv_script(
        "busybox_root \"$1\" \"$2/target/flash-policy-serv\"",
        &["busybox", "ip"],
    );
}

fn sysv_script(root_of: &str, programs: &[&str]) {
    if !ready(programs) {
        return;
    }
    let scratch = Scratch::new();
    let (root, source) = built(&scratch);
    let script = format!("{}\n{}", root_of, include_str!("services/sysv.sh"));
    on_machine(&script, &[&root, &source]);
}

#[test]
fn sysv_boots_the_nat_helper() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let source = source.to_str().unwrap();
    std::fs::create_dir(scratch.path("root")).unwrap();
    let root = scratch.path("root");
    on_machine(
        include_str!("services/nat_sysv.sh"),
        &[root.to_str().unwrap(), source],
    );
}

#[test]
fn shell_is_clean() {
    if !have("shellcheck") {
        return skip("needs shellcheck");
    }
    let mut shellcheck = Command::new("shellcheck");
    shellcheck.args(["-x", "-s", "sh", "src/service/flash-policy-serv.sysv"]);
    shellcheck.args(["src/service/flash-policy-serv.openrc", "-e", "SC1008"]);
    shellcheck.args(["src/service/flash-policy-nat.sysv"]);
    shellcheck.args(["src/service/flash-policy-nat.openrc"]);
    let output = shellcheck.current_dir(ROOT).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

//! `make`, `make install`, `make uninstall`, and the upgrade from the C server.

mod common;

use common::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A built source, and a folder to install into whose name has a blank.
fn built(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let source = source(scratch, "source");
    make(&source, &[]);
    (source, scratch.path("a root"))
}

/// The files in `folder` and below, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    let output = find
        .args([".", "-type", "f"])
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut files: Vec<_> = text.lines().map(|line| line[2..].to_owned()).collect();
    files.sort();
    files
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn built_by_rustc_alone_without_a_warning() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    // The PATH of a machine that has rustc and a C compiler, but no cargo.
    let tools = scratch.path("tools");
    fs::create_dir(&tools).unwrap();
    for tool in [
        "sh", "make", "sed", "cmp", "mkdir", "rm", "cc", "ld", "as", "rustc",
    ] {
        // The rustc itself, not what may stand in its place to choose one of several.
        let find = match tool {
            "rustc" => "echo \"$(rustc --print sysroot)/bin/rustc\"",
            _ => "command -v \"$0\"",
        };
        let output = Command::new("sh")
            .args(["-c", find, tool])
            .output()
            .unwrap();
        let path = String::from_utf8(output.stdout).unwrap();
        symlink(path.trim(), tools.join(tool)).unwrap();
    }
    let output = Command::new("make")
        .env_clear()
        .env("PATH", &tools)
        .current_dir(&source)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{:?}", output);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(source.join("target/flash-policy-serv").is_file());
}

#[test]
fn install_uninstall() {
    let scratch = Scratch::new();
    let (source, root) = built(&scratch);
    let destdir = format!("DESTDIR={}", text(&root));
    let own = [
        "usr/local/flash-policy-serv/bin/flash-policy-nat",
        "usr/local/flash-policy-serv/bin/flash-policy-serv",
        "usr/local/flash-policy-serv/etc/crossdomain.xml",
        "usr/local/share/man/man8/flash-policy-nat.8",
        "usr/local/share/man/man8/flash-policy-serv.8",
    ];
    make(&source, &["install", &destdir]);
    assert_eq!(files(&root), own);
    let program = root.join(own[1]);
    assert_eq!(
        fs::read(&program).unwrap(),
        fs::read(source.join("target/flash-policy-serv")).unwrap()
    );
    assert_eq!(
        fs::read(root.join(own[2])).unwrap(),
        fs::read(POLICY).unwrap()
    );

    // The service files join them, and none is enabled: nothing but these files is there.
    for services in ["install-systemd", "install-openrc", "install-sysv"] {
        make(&source, &[services, &destdir]);
    }
    let mut all = own.to_vec();
    all.extend([
        "etc/conf.d/flash-policy-serv",
        "etc/default/flash-policy-serv",
        "etc/init.d/flash-policy-serv",
        "usr/local/lib/systemd/system/flash-policy-serv-stdin.service",
        "usr/local/lib/systemd/system/flash-policy-serv-stdin.socket",
        "usr/local/lib/systemd/system/flash-policy-serv.service",
    ]);
    all.sort_unstable();
    assert_eq!(files(&root), all);
    for file in all.iter().filter(|file| !file.contains("/man8/")) {
        let content = fs::read(root.join(file)).unwrap();
        assert!(
            !String::from_utf8_lossy(&content).contains("@bindir@"),
            "{}",
            file
        );
    }

    make(&source, &["uninstall", &destdir]);
    assert_eq!(files(&root), [""; 0]);
    assert!(!root.join("usr/local/flash-policy-serv").exists());
    // A folder of the system's, though nothing is in it.
    assert!(root.join("usr/local/share/man").exists());
}

#[test]
fn edited_files_stay() {
    let scratch = Scratch::new();
    let (source, root) = built(&scratch);
    let destdir = format!("DESTDIR={}", text(&root));
    let edited = [
        "usr/local/flash-policy-serv/etc/crossdomain.xml",
        "etc/conf.d/flash-policy-serv",
        "etc/default/flash-policy-serv",
    ];
    let install = || {
        make(&source, &["install-openrc", &destdir]);
        make(&source, &["install-sysv", &destdir]);
    };
    install();
    for file in edited {
        fs::write(root.join(file), "edited").unwrap();
    }
    install();
    for file in edited {
        assert_eq!(fs::read_to_string(root.join(file)).unwrap(), "edited");
        assert!(root.join(format!("{}.default", file)).is_file(), "{}", file);
    }
    make(&source, &["uninstall", &destdir]);
    let mut left = edited.to_vec();
    left.sort_unstable();
    assert_eq!(files(&root), left);
}

#[test]
fn uninstall_leaves_the_service_of_another_installation() {
    let scratch = Scratch::new();
    let (source, root) = built(&scratch);
    let destdir = format!("DESTDIR={}", text(&root));
    make(&source, &["install-systemd", &destdir]);
    make(&source, &["install-sysv", &destdir]);
    let before = files(&root);
    make(
        &source,
        &[
            "uninstall",
            &destdir,
            "prefix=/opt/other",
            "mandir=/opt/other/man",
        ],
    );
    assert_eq!(files(&root), before);
}

#[test]
fn install_refuses_what_was_not_built_for_the_place() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let destdir = format!("DESTDIR={}", text(&scratch.path("root")));
    let refused = |arguments: &[&str], what: &str| {
        let output = try_make(&source, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && errors.contains(what),
            "{}",
            errors
        );
        assert!(!scratch.path("root").exists());
    };
    refused(&["install", &destdir], "is missing: run make first");
    make(&source, &[]);
    refused(
        &["install", &destdir, "prefix=/opt/flash"],
        "was built for another place",
    );
    // Though the one name is the end of the other, and what cannot be built is not installed either.
    let elsewhere = ["prefix=/usr/local", "sysconfdir=/etc"];
    let install = ["install", &destdir, elsewhere[0], elsewhere[1]];
    refused(&install, "was built for another place");
    refused(&["RUSTC=no-such-rustc"], "no-such-rustc");
    refused(&["install", &destdir], "is missing: run make first");
    // Built anew for it, without anybody having to say so.
    make(&source, &["prefix=/opt/flash"]);
    make(&source, &["install", &destdir, "prefix=/opt/flash"]);
    assert!(scratch
        .path("root/opt/flash/share/man/man8/flash-policy-serv.8")
        .is_file());
}

#[test]
fn services_refuse_a_place_that_they_cannot_name() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let place = [
        "prefix=/opt/my place",
        &format!("DESTDIR={}", text(&scratch.path("root"))),
    ];
    make(&source, &place);
    for services in ["install-systemd", "install-openrc", "install-sysv"] {
        let output = try_make(&source, &[services, place[0], place[1]]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.contains("a service cannot start from /opt/my place/bin: "),
            "{}",
            errors
        );
        assert!(!output.status.success());
    }
    assert!(!scratch.path("root").exists());
    // The program itself can be anywhere.
    make(&source, &["install", place[0], place[1]]);
    assert!(scratch
        .path("root/opt/my place/bin/flash-policy-serv")
        .is_file());
}

/// Builds in a folder of that name by a script, and returns the program.
fn build_by(scratch: &Scratch, folder: &str, shell: &[&str], script: &str) -> Vec<u8> {
    let source = source(scratch, folder);
    let mut make = Command::new(shell[0]);
    make.args(&shell[1..]).args(["-euc", script]);
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = make.current_dir(&source).output().unwrap();
    assert!(output.status.success(), "{:?}", output);
    fs::read(source.join("target/flash-policy-serv")).unwrap()
}

#[test]
fn two_builds_are_the_same_bytes() {
    let scratch = Scratch::new();
    let build = |folder: &str, day: &str, zone: &str| {
        let age = format!("find . -type f -exec touch -d {} {{}} +", day);
        let script = format!("{}; TZ={} make", age, zone);
        build_by(&scratch, folder, &["sh"], &script)
    };
    let first = build("here", "2024-02-29", "UTC");
    let second = build("elsewhere/in another folder", "2019-07-01", "Asia/Tokyo");
    assert!(first == second, "the builds differ");
    // Nor does it say where it was built.
    let folder = scratch.path("here");
    let folder = text(&folder).as_bytes();
    assert!(!first.windows(folder.len()).any(|bytes| bytes == folder));
}

#[test]
fn two_builds_on_different_days_are_the_same_bytes() {
    if !have("faketime") || !Path::new("/usr/bin/rustc").exists() {
        return skip("needs faketime and Debian's rustc; that of rustup hangs under faketime");
    }
    let scratch = Scratch::new();
    let build = |day: &str| {
        let script = format!("make RUSTC=/usr/bin/rustc; test $(date +%F) = {}", day);
        build_by(&scratch, day, &["faketime", day, "sh"], &script)
    };
    assert!(
        build("2024-02-29") == build("2031-07-01"),
        "the builds differ"
    );
}

#[test]
fn upgrade_from_the_c_server() {
    if !is_root() || !have("ip") || !have("busybox") {
        return skip("needs root, ip and busybox to run on port 843 of a namespace");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    make(&source, &[]);
    fs::create_dir(scratch.path("root")).unwrap();
    on_machine(
        include_str!("install/upgrade.sh"),
        &[text(&scratch.path("root")), text(&source)],
    );
}

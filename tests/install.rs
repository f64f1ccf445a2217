//! `make`, `make install`, `make uninstall`, and the upgrade from the C server.

mod common;

use common::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds for a place as `make` does, but in a second.
fn build(source: &Path, places: &[&str]) {
    make(source, &[places, &[QUICK]].concat());
}

/// A built source, and a folder to install into whose name has a blank.
fn built(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let source = source(scratch, "source");
    build(&source, &[]);
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
        "sh", "make", "sed", "mkdir", "rm", "echo", "printf", "cc", "ld", "as", "rustc",
    ] {
        // The rustc itself, not what may stand in its place to choose one of several.
        let find = match tool {
            "rustc" => "echo \"$(rustc --print sysroot)/bin/rustc\"",
            _ => "which \"$0\"",
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
    // What takes so long is all that a user is told, and no command.
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "building target/flash-policy-serv, about half a minute\n"
    );
    assert!(source.join("target/flash-policy-serv").is_file());
}

/// What `make` says when it refuses.
fn refused(source: &Path, arguments: &[&str]) -> String {
    let output = try_make(source, arguments);
    assert!(!output.status.success(), "{:?}", arguments);
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_rustc_that_is_too_old_is_named() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let rustc = scratch.file("rustc", "#!/bin/sh\necho 'rustc 1.48.0'\n");
    let mode = Command::new("chmod").args(["755", &rustc]).status();
    assert!(mode.unwrap().success());
    let errors = refused(&source, &[&format!("RUSTC={}", rustc)]);
    let right = "needs rustc 1.63 or newer, this is rustc 1.48.0; nothing is built\n";
    assert!(errors.starts_with(right), "{}", errors);
    let errors = refused(&source, &["RUSTC=no-such-rustc"]);
    let right = "needs rustc 1.63 or newer, and no-such-rustc does not run; nothing is built\n";
    assert!(errors.contains(right), "{}", errors);
}

#[test]
fn rustflags_of_the_environment_are_added() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let make = Command::new("make")
        .env_remove("MAKEFLAGS")
        .env("RUSTFLAGS", "--no-such-flag")
        .current_dir(&source)
        .output()
        .unwrap();
    let errors = String::from_utf8(make.stderr).unwrap();
    assert!(errors.contains("no-such-flag"), "{}", errors);
}

#[test]
fn built_anew_for_another_place_though_newer_than_the_clock() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    build(&source, &[]);
    let program = source.join("target/flash-policy-serv");
    let mut touch = Command::new("touch");
    touch.args(["-d", "+1 hour"]).arg(&program);
    assert!(touch.status().unwrap().success());
    build(&source, &["prefix=/usr"]);
    let help = Command::new(&program).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.contains("/etc/flash-policy-serv/crossdomain.xml"),
        "{}",
        help
    );
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

    // The commands are in everybody's PATH.
    for name in ["flash-policy-serv", "flash-policy-nat"] {
        let link = fs::read_link(root.join("usr/local/bin").join(name)).unwrap();
        let right = format!("/usr/local/flash-policy-serv/bin/{}", name);
        assert_eq!(text(&link), right);
    }

    // Server and helper are of one version.
    for command in [&own[0], &own[1]] {
        let output = Command::new(root.join(command)).arg("--version").output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(said.trim().ends_with(env!("CARGO_PKG_VERSION")), "{}", said);
    }

    // The service files join them, and none is enabled: nothing but these files is there.
    for services in ["install-systemd", "install-openrc", "install-sysv"] {
        make(&source, &[services, &destdir]);
    }
    let mut all = own.to_vec();
    all.extend([
        "etc/conf.d/flash-policy-serv",
        "etc/default/flash-policy-serv",
        "etc/init.d/flash-policy-nat",
        "etc/init.d/flash-policy-serv",
        "usr/local/lib/systemd/system/flash-policy-nat.service",
        "usr/local/lib/systemd/system/flash-policy-serv-stdin.service",
        "usr/local/lib/systemd/system/flash-policy-serv-stdin.socket",
        "usr/local/lib/systemd/system/flash-policy-serv.service",
    ]);
    all.sort_unstable();
    assert_eq!(files(&root), all);
    for file in &all {
        if file.ends_with("bin/flash-policy-serv") {
            continue;
        }
        let content = fs::read_to_string(root.join(file)).unwrap();
        for place in ["@sbindir@", "@policy@", "@version@"] {
            assert!(!content.contains(place), "{} in {}", place, file);
        }
    }

    make(&source, &["uninstall", &destdir]);
    assert_eq!(files(&root), [""; 0]);
    assert!(!root.join("usr/local/flash-policy-serv").exists());
    assert_eq!(fs::read_dir(root.join("usr/local/bin")).unwrap().count(), 0);
    // A folder of the system's, though nothing is in it.
    assert!(root.join("usr/local/share/man").exists());
}

#[test]
fn a_command_of_somebody_else_stays() {
    let scratch = Scratch::new();
    let (source, root) = built(&scratch);
    let destdir = format!("DESTDIR={}", text(&root));
    let folder = root.join("usr/local/bin");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("flash-policy-serv"), "another's").unwrap();
    symlink("/opt/other", folder.join("flash-policy-nat")).unwrap();
    for verb in ["install", "uninstall"] {
        make(&source, &[verb, &destdir]);
        let file = fs::read_to_string(folder.join("flash-policy-serv"));
        assert_eq!(file.unwrap(), "another's");
        let link = fs::read_link(folder.join("flash-policy-nat"));
        assert_eq!(text(&link.unwrap()), "/opt/other");
    }
}

/// Installs into a root of its own, and returns the files and links in it.
fn installed(scratch: &Scratch, source: &Path, arguments: &[&str]) -> Vec<String> {
    let root = scratch.path("root of its own");
    let _ = fs::remove_dir_all(&root);
    let destdir = format!("DESTDIR={}", text(&root));
    make(source, &[arguments, &[destdir.as_str()]].concat());
    let found = files(&root);
    for file in &found {
        let content = fs::read(root.join(file)).unwrap();
        let content = String::from_utf8_lossy(&content);
        assert!(
            !content.contains("/usr/local/flash-policy-serv/"),
            "{}",
            file
        );
    }
    found
}

#[test]
fn places_follow_the_prefix_of_a_system() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    build(&source, &["prefix=/usr"]);
    let server = [
        "etc/flash-policy-serv/crossdomain.xml",
        "usr/lib/systemd/system/flash-policy-serv-stdin.service",
        "usr/lib/systemd/system/flash-policy-serv-stdin.socket",
        "usr/lib/systemd/system/flash-policy-serv.service",
        "usr/sbin/flash-policy-serv",
        "usr/share/man/man8/flash-policy-serv.8",
    ];
    let found = installed(
        &scratch,
        &source,
        &["install-server-systemd", "prefix=/usr"],
    );
    assert_eq!(found, server);
    let helper = [
        "usr/sbin/flash-policy-nat",
        "usr/share/man/man8/flash-policy-nat.8",
    ];
    let found = installed(&scratch, &source, &["install-nat", "prefix=/usr"]);
    assert_eq!(found, helper);
    let place = ["prefix=/usr/local", "sysconfdir=/etc"];
    build(&source, &place);
    let server = [
        "etc/flash-policy-serv/crossdomain.xml",
        "usr/local/sbin/flash-policy-serv",
        "usr/local/share/man/man8/flash-policy-serv.8",
    ];
    let found = installed(&scratch, &source, &["install-server", place[0], place[1]]);
    assert_eq!(found, server);
}

#[test]
fn run_serves_at_once_and_names_a_command_that_asks() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let mut namespace = Command::new("unshare");
    namespace.args(["-rn", "ip", "link", "set", "lo", "up"]);
    if !namespace.output().map_or(false, |o| o.status.success()) {
        return skip("needs unshare and ip to make a network namespace");
    }
    let mut run = Command::new("unshare");
    run.args(["-rn", "sh", "-euc", include_str!("install/run.sh")]);
    run.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = run.current_dir(&source).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}", errors);
    let said = String::from_utf8(output.stdout).unwrap();
    let starts = [
        "building target/flash-policy-serv, about half a minute",
        "ask it in another terminal: target/flash-policy-serv --probe 8430 --public-port 843",
        "flash-policy-serv: listening on 127.0.0.1:8430",
        "flash-policy-serv: policy.xml:5:24: warning: any site may use any port",
        "POLICY OK",
    ];
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), starts.len(), "{}", said);
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{}", said);
    }
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
    make(&source, &["uninstall", &destdir, "prefix=/opt/other"]);
    assert_eq!(files(&root), before);
}

#[test]
fn install_refuses_what_was_not_built_for_the_place() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let destdir = format!("DESTDIR={}", text(&scratch.path("root")));
    let refused = |arguments: &[&str], what: &str| {
        let errors = refused(&source, arguments);
        assert!(errors.contains(what), "{}", errors);
        assert!(!scratch.path("root").exists());
    };
    refused(&["install", &destdir], "is missing: run make first");
    build(&source, &[]);
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
    build(&source, &["prefix=/opt/flash"]);
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
    build(&source, &place);
    for services in ["install-systemd", "install-openrc", "install-sysv"] {
        let errors = refused(&source, &[services, place[0], place[1]]);
        assert!(
            errors.contains("a service cannot start from /opt/my place/bin: "),
            "{}",
            errors
        );
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
    build(&source, &[]);
    fs::create_dir(scratch.path("root")).unwrap();
    on_machine(
        include_str!("install/upgrade.sh"),
        &[text(&scratch.path("root")), text(&source)],
    );
}

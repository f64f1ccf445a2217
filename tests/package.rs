//! What distributions build on: the Debian package in a bare root of its own, and the files for
//! Buildroot, Alpine and OpenWrt under what can be had of their tools here.

mod common;

use common::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command in `folder`, which must succeed, and returns what it wrote.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    // This run may itself be under make.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    command.env("MAINTAINER", "Example <packager@example.com>");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        output.status.success(),
        "{} {:?}: {}",
        program,
        arguments,
        said
    );
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Builds the Debian package of a source.
fn debian_package(source: &Path) -> PathBuf {
    run(source, "sh", &["src/package/debian/build"]);
    let mut packages = fs::read_dir(source.join("target")).unwrap();
    let is_package = |path: &PathBuf| path.extension().map_or(false, |e| e == "deb");
    packages
        .find_map(|entry| Some(entry.unwrap().path()).filter(is_package))
        .unwrap()
}

#[test]
fn debian_package_has_no_errors() {
    if !have("dpkg-deb") || !have("lintian") {
        return skip("needs dpkg-deb and lintian");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let package = debian_package(&source);
    run(
        &source,
        "lintian",
        &["--allow-root", "--fail-on", "error", text(&package)],
    );
}

#[test]
fn debian_package_lives_in_a_bare_root() {
    if !is_root() || !have("debootstrap") || !have("ip") {
        return skip("needs root, debootstrap and ip to make a bare root in namespaces");
    }
    let scratch = Scratch::new();
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let codename = release
        .lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="));
    let root = scratch.path("root");
    let arguments = ["--variant=minbase", codename.unwrap(), text(&root)];
    run(Path::new(ROOT), "debootstrap", &arguments);

    let first = source(&scratch, "first");
    let next = source(&scratch, "next");
    let replace = |file: &str, from: &str, to: &str| {
        let content = fs::read_to_string(next.join(file)).unwrap();
        assert!(content.contains(from));
        fs::write(next.join(file), content.replace(from, to)).unwrap();
    };
    replace("Cargo.toml", "\nversion = \"", "\nversion = \"9");
    replace("policy.xml", "to-ports=\"*\"", "to-ports=\"8000\"");
    let packages = [debian_package(&first), debian_package(&next)];
    on_machine(
        include_str!("package/debian.sh"),
        &[text(&root), text(&packages[0]), text(&packages[1])],
    );
}

/// The files in `folder` and below, sorted, without manual pages.
fn files(folder: &Path) -> Vec<String> {
    let found = run(folder, "find", &[".", "!", "-type", "d"]);
    let mut files: Vec<_> = found.lines().map(|line| line[2..].to_owned()).collect();
    files.retain(|file| !file.contains("/man/"));
    files.sort();
    files
}

/// This machine's name in rustc.
fn machine() -> String {
    let version = run(Path::new(ROOT), "rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    format!("MACHINE={}", host.unwrap())
}

#[test]
fn buildroot_installs_for_each_init() {
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let host = scratch.path("out/host/bin");
    fs::create_dir_all(&host).unwrap();
    let rustc = run(&source, "which", &["rustc"]);
    std::os::unix::fs::symlink(rustc.trim(), host.join("rustc")).unwrap();
    let program = "usr/sbin/flash-policy-serv";
    let units = "usr/lib/systemd/system/flash-policy-serv";
    for (init, service) in [
        ("SYSTEMD", format!("{}.service", units)),
        ("OPENRC", "etc/conf.d/flash-policy-serv".to_owned()),
        ("SYSV", "etc/init.d/S50flash-policy-serv".to_owned()),
    ] {
        let stub = format!("{}/tests/package/buildroot.mk", ROOT);
        let places = [
            format!("SOURCE={}", text(&source)),
            format!("OUT={}", text(&scratch.path("out"))),
            format!("INIT={}", init),
            machine(),
        ];
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        run(&source, "make", &[&["-f", &stub], &places[..]].concat());
        let target = scratch.path("out/target");
        let found = files(&target);
        for file in [program, "usr/sbin/flash-policy-nat", &service] {
            assert!(found.contains(&file.to_owned()), "{}: {:?}", file, found);
        }
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn openwrt_installs_and_procd_starts() {
    if !have("busybox") {
        return skip("needs busybox");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let feed = scratch.path("feed/net");
    fs::create_dir_all(&feed).unwrap();
    let package = source.join("src/package/openwrt");
    run(&feed, "cp", &["-R", text(&package), "."]);
    fs::create_dir_all(scratch.path("feed/lang/rust")).unwrap();
    let stub = fs::read(format!("{}/tests/package/openwrt.mk", ROOT)).unwrap();
    fs::write(scratch.path("feed/rules.mk"), stub).unwrap();
    for empty in ["package.mk", "lang/rust/rust-values.mk"] {
        fs::write(scratch.path("feed").join(empty), "").unwrap();
    }
    let feed = scratch.path("feed");
    let out = scratch.path("out");
    let places = [
        format!("TOPDIR={}", text(&feed)),
        format!("INCLUDE_DIR={}", text(&feed)),
        format!("SOURCE={}", text(&source)),
        format!("OUT={}", text(&out)),
        machine(),
    ];
    let places: Vec<_> = places.iter().map(String::as_str).collect();
    run(&feed.join("net/openwrt"), "make", &places);
    let right = [
        "etc/config/flash-policy-serv",
        "etc/flash-policy-serv/crossdomain.xml",
        "etc/init.d/flash-policy-serv",
        "usr/sbin/flash-policy-serv",
    ];
    assert_eq!(files(&out.join("target")), right);

    let init = out.join("target/etc/init.d/flash-policy-serv");
    let script = include_str!("package/openwrt.sh");
    let arguments = ["ash", "-euc", script, "procd", text(&init)];
    run(&source, "busybox", &arguments);
}

#[test]
fn alpine_splits_server_and_helper() {
    if !have("busybox") {
        return skip("needs busybox");
    }
    let scratch = Scratch::new();
    let source = source(&scratch, "source");
    let out = scratch.path("out");
    let script = include_str!("package/alpine.sh");
    let version = env!("CARGO_PKG_VERSION");
    let arguments = [
        "ash",
        "-euc",
        script,
        "abuild",
        text(&source),
        text(&out),
        version,
    ];
    run(&source, "busybox", &arguments);
    let server = [
        "etc/conf.d/flash-policy-serv",
        "etc/flash-policy-serv/crossdomain.xml",
        "etc/init.d/flash-policy-serv",
        "usr/sbin/flash-policy-serv",
    ];
    assert_eq!(files(&out.join("server")), server);
    let helper = files(&out.join("helper"));
    assert!(
        helper.contains(&"usr/sbin/flash-policy-nat".to_owned()),
        "{:?}",
        helper
    );
}

#[test]
fn shell_is_clean() {
    if !have("shellcheck") {
        return skip("needs shellcheck");
    }
    let package = format!("{}/src/package", ROOT);
    let scripts = [
        "debian/build",
        "debian/postinst",
        "debian/prerm",
        "debian/postrm",
        "alpine/APKBUILD",
        "alpine/flash-policy-serv.pre-install",
        "openwrt/files/flash-policy-serv.init",
    ];
    // Variables of an APKBUILD are for abuild.
    let arguments = ["-s", "sh", "-e", "SC1008,SC2034,SC2154"];
    run(
        Path::new(&package),
        "shellcheck",
        &[&arguments[..], &scripts].concat(),
    );
}

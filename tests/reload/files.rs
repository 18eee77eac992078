//! Configurations of several files, and files that are put in force because they changed.
use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;
use crate::support::{fixture::builder, upstream::Upstream};

const MAIN: &str = "\n  - {name: public, path_prefix: /public, auth: none, upstream: echo}";

fn route(name: &str) -> String {
    format!("routes: [{{name: {name}, path_prefix: /{name}, auth: none, upstream: echo}}]\n")
}

fn becomes(gateway: &Gateway, target: &str, expected: u16) {
    let reached = eventually(PATIENCE, || (status(gateway, target) == expected).then_some(()));
    assert!(reached.is_some(), "{target}: {expected} never came: {}", gateway.account().stderr);
}

fn metric(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(|line| line.starts_with(name))
}

/// Puts a file in place of another in one step, as editors and tools do.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
fn included_files_are_in_force_and_every_change_of_them_is_noticed() {
    let upstream = Upstream::start();
    let start = builder("include: ['routes.d/*.yaml']", MAIN, &upstream);
    fs::create_dir(start.folder().join("routes.d")).unwrap();
    let file = start.folder().join("routes.d/a.yaml");
    fs::write(&file, route("first")).unwrap();
    let gateway = start.start();
    assert_eq!((status(&gateway, "/public"), status(&gateway, "/first"), status(&gateway, "/second")), (200, 200, 404));
    let shown = gateway.admin_get("/config").json();
    assert!(shown.to_string().contains("\"first\""), "{shown}");
    let digest = || {
        let text = gateway.admin_get("/metrics").text();
        text.lines().find(|line| line.starts_with("portcullis_config_info{")).unwrap().to_owned()
    };
    let before = digest();
    let outdated = |expected: f64| {
        let name = "portcullis_config_outdated ";
        assert!(eventually(PATIENCE, || (metric(&gateway, name) == expected).then_some(())).is_some(), "{expected}");
    };
    // A file that is added, one that is changed, one that is taken away.
    let second = file.with_file_name("b.yaml");
    fs::write(&second, route("second")).unwrap();
    outdated(1.0);
    assert_eq!(status(&gateway, "/second"), 404, "nobody asked for it");
    assert_eq!(reload(&gateway).code(), Some(0));
    assert_eq!(status(&gateway, "/second"), 200);
    assert_ne!(digest(), before);
    outdated(0.0);
    fs::write(&second, "routes: [{name: second, path: /a, upstream: eco}]").unwrap();
    outdated(1.0);
    let account = reload(&gateway);
    assert_eq!(account.code(), Some(1));
    assert!(account.stderr.contains("routes.d/b.yaml:1:") && account.stderr.contains("eco"), "{}", account.stderr);
    assert_eq!(status(&gateway, "/second"), 200, "nothing was changed");
    fs::remove_file(&second).unwrap();
    assert_eq!(reload(&gateway).code(), Some(0));
    assert_eq!((status(&gateway, "/first"), status(&gateway, "/second")), (200, 404));
    assert_eq!(digest(), before);
    outdated(0.0);
    // Commands see the whole.
    let validated = gateway.run(&["validate", "-c", "portcullis.yaml"]);
    assert_eq!(validated.code(), Some(0), "{}", validated.stderr);
}

#[test]
fn a_folder_or_a_link_that_leads_nowhere_is_no_included_file() {
    let upstream = Upstream::start();
    for (make, says) in [
        ((|path| fs::create_dir(path).unwrap()) as fn(&Path), "not a file"),
        (|path| symlink("nowhere", path).unwrap(), "no such file"),
    ] {
        let start = builder("include: ['*.conf.yaml']", MAIN, &upstream);
        make(&start.folder().join("a.conf.yaml"));
        let (account, _folder) = start.start_expecting_end();
        assert_eq!(account.code(), Some(78), "{}", account.stderr);
        assert!(account.stderr.contains("a.conf.yaml") && account.stderr.contains(says), "{}", account.stderr);
    }
}

#[test]
fn changed_files_are_put_in_force_where_that_is_wanted() {
    let upstream = Upstream::start();
    let text = crate::support::fixture::config("include: [mounted/*.yaml]", MAIN)
        .replace("grace_period: 20s", "grace_period: 20s, reload: watch");
    let start = Gateway::builder(text)
        .set("upstream", upstream.address())
        .file("keys.json", crate::support::fixture::keys_file());
    // As Kubernetes mounts a ConfigMap: files are links through a link that is replaced.
    let mounted = start.folder().join("mounted");
    let put = |version: &str, text: &str| {
        fs::create_dir_all(mounted.join(version)).unwrap();
        fs::write(mounted.join(version).join("a.yaml"), text).unwrap();
        symlink(version, mounted.join("..data_tmp")).unwrap();
        fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
    };
    put("..1", &route("first"));
    symlink("..data/a.yaml", mounted.join("a.yaml")).unwrap();
    let gateway = start.start();
    assert_eq!(status(&gateway, "/first"), 200);
    put("..2", &route("second"));
    becomes(&gateway, "/second", 200);
    assert_eq!(status(&gateway, "/first"), 404);
    assert!(gateway.account().stderr.contains("a changed file asked for a reload"));

    let file = gateway.config_file();
    let good = fs::read_to_string(&file).unwrap();
    replace(&file, &with_public_at(&good, "/elsewhere"));
    becomes(&gateway, "/elsewhere", 200);

    // What is wrong changes nothing, is told, and is tried once.
    let failures = "portcullis_config_reloads_total{result=\"failure\"}";
    put("..3", "routes: [{name: third, path: /third, upstream: eco}]\n");
    assert!(eventually(PATIENCE, || (metric(&gateway, failures) == 1.0).then_some(())).is_some());
    assert_eq!(metric(&gateway, "portcullis_config_last_reload_successful "), 0.0);
    let told = || gateway.account().stderr.contains("mounted/a.yaml:1:").then_some(());
    assert!(eventually(PATIENCE, told).is_some(), "{}", gateway.account().stderr);
    assert_eq!((status(&gateway, "/second"), status(&gateway, "/elsewhere")), (200, 200));
    put("..4", &route("third"));
    becomes(&gateway, "/third", 200);
    assert_eq!(metric(&gateway, failures), 1.0);
    assert_eq!(metric(&gateway, "portcullis_config_last_reload_successful "), 1.0);
}

fn with_public_at(text: &str, path: &str) -> String {
    let changed = text.replace("path_prefix: /public", &format!("path_prefix: {path}"));
    assert_ne!(text, changed);
    changed
}

//! What is in the package, without a machine.

use std::process::Command;

use super::{deb, host};

#[test]
fn it_is_small_and_needs_no_other_package() {
    let field = |name: &str| host(Command::new("dpkg-deb").arg("--field").arg(deb()).arg(name));
    let kib: u64 = field("Installed-Size").trim().parse().expect("a number");
    assert!(kib <= 6 * 1024, "{kib} KiB");
    assert_eq!((field("Depends") + &field("Pre-Depends")).trim(), "");
}

#[test]
fn its_program_holds_no_path_of_the_machine_it_was_built_on() {
    let folder = tempfile::tempdir().expect("a folder");
    host(Command::new("dpkg-deb").arg("--extract").arg(deb()).arg(folder.path()));
    let program = std::fs::read(folder.path().join("usr/bin/ci-setup-agent")).expect("the program");
    let text = String::from_utf8_lossy(&program);
    for path in [env!("CARGO_MANIFEST_DIR"), "/registry/src/index.crates.io", "/.cargo/"] {
        let is_ours = text.match_indices(path).any(|(at, _)| !text[..at].ends_with("/cargo"));
        assert!(!is_ours, "{path}");
    }
    let linked = host(
        Command::new("sh").args(["-c", "ldd \"$0\" 2>&1 || true"]).arg(folder.path().join("usr/bin/ci-setup-agent")),
    );
    assert!(linked.contains("statically linked") || linked.contains("not a dynamic"), "{linked}");
}

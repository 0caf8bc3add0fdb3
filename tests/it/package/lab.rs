//! `scripts/lab`, as a developer calls it.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::deb;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// A lab of this test's own.
struct Lab {
    folder: tempfile::TempDir,
    package: PathBuf,
}

impl Lab {
    fn call(&self, words: &[&str]) -> Output {
        let mut command = Command::new(format!("{HERE}/scripts/lab"));
        command.args(words).env("CI_SETUP_LAB", self.folder.path()).env("SETUP_TESTS_DEB", &self.package);
        command.output().expect("scripts/lab")
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.call(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in ["lab-test-1", "lab-test-2"] {
            self.call(&["delete", name]);
        }
    }
}

#[test]
fn a_machine_in_the_lab_is_created_stopped_started_captured_and_deleted() {
    // Not in /tmp, which may be a file system that no overlay can stand on.
    let lab = Lab { folder: tempfile::tempdir_in("/var/tmp").expect("a folder"), package: deb() };
    // What cannot be made leaves nothing behind.
    let bad = lab.folder.path().join("bad.json");
    std::fs::write(&bad, "{\"setupScripts\":").expect("a file");
    for (words, error) in [
        (&["create", "lab-test-1", "--request", bad.to_str().expect("a path")][..], "error: cannot read request"),
        (&["create", "lab-test-1", "--suite", "jessie"], "error: `jessie` is no suite"),
        (&["create", "lab-test-1", "--files", "/none"], "error: there is no folder"),
        (&["create", "9x"], "error: `9x` cannot be the name"),
        (&["start", "lab-test-1"], "error: there is no instance"),
    ] {
        let refused = lab.call(words);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(error) && said.contains("\nhint: "), "{words:?}: {said}");
        assert_eq!(lab.ok(&["list"]), "", "{words:?}");
    }

    let examples = format!("{HERE}/scripts/examples");
    let request = format!("{examples}/hello.json");
    let created = lab.ok(&["create", "lab-test-1", "--request", &request, "--files", &examples]);
    assert!(created.contains("creation-") && created.contains("succeeded"), "{created}");
    assert_eq!(lab.ok(&["list"]), "lab-test-1 running\n");
    assert_eq!(
        lab.ok(&["shell", "lab-test-1", "cat", "/home/azureuser/notebooks/hello.py"]).trim(),
        "print('hello from lab-test-1')"
    );
    let words = lab.ok(&["shell", "lab-test-1", "sudo", "-u", "azureuser", "-i", "printf", "%s,", "a b", "c"]);
    assert_eq!(words, "a b,c,");

    lab.ok(&["stop", "lab-test-1"]);
    assert_eq!(lab.ok(&["list"]), "lab-test-1 stopped\n");
    let refused = lab.call(&["stop", "lab-test-1"]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.starts_with("error: instance `lab-test-1` is stopped\nhint: "), "{words}");

    let captured = lab.ok(&["capture", "lab-test-1", "lab-test-2"]);
    assert_eq!(
        captured.matches("succeeded").count(),
        1,
        "its own run, and not the one it was captured with: {captured}"
    );
    let started = lab.ok(&["start", "lab-test-1"]);
    assert_eq!(started.matches("creation-").count(), 1, "{started}");
    lab.ok(&["restart", "lab-test-1"]);
    lab.ok(&["kill", "lab-test-1"]);
    lab.ok(&["delete", "lab-test-1"]);
    lab.ok(&["delete", "lab-test-2"]);
    assert_eq!(lab.ok(&["list"]), "");
}

//! The share belongs to others: what another user plants leads the mirror nowhere and holds nobody up.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use faultfs::Options;

use super::bench::{Bench, SHARE};
use crate::support::{Place, assert_within, wait_until};

/// Everything at and below a folder, with type, size, owner and content.
fn snapshot(folder: &Path) -> Vec<(String, u32, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let about = fs::symlink_metadata(entry.path()).expect("metadata");
        let content = if about.is_file() { fs::read(entry.path()).expect("read") } else { Vec::new() };
        found.push((entry.path().display().to_string(), about.mode(), about.len(), content));
        if about.is_dir() {
            found.extend(snapshot(&entry.path()));
        }
    }
    found.sort();
    found
}

/// A share on which everybody may write everywhere, as owners and modes say; with something of others on it.
fn bench() -> Bench {
    let bench = Bench::with(Options { default_permissions: true, ..Options::default() });
    let victims = bench.share.backing().join("victims");
    fs::create_dir_all(victims.join("folder")).expect("folders");
    fs::write(victims.join("file"), "precious").expect("a file");
    bench.room.write("/root/secret", "precious", 0o600);
    for folder in [&victims, &victims.join("folder")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    fs::set_permissions(victims.join("file"), fs::Permissions::from_mode(0o666)).expect("chmod");
    bench
}

/// As user 1001, who has no rights but those of everybody.
fn plant(bench: &Bench, lines: &str) {
    let call = bench.room.call(["bash", "-c", &format!("umask 0; cd {SHARE}; {lines}")]);
    call.user("datasci").run().ok();
}

const KINDS: [&str; 6] = [
    "ln -s SHARE/victims/folder X",
    "ln -s /root/secret X",
    "ln victims/file X",
    "mkfifo X",
    "mkdir X; touch X/occupied",
    "echo theirs > X",
];

#[test]
fn what_stands_at_the_name_of_any_folder_leads_nowhere_and_holds_nobody_up() {
    for kind in KINDS {
        for level in ["Logs", "Logs/ci-2", "Logs/ci-2/creation"] {
            let what = format!("`{kind}` at {level}");
            assert_within(&what, Duration::from_secs(1 + 1), || with_planted(kind, level, &what));
        }
    }
}

/// Returns how long `run` took.
fn with_planted(kind: &str, level: &str, what: &str) -> Duration {
    let bench = bench();
    let above = Path::new(level).parent().expect("a parent").display().to_string();
    plant(&bench, &format!("mkdir -p ./{above}; {}", kind.replace("SHARE", SHARE).replace('X', level)));
    let before = snapshot(&bench.share.backing().join("victims"));
    bench.inline("echo one; exit 7", "30s");
    let (ran, took) = bench.run(&["--flush-wait", "1s"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "one\n"), "{what}: {}", ran.stderr);
    assert!(before == snapshot(&bench.share.backing().join("victims")), "{what}: somebody else's things");
    assert_eq!(bench.room.read("/root/secret").as_deref(), Some("precious"), "{what}");
    if !kind.starts_with("mkdir") {
        assert_ne!(bench.mirror_state(), "current", "{what}");
        bench.wait_until_nobody_records();
        // Once it is out of the way all is well.
        plant(&bench, &format!("rm {level}"));
    }
    bench.wait_until_nobody_records();
    assert_eq!(bench.sync().code, 0, "{what}");
    bench.assert_mirrored(what);
    took
}

/// In the run's own folder, which `datasci` may write to on a share without owners.
#[test]
fn what_stands_at_the_name_of_any_file_is_not_written_and_the_copy_still_arrives() {
    for kind in KINDS {
        for name in ["output.log", "outcome.json", ".outcome.json.new", "script.sh", "output.tail.log", "details.html"]
        {
            let bench = bench();
            let what = format!("`{kind}` at {name}");
            bench.inline("echo one; until [ -e /run/gate ]; do sleep 0.01; done; seq 1 1000; exit 7", "60s");
            let agent = bench.agent(&["--output-limit", "2000"]).spawn();
            wait_until("the folder", || {
                let text = super::table::find(bench.share.backing());
                if text == "one\n" { Ok(()) } else { Err(text) }
            });
            let before = snapshot(&bench.share.backing().join("victims"));
            let folder = fs::read_dir(bench.share.backing().join("Logs/ci-2/creation")).expect("it").flatten().next();
            let folder = folder.expect("the run's folder").path();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("chmod");
            let at = format!("Logs/ci-2/creation/{}/{name}", folder.file_name().expect("a name").to_string_lossy());
            plant(&bench, &format!("rm -f {at}; {}", kind.replace("SHARE", SHARE).replace('X', &at)));
            bench.room.write("/run/gate", "", 0o600);
            let ran = agent.wait();
            assert_eq!(ran.code, 7, "{what}: {}", ran.stderr);
            assert!(before == snapshot(&bench.share.backing().join("victims")), "{what}: somebody else's things");
            assert_eq!(bench.room.read("/root/secret").as_deref(), Some("precious"), "{what}");
            let outcome = bench.outcome();
            assert_eq!(outcome["output"]["mirror"], "current", "{what}: {outcome:#}");
            for name in ["output.log", "output.tail.log", "script.sh"] {
                let local = fs::read(bench.folder().join(name)).expect("local");
                assert!(bench.mirrored(name) == Some(local), "{what}: {name}");
            }
        }
    }
}

#[test]
fn folders_that_are_swapped_while_it_writes_lead_nowhere() {
    for level in ["Logs", "Logs/ci-2", "Logs/ci-2/creation", "Logs/ci-2/creation/*"] {
        let bench = bench();
        let script = "until [ -e /run/gate ]; do seq 1 200; sleep 0.1; done; exit 7";
        bench.inline(script, "60s");
        let agent = bench.agent(&["--quiet"]).spawn();
        wait_until("the folder", || {
            let text = super::table::find(bench.share.backing());
            if text.is_empty() { Err(agent.stderr()) } else { Ok(()) }
        });
        let before = snapshot(&bench.share.backing().join("victims"));
        // By root, who stands for whoever may: on SMB everybody.
        let swap = format!(
            "cd {SHARE}; for i in {{1..20}}; do for it in {level}; do break; done
             mv $it aside && ln -s {SHARE}/victims/folder $it; sleep 0.05; rm $it
             mv -T aside $it || rm -r aside; sleep 0.05; done; touch /run/gate"
        );
        bench.room.bash(&swap);
        let ran = agent.wait();
        assert_eq!(ran.code, 7, "{level}: {}", ran.stderr);
        assert!(before == snapshot(&bench.share.backing().join("victims")), "{level}: somebody else's things");
        bench.wait_until_nobody_records();
        assert_eq!(bench.sync().code, 0, "{level}");
        bench.assert_mirrored(level);
    }
}

#[test]
fn a_copy_that_others_change_or_remove_is_made_right_again() {
    for lines in
        ["truncate -s 5 F", "echo more >> F", "rm F", "printf XXXX | dd of=F bs=1 seek=9 conv=notrunc", "rm -r D"]
    {
        let bench = bench();
        bench.inline("seq 1 5000; until [ -e /run/gate ]; do sleep 0.01; done; echo last", "60s");
        let agent = bench.agent(&["--quiet"]).spawn();
        wait_until("its first part", || {
            let text = super::table::find(bench.share.backing());
            if text.ends_with("\n5000\n") { Ok(()) } else { Err(text.len()) }
        });
        let folder = format!("$(echo {SHARE}/Logs/ci-2/creation/*)");
        let lines = lines.replace('F', &format!("{folder}/output.log")).replace('D', &folder);
        bench.room.bash(&format!("{lines} 2>/dev/null")).ok();
        bench.room.write("/run/gate", "", 0o600);
        assert_eq!(agent.wait().code, 0);
        bench.assert_mirrored(&lines);
    }
}

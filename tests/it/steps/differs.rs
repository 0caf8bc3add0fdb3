//! A recorded script behaves as an unrecorded one, to the byte.
//!
//! `STEPS_BASH` names another bash to try. The test binary is static: copied into a Debian 11, 12 or 13 tree,
//! it tries that system's (`chroot TREE /it steps::differs`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ci_setup_agent::steps::{Starting, Watch};

use super::corpus::scripts;

/// What a script did.
#[derive(Debug, PartialEq)]
struct Behaviour {
    stdout: String,
    stderr: String,
    together: String,
    status: String,
}

/// One place to run things in. Two of them hold equal files with inodes of their own: the probes are on one
/// bash only, whatever other tests do at the same time.
struct Place(PathBuf);

impl Place {
    fn new(folder: &Path, name: &str) -> Self {
        let place = folder.join(name);
        std::fs::create_dir(&place).unwrap();
        let bash = std::env::var_os("STEPS_BASH").unwrap_or("/bin/bash".into());
        std::fs::copy(bash, place.join("bash")).unwrap();
        Self(place)
    }

    fn bash(&self) -> PathBuf {
        self.0.join("bash")
    }

    /// Runs the script twice: its streams apart, and its streams as one, which shows their order.
    fn run(&self, script: &str, mut each: impl FnMut(u32)) -> Behaviour {
        let path = self.0.join("setup.sh");
        std::fs::write(&path, script).unwrap();
        let mut start = |stdout: Stdio, stderr: Stdio| {
            let mut command = Command::new(self.bash());
            command
                .arg(&path)
                .args(["a b", "c"])
                .current_dir(&self.0)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("HOME", "/root");
            let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
            each(child.id());
            child
        };
        // Read to their ends, which come when `exec > >(cat)` and the like have nothing more to write.
        let apart = start(Stdio::piped(), Stdio::piped()).wait_with_output().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut child = start(writer.try_clone().unwrap().into(), writer.into());
        let mut together = Vec::new();
        reader.read_to_end(&mut together).unwrap();
        let status = format!("{} {}", apart.status, child.wait().unwrap());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let mut behaviour =
            Behaviour { stdout: text(apart.stdout), stderr: text(apart.stderr), together: text(together), status };
        for text in [&mut behaviour.stdout, &mut behaviour.stderr, &mut behaviour.together] {
            // Pids of other processes, in messages such as `line 5: 4711 Terminated`.
            *text = without_pids(&text.replace(self.0.to_str().unwrap(), "HERE"));
        }
        behaviour
    }
}

impl Behaviour {
    /// The same with the lines of stderr, where processes of a pipeline meet, in the order of their text.
    fn in_any_order(&self) -> Behaviour {
        let sorted = |text: &str| {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        let (stderr, together) = (sorted(&self.stderr), sorted(&self.together));
        Behaviour { stdout: self.stdout.clone(), stderr, together, status: self.status.clone() }
    }
}

fn without_pids(text: &str) -> String {
    let words = text.split_inclusive(|letter: char| !letter.is_ascii_digit());
    words
        .map(|word| {
            if word.len() > 3 && word[..word.len() - 1].bytes().all(|byte| byte.is_ascii_digit()) {
                "N ".to_owned()
            } else {
                word.to_owned()
            }
        })
        .collect()
}

#[test]
fn a_corpus_of_scripts_behaves_the_same_with_and_without_recording() {
    let folder = tempfile::tempdir().unwrap();
    let (free, watched) = (Place::new(folder.path(), "place-a"), Place::new(folder.path(), "place-b"));
    let scripts = scripts();
    assert!(scripts.len() >= 300);
    let (mut different, mut steps, mut retries) = (Vec::new(), 0, 0);
    // A recording serves a family: to take the probes out takes the kernel longer than ten scripts.
    for family in scripts.chunks(40) {
        let watch = Watch { run_id: "corpus", interpreter: &watched.bash(), script: family[0].1.as_bytes() };
        let mut recorder = Starting::new(watch).unwrap().finish(Instant::now() + Duration::from_secs(10)).unwrap();
        for (index, (name, script)) in family.iter().enumerate() {
            if std::env::var_os("STEPS_VERBOSE").is_some() {
                eprintln!("{name}");
            }
            // Processes of a pipeline race with each other, watched or not: what matters is that each behaviour
            // seen under recording is one of those seen without.
            let (mut plain, mut recorded) = (Vec::new(), Vec::new());
            let mut alike = false;
            while !alike && plain.len() < 8 {
                plain.push(free.run(script, |_| {}));
                recorded.push(watched.run(script, |pid| {
                    if index == 0 {
                        recorder.set_root(pid);
                    }
                }));
                recorder.pump();
                alike = recorded.iter().any(|behaviour| plain.contains(behaviour));
            }
            // On a busy machine one order of a race may not come by in eight tries: then the lines count.
            if !alike && (script.contains('|') || script.contains(">(") || script.contains('&')) {
                alike = recorded.iter().any(|seen| plain.iter().any(|free| free.in_any_order() == seen.in_any_order()));
            }
            if !alike {
                different.push(format!("{name}\n{script}\n{:#?}\n{:#?}", plain[0], recorded[0]));
            }
            retries += plain.len() - 1;
        }
        let summary = recorder.finish(None);
        assert_eq!(summary.unavailable, None);
        steps += summary.count;
    }
    eprintln!("{} scripts, {retries} races", scripts.len());
    assert!(steps >= 2 * 14, "{steps}");
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), scripts.len(), different.join("\n\n"));
}

//! A recorded script behaves as an unrecorded one, to the byte.
//!
//! `STEPS_BASH` names another bash to try. The test binary is static: copied into a Debian 11, 12 or 13 tree,
//! it tries that system's (`chroot TREE /it steps::differs`).

use std::fs::File;
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
        let mut start = |stdout: &File, stderr: &File| {
            let mut command = Command::new(self.bash());
            command
                .arg(&path)
                .args(["a b", "c"])
                .current_dir(&self.0)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("HOME", "/root");
            let mut child = command
                .stdin(Stdio::null())
                .stdout(stdout.try_clone().unwrap())
                .stderr(stderr.try_clone().unwrap())
                .spawn()
                .unwrap();
            each(child.id());
            child.wait().unwrap().to_string()
        };
        let file = |name: &str| {
            File::options()
                .create(true)
                .truncate(false)
                .append(true)
                .open(self.0.join(name))
                .unwrap()
        };
        let (stdout, stderr, together) = (file("out"), file("err"), file("both"));
        for file in [&stdout, &stderr, &together] {
            file.set_len(0).unwrap();
        }
        let status = format!(
            "{} {}",
            start(&stdout, &stderr),
            start(&together, &together)
        );
        let mut behaviour = Behaviour {
            stdout: self.settled("out"),
            stderr: self.settled("err"),
            together: self.settled("both"),
            status,
        };
        for text in [
            &mut behaviour.stdout,
            &mut behaviour.stderr,
            &mut behaviour.together,
        ] {
            // Pids of other processes, in messages such as `line 5: 4711 Terminated`.
            *text = without_pids(&text.replace(self.0.to_str().unwrap(), "HERE"));
        }
        behaviour
    }

    /// A file's text once `exec > >(cat)` and the like have nothing more to write.
    fn settled(&self, name: &str) -> String {
        let path = self.0.join(name);
        let mut text = std::fs::read(&path).unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        while is_open_elsewhere(&path) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        text = std::fs::read(&path).unwrap_or(text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Whether a process other than this one holds a file open.
fn is_open_elsewhere(path: &Path) -> bool {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| process.file_name() != *own)
        .any(|process| {
            let descriptors = std::fs::read_dir(process.path().join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            descriptors
                .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
                .any(|target| target == path)
        })
}

fn without_pids(text: &str) -> String {
    let words = text.split_inclusive(|letter: char| !letter.is_ascii_digit());
    words
        .map(|word| {
            if word.len() > 3
                && word[..word.len() - 1]
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            {
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
    let (free, watched) = (
        Place::new(folder.path(), "place-a"),
        Place::new(folder.path(), "place-b"),
    );
    let scripts = scripts();
    assert!(scripts.len() >= 300);
    let (mut different, mut steps) = (Vec::new(), 0);
    // A recording serves a family: to take the probes out takes the kernel longer than ten scripts.
    for family in scripts.chunks(40) {
        let watch = Watch {
            run_id: "corpus",
            interpreter: &watched.bash(),
            script: family[0].1.as_bytes(),
        };
        let mut recorder = Starting::new(watch)
            .unwrap()
            .finish(Instant::now() + Duration::from_secs(10))
            .unwrap();
        for (index, (name, script)) in family.iter().enumerate() {
            let plain = free.run(script, |_| {});
            let recorded = watched.run(script, |pid| {
                if index == 0 {
                    recorder.set_root(pid);
                }
            });
            recorder.pump();
            if plain != recorded {
                different.push(format!("{name}\n{script}\n{plain:#?}\n{recorded:#?}"));
            }
        }
        let summary = recorder.finish();
        assert_eq!(summary.unavailable, None);
        steps += summary.count;
    }
    assert!(steps >= 2 * 14, "{steps}");
    assert!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        scripts.len(),
        different.join("\n\n")
    );
}

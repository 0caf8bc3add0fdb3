//! A recorded script behaves as an unrecorded one, to the byte, on the bash of each release.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ci_setup_agent::steps::{Starting, Watch, hook::Hook};
use nix::mount::{MsFlags, mount};

use super::corpus::scripts;
use crate::support::{Disk, image};

/// What the hook cannot hide, as scripts that look for it; what is seen from outside hides it all.
const SHOWN_BY_HOOK: [(&str, &str); 4] = [
    ("a list of all variables has the hook's among them", "set | grep -c __ci_\n"),
    ("the environment that bash was started with names the hook", "grep -c BASH_ENV /proc/$$/environ\n"),
    ("`set -v` within a function shows the commands of the trap", "f() { set -v; }\nf\necho\n"),
    ("the words that the trap is made of have become aliases", "shopt -s expand_aliases\nalias do='do echo'\necho\n"),
];

/// One in the corpus: with `set -a` a list of exported variables has the hook's among them.
const SHOWN_IN_CORPUS: &str = "10.22";

/// What a script did.
#[derive(Debug, PartialEq)]
struct Behaviour {
    stdout: String,
    /// Empty where both streams were one.
    stderr: String,
    status: String,
}

/// What is looked at: what goes to which stream, or in what order it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streams {
    Apart,
    Together,
}

/// How bash gets a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Name,
    Stdin,
    String,
}

/// A release's file system with three places to run things in. They hold equal files with inodes of their own:
/// the probes are on one bash only, whatever other tests do at the same time.
struct Release(Disk);

struct Place<'a> {
    release: &'a Release,
    name: &'static str,
    hook: Option<String>,
}

impl Release {
    fn new(suite: &str) -> Self {
        let release = Self(Disk::new(&image(suite)));
        let root = release.0.root();
        mount(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty(), None::<&str>).expect("proc");
        mount(Some("/dev"), &root.join("dev"), None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .expect("devices");
        release
    }

    fn place(&self, name: &'static str) -> Place<'_> {
        let folder = self.0.root().join(name);
        fs::create_dir(&folder).unwrap();
        fs::copy(self.0.root().join("bin/bash"), folder.join("bash")).unwrap();
        Place { release: self, name, hook: None }
    }
}

impl Place<'_> {
    fn folder(&self) -> PathBuf {
        self.release.0.root().join(self.name)
    }

    /// Runs the script, and says what its pid is before anything else.
    fn run(&self, by: By, streams: Streams, script: &str, started: impl FnOnce(u32)) -> Behaviour {
        let path = self.folder().join("setup.sh");
        fs::write(&path, script).unwrap();
        let inside = format!("/{}", self.name);
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(self.release.0.root()).args(["env", &format!("--chdir={inside}"), &format!("{inside}/bash")]);
        match by {
            By::Name => command.arg(format!("{inside}/setup.sh")),
            By::Stdin => command.arg("-s"),
            By::String => command.args(["-c", script, "setup.sh"]),
        };
        command.args(["a b", "c"]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/root");
        command.envs(self.hook.as_ref().map(|hook| ("BASH_ENV", hook)));
        command.stdin(if by == By::Stdin { fs::File::open(&path).unwrap().into() } else { Stdio::null() });
        // Read to their ends, which come when `exec > >(cat)` and the like have nothing more to write.
        let mut stdout = Vec::new();
        let output = match streams {
            Streams::Apart => {
                let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                started(child.id());
                let output = child.wait_with_output().unwrap();
                stdout.clone_from(&output.stdout);
                output
            }
            Streams::Together => {
                let (mut reader, writer) = std::io::pipe().unwrap();
                let child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
                drop(command);
                started(child.id());
                reader.read_to_end(&mut stdout).unwrap();
                child.wait_with_output().unwrap()
            }
        };
        // Pids of other processes, in messages such as `line 5: 4711 Terminated`.
        let text = |bytes: &[u8]| without_pids(&String::from_utf8_lossy(bytes).replace(&inside, "/HERE"));
        Behaviour { stdout: text(&stdout), stderr: text(&output.stderr), status: output.status.to_string() }
    }

    /// Has what is run from now on read the hook.
    fn hook(&mut self, file: &str) -> Hook {
        let folder = self.folder().join("steps");
        let hook = Hook::new(&folder, &[0]).unwrap();
        let own = folder.join("script");
        let seen_inside = format!("/{}/steps/{file}", self.name);
        self.hook = Some(hook.variable().replace(own.to_str().unwrap(), &seen_inside));
        hook
    }
}

impl Behaviour {
    /// The same with the lines, where processes of a pipeline meet, in the order of their text.
    fn in_any_order(&self) -> Self {
        let sorted = |text: &str| {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        Self { stdout: sorted(&self.stdout), stderr: sorted(&self.stderr), status: self.status.clone() }
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

/// What differs between unrecorded and recorded behaviours, if anything does.
///
/// Processes of a pipeline race with each other, watched or not: what matters is that each behaviour seen under
/// recording is one of those seen without.
fn difference(script: &str, plain: &mut Plain<'_>, mut recorded: impl FnMut() -> Behaviour) -> Option<String> {
    let mut seen = Vec::new();
    while seen.len() < 8 {
        seen.push(recorded());
        let free = plain.at_least(seen.len());
        if seen.iter().any(|behaviour| free.contains(behaviour)) {
            return None;
        }
    }
    // On a busy machine one order of a race may not come by in eight tries: then the lines count.
    let free = plain.at_least(0);
    let races = script.contains('|') || script.contains(">(") || script.contains('&');
    let alike = |one: &Behaviour| free.iter().any(|free| free.in_any_order() == one.in_any_order());
    if races && seen.iter().any(alike) { None } else { Some(format!("{:#?}\n{:#?}", free[0], seen[0])) }
}

/// How a script behaves unrecorded, as often as anybody has asked.
struct Plain<'a> {
    place: &'a Place<'a>,
    by: By,
    streams: Streams,
    script: &'a str,
    seen: Vec<Behaviour>,
}

impl Plain<'_> {
    fn at_least(&mut self, times: usize) -> &[Behaviour] {
        while self.seen.len() < times {
            self.seen.push(self.place.run(self.by, self.streams, self.script, |_| {}));
        }
        &self.seen
    }
}

/// Runs the corpus, or each `part`th of it, without recording and with each of the sources, on both processors.
fn differs_nowhere(suite: &str, part: usize) {
    let scripts: Vec<_> = scripts().into_iter().step_by(part).collect();
    let (one, other) = scripts.split_at(scripts.len() / 2);
    std::thread::scope(|scope| {
        let threads = [one, other].map(|scripts| scope.spawn(move || differ_nowhere(suite, scripts)));
        threads.into_iter().for_each(|thread| thread.join().expect("no difference"));
    });
}

fn differ_nowhere(suite: &str, scripts: &[(String, String)]) {
    let release = Release::new(suite);
    let (free, watched, mut hooked) = (release.place("place-a"), release.place("place-b"), release.place("place-c"));
    let _hook = hooked.hook("script");
    // A recording serves a family: to take the probes out takes the kernel longer than ten scripts.
    for family in scripts.chunks(60) {
        let watch =
            Watch { run_id: "corpus", interpreter: &watched.folder().join("bash"), script: family[0].1.as_bytes() };
        let mut recorder = Starting::new(watch).unwrap().finish(Instant::now() + Duration::from_secs(10)).unwrap();
        for (index, (name, script)) in family.iter().enumerate() {
            // Every beginning and every body comes by both ways.
            let streams = if (index + index / 40) % 2 == 0 { Streams::Apart } else { Streams::Together };
            let mut plain = Plain { place: &free, by: By::Name, streams, script, seen: Vec::new() };
            let by_probes = difference(script, &mut plain, || {
                let behaviour = watched.run(By::Name, streams, script, |pid| {
                    if index == 0 {
                        recorder.set_root(pid);
                    }
                });
                recorder.pump();
                behaviour
            });
            assert_eq!(by_probes, None, "{suite} {name}, by probes:\n{script}");
            let by_hook = difference(script, &mut plain, || hooked.run(By::Name, streams, script, |_| {}));
            assert_eq!(
                name == SHOWN_IN_CORPUS,
                by_hook.is_some(),
                "{suite} {name}, by the hook: {by_hook:?}\n{script}"
            );
        }
        let summary = recorder.finish(None);
        assert_eq!((summary.unavailable, summary.count > 0), (None, true));
    }
    // The hook was there, and has written.
    assert!(fs::metadata(hooked.folder().join("steps/0")).unwrap().len() > 10_000);
}

#[test]
fn the_whole_corpus_behaves_the_same_with_and_without_recording_on_bookworm() {
    assert!(scripts().len() >= 300);
    differs_nowhere("bookworm", 1);
}

#[test]
fn the_corpus_behaves_the_same_with_and_without_recording_on_bullseye() {
    differs_nowhere("bullseye", 3);
}

#[test]
fn the_corpus_behaves_the_same_with_and_without_recording_on_trixie() {
    differs_nowhere("trixie", 3);
}

#[test]
fn blocks_behave_the_same_with_and_without_the_hook() {
    let release = Release::new("bookworm");
    let (free, mut hooked) = (release.place("place-a"), release.place("place-c"));
    let _hook = hooked.hook("block");
    for (index, (name, script)) in scripts().iter().enumerate().skip(1).step_by(5) {
        let by = if index % 2 == 0 { By::Stdin } else { By::String };
        let streams = Streams::Together;
        let mut plain = Plain { place: &free, by, streams, script, seen: Vec::new() };
        let different = difference(script, &mut plain, || hooked.run(by, streams, script, |_| {}));
        assert_eq!(name == SHOWN_IN_CORPUS, different.is_some(), "{name} by {by:?}: {different:?}");
    }
}

#[test]
fn what_the_hook_cannot_hide_is_known() {
    let release = Release::new("bookworm");
    let (free, mut hooked) = (release.place("place-a"), release.place("place-c"));
    let _hook = hooked.hook("script");
    for (why, script) in SHOWN_BY_HOOK {
        let (by, streams) = (By::Name, Streams::Together);
        let mut plain = Plain { place: &free, by, streams, script, seen: Vec::new() };
        let different = difference(script, &mut plain, || hooked.run(by, streams, script, |_| {}));
        assert!(different.is_some(), "{why}: not any more?");
    }
}

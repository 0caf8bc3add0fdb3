//! A room with the faulting share mounted where the service mounts it, and looks at what a run left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use faultfs::{Options, Share};
use serde_json::{Value, json};

use crate::support::call::{Call, Ran};
use crate::support::{Place, Room, SHARE as SHARE_OF_ROOM, wait_until};

/// The agent's state directory.
pub const STATE: &str = "/var/lib/ci-setup-agent";

/// The instance. Not `ci-1`: at the place of that one's share something is mounted all the time.
pub const NAME: &str = "ci-2";

/// Where its share is mounted inside.
pub const SHARE: &str = "/mnt/batch/tasks/shared/LS_root/mounts/clusters/ci-2/code";

/// The share goes first: it frees whoever hangs on it.
pub struct Bench {
    pub share: Share,
    pub room: Room,
}

impl Bench {
    /// A room of bookworm with a share that shows itself as Azure Files does.
    pub fn new() -> Self {
        Self::with(Options::like_smb())
    }

    pub fn with(options: Options) -> Self {
        Self::within(Room::new("bookworm"), options)
    }

    pub fn within(room: Room, options: Options) -> Self {
        let backing = room.disk().beside("backing");
        fs::create_dir(&backing).expect("a folder");
        fs::set_permissions(&backing, fs::Permissions::from_mode(0o777)).expect("chmod");
        fs::create_dir(backing.join("Users")).expect("a folder");
        let mountpoint = room.share().join("code");
        fs::create_dir(&mountpoint).expect("a folder");
        // Below a folder that the room sees as well, so that what is mounted there appears, and vanishes, inside.
        let cluster = SHARE.strip_suffix("/code").expect("a folder");
        room.bash(&format!("mkdir -p {cluster}; mount --bind {SHARE_OF_ROOM} {cluster}")).ok();
        let share = Share::mount(&backing, &mountpoint, options);
        Self { share, room }
    }

    /// Makes the request for an inline creation script.
    pub fn inline(&self, script: &str, timeout: &str) {
        let data = base64::engine::general_purpose::STANDARD.encode(script);
        self.request(&json!({"scriptSource": "inline", "scriptData": data, "timeout": timeout}));
    }

    /// Puts a creation script on the share and makes the request for it.
    pub fn stored(&self, script: &str, timeout: &str) {
        fs::write(self.share.backing().join("Users/setup.sh"), script).expect("the backing folder");
        self.request(&json!({"scriptSource": "workspaceStorage", "scriptData": "Users/setup.sh", "timeout": timeout}));
    }

    fn request(&self, creation: &Value) {
        let request = json!({"setupScripts": {"scripts": {"creationScript": creation}}});
        self.room.write("/root/request.json", request.to_string(), 0o600);
    }

    /// A call of `run` with more options.
    pub fn agent(&self, more: &[&str]) -> Call {
        let mut arguments = vec!["ci-setup-agent", "run", "/root/request.json"];
        arguments.extend(["--resource-group", "rg", "--workspace", "wks", "--name", NAME, "--steps", "off"]);
        if !more.contains(&"--flush-wait") {
            // On a busy machine a healthy share may take longer than people are asked to wait.
            arguments.extend(["--flush-wait", "90s"]);
        }
        arguments.extend(more);
        self.room.call(arguments.into_iter().map(str::to_owned))
    }

    /// Calls `run` and says how long it took.
    pub fn run(&self, more: &[&str]) -> (Ran, Duration) {
        let begun = Instant::now();
        let ran = self.agent(more).run();
        (ran, begun.elapsed())
    }

    pub fn sync(&self) -> Ran {
        self.room.run(["ci-setup-agent", "sync", "--flush-wait", "10s"])
    }

    /// The folder of the newest run in the state directory, on the host.
    pub fn folder(&self) -> PathBuf {
        let runs = fs::read_dir(self.room.path(format!("{STATE}/runs"))).expect("runs");
        let mut runs: Vec<PathBuf> = runs.flatten().map(|entry| entry.path()).collect();
        runs.sort();
        runs.pop().expect("a run")
    }

    /// The outcome as the local disk has it.
    pub fn outcome(&self) -> Value {
        let text = fs::read(self.folder().join("outcome.json")).expect("an outcome");
        serde_json::from_slice(&text).expect("JSON")
    }

    pub fn mirror_state(&self) -> String {
        self.outcome()["output"]["mirror"].as_str().expect("a word").to_owned()
    }

    /// The local log.
    pub fn spool(&self) -> Vec<u8> {
        fs::read(self.folder().join("output.log")).expect("a log")
    }

    /// A file of the run as another client of the share sees it.
    pub fn mirrored(&self, name: &str) -> Option<Vec<u8>> {
        let outcome = self.outcome();
        let folder = outcome["output"]["mirrorPath"].as_str()?;
        fs::read(self.share.backing().join(folder).join(name)).ok()
    }

    /// Asserts that log, script and outcome on the share are those of the local disk.
    #[track_caller]
    pub fn assert_mirrored(&self, what: &str) {
        let local = self.outcome();
        assert_eq!(local["output"]["mirror"], "current", "{what}: {local:#}");
        let spool = self.spool();
        assert!(self.mirrored("output.log").as_ref() == Some(&spool), "{what}: another log, of {}", spool.len());
        assert_eq!(local["output"]["mirroredBytes"], local["output"]["bytes"], "{what}: {local:#}");
        let public: Value = serde_json::from_slice(&self.mirrored("outcome.json").expect("an outcome")).expect("JSON");
        for member in ["state", "exitCode", "endedAt", "runId"] {
            assert_eq!(public[member], local[member], "{what}: `{member}`");
        }
        assert_eq!(public["output"]["mirror"], "current", "{what}");
        let script = fs::read(self.folder().join("script.sh")).expect("the script");
        assert!(self.mirrored("script.sh") == Some(script), "{what}: the script");
        let folder = self.share.backing().join(local["output"]["mirrorPath"].as_str().expect("a path"));
        let names = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name());
        let stale: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
        assert!(stale.is_empty(), "{what}: {stale:?}");
    }

    /// Waits until the supervisor has given up or finished: until then `sync` would wait for it.
    pub fn wait_until_nobody_records(&self) {
        wait_until("the end of the supervisor", || {
            let all = self.room.processes();
            let left: Vec<_> = all.iter().filter(|process| process.command.contains("ci-setup-agent run")).collect();
            let hung = |pid: i32| {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                status.contains("Name:\tci-setup:mirror")
            };
            let left: Vec<_> = left.into_iter().filter(|process| !hung(process.pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
}

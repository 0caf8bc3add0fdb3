//! Starting programs inside a room or machine, and what became of them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{Process, children};
use super::wait_until;

/// Search path inside, and for the helpers that lead there.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a call becomes one after the other on its way in.
const HELPERS: [&str; 5] = ["setpriv", "nsenter", "sh", "setsid", "env"];

/// The way into a room or machine.
#[derive(Clone)]
pub struct Door {
    /// Host's process id of process 1 inside.
    pub leader: i32,
    /// `cgroup.procs` of the cgroup that what is called begins in.
    pub cgroup: PathBuf,
}

/// A program about to be started inside: as root in `/`, no input, in a session of its own, with `PATH` and
/// nothing else in the environment.
pub struct Call {
    door: Door,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: String,
    user: Option<String>,
    input: Option<Vec<u8>>,
}

impl Call {
    pub fn new<Argument: Into<String>>(door: Door, arguments: impl IntoIterator<Item = Argument>) -> Self {
        Self {
            door,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: BTreeMap::from([("PATH".into(), PATH.into())]),
            folder: "/".into(),
            user: None,
            input: None,
        }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// As that user, with its groups and nobody's capabilities. Sets no variables and opens no session.
    pub fn user(mut self, name: &str) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Begins in that folder.
    pub fn folder(mut self, path: &str) -> Self {
        self.folder = path.into();
        self
    }

    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// In a session whose terminal is its standard input, so that keys there are signals here.
    pub fn owning_its_terminal(mut self) -> Self {
        self.arguments.splice(0..0, ["setsid", "--ctty", "--wait"].map(str::to_owned));
        self
    }

    /// For tests that need a say in descriptors 0, 1 and 2: a reader that stops, a closed pipe.
    pub fn command(&self) -> Command {
        let leader = self.door.leader.to_string();
        let mut command = Command::new("setpriv");
        // Dies with the thread that started it; the room would die anyway, this only is sooner.
        command.args(["--pdeathsig", "KILL", "--"]);
        // Entering a pid namespace takes a fork. The parent stays outside, in the cgroup of the test as well:
        // within, `cgroup.procs` would list it as 0, over which systemd stumbles when it stops a service.
        command.args(["nsenter", "--target", &leader, "--pid", "--"]);
        command.args(["sh", "-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(&self.door.cgroup);
        command.args(["nsenter", "--target", &leader]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--cgroup", "--"]);
        // What follows runs inside and replaces itself: setsid does not fork, as nsenter's child leads no group.
        command.arg("setsid");
        if let Some(user) = &self.user {
            command.args(["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all"]);
        }
        command.args(["env", &format!("--chdir={}", self.folder), "--"]).args(&self.arguments);
        command.env_clear().envs(&self.environment);
        command
    }

    /// Starts it; its output is read all the time.
    pub fn spawn(self) -> Spawned {
        let mut command = self.command();
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("util-linux's setpriv on the host");
        if let (Some(input), Some(mut pipe)) = (self.input, child.stdin.take()) {
            // A thread of its own: a program that reads nothing must not hold up the test.
            std::thread::spawn(move || pipe.write_all(&input));
        }
        let stdout = Stream::of(child.stdout.take().expect("a pipe"));
        let stderr = Stream::of(child.stderr.take().expect("a pipe"));
        Spawned { child, stdout, stderr, arguments: self.arguments }
    }

    /// Runs it to its end. What it leaves behind may keep its output open: that is not waited for.
    pub fn run(self) -> Ran {
        self.spawn().wait()
    }
}

/// How a program ended and what it had written by then.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    /// As a shell has it: 128 + N for a program that died by signal N.
    pub code: i32,
    /// What `stdout` was made of.
    pub bytes: Vec<u8>,
}

impl Ran {
    /// Fails the test, with all output, unless it exited 0. Returns stdout.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A program that runs inside. Dropping this leaves it running until its room ends.
pub struct Spawned {
    child: Child,
    stdout: Arc<Mutex<Stream>>,
    stderr: Arc<Mutex<Stream>>,
    arguments: Vec<String>,
}

impl Spawned {
    /// The program's process id on the host, once it really is that program and no longer on its way in.
    pub fn pid(&self) -> i32 {
        let entering = i32::try_from(self.child.id()).expect("a process id");
        wait_until(&format!("{:?} to start", self.arguments), || {
            let inside = children(entering).into_iter().filter_map(Process::of).next();
            let Some(inside) = inside else {
                return Err(format!("{:?}", Process::of(entering)));
            };
            let name = inside.command.split(' ').next().unwrap_or_default();
            // In brackets: in the middle of an exec, when there are no arguments to be read.
            let on_its_way = HELPERS.contains(&name) || name.starts_with('[');
            if on_its_way && inside.command != self.arguments.join(" ") {
                return Err(inside.command);
            }
            Ok(inside.pid)
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal to a running program");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// What it has written so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has written so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    pub fn wait(mut self) -> Ran {
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            continue_nsenter(self.child.id().cast_signed());
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        let bytes = self.stdout.lock().expect("a stream").bytes.clone();
        Ran { stdout, stderr, code: shell_code(status), bytes }
    }
}

impl Drop for Spawned {
    /// Until nsenter has buried its child, a dead one keeps the room's namespace from ending.
    fn drop(&mut self) {
        if self.is_running() {
            let pid = self.child.id().cast_signed();
            std::thread::spawn(move || {
                while continue_nsenter(pid) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    }
}

/// nsenter stops itself where its child was stopped, and would not see that one killed before it went on.
/// Whether it is there.
fn continue_nsenter(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    if stat.starts_with(&format!("{pid} (nsenter) T")) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
    }
    // Nobody waits for it any more: it stays a zombie, and the number its own, until the test ends.
    !stat.is_empty() && !stat.contains(") Z ")
}

fn shell_code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).expect("an ended process")
}

/// One output pipe and what came through it. Whoever holds the lock may read: the thread that keeps the pipe
/// from filling up, and whoever wants all that is there now, without waiting for an end of file that
/// a daemon can put off for ever.
struct Stream {
    pipe: Box<dyn ReadAsFd>,
    bytes: Vec<u8>,
    open: bool,
}

trait ReadAsFd: Read + AsFd + Send {}
impl<T: Read + AsFd + Send> ReadAsFd for T {}

impl Stream {
    fn of(pipe: impl ReadAsFd + 'static) -> Arc<Mutex<Self>> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe that does not block");
        let ready = pipe.as_fd().try_clone_to_owned().expect("a descriptor");
        let stream = Arc::new(Mutex::new(Self { pipe: Box::new(pipe), bytes: Vec::new(), open: true }));
        let weak: Weak<Mutex<Self>> = Arc::downgrade(&stream);
        std::thread::spawn(move || {
            // The time limit is for noticing that nobody wants the output any more.
            let wait = || poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], PollTimeout::from(200u8));
            while wait().is_ok() {
                let Some(stream) = weak.upgrade() else { return };
                let mut stream = stream.lock().expect("a stream");
                stream.drain();
                if !stream.open {
                    return;
                }
            }
        });
        stream
    }

    fn drain(&mut self) {
        let mut chunk = [0; 65536];
        while self.open {
            match self.pipe.read(&mut chunk) {
                Ok(0) => self.open = false,
                Ok(length) => self.bytes.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("cannot read a program's output: {error}"),
            }
        }
    }
}

fn text(stream: &Mutex<Stream>) -> String {
    let mut stream = stream.lock().expect("a stream");
    stream.drain();
    String::from_utf8_lossy(&stream.bytes).into_owned()
}

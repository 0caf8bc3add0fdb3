//! The process that serves the share, told what to do over a unix socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::connection::{Connection, unmount};
use crate::faults::{Faults, GoOn};
use crate::filesystem::FaultFs;
use crate::protocol::{Ask, Loss, Options, Told};
use crate::tree::Tree;
use crate::unflushed::Unflushed;

/// Printed on stdout once the share is there.
pub(crate) const READY: &str = "faultfs: ready";

/// What to serve, where, and how it is told what to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Serve {
    /// The folder that holds the files.
    pub backing: PathBuf,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The socket, made here.
    pub control: PathBuf,
    /// How it is mounted.
    pub options: Options,
    /// Ends when stdin does, so that no parent, however it dies, leaves a mount behind.
    /// PR_SET_PDEATHSIG would not do: it goes by the thread that started us, and a test's ends early.
    pub with_stdin: bool,
}

struct Server {
    serve: Serve,
    faults: Arc<Faults>,
    unflushed: Arc<Unflushed>,
    connection: Mutex<Option<Connection>>,
    end: Mutex<Sender<()>>,
}

/// Serves until told to quit, until SIGTERM or SIGINT, or until stdin ends.
///
/// # Errors
/// What cannot be mounted, or a socket that cannot be made.
pub fn serve(serve: Serve) -> io::Result<()> {
    // Before any thread: all of them shall leave these signals to the one that waits for them.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    raise_descriptor_limit();
    // A panic in one thread would leave callers waiting for it.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));

    let (end, ended) = channel();
    let with_stdin = serve.with_stdin;
    let server = Arc::new(Server::new(serve, end.clone())?);
    std::env::set_current_dir("/")?;
    let listener = UnixListener::bind(&server.serve.control)?;
    server.mount()?;
    println!("{READY}");

    let of_signals = end.clone();
    thread::spawn(move || {
        let _ = signals.wait();
        let _ = of_signals.send(());
    });
    if with_stdin {
        thread::spawn(move || {
            let _ = io::stdin().lock().read_to_end(&mut Vec::new());
            let _ = end.send(());
        });
    }
    let of_socket = Arc::clone(&server);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = Arc::clone(&of_socket);
            thread::spawn(move || server.converse(&client));
        }
    });
    server.wait_and_clean_up(&ended);
    Ok(())
}

impl Server {
    fn new(mut serve: Serve, end: Sender<()>) -> io::Result<Self> {
        serve.backing = serve.backing.canonicalize()?;
        serve.control = std::path::absolute(&serve.control)?;
        // A server that died may have left its mount there, which cannot even be looked at.
        if serve.mountpoint.symlink_metadata().is_err_and(|error| error.raw_os_error() == Some(Errno::ENOTCONN as i32))
        {
            unmount(&serve.mountpoint);
        }
        serve.mountpoint = serve.mountpoint.canonicalize()?;
        if serve.backing.starts_with(&serve.mountpoint) {
            return Err(io::Error::other("the backing folder lies below the mount, which would wait for itself"));
        }
        Ok(Server {
            serve,
            faults: Arc::default(),
            unflushed: Arc::default(),
            connection: Mutex::default(),
            end: Mutex::new(end),
        })
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().expect("no panic under this lock")
    }

    fn mount(&self) -> io::Result<()> {
        let mut connection = self.connection();
        if let Some(open) = connection.take() {
            open.close()?;
            self.faults.drop_parked();
        }
        unmount(&self.serve.mountpoint);
        let tree = Tree::new(&self.serve.backing, &self.serve.options, Arc::clone(&self.unflushed))?;
        let options = self.serve.options.clone();
        let file_system = FaultFs { tree: Arc::new(tree), faults: Arc::clone(&self.faults), options };
        *connection = Some(Connection::open(&self.serve.mountpoint, &self.serve.options, file_system)?);
        Ok(())
    }

    fn abort(&self) -> io::Result<()> {
        if let Some(open) = self.connection().take() {
            open.abort()?;
            self.faults.drop_parked();
        }
        Ok(())
    }

    fn unmount(&self) -> io::Result<()> {
        self.abort()?;
        unmount(&self.serve.mountpoint);
        self.unflushed.flush_all()
    }

    fn forget(&self, loss: Loss) -> io::Result<Told> {
        let (forgotten, inodes) = self.unflushed.forget(loss)?;
        if let Some(open) = &*self.connection() {
            open.invalidate(inodes);
        }
        Ok(Told::Forgotten(forgotten))
    }

    fn converse(&self, client: &UnixStream) {
        let mut lines = BufReader::new(client).lines();
        while let Some(Ok(line)) = lines.next() {
            let told = match serde_json::from_str::<Ask>(&line) {
                Ok(ask) => self.obey(ask),
                Err(error) => Told::Failed(format!("cannot understand `{line}`: {error}")),
            };
            let mut answer = serde_json::to_string(&told).expect("plain data becomes JSON");
            answer.push('\n');
            let mut client = client;
            if client.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn obey(&self, ask: Ask) -> Told {
        let done =
            |result: io::Result<()>| result.map_or_else(|error| Told::Failed(error.to_string()), |()| Told::Done);
        match ask {
            Ask::Add(rule) => self.faults.add(rule),
            Ask::Heal => {
                self.faults.clear_rules();
                self.faults.release(GoOn::Do);
            }
            Ask::Release(errno) => {
                self.faults.release(errno.map_or(GoOn::Do, |raw| GoOn::Fail(Errno::from_raw(raw))));
            }
            Ask::Counts(under) => return Told::Counts(self.faults.counts(&under)),
            Ask::Records(ops, under) => return Told::Records(self.faults.records(ops, &under)),
            Ask::Reset => self.faults.reset(),
            Ask::AwaitHung(ops, count, patience) => {
                return self.faults.await_hung(ops, count, patience).map_or_else(Told::Failed, Told::Hung);
            }
            Ask::AwaitCount(ops, under, count, patience) => {
                let waited = self.faults.await_count(ops, &under, count, patience);
                return waited.map_or_else(Told::Failed, |()| Told::Done);
            }
            Ask::Hung => return Told::Hung(self.faults.hung()),
            Ask::Forget(loss) => {
                return self.forget(loss).unwrap_or_else(|error| Told::Failed(error.to_string()));
            }
            Ask::Unmount => return done(self.unmount()),
            Ask::Abort => return done(self.abort()),
            Ask::Mount => return done(self.mount()),
            Ask::Quit => {
                let unmounted = done(self.unmount());
                let _ = self.end.lock().expect("no panic under this lock").send(());
                return unmounted;
            }
        }
        Told::Done
    }

    fn wait_and_clean_up(&self, ended: &Receiver<()>) {
        let _ = ended.recv();
        if let Err(error) = self.abort() {
            eprintln!("faultfs: {error}");
        }
        unmount(&self.serve.mountpoint);
        let _ = std::fs::remove_file(&self.serve.control);
        // A parent that was killed cannot remove the socket's folder; not empty, it is not ours.
        if let Some(folder) = self.serve.control.parent().filter(|_| self.serve.with_stdin) {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Each inode that the kernel remembers is a descriptor here.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Asks one question of a server.
pub(crate) fn ask(control: &Path, ask: &Ask) -> io::Result<Told> {
    let mut stream = UnixStream::connect(control)?;
    let mut line = serde_json::to_string(ask)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

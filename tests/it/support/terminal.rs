//! A terminal of the kernel's for a program to run on, and an emulator that tells what it shows.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};

use super::call::Call;
use super::wait_until;

/// What it has received and answers.
pub struct Terminal {
    keyboard: File,
    side: OwnedFd,
    received: Arc<Mutex<Vec<u8>>>,
    size: (u16, u16),
}

impl Terminal {
    /// A terminal of so many rows and columns.
    pub fn new(rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("a pseudo-terminal");
        let keyboard = File::from(pair.master);
        let received = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (keyboard.try_clone().expect("a descriptor"), Arc::clone(&received));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // EIO: no program has it open any more.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                sink.lock().expect("the terminal").extend_from_slice(&chunk[..count]);
            }
        });
        Self { keyboard, side: pair.slave, received, size: (rows, columns) }
    }

    /// Its side of the programs, as one of their descriptors.
    pub fn stdio(&self) -> Stdio {
        self.side.try_clone().expect("a descriptor").into()
    }

    /// Starts a program with all three descriptors on it.
    pub fn start(&self, call: &Call) -> Child {
        let mut command = call.command();
        command.stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio());
        command.spawn().expect("it starts")
    }

    /// Waits for the program's end and for all that it has sent by then. Returns its exit code.
    pub fn wait(&self, mut program: Child) -> Option<i32> {
        let code = program.wait().expect("wait").code();
        // The title of the window, which nothing here shows.
        const LAST: &[u8] = b"\x1b]0;the end\x07";
        File::from(self.side.try_clone().expect("a descriptor")).write_all(LAST).expect("write");
        wait_until("what was sent", || if self.received().ends_with(LAST) { Ok(()) } else { Err(self.received()) });
        let mut received = self.received.lock().expect("the terminal");
        let length = received.len() - LAST.len();
        received.truncate(length);
        code
    }

    pub fn press(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).expect("a keyboard");
    }

    /// Makes it as wide as that.
    pub fn resize(&mut self, columns: u16) {
        let mut stty = Command::new("stty");
        let status = stty.args(["cols", &columns.to_string()]).stdin(self.stdio()).status();
        assert!(status.expect("stty").success());
        self.size.1 = columns;
    }

    /// All bytes it has received.
    pub fn received(&self) -> Vec<u8> {
        self.received.lock().expect("the terminal").clone()
    }

    /// The rows that are not empty, from the history to the last one, as they stand now.
    pub fn rows(&self) -> Vec<String> {
        let size = |length| NonZero::new(length).expect("a size");
        // The whole history is in sight: what scrolls away is to be seen as well.
        let mut emulator = vt100::Parser::new(size(self.size.0), size(self.size.1), 10_000);
        emulator.process(&self.received());
        let mut rows: Vec<String> = Vec::new();
        emulator.screen_mut().set_scrollback(10_000);
        let history = emulator.screen().scrollback();
        for back in (0..=history).rev() {
            emulator.screen_mut().set_scrollback(back);
            let seen = emulator.screen().rows(0, self.size.1);
            match back {
                0 => rows.extend(seen),
                _ => rows.extend(seen.take(1)),
            }
        }
        rows.retain(|row| !row.is_empty());
        rows
    }
}

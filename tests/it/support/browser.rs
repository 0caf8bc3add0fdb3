//! Debian's Chromium, without a screen: opens files and tells what they did.
//!
//! It is told what to do through a pipe (`--remote-debugging-pipe`), in messages of the DevTools protocol: JSON,
//! each with a NUL behind it. One browser serves any number of pages.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one tab.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    sent: u64,
    session: String,
    /// What came while an answer was waited for.
    events: Vec<Value>,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Of the window, in CSS pixels.
    pub width: u32,
    pub height: u32,
    /// `light` or `dark`.
    pub scheme: &'static str,
}

impl Browser {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        // The shell only moves the pipes to where the browser looks for them, which are 3 and 4.
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 < /dev/null > /dev/null", "sh"]);
        command.args(["setpriv", "--pdeathsig", "KILL", "--", "chromium", "--headless", "--no-sandbox"]);
        command.args(["--remote-debugging-pipe", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sh");
        let to = File::from(OwnedFd::from(child.stdin.take().expect("a pipe")));
        let from = File::from(OwnedFd::from(child.stdout.take().expect("a pipe")));
        let mut browser = Self {
            child,
            to,
            from: BufReader::new(from),
            sent: 0,
            session: String::new(),
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Log", "Runtime", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Calls a method and returns its result.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("Chromium: apt-get install chromium");
        loop {
            let answer = self.next();
            if answer["id"] == json!(self.sent) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn next(&mut self) -> Value {
        let mut text = Vec::new();
        self.from.read_until(0, &mut text).expect("a message");
        assert!(text.pop() == Some(0), "Chromium is not there or has died: apt-get install chromium");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Opens a file and waits until it is there. Returns the addresses of all that was loaded for it, and what
    /// the browser had to complain about.
    pub fn open(&mut self, file: &Path, look: Look) -> (Vec<String>, Vec<String>) {
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": look.scheme}]});
        self.call("Emulation.setEmulatedMedia", &scheme);
        let size = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        self.events.clear();
        self.call("Page.navigate", &json!({"url": format!("file://{}", file.display())}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push(event);
        }
        // A round through the page: what it was about to do has been done.
        self.evaluate("1");
        let (mut loaded, mut complaints) = (Vec::new(), Vec::new());
        for event in &self.events {
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => loaded.push(event["params"]["request"]["url"].to_string()),
                "Log.entryAdded"
                | "Runtime.consoleAPICalled"
                | "Runtime.exceptionThrown"
                | "Page.javascriptDialogOpening" => complaints.push(event["params"].to_string()),
                _ => {}
            }
        }
        (loaded, complaints)
    }

    /// The value of an expression in the page, by the browser's own hand: the page's policy stays as it is.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let result = self.call("Runtime.evaluate", &json!({"expression": expression, "returnByValue": true}));
        assert!(result.get("exceptionDetails").is_none(), "{result:#}");
        result["result"]["value"].clone()
    }

    /// A picture of the window.
    pub fn picture(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png", "optimizeForSpeed": false}));
        base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().expect("data")).expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.from.get_mut().read(&mut [0; 1]);
    }
}

//! A real browser, spoken to through two named pipes in its own protocol (Chrome DevTools), so that a test can choose a screen,
//! press a button and ask the page what it shows.
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use super::{folder::Folder, peers, process::Process, waiting::eventually};

/// How long the browser may take: it starts slowly on a busy machine.
const BROWSER_PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    commands: File,
    answers: BufReader<File>,
    number: u64,
    session: Option<String>,
    /// What the page complained of: errors of its script, and what its policy refused.
    complaints: Vec<String>,
    _process: Process,
    _folder: Folder,
}

impl Browser {
    /// Starts it; `None`, said loudly, where there is none.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let program = peers::require_program("chromium", test)?;
        let folder = Folder::new();
        let (to, from) = (folder.path().join("commands"), folder.path().join("answers"));
        let made = Command::new("mkfifo").args([&to, &from]).status().unwrap();
        assert!(made.success());
        let mut command = Command::new("sh");
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .arg("-c")
            .arg("exec \"$@\" 3<\"$COMMANDS\" 4>\"$ANSWERS\"")
            .arg("sh")
            .env("COMMANDS", &to)
            .env("ANSWERS", &from)
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-proxy-server",
            ])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let process = Process::spawn("chromium", &mut command);
        // Each of these waits for the other end.
        let commands = OpenOptions::new().write(true).open(&to).unwrap();
        let answers = BufReader::new(File::open(&from).unwrap());
        let mut browser = Self {
            commands,
            answers,
            number: 0,
            session: None,
            complaints: Vec::new(),
            _process: process,
            _folder: folder,
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({}));
        }
        Some(browser)
    }

    /// A screen so wide, in a colour scheme (`light`, `dark`).
    pub(crate) fn screen(&mut self, width: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features);
    }

    /// Whether scripts may run on pages that are opened from now on.
    pub(crate) fn allow_scripts(&mut self, allowed: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", json!({"value": !allowed}));
    }

    /// Opens a page and waits until it stands.
    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.ask("Page.navigate", json!({"url": url}));
        assert_eq!(opened["errorText"], Value::Null, "{url}");
        self.eventually("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of an expression.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self
            .ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true, "awaitPromise": true}));
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn eventually(&mut self, expression: &str) {
        let is_so = eventually(BROWSER_PATIENCE, || (self.evaluate(expression) == true).then_some(()));
        assert!(is_so.is_some(), "never so: {expression}\n{}", self.evaluate("document.body.innerText"));
    }

    /// What the page complained of so far.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Keeps a picture of the whole page where somebody wants to look at it: in the folder `PORTCULLIS_SCREENSHOTS`.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("PORTCULLIS_SCREENSHOTS") else { return };
        let answer = self.ask("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        let decoded =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, answer["data"].as_str().unwrap());
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), decoded.unwrap()).unwrap();
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let mut message = Vec::new();
            self.answers.read_until(0, &mut message).unwrap();
            assert_eq!(message.pop(), Some(0), "the browser has gone");
            let message: Value = serde_json::from_slice(&message).unwrap();
            if message["id"] == self.number {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].clone();
            }
            if message["method"] == "Runtime.exceptionThrown" || message["method"] == "Log.entryAdded" {
                self.complaints.push(message["params"].to_string());
            }
        }
    }
}

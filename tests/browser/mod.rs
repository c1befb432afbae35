//! A browser, over WebDriver: headless Chromium by chromedriver.

#![allow(unreachable_pub, reason = "this is a module of a test binary")]

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use crate::files::processes::hosts;
use crate::files::serving::PATIENCE;
use crate::served::{Answer, agent};

/// A page in a browser of its own.
pub struct Browser {
    driver: Child,
    agent: Agent,
    session: String,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub width: u32,
    pub is_dark: bool,
}

pub const WIDE: View = View { width: 1440, is_dark: false };

impl Browser {
    /// `None`, which is said, if the machine has no chromedriver.
    pub fn start(view: View) -> Option<Browser> {
        let address = hosts(1);
        let port = address.rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(driver) = driver.spawn() else {
            eprintln!("no chromedriver: the console is not tested in a browser");
            return None;
        };
        let mut browser = Browser { driver, agent: agent(), session: format!("http://{address}/session") };
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let started = Instant::now();
        let session = loop {
            if let Ok(response) = browser.agent.post(&browser.session).send(capabilities.to_string()) {
                break Answer::of(response).expect_ok();
            }
            assert!(started.elapsed() < PATIENCE, "chromedriver does not answer");
            thread::sleep(Duration::from_millis(50));
        };
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().expect("an id"));
        let size = json!({ "width": view.width, "height": 900, "deviceScaleFactor": 1, "mobile": view.width < 600 });
        browser.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if view.is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", &media);
        Some(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}/{path}", self.session));
        Answer::of(request.send(body.to_string()).expect("an answer")).expect_ok()
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    pub fn go(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What a script returns.
    pub fn eval(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What a script gives to `done`.
    pub fn eval_async(&self, script: &str) -> Value {
        let script = format!("const done = arguments[0]; {script}");
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true.
    pub fn wait(&self, expression: &str) {
        let started = Instant::now();
        while self.eval(&format!("return Boolean({expression})")) != true {
            if started.elapsed() > PATIENCE {
                panic!("{expression} in: {}", self.eval("return document.body.innerText"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys one after the other, as the one who looks at the page would.
    pub fn press(&self, keys: &str) {
        let down = |key: char| json!({ "type": "keyDown", "value": key.to_string() });
        let up = |key: char| json!({ "type": "keyUp", "value": key.to_string() });
        let actions: Vec<Value> = keys.chars().flat_map(|key| [down(key), up(key)]).collect();
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// The page in its whole length, as PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let picture = self.devtools("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        base64(picture["data"].as_str().expect("a picture"))
    }

    /// What the page has complained about since this was last asked, and the addresses that it has asked for.
    pub fn complaints_and_requests(&self) -> (Vec<String>, Vec<String>) {
        let log = |kind: &str| self.post("se/log", &json!({ "type": kind })).as_array().expect("a log").clone();
        let severe = |entry: &Value| entry["level"] == "SEVERE";
        let text = |entry: Value| entry["message"].as_str().expect("a message").to_owned();
        let complaints = log("browser").into_iter().filter(severe).map(text).collect();
        let asked = log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let is_request = message["message"]["method"] == "Network.requestWillBeSent";
            Some(message["message"]["params"]["request"]["url"].as_str().filter(|_| is_request)?.to_owned())
        });
        (complaints, asked.collect())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

trait ExpectOk {
    fn expect_ok(self) -> Value;
}

impl ExpectOk for Answer {
    /// The value of an answer of WebDriver.
    fn expect_ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["value"].take()
    }
}

/// The bytes of a text in Base64.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let bytes = |four: &[u8]| {
        let all = four.iter().fold(0_u32, |all, digit| all << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        all.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(bytes).collect()
}

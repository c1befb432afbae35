//! A running service, as a command asks it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

use crate::error::{Error, Result};
use crate::redacted::without_credentials;

/// Where a service listens, and its token.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// Where the service listens.
    #[arg(long, env = "MILLSTREAM_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(super) url: String,
    /// File with the token of the service [default: MILLSTREAM_TOKEN].
    #[arg(long, env = "MILLSTREAM_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A service that is asked.
pub(super) struct Remote {
    agent: Agent,
    /// Its address, without credentials.
    pub(super) base: String,
    pub(super) token: Option<String>,
    /// The address as given.
    url: String,
}

impl RemoteArgs {
    /// The service, which is not asked yet. An answer may take so long; without that, as long as it takes.
    pub(super) fn open(&self, patience: Option<Duration>) -> Result<Remote> {
        Ok(Remote::at(&self.url, token_of(self.token_file.as_deref())?, patience))
    }
}

/// The token of a file, or without one, of the environment.
fn token_of(file: Option<&Path>) -> Result<Option<String>> {
    let Some(path) = file else {
        return Ok(std::env::var("MILLSTREAM_TOKEN").ok().filter(|token| !token.is_empty()));
    };
    let token = fs::read_to_string(path);
    let token = token.map_err(|cause| Error::usage(format!("--token-file: {}: {cause}", path.display())))?;
    Ok(Some(token.trim().to_owned()))
}

impl Remote {
    /// The service at an address, which is not asked yet.
    pub(super) fn at(url: &str, token: Option<String>, patience: Option<Duration>) -> Remote {
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(patience).build().new_agent();
        let url = url.trim_end_matches('/').to_owned();
        Remote { agent, base: without_credentials(&url), token, url }
    }

    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        self.token.iter().fold(request, |request, token| request.header("authorization", format!("Bearer {token}")))
    }

    /// A request for a path, which begins with a slash.
    pub(super) fn request(&self, path: &str) -> RequestBuilder<ureq::typestate::WithoutBody> {
        self.authorized(self.agent.get(format!("{}{path}", self.url)))
    }

    /// What a path has.
    ///
    /// # Errors
    ///
    /// If the service does not answer, or has a problem.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.answer(path, self.request(path).call())
    }

    /// What a path has, as text.
    ///
    /// # Errors
    ///
    /// If the service does not answer, or has a problem.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        self.text_of(path, self.request(path).call())
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    ///
    /// If the service does not answer, or has a problem.
    pub(super) fn post(&self, path: &str) -> Result<Value> {
        let request = self.authorized(self.agent.post(format!("{}{path}", self.url)));
        self.answer(path, request.send_empty())
    }

    fn answer(&self, path: &str, answer: std::result::Result<Response<Body>, ureq::Error>) -> Result<Value> {
        serde_json::from_str(&self.text_of(path, answer)?).map_err(|_| self.is_another())
    }

    fn text_of(&self, path: &str, answer: std::result::Result<Response<Body>, ureq::Error>) -> Result<String> {
        let mut answer = answer.map_err(|error| Error::usage(format!("--url: {}: {error}", self.base)))?;
        if !answer.status().is_success() {
            return Err(self.problem(path, &mut answer));
        }
        answer.body_mut().read_to_string().map_err(Error::failed)
    }

    /// What answers is no service of this program.
    pub(super) fn is_another(&self) -> Error {
        Error::usage(format!("--url: {}: it does not answer as a millstream service does", self.base))
    }

    /// Why a request was not answered as wanted.
    pub(super) fn problem(&self, path: &str, answer: &mut Response<Body>) -> Error {
        let problem = answer.body_mut().read_to_string().unwrap_or_default();
        let problem: Value = serde_json::from_str(&problem).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("it gave no reason");
        Error::usage(format!("{}{path}: {}: {detail}", self.base, answer.status()))
    }
}

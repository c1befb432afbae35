//! Idempotency keys: a request that is sent again is answered, and not applied again.
//!
//! A key is part of the commit of its epoch, so it is known after a restart if and only if the rows are.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::durable::{Offset, State};
use crate::error::{Error, Result};

/// The name of the keys among the offsets of a state.
const NAME: &str = "requests";
/// How long a key is known, in milliseconds: a day.
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// How many keys are known; of more, the oldest are forgotten.
const KEPT_MOST: usize = 200_000;

/// A request that has a key.
#[derive(Clone, Debug)]
pub(super) struct RequestKey {
    pub(super) key: String,
    /// Of its table and body.
    pub(super) digest: String,
}

/// What is known of a request that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DoneRequest {
    pub(super) epoch: u64,
    pub(super) time_ms: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    digest: String,
}

/// What to do with a request that has a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// To apply it: it was not seen before.
    New,
    /// To answer it: it was committed.
    Done(DoneRequest),
    /// To refuse it: it is being applied.
    InFlight,
    /// To refuse it: the key was used for another table or body.
    Other,
}

/// The keys of the requests that are in flight, and of those that were committed.
#[derive(Default)]
pub(super) struct RequestKeys {
    done: HashMap<String, DoneRequest>,
    /// The keys of those that were committed, the oldest first.
    order: VecDeque<(u64, String)>,
    in_flight: HashMap<String, String>,
}

impl RequestKeys {
    /// The keys of a state.
    pub(super) fn of(state: &State) -> Result<RequestKeys> {
        let Some(known) = state.offsets().get(NAME) else { return Ok(RequestKeys::default()) };
        let done: HashMap<String, DoneRequest> = serde_json::from_value(known.clone())
            .map_err(|cause| Error::unusable(format!("the keys of requests in the state: {cause}")))?;
        let mut order: Vec<_> = done.iter().map(|(key, done)| (done.time_ms, key.clone())).collect();
        order.sort();
        Ok(RequestKeys { done, order: order.into(), in_flight: HashMap::new() })
    }

    /// Begins a request that has a key.
    pub(super) fn begin(&mut self, request: &RequestKey) -> KeyUse {
        if let Some(done) = self.done.get(&request.key) {
            return if done.digest == request.digest { KeyUse::Done(done.clone()) } else { KeyUse::Other };
        }
        match self.in_flight.get(&request.key) {
            Some(digest) if *digest == request.digest => KeyUse::InFlight,
            Some(_) => KeyUse::Other,
            None => {
                self.in_flight.insert(request.key.clone(), request.digest.clone());
                KeyUse::New
            }
        }
    }

    /// A request that was begun is not applied.
    pub(super) fn give_up(&mut self, request: &RequestKey) {
        self.in_flight.remove(&request.key);
    }

    /// A request that was begun is committed.
    pub(super) fn finish(&mut self, request: &RequestKey, done: DoneRequest) {
        self.in_flight.remove(&request.key);
        self.order.push_back((done.time_ms, request.key.clone()));
        self.done.insert(request.key.clone(), done);
    }

    /// Forgets the keys that are old at a time.
    pub(super) fn forget(&mut self, now_ms: u64) -> Vec<String> {
        let mut forgotten = Vec::new();
        while let Some((time_ms, _)) = self.order.front()
            && (*time_ms + KEPT_MS <= now_ms || self.order.len() > KEPT_MOST)
        {
            let (_, key) = self.order.pop_front().expect("it has a front");
            self.done.remove(&key);
            forgotten.push(key);
        }
        forgotten
    }
}

impl DoneRequest {
    pub(super) fn new(request: &RequestKey, epoch: u64, time_ms: u64, accepted: u64, rejected: u64) -> DoneRequest {
        DoneRequest { epoch, time_ms, accepted, rejected, digest: request.digest.clone() }
    }
}

/// Adds to the offsets of a commit what it says of keys.
pub(super) fn add_to<'a>(
    offsets: &mut BTreeMap<String, Offset>,
    forgotten: Vec<String>,
    done: impl Iterator<Item = (&'a RequestKey, &'a DoneRequest)>,
) {
    let mut keys: Map<String, Offset> = forgotten.into_iter().map(|key| (key, Offset::Null)).collect();
    keys.extend(done.map(|(request, done)| (request.key.clone(), json!(done))));
    if !keys.is_empty() {
        offsets.insert(NAME.into(), Offset::Object(keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, digest: &str) -> RequestKey {
        RequestKey { key: key.into(), digest: digest.into() }
    }

    #[test]
    fn a_key_stands_for_one_request() {
        let (mut keys, first) = (RequestKeys::default(), request("a", "1"));
        assert_eq!(keys.begin(&first), KeyUse::New);
        assert_eq!(keys.begin(&first), KeyUse::InFlight);
        assert_eq!(keys.begin(&request("a", "2")), KeyUse::Other);
        keys.give_up(&first);
        assert_eq!(keys.begin(&first), KeyUse::New);
        let done = DoneRequest::new(&first, 7, 1000, 3, 1);
        keys.finish(&first, done.clone());
        assert_eq!(keys.begin(&first), KeyUse::Done(done));
        assert_eq!(keys.begin(&request("a", "2")), KeyUse::Other);
    }

    #[test]
    fn keys_are_forgotten_after_a_day() {
        let (mut keys, first, second) = (RequestKeys::default(), request("a", "1"), request("b", "1"));
        for (request, time_ms) in [(&first, 1000), (&second, 2000)] {
            keys.begin(request);
            keys.finish(request, DoneRequest::new(request, 1, time_ms, 1, 0));
        }
        assert_eq!(keys.forget(KEPT_MS + 999), [""; 0]);
        assert_eq!(keys.forget(KEPT_MS + 1000), ["a"]);
        assert_eq!(keys.begin(&first), KeyUse::New);
    }
}

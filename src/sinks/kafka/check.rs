//! Checking a sink before it is used. Nothing is changed there.

use rdkafka::producer::BaseProducer;

use crate::error::{Error, Result};
use crate::kafka::KafkaEvents;

use super::progress::TopicProgress;
use super::settings::KafkaTarget;
use super::topics::existing;

/// Connects, and looks which topics there are. Each finding has a name; the first that fails is the last.
pub(crate) fn check(target: &KafkaTarget, tables: &[String]) -> Vec<(String, Result<String>)> {
    let mut findings = Vec::new();
    let mut found = |what: &str, finding: Result<String>| {
        let is_well = finding.is_ok();
        findings.push((format!("sink {}: {what}", target.name), finding));
        is_well
    };
    let events = KafkaEvents::default();
    let topics = target
        .address
        .client::<BaseProducer<KafkaEvents>>(&[], &events)
        .and_then(|producer| existing(&producer, &events));
    let reached = topics.as_ref().map(|_| target.address.to_string()).map_err(Error::clone);
    if !found("the brokers can be reached", reached) {
        return findings;
    }
    if let Some(registry) = &target.registry {
        found("its schema registry", registry.check().map(|()| format!("{registry} answers")));
    }
    let Ok(topics) = topics else { return findings };
    let wanted = tables.iter().map(|table| format!("{}{table}", target.prefix));
    let (there, missing): (Vec<_>, Vec<_>) = wanted.partition(|topic| topics.contains_key(topic));
    let progress = TopicProgress::new(&target.prefix, &target.name, String::new());
    let recorded = match topics.contains_key(&progress.topic) {
        true => progress.read(&target.address),
        false => Ok(None),
    };
    let standing = recorded.map(|recorded| match recorded.and_then(|recorded| recorded.committed()) {
        Some(epoch) => format!("they have epoch {}", epoch.epoch),
        None => "nothing is delivered yet".to_owned(),
    });
    let count = format!("{} topics are there, {} will be made", there.len(), missing.len());
    found("its topics", standing.map(|standing| format!("{count}; {standing}")));
    findings
}

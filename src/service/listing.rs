//! What a service has: its sources, its sinks and the tasks in the background, as those who ask for them see them.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::activity::{
    Activity, ActivityReport, DeliveryTo, FollowReport, SourceKind, SourceReport, TaskKind, TaskReport,
};
use super::settings::ServiceConfig;

/// A time in milliseconds since 1970, as RFC 3339 has it.
pub(crate) fn timestamp(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A task, and how it ended.
pub(crate) fn task_json(task: &TaskReport) -> Value {
    let outcome = match &task.outcome {
        None => "running",
        Some(Ok(_)) => "done",
        Some(Err(_)) => "failed",
    };
    json!({
        "task": task.kind,
        "epoch": task.epoch,
        "began_at": timestamp(task.began_ms),
        "seconds": task.took.map(|took| took.as_secs_f64()),
        "outcome": outcome,
        "message": task.outcome.as_ref().map(|outcome| outcome.as_ref().unwrap_or_else(|failed| failed)),
    })
}

/// What came in from a source since the start.
fn with_report(mut source: Value, activity: &ActivityReport, kind: SourceKind) -> Value {
    let SourceReport { arrivals, rows, rejected, last_ms, offset, last_rejected } =
        activity.sources.get(&kind).cloned().unwrap_or_default();
    source["arrivals"] = json!(arrivals);
    source["rows"] = json!(rows);
    source["rejected_rows"] = json!(rejected);
    source["last_arrival_at"] = json!(Some(last_ms).filter(|ms| *ms > 0).map(timestamp));
    source["offset"] = json!(offset);
    let last_rejected = last_rejected.map(|(ms, reason)| json!({ "at": timestamp(ms), "reason": reason }));
    source["last_rejected"] = json!(last_rejected);
    source
}

/// Where rows come from.
pub(crate) fn listed_sources(service: &ServiceConfig, activity: &Activity) -> Vec<Value> {
    let (followed, activity) = (activity.followed(), activity.report());
    let mut sources = Vec::new();
    if service.takes_files {
        let path = service.incoming.as_deref().unwrap_or(&service.run.input.path);
        let source = json!({ "type": "folder", "path": path.display().to_string() });
        sources.push(with_report(source, &activity, SourceKind::Folder));
    }
    sources.extend(followed.into_iter().map(|followed| {
        let FollowReport { name, kind, place, state, position, held_bytes, lag, failures, last_failure } = followed;
        let last_failure = last_failure.map(|(ms, cause)| json!({ "at": timestamp(ms), "reason": cause }));
        let source = json!({
            "type": kind, "name": name, "path": place, "state": state, "position": position,
            "held_bytes": held_bytes, "lag": lag, "failures": failures, "last_failure": last_failure,
        });
        with_report(source, &activity, if kind == "kafka" { SourceKind::Kafka } else { SourceKind::Postgres })
    }));
    let takes_rows = service.listen.as_ref().is_some_and(|listen| listen.takes_rows);
    sources.extend(takes_rows.then(|| {
        let source = json!({ "type": "http", "paths": ["/v1/orders", "/v1/products", "/v1/customers"] });
        with_report(source, &activity, SourceKind::Http)
    }));
    sources
}

/// A sink that delivers to another system.
fn delivery_json(delivery: &DeliveryTo) -> Value {
    let DeliveryTo { name, kind, place, report, .. } = delivery;
    let last_failure = report.last_failure.as_ref();
    json!({
        "type": kind,
        "name": name,
        "path": place,
        "state": report.state,
        "epoch": report.epoch.map(|epoch| epoch.epoch),
        "committed_at": report.epoch.map(|epoch| timestamp(epoch.time_ms)),
        "delivered_at": report.delivered_ms.map(timestamp),
        "transactions": report.transactions,
        "rows": report.rows,
        "seconds": report.took.as_secs_f64(),
        "waiting": { "epochs": report.waiting_epochs, "rows": report.waiting_rows },
        "behind_seconds": report.behind.as_secs_f64(),
        "failures": report.failures,
        "last_failure": last_failure.map(|(ms, cause)| json!({ "at": timestamp(*ms), "reason": cause })),
    })
}

/// Where tables go.
pub(crate) fn listed_sinks(service: &ServiceConfig, activity: &Activity) -> Vec<Value> {
    let activity = activity.report();
    let (path, every) = (service.run.output.path.display().to_string(), service.publish_every);
    let every = every.map(|every| every.as_secs());
    let published = activity.ended.get(&TaskKind::Publish).map(task_json);
    let on_stop = service.publish_on_stop;
    let sink = json!({
        "type": "folder", "path": path, "every_seconds": every, "on_stop": on_stop, "last_publication": published,
    });
    std::iter::once(sink).chain(activity.deliveries.iter().map(delivery_json)).collect()
}

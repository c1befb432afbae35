//! The sinks that are configured.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::service::activity::Activity;
use crate::service::settings::ServiceConfig;
use crate::sinks::delivery::{DeliveredTables, DeliverySink, DeliveryTarget, KnownEpochs};
use crate::sinks::{CurrentEpoch, Sink};

/// What sinks are made with.
#[derive(Clone, Copy)]
pub(super) struct SinkSetting<'a> {
    pub(super) current: &'a CurrentEpoch,
    pub(super) stop: &'a Arc<AtomicBool>,
    pub(super) activity: &'a Activity,
    pub(super) known: &'a KnownEpochs,
}

/// What checks find, each with a name.
type Findings = Vec<(String, Result<String>)>;

/// Checks the sinks before they are used.
pub(super) fn findings(config: &ServiceConfig) -> Findings {
    let mut findings = Vec::new();
    #[cfg(feature = "postgres")]
    for keys in &config.postgres_sinks {
        use crate::sinks::postgres::check;
        let target = crate::service::databases::sink_target(keys);
        findings.extend(of_sink(config, &keys.name, target, |target| &target.tables, check));
    }
    #[cfg(feature = "kafka")]
    for keys in &config.kafka_sinks {
        use crate::sinks::kafka::check;
        let target = crate::service::brokers::sink_target(keys);
        findings.extend(of_sink(config, &keys.name, target, |target| &target.tables, check));
    }
    #[cfg(feature = "delta")]
    for keys in &config.delta_sinks {
        use crate::sinks::delta::check;
        let target = Ok(crate::service::lakes::sink_target(keys));
        findings.extend(of_sink(config, &keys.name, target, |target| &target.tables, check));
    }
    findings
}

fn of_sink<T>(
    config: &ServiceConfig,
    name: &str,
    target: Result<T>,
    tables: fn(&T) -> &DeliveredTables,
    check: fn(&T, &[String]) -> Findings,
) -> Findings {
    let target = match target {
        Ok(target) => target,
        Err(error) => return vec![(format!("sink {name}"), Err(error))],
    };
    let names = || config.run.job.tables.names();
    if let Err(error) = tables(&target).check(names()) {
        return vec![(format!("sink {name}: its tables"), Err(error))];
    }
    let wanted = names().filter(|table| tables(&target).has(table)).map(str::to_owned);
    check(&target, &wanted.collect::<Vec<_>>())
}

/// The sinks of a job that starts with some epochs of the log.
pub(super) fn sinks(config: &ServiceConfig, setting: SinkSetting) -> Result<Vec<Box<dyn Sink>>> {
    let is_first = setting.activity.report().deliveries.is_empty();
    // Who was fenced off once does not come back by itself.
    let fenced = setting.activity.keep_fenced();
    let mut sinks = Vec::new();
    #[cfg(feature = "postgres")]
    for keys in config.postgres_sinks.iter().filter(|keys| !fenced.contains(&keys.name)) {
        let target = crate::service::databases::sink_target(keys)?;
        let place = format!("{}, schema {}", target.address, target.schema);
        sinks.push(sink(setting, target, "postgres", &place, is_first));
    }
    #[cfg(feature = "kafka")]
    for keys in config.kafka_sinks.iter().filter(|keys| !fenced.contains(&keys.name)) {
        let target = crate::service::brokers::sink_target(keys)?;
        let place = format!("{}, topics {}…", target.address, target.prefix);
        sinks.push(sink(setting, target, "kafka", &place, is_first));
    }
    #[cfg(feature = "delta")]
    for keys in config.delta_sinks.iter().filter(|keys| !fenced.contains(&keys.name)) {
        let target = crate::service::lakes::sink_target(keys);
        let place = target.path.display().to_string();
        sinks.push(sink(setting, target, "delta", &place, is_first));
    }
    Ok(sinks)
}

/// Makes a sink, and reports that there is one.
fn sink<T: DeliveryTarget>(
    setting: SinkSetting,
    target: T,
    kind: &'static str,
    place: &str,
    is_first: bool,
) -> Box<dyn Sink> {
    let SinkSetting { current, stop, activity, known } = setting;
    let status = activity.begin_delivery(target.name(), kind, place);
    Box::new(DeliverySink::new(target, known.clone(), current.clone(), Arc::clone(stop), is_first, status))
}

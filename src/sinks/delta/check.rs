//! Checking a sink before it is used. Nothing is changed there.

use std::sync::Arc;

use arrow::datatypes::Schema;

use crate::error::{Error, Result};
use crate::objects::is_url;

use super::log::{LogEngine, TableLog};
use super::progress::LakeProgress;
use super::settings::DeltaTarget;
use super::store::LakeStore;

/// Looks which tables there are. Each finding has a name; the first that fails is the last.
pub(crate) fn check(target: &DeltaTarget, tables: &[String]) -> Vec<(String, Result<String>)> {
    let named = |what: &str| format!("sink {}: {what}", target.name);
    if !is_url(&target.path) && !target.path.exists() {
        return vec![(named("its folder"), Ok(format!("{} will be made", target.path.display())))];
    }
    let store = match LakeStore::open(&target.path) {
        Ok(store) => store,
        Err(error) => return vec![(named("its folder"), Err(error))],
    };
    vec![(named("its tables"), standing(target, &store, tables))]
}

fn standing(target: &DeltaTarget, store: &LakeStore, tables: &[String]) -> Result<String> {
    let engine = LogEngine::new(Arc::clone(&store.store))?;
    let mut there = 0;
    for table in tables {
        let log = TableLog::load(&engine, store.url_of(table)?, Arc::new(Schema::empty()));
        let log = log.map_err(|error| Error::new(error.kind(), format!("table {table}: {error}")))?;
        if let Some(log) = log {
            log.check_owner(&target.name)
                .map_err(|error| Error::new(error.kind(), format!("table {table}: {error}")))?;
            there += 1;
        }
    }
    let count = format!("{there} tables are there, {} will be made", tables.len() - there);
    Ok(match LakeProgress::read(store, &target.name)? {
        Some(progress) => format!("{count}; they have epoch {}", progress.epoch()),
        None => format!("{count}; nothing is delivered yet"),
    })
}

//! From the settings of a sink to what delivers.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sinks::delivery::{DeliveredTables, DeliveryPace, DeliveryTarget};
use crate::sinks::sink::{SinkContext, TableInfo};

use super::change_log::log_columns;
use super::columns::delta_columns;
use super::lake_table::WrittenTable;
use super::settings::{DeltaMode, DeltaTarget};
use super::writer::DeltaWriter;

/// A file is written again for one changed row or for thousands: the more epochs a commit has, the better.
const COMMIT_ROWS_MAX: usize = 500_000;

impl DeliveryTarget for DeltaTarget {
    type Destination = DeltaWriter;

    fn name(&self) -> &str {
        &self.name
    }

    fn tables(&self) -> &DeliveredTables {
        &self.tables
    }

    fn pace(&self) -> DeliveryPace {
        DeliveryPace { every: self.every, rows: COMMIT_ROWS_MAX }
    }

    fn destination(&self, job: &SinkContext, tables: &[&TableInfo]) -> Result<DeltaWriter> {
        let written = |table: &&TableInfo| {
            let named = |error: Error| Error::new(error.kind(), format!("table {}: {error}", table.name));
            let schema = delta_columns(&table.schema).map_err(named)?;
            let columns = match self.mode {
                DeltaMode::Rows => Arc::clone(&schema),
                DeltaMode::Changes => log_columns(&schema).map_err(named)?,
            };
            Ok(WrittenTable { info: TableInfo { schema, ..(*table).clone() }, columns })
        };
        let tables = tables.iter().map(written).collect::<Result<_>>()?;
        Ok(DeltaWriter::new(self.clone(), &job.run_id, tables))
    }
}

//! The replication slot, which keeps what was not confirmed.

use ::postgres::Client;

use crate::error::Result;

use super::catalog::asked;

/// A slot of the server.
#[derive(Clone, Debug)]
pub(crate) struct ReplicationSlot;

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotState {
    pub(crate) is_active: bool,
    /// True if the server has thrown away what was not confirmed.
    pub(crate) is_lost: bool,
    /// True if it has the output plugin `pgoutput`, and is of the database that was asked.
    pub(crate) is_fitting: bool,
    /// The position up to which the server was told that everything is done.
    pub(crate) confirmed: u64,
    /// The log of the server that it holds back, in bytes.
    pub(crate) held_bytes: u64,
}

impl ReplicationSlot {
    /// How a slot is; `None` if there is none of this name.
    pub(crate) fn state(client: &mut Client, name: &str) -> Result<Option<SlotState>> {
        let found = asked(client.query_opt(
            "SELECT active, coalesce(wal_status, '') = 'lost',
                    coalesce(plugin = 'pgoutput' AND database = current_database(), false),
                    greatest(coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0), 0)::bigint,
                    coalesce(confirmed_flush_lsn - '0/0'::pg_lsn, 0)::bigint
             FROM pg_replication_slots WHERE slot_name = $1",
            &[&name],
        ))?;
        Ok(found.map(|row| SlotState {
            is_active: row.get(0),
            is_lost: row.get(1),
            is_fitting: row.get(2),
            held_bytes: u64::try_from(row.get::<_, i64>(3)).unwrap_or_default(),
            confirmed: u64::try_from(row.get::<_, i64>(4)).unwrap_or_default(),
        }))
    }

    /// Drops a slot.
    pub(crate) fn drop(client: &mut Client, name: &str) -> Result<()> {
        asked(client.execute("SELECT pg_drop_replication_slot($1)", &[&name])).map(drop)
    }
}

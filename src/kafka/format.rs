//! How records are written, and where they begin.

/// How rows are written in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordFormat {
    /// A JSON object with the columns of the row.
    #[default]
    Json,
    /// The envelope of Debezium, with the row before and after the change, as JSON.
    Debezium,
}

/// Where a topic begins that is read for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// With the first record that is there.
    #[default]
    Earliest,
    /// Behind the last record that is there.
    Latest,
    /// With the first record of this time or later, in milliseconds since 1970.
    Time(i64),
}

//! How records are written, and where they begin.

/// How rows are written in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordFormat {
    /// A JSON object with the columns of the row.
    #[default]
    Json,
    /// A record of Avro with the columns of the row, in the wire format of Confluent.
    Avro,
    /// The envelope of Debezium, with the row before and after the change, as JSON.
    Debezium,
    /// The same envelope in Avro, in the wire format of Confluent.
    DebeziumAvro,
}

impl RecordFormat {
    /// Every format, with its name.
    pub const ALL: [(&str, RecordFormat); 4] = [
        ("json", RecordFormat::Json),
        ("avro", RecordFormat::Avro),
        ("debezium", RecordFormat::Debezium),
        ("debezium-avro", RecordFormat::DebeziumAvro),
    ];

    /// True if records have the id of a schema in a registry.
    #[must_use]
    pub fn is_avro(self) -> bool {
        matches!(self, RecordFormat::Avro | RecordFormat::DebeziumAvro)
    }

    /// True if rows are in the envelope of Debezium.
    #[must_use]
    pub fn is_debezium(self) -> bool {
        matches!(self, RecordFormat::Debezium | RecordFormat::DebeziumAvro)
    }
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

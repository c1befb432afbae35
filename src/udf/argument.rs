//! Argument and return types: values, nulls and tuples.

use std::fmt::Display;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use compact_str::format_compact;

use crate::error::Result;
use crate::model::{Reason, Text};

use super::value::{CellReader, CellValue, Value};

/// An argument: a [`Value`], for which the function is not called on null, or an `Option` of one.
pub trait Argument: Sized + 'static {
    /// The non-null type.
    type Value: Value;

    /// The argument; `None` if the function must not be called.
    fn given(value: Option<Self::Value>) -> Option<Self>;
}

impl<V: Value> Argument for V {
    type Value = V;

    fn given(value: Option<V>) -> Option<Self> {
        value
    }
}

impl<V: Value> Argument for Option<V> {
    type Value = V;

    fn given(value: Option<V>) -> Option<Self> {
        Some(value)
    }
}

/// The arguments of a function: one, or a tuple of two to four.
pub trait Arguments: Sized + 'static {
    /// A row of nullable values.
    type Nullable: Clone + Send + 'static;

    /// The arguments; `None` if the function must not be called.
    fn given(row: Self::Nullable) -> Option<Self>;

    /// The column types that a vectorised function receives.
    fn data_types() -> Vec<DataType>;

    /// For each argument, whether it can be read from the type at its position.
    fn accepts(found: &[DataType]) -> Vec<bool>;

    /// Converts rows to columns.
    fn columns(rows: &[Self::Nullable]) -> Vec<ArrayRef>;

    /// Returns a reader of the columns' rows.
    ///
    /// # Errors
    ///
    /// If a column can't be read.
    fn rows(columns: &[ArrayRef]) -> Result<RowReader<Self::Nullable>>;

    /// Appends an encoding that identifies the row.
    fn encode_row(row: &Self::Nullable, bytes: &mut Vec<u8>);
}

/// Reads the row at a position; fails with the reason if a value can't be read.
pub type RowReader<R> = Box<dyn Fn(usize) -> std::result::Result<R, Reason>>;

impl<A: Argument> Arguments for A {
    type Nullable = Option<A::Value>;

    fn given(row: Self::Nullable) -> Option<Self> {
        A::given(row)
    }

    fn data_types() -> Vec<DataType> {
        vec![A::Value::data_type()]
    }

    fn accepts(found: &[DataType]) -> Vec<bool> {
        found.iter().map(A::Value::is_read_from).collect()
    }

    fn columns(rows: &[Self::Nullable]) -> Vec<ArrayRef> {
        vec![A::Value::column(rows.iter().cloned())]
    }

    fn rows(columns: &[ArrayRef]) -> Result<RowReader<Self::Nullable>> {
        let cells: CellReader<A::Value> = A::Value::cells(&columns[0])?;
        Ok(Box::new(move |row| -> CellValue<A::Value> { cells(row) }))
    }

    fn encode_row(row: &Self::Nullable, bytes: &mut Vec<u8>) {
        encode(row.as_ref(), bytes);
    }
}

fn encode<V: Value>(value: Option<&V>, bytes: &mut Vec<u8>) {
    bytes.push(u8::from(value.is_some()));
    if let Some(value) = value {
        value.encode(bytes);
    }
}

/// Implements `Arguments` for tuples.
macro_rules! tuples {
    ($(($($name:ident $at:tt),*))*) => {$(
        impl<$($name: Argument),*> Arguments for ($($name,)*) {
            type Nullable = ($(Option<$name::Value>,)*);

            fn given(row: Self::Nullable) -> Option<Self> {
                Some(($($name::given(row.$at)?,)*))
            }

            fn data_types() -> Vec<DataType> {
                vec![$($name::Value::data_type()),*]
            }

            fn accepts(found: &[DataType]) -> Vec<bool> {
                vec![$($name::Value::is_read_from(&found[$at])),*]
            }

            fn columns(rows: &[Self::Nullable]) -> Vec<ArrayRef> {
                vec![$($name::Value::column(rows.iter().map(|row| row.$at.clone()))),*]
            }

            fn rows(columns: &[ArrayRef]) -> Result<RowReader<Self::Nullable>> {
                let cells = ($($name::Value::cells(&columns[$at])?,)*);
                Ok(Box::new(move |row| Ok(($(cells.$at(row)?,)*))))
            }

            fn encode_row(row: &Self::Nullable, bytes: &mut Vec<u8>) {
                $(encode(row.$at.as_ref(), bytes);)*
            }
        }
    )*};
}

tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

/// The return type of a scalar closure: a [`Value`], an `Option` of one, or a `Result` of either.
pub trait Returned {
    /// The non-null type.
    type Value: Value;

    /// The value or null.
    ///
    /// # Errors
    ///
    /// If the closure failed.
    fn returned(self) -> std::result::Result<Option<Self::Value>, Text>;
}

impl<V: Value> Returned for V {
    type Value = V;

    fn returned(self) -> std::result::Result<Option<V>, Text> {
        Ok(Some(self))
    }
}

impl<V: Value> Returned for Option<V> {
    type Value = V;

    fn returned(self) -> std::result::Result<Option<V>, Text> {
        Ok(self)
    }
}

impl<R: Returned, E: Display> Returned for std::result::Result<R, E> {
    type Value = R::Value;

    fn returned(self) -> std::result::Result<Option<R::Value>, Text> {
        match self {
            Ok(returned) => returned.returned(),
            Err(reason) => Err(format_compact!("{reason}")),
        }
    }
}

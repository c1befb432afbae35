//! What functions take and give: values, nulls, and tuples of them.

use std::fmt::Display;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use compact_str::format_compact;

use crate::error::Result;
use crate::model::Text;

use super::value::{Cell, Cells, Value};

/// One argument: a [`Value`], for which the function is not called if it is null; or an `Option` of one.
pub trait Argument: Sized + 'static {
    /// What it is if it is not null.
    type Value: Value;

    /// The argument, or `None` if the function is not to be called.
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

/// All that a function takes: one argument, or a tuple of two to four.
pub trait Arguments: Sized + 'static {
    /// The values of a row, each of them perhaps null.
    type Nullable: Clone + Send + 'static;

    /// The arguments, or `None` if the function is not to be called.
    fn given(row: Self::Nullable) -> Option<Self>;

    /// The types of the columns that a vectorised function is given.
    fn data_types() -> Vec<DataType>;

    /// True for each argument that can be read from a column of the type at its position.
    fn accepts(found: &[DataType]) -> Vec<bool>;

    /// Rows as columns.
    fn columns(rows: &[Self::Nullable]) -> Vec<ArrayRef>;

    /// The rows of columns, each read when it is asked for.
    ///
    /// # Errors
    ///
    /// If a column can't be read.
    fn rows(columns: &[ArrayRef]) -> Result<RowOf<Self::Nullable>>;

    /// Appends what tells a row from all others.
    fn encode_row(row: &Self::Nullable, bytes: &mut Vec<u8>);
}

/// Gives the row at a position, or tells why a value of it can't be read.
pub type RowOf<R> = Box<dyn Fn(usize) -> std::result::Result<R, String>>;

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

    fn rows(columns: &[ArrayRef]) -> Result<RowOf<Self::Nullable>> {
        let cells: Cells<A::Value> = A::Value::cells(&columns[0])?;
        Ok(Box::new(move |row| -> Cell<A::Value> { cells(row) }))
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

/// Makes tuples of arguments what a function can take.
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

            fn rows(columns: &[ArrayRef]) -> Result<RowOf<Self::Nullable>> {
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

/// What the closure of a scalar function gives: a [`Value`], an `Option` of one, or a `Result` of either.
pub trait Returned {
    /// What it is if it is not null.
    type Value: Value;

    /// The value, null, or the reason for which there is none.
    ///
    /// # Errors
    ///
    /// If the row can't be handled.
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

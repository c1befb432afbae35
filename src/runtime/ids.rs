//! Ids of a program, as those of the input are.

use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use crate::model::{AnyId, Change};
use crate::pipeline::EnrichedRowsOf;
use crate::tables::{JobId, Layout};

/// An id as a column has it: where ids are texts, an integer is one, too.
fn as_in_column(id: AnyId, data_type: &DataType) -> AnyId {
    match id {
        AnyId::Int(integer) if !data_type.is_integer() => AnyId::from(&*integer.to_string()),
        id => id,
    }
}

/// True if an integer type has this value.
fn is_of_type(value: i64, data_type: &DataType) -> bool {
    match data_type {
        DataType::Int8 => i8::try_from(value).is_ok(),
        DataType::Int16 => i16::try_from(value).is_ok(),
        DataType::Int32 => i32::try_from(value).is_ok(),
        DataType::UInt8 => u8::try_from(value).is_ok(),
        DataType::UInt16 => u16::try_from(value).is_ok(),
        DataType::UInt32 => u32::try_from(value).is_ok(),
        DataType::UInt64 => value >= 0,
        _ => true,
    }
}

/// What is looked up, with an id as the input has them: an integer or a text.
pub(super) fn typed_lookup(rows_of: EnrichedRowsOf<AnyId>, layout: &Layout) -> Result<EnrichedRowsOf<AnyId>> {
    let typed = |id: AnyId, name: &str, data_type: &DataType| match as_in_column(id, data_type) {
        AnyId::Text(text) if data_type.is_integer() => {
            let wanted = || Error::usage(format!("{name}: found {text}, wanted an integer, as in the input"));
            text.parse::<i64>().map(AnyId::from).map_err(|_| wanted())
        }
        id => Ok(id),
    };
    Ok(match rows_of {
        EnrichedRowsOf::Order(id) => EnrichedRowsOf::Order(typed(id, "order_id", &layout.order_id)?),
        EnrichedRowsOf::Customer(id) => EnrichedRowsOf::Customer(typed(id, "customer_id", &layout.customer_id)?),
        EnrichedRowsOf::Product(id) => EnrichedRowsOf::Product(typed(id, "product_id", &layout.product_id)?),
        EnrichedRowsOf::Days(from, to) => EnrichedRowsOf::Days(from, to),
    })
}

/// A change with ids of the job's type. As in the input, the ids of one entity are either all integers or all texts.
pub(super) fn typed<I: JobId>(change: Change<AnyId>, layout: &Layout) -> Result<Change<I>> {
    let id = |id: AnyId, name: &str, data_type: &DataType| {
        let id = as_in_column(id, data_type);
        let fits = match &id {
            AnyId::Int(integer) => is_of_type(*integer, data_type),
            _ => !data_type.is_integer(),
        };
        let wrong = || Error::usage(format!("{name} {id}: wanted an integer above -2^63, as in the input"));
        I::of_any(&id).filter(|_| fits).ok_or_else(wrong)
    };
    let customer_id = |customer| id(customer, "customer_id", &layout.customer_id);
    let product_id = |product| id(product, "product_id", &layout.product_id);
    Ok(match change {
        Change::Order(order, row) => {
            let row = row.map(|row| row.try_map_ids(customer_id, product_id)).transpose()?;
            Change::Order(id(order, "order_id", &layout.order_id)?, row)
        }
        Change::Product(product, row) => Change::Product(product_id(product)?, row),
        Change::Customer(customer, row) => Change::Customer(customer_id(customer)?, row),
    })
}

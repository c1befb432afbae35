//! All operators, windows and statistics: `use millstream_operators::prelude::*;`.
//!
//! It also has differential's [`Input`], with which a dataflow gets its input collections, and its [`VecCollection`],
//! the type that operators take and return.

pub use differential_dataflow::VecCollection;
pub use differential_dataflow::input::Input;

pub use crate::window::{
    Fraction, FrameAggregate, Functions, NullsLast, PercentileValue, RecomputedWindow, Reverse, Window, WindowFrame,
    WindowFunction, window, window_over,
};
pub use crate::{
    ByKey, Covariance, Group, Moments, Overflow, Position, Statistic, Sum, Upsert, Variance, accumulate,
    accumulate_distinct, aggregate, aggregate_total, anti_join, arg_max, arg_min, arrange, broadcast_join,
    collect_list, collect_set, complete, distinct_count, histogram, inner_join, latest, latest_joined, left_join,
    left_join_unique, max, min, present_keys, reduce_sorted, reduce_summed, semi_join, top_k, top_k_numbered, upserts,
    with_side_input,
};

/// The README's examples, compiled as printed.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

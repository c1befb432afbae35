//! All operators, windows and statistics: `use millstream_operators::prelude::*;`.
//!
//! It also has [`timely`] and [`differential_dataflow`], differential's [`Input`], with which a dataflow gets its input
//! collections, and its [`VecCollection`], the type that operators take and return. The types of batches and traces are
//! not in it, nor is the log of states.

pub use differential_dataflow::VecCollection;
pub use differential_dataflow::input::Input;
pub use {differential_dataflow, timely};

pub use crate::window::{
    Fraction, FrameAggregate, Functions, NullsLast, PercentileValue, RecomputedWindow, Reverse, Window, WindowFrame,
    WindowFunction,
};
pub use crate::{
    ByKey, Covariance, Epochs, Group, JoinHooks, Key, Moments, Overflow, Position, Reductions, SharedReduce, Spill,
    Statistic, Sum, Times, UniqueRows, Upsert, Values, Variance, WaveGate, Waves, accumulate, accumulate_distinct,
    accumulate_distinct_rows, accumulate_distinct_unsorted, aggregate, aggregate_total, anti_join, arg_max, arg_min,
    arrange, arrange_in_waves, broadcast_join, collect_list, collect_set, complete, distinct_count, histogram,
    inner_join, latest, latest_inspect, latest_joined, latest_joined_with, left_join, left_join_unique, max, min,
    newest, present_keys, reduce_sorted, reduce_summed, semi_join, to_all_workers, top_k, top_k_numbered, totals,
    upserts, window, window_over, with_side_input,
};

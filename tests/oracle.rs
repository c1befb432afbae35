//! Every table equals its definition at every epoch, for any number of workers and any order of rows.

mod common;

use common::history::{History, Write, and_back, histories, states, with_text_ids};
use common::naive::answer;
use common::record::{run, run_daily_sales};
use millstream::model::{Day, Id};
use millstream::pipeline::Settings;
use proptest::prelude::*;

fn settings() -> Settings {
    let mut settings = Settings::as_of(Day::new(60).expect("in range"));
    settings.matrix_size = 3;
    settings
}

/// Runs the history and compares after every epoch.
fn check<I: Id>(history: &History<I>, workers: usize, in_flight: u64) -> Result<(), TestCaseError> {
    let recorded = run(history, &settings(), workers, in_flight);
    for (epoch, tables) in (0..).zip(states(history)) {
        prop_assert_eq!(recorded.after(epoch), answer(&tables, &settings()), "after epoch {}", epoch);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_table_is_right_at_every_epoch(history in histories()) {
        check(&history, 1, 1)?;
    }

    #[test]
    fn epochs_that_are_in_flight_together_are_kept_apart(history in histories(), in_flight in 2..5_u64) {
        check(&history, 1, in_flight)?;
    }

    #[test]
    fn a_history_as_one_epoch_ends_in_the_same_tables(history in histories()) {
        let at_once: History<i64> = vec![history.concat()];
        check(&at_once, 1, 1)?;
        let last = history.len() as u64 - 1;
        prop_assert_eq!(run(&at_once, &settings(), 1, 1).after(0), run(&history, &settings(), 1, 1).after(last));
    }

    #[test]
    fn a_history_played_back_to_the_start_leaves_nothing(history in histories()) {
        let there_and_back = and_back(&history);
        check(&there_and_back, 1, 1)?;
        let end = run(&there_and_back, &settings(), 1, 1).after(there_and_back.len() as u64 - 1);
        prop_assert!(end.enriched_data.is_empty() && end.daily_sales.is_empty() && end.product_sales.is_empty());
        prop_assert!(end.customer_patterns.is_empty() && end.rfm_analysis.is_empty());
        prop_assert!(end.cohort_analysis.is_empty() && end.customer_product_matrix.is_empty());
        prop_assert!(end.product_ranking.is_empty() && end.category_stats.is_empty());
        prop_assert!(end.product_features.is_empty() && end.order_anomalies.is_empty());
        prop_assert!(end.first_purchase_cohorts.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn two_and_four_workers_give_the_same(history in histories()) {
        check(&history, 2, 1)?;
        check(&history, 4, 2)?;
    }

    #[test]
    fn ids_may_be_text(history in histories()) {
        check(&with_text_ids(&history), 2, 1)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn daily_sales_without_other_tables_is_right_at_every_epoch(
        history in histories(),
        workers in 1..3_usize,
        in_flight in 1..4_u64,
    ) {
        let history = and_back(&history);
        let recorded = run_daily_sales(&history, &settings(), workers, in_flight);
        for (epoch, tables) in (0..).zip(states(&history)) {
            let expected = answer(&tables, &settings()).daily_sales;
            prop_assert_eq!(recorded.after(epoch).daily_sales, expected, "after epoch {}", epoch);
        }
    }
}

#[test]
fn nothing_in_nothing_out() {
    let nothing: History<i64> = vec![vec![], vec![Write::Order(1, None)], vec![]];
    check(&nothing, 2, 1).expect("empty tables");
}

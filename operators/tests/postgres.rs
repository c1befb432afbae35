//! The window functions against PostgreSQL's: run by `operators/tests/postgres.sh`, not by default.
//!
//! The tables are random, with ties, nulls and duplicate rows, and are built by inserts and retractions. Each function's
//! answer must equal PostgreSQL's, row by row. (It has no IGNORE NULLS; `tests/window.rs` compares that with its
//! definition.)

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use differential_dataflow::input::Input;
use differential_dataflow::{Data, VecCollection};
use fastrand::Rng;
use millstream_operators::window::{NullsLast, Reverse, window};

/// part, ord, id, val
type Row = (i32, Option<i32>, i32, Option<i32>);

fn random_row(random: &mut Rng) -> Row {
    let ord = (random.u8(..6) > 0).then(|| random.i32(0..15));
    let val = (random.u8(..4) > 0).then(|| random.i32(-10..10));
    (random.i32(0..4), ord, random.i32(0..3), val)
}

/// What PostgreSQL answers: the lines of a query, sorted.
fn asked(table: &[Row], query: &str) -> Vec<String> {
    let mut script =
        String::from("CREATE TEMP TABLE t (part int, ord int, id int, val int);\nCOPY t FROM STDIN CSV NULL '-';\n");
    for (part, ord, id, val) in table {
        script += &format!("{part},{},{id},{}\n", text(*ord), text(*val));
    }
    script += &format!("\\.\nCOPY ({query}) TO STDOUT CSV NULL '-';\n");
    let mut psql = Command::new("psql")
        .args(["-qAtX", "-v", "ON_ERROR_STOP=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql starts: run operators/tests/postgres.sh");
    psql.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("psql reads");
    let output = psql.wait_with_output().expect("psql ends");
    assert!(output.status.success(), "PostgreSQL refused {query}");
    let mut lines: Vec<String> = String::from_utf8(output.stdout).expect("text").lines().map(String::from).collect();
    lines.sort();
    lines
}

/// What we answer, after a history that ends in the table: lines as PostgreSQL writes them, sorted.
fn answered<D: Data + Send>(
    table: &[Row],
    operator: impl for<'a> Fn(VecCollection<'a, u64, Row>) -> VecCollection<'a, u64, D> + Send + Sync + 'static,
    line: impl Fn(&D) -> String,
) -> Vec<String> {
    let (sender, received) = mpsc::channel();
    let table = table.to_vec();
    timely::execute_directly(move |worker| {
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection::<Row, isize>();
            operator(rows).inspect(move |(record, _, diff)| sender.send((record.clone(), *diff)).expect("it is read"));
            input
        });
        // All rows with some that do not stay; then, epoch by epoch, those are taken back and others moved away and back.
        let mut random = Rng::with_seed(99);
        let passing: Vec<Row> = (0..40).map(|_| random_row(&mut random)).collect();
        table.iter().chain(&passing).for_each(|row| input.insert(*row));
        for (epoch, (passes, moves)) in (1..).zip(passing.iter().zip(&table)) {
            input.advance_to(2 * epoch);
            input.remove(*passes);
            input.remove(*moves);
            input.advance_to(2 * epoch + 1);
            input.insert(*moves);
        }
        passing.iter().skip(table.len()).for_each(|row| input.remove(*row));
    });
    let mut held: BTreeMap<D, isize> = BTreeMap::new();
    received.into_iter().for_each(|(record, diff)| *held.entry(record).or_default() += diff);
    let mut lines: Vec<String> = held
        .iter()
        .flat_map(|(record, weight)| std::iter::repeat_n(line(record), usize::try_from(*weight).expect("not negative")))
        .collect();
    lines.sort();
    lines
}

fn text<V: ToString>(value: Option<V>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Tables of several sizes: none, few and many rows.
fn tables() -> impl Iterator<Item = Vec<Row>> {
    [0, 1, 7, 60, 400].into_iter().zip(1..).map(|(rows, seed)| {
        let mut random = Rng::with_seed(seed);
        (0..rows).map(|_| random_row(&mut random)).collect()
    })
}

fn of(row: &Row) -> String {
    format!("{},{},{},{}", row.0, text(row.1), row.2, text(row.3))
}

fn val(row: &Row) -> Option<i32> {
    row.3
}

fn flat<V: ToString>(value: &Option<Option<V>>) -> String {
    text(value.as_ref().and_then(|value| value.as_ref().map(V::to_string)))
}

#[test]
fn ranks_and_shares() {
    for table in tables() {
        let expected = asked(
            &table,
            "SELECT t.*, rank() OVER w, dense_rank() OVER w, cume_dist() OVER w, percent_rank() OVER w
             FROM t WINDOW w AS (PARTITION BY part ORDER BY ord)",
        );
        let found = answered(
            &table,
            |rows| {
                let window = window(rows, "Window", |row| row.0, |row| NullsLast(row.1));
                window.select(|w| (w.rank(), w.dense_rank(), w.cume_dist(), w.percent_rank()))
            },
            |(row, (rank, dense, share, percent))| {
                format!("{},{rank},{dense},{},{}", of(row), share.to_f64(), percent.to_f64())
            },
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn ranks_of_a_descending_order() {
    for table in tables() {
        let expected = asked(
            &table,
            "SELECT t.*, rank() OVER w, dense_rank() OVER w, last_value(val) OVER v
             FROM t WINDOW w AS (PARTITION BY part ORDER BY ord DESC),
             v AS (PARTITION BY part ORDER BY ord DESC, id DESC NULLS LAST, val DESC NULLS LAST)",
        );
        let found = answered(
            &table,
            |rows| {
                let ranks = window(rows.clone(), "Ranks", |row| row.0, |row| Reverse(NullsLast(row.1)))
                    .select(|w| (w.rank(), w.dense_rank()));
                let last = window(
                    rows,
                    "Window",
                    |row| row.0,
                    |row| (Reverse(NullsLast(row.1)), Reverse(row.2), Reverse(row.3)),
                );
                ranks.distinct().join_map(last.select(|w| w.last_value(val)), |row, ranks, last| (*row, *ranks, *last))
            },
            |(row, (rank, dense), last)| format!("{},{rank},{dense},{}", of(row), flat(last)),
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn numbers_tiles_and_offsets() {
    for table in tables() {
        let expected = asked(
            &table,
            "SELECT t.*, row_number() OVER w, ntile(4) OVER w, ntile(100) OVER w, lag(val) OVER w, lag(val, 3, 77) OVER w,
                    lead(val, 2) OVER w, lead(id, 5, -1) OVER w
             FROM t WINDOW w AS (PARTITION BY part ORDER BY ord, id, val NULLS FIRST)",
        );
        let found = answered(
            &table,
            |rows| {
                let window = window(rows, "Window", |row| row.0, |row| (NullsLast(row.1), row.2));
                window.select(|w| {
                    (
                        w.row_number(),
                        w.ntile(4),
                        w.ntile(100),
                        w.lag(1, val),
                        w.lag(3, val).or(Some(77)),
                        w.lead(2, val),
                        w.lead(5, |row| row.2).or(-1),
                    )
                })
            },
            |(row, (number, four, hundred, lag, lag3, lead, lead5))| {
                let (lag, lag3, lead) = (flat(lag), text(*lag3), flat(lead));
                format!("{},{number},{four},{hundred},{lag},{lag3},{lead},{lead5}", of(row))
            },
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn values_and_sums_of_the_default_frame() {
    for table in tables() {
        let expected = asked(
            &table,
            "SELECT part, ord, sum(val) OVER w, count(*) OVER w, count(val) OVER w, min(val) OVER w, max(val) OVER w,
                    avg(val::float8) OVER w
             FROM t WINDOW w AS (PARTITION BY part ORDER BY ord)",
        );
        let found = answered(
            &table,
            |rows| {
                let window = window(rows, "Window", |row| row.0, |row| NullsLast(row.1));
                window.select(|w| {
                    (
                        w.sum(val),
                        w.count(|_| true),
                        w.count(|row| row.3.is_some()),
                        w.min(val).ignore_nulls(),
                        w.max(val).ignore_nulls(),
                        w.mean(val),
                    )
                })
            },
            |(row, (sum, count, values, least, greatest, mean))| {
                let sum = text(sum.expect("fits"));
                let mean = text(mean.mean().expect("fits"));
                let (least, greatest) = (text(*least), text(*greatest));
                format!("{},{},{sum},{count},{values},{least},{greatest},{mean}", row.0, text(row.1))
            },
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn values_and_sums_over_rows() {
    for table in tables() {
        let expected = asked(
            &table,
            "SELECT t.*, first_value(val) OVER a, last_value(val) OVER a, nth_value(val, 2) OVER a, sum(val) OVER a,
                    max(val) OVER b, first_value(val) OVER c, nth_value(val, 3) OVER d, sum(val) OVER e
             FROM t WINDOW w AS (PARTITION BY part ORDER BY ord, id, val NULLS FIRST),
                    a AS (w ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING),
                    b AS (w ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING),
                    c AS (w ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING),
                    d AS (w ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING),
                    e AS (w ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
        );
        let found = answered(
            &table,
            |all| {
                let window = window(all, "Window", |row| row.0, |row| (NullsLast(row.1), row.2));
                window.select(|w| {
                    (
                        w.first_value(val).rows(-2..=1),
                        w.last_value(val).rows(-2..=1),
                        w.nth_value(2, val).rows(-2..=1),
                        w.sum(val).rows(-2..=1),
                        w.max(val).ignore_nulls().rows(..=-2),
                        w.first_value(val).rows(1..=3),
                        w.nth_value(3, val).rows(0..),
                        w.sum(val).rows(..),
                    )
                })
            },
            |(row, (first, last, second, sum, greatest, ahead, third, all))| {
                let values = [flat(first), flat(last), flat(second), text(sum.expect("fits"))].join(",");
                let others = [text(*greatest), flat(ahead), flat(third), text(all.expect("fits"))].join(",");
                format!("{},{values},{others}", of(row))
            },
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn sums_over_ranges() {
    for table in tables() {
        let expected = asked(
            &table,
            "SELECT t.*, sum(val) OVER a, count(*) OVER b, min(val) OVER c
             FROM t WINDOW w AS (PARTITION BY part ORDER BY ord),
                    a AS (w RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING),
                    b AS (w RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING),
                    c AS (w RANGE BETWEEN 4 PRECEDING AND 2 PRECEDING)",
        );
        let found = answered(
            &table,
            |all| {
                let near = |before: i32, behind: i32| {
                    move |NullsLast(key): &NullsLast<i32>| {
                        NullsLast(key.map(|key| key - before))..=NullsLast(key.map(|key| key + behind))
                    }
                };
                window(all, "Window", |row| row.0, |row| NullsLast(row.1)).select(|w| {
                    (
                        w.sum(val).range(near(2, 1)),
                        w.count(|_| true).range(|key| *key..),
                        w.min(val).ignore_nulls().range(near(4, -2)),
                    )
                })
            },
            |(row, (sum, count, least))| format!("{},{},{count},{}", of(row), text(sum.expect("fits")), text(*least)),
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn percentiles() {
    for table in tables() {
        let expected = asked(
            &table,
            "SELECT part, round((percentile_cont(0.5) WITHIN GROUP (ORDER BY val))::numeric, 6),
                    round((percentile_cont(0.9) WITHIN GROUP (ORDER BY val))::numeric, 6)
             FROM t WHERE val IS NOT NULL GROUP BY part",
        );
        let found = answered(
            &table,
            |rows| {
                let values = rows.flat_map(|row| row.3.map(|value| (row.0, value)));
                window(values, "Window", |row| row.0, |row| row.1)
                    .per_partition(|w| (w.percentile(1, 2), w.percentile(9, 10)))
            },
            |(part, places)| {
                let [median, nine] = [&places.0, &places.1]
                    .map(|place| place.as_ref().expect("values").interpolate(|value| f64::from(*value)));
                // PostgreSQL takes the fraction for a float.
                format!("{part},{median:.6},{nine:.6}")
            },
        );
        assert_eq!(found, expected);
    }
}

//! Functions of your own in a timely program of your own: a plain one, one over whole columns, and a model that is
//! replaced.
//!
//! ```text
//! cargo run --release --example udf
//! ```
//!
//! A theatre sells tickets. Names are cleaned, prices are converted at once for many rows, and each sale is scored by
//! how normal it is. A sale is taken back, and then a new model comes: what was given before is taken back too.

use std::sync::Arc;

use arrow::array::Float64Array;
use arrow::compute::kernels::numeric::mul;
use differential_dataflow::input::{Input, InputSession};
use millstream::forest::{Forest, Point, Training};
use millstream::model::Text;
use millstream::operators::with_side_input;
use millstream::udf::{Udf, Value, check_purity, clean_text};

/// A buyer, the price in cents, and the number of tickets.
type Sale = (String, i64, i64);

fn main() {
    // Plain: typed values in, a value or an error out. A null (`None`) is not asked about.
    let initials = Udf::scalar("initials", |name: Text| {
        let initials: Text = name.split(' ').filter_map(|word| word.chars().next()).collect();
        if initials.is_empty() { Err("a name without letters") } else { Ok(initials) }
    });
    // Vectorised: Arrow columns in, a column of as many rows out.
    let in_dollars =
        Udf::<f64, f64>::vectorised("in_dollars", |columns| mul(&columns[0], &Float64Array::new_scalar(1.1)));

    // A function must be pure, or what it gave could not be taken back. This is for a test of yours.
    let names = Text::column(["ada lovelace", "", "bob"].into_iter().map(|name| Some(name.into())));
    check_purity(&initials, &[names]).expect("the column is taken").expect("it is pure");

    timely::execute_directly(move |worker| {
        let (mut sales, mut models, probe) = worker.dataflow::<u32, _, _>(|scope| {
            let (sale_input, sales) = scope.new_collection::<Sale, isize>();
            let (model_input, models) = scope.new_collection::<Arc<Forest>, isize>();

            let clean = |sale: &Sale| Some(sale.0.as_str().into());
            let (cleaned, _) = clean_text().apply(sales.clone(), clean, |sale, name| (name, sale.1));
            let (named, rejected) = initials.apply(cleaned, |row| row.0.clone(), |row, initials| (initials, row.1));
            let dollars = |row: &(Option<Text>, i64)| Some(row.1 as f64 / 100.0);
            let (priced, _) = in_dollars.apply(named, dollars, |row, dollars| {
                (row.0.unwrap_or_default(), dollars.map_or(String::new(), |dollars| format!("{dollars:.2}")))
            });
            priced.inspect(|((who, dollars), hour, diff)| println!("hour {hour}: {diff:+} {who} paid ${dollars}"));
            rejected.inspect(|(row, hour, diff)| {
                println!("hour {hour}: {diff:+} rejected by {}: {}", row.function, row.reason)
            });

            // A model is an input like others: each sale is scored by the one of its time.
            let by_buyer = sales.map(|(buyer, cents, tickets)| (buyer, (cents, tickets))).arrange_by_key();
            let scores = with_side_input(by_buyer, models, "Scores", |sales, model, scores| {
                let points: Vec<Point> = sales.iter().map(|(_, (cents, tickets))| [*tickets, *cents, 0]).collect();
                let mut normal = Vec::new();
                model.iter().for_each(|model| model.score(&points, &mut normal));
                let is_odd = |sale: usize| normal.get(sale).map(|score| score.e9() < 0);
                scores.extend(sales.iter().enumerate().map(|(at, (buyer, _))| (buyer.to_string(), is_odd(at))));
            });
            let scores = scores.consolidate().inspect(|((buyer, is_odd), hour, diff)| {
                let verdict = is_odd.map_or("not scored", |is_odd| if is_odd { "odd" } else { "normal" });
                println!("hour {hour}: {diff:+} the sale to {buyer:?} is {verdict}");
            });
            (sale_input, model_input, scores.probe().0)
        });

        let usual: Vec<Point> = (0..200).map(|sale| [1 + sale % 4, 2_000 + sale * 13 % 500, 0]).collect();
        let festival: Vec<Point> = (0..200).map(|sale| [10 + sale % 40, 1_000 + sale * 17 % 900, 0]).collect();
        let model = |points: &[Point]| Arc::new(Forest::train(points, &Training::default()).expect("there are points"));
        let (usual, festival) = (model(&usual), model(&festival));

        models.insert(Arc::clone(&usual));
        sales.insert(("  Ada  LOVELACE ".into(), 2_200, 2));
        sales.insert(("Coach Tours".into(), 1_500, 40));
        sales.insert(("  ".into(), 2_100, 1));
        let mut finish_hour =
            |hour: u32, sales: &mut InputSession<u32, Sale, isize>, models: &mut InputSession<_, _, _>| {
                sales.advance_to(hour);
                models.advance_to(hour);
                sales.flush();
                models.flush();
                worker.step_while(|| probe.less_than(&hour));
            };
        finish_hour(1, &mut sales, &mut models);
        sales.remove(("  ".into(), 2_100, 1)); // both what was rejected and its score go
        finish_hour(2, &mut sales, &mut models);
        models.remove(usual);
        models.insert(festival); // every sale is scored anew; only those whose verdict differs are told
        finish_hour(3, &mut sales, &mut models);
    });
}

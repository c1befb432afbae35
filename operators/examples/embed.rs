//! Operators inside a timely program that is not ours: its own input, its own loop, and times that are not totally
//! ordered.
//!
//! A company's employees report to each other. The program follows the reports up to whoever is at the top, in a loop, as
//! many rounds as it takes; in the loop a record is known by its epoch *and* its round, and neither comes before the
//! other. Windows and joins that work for any lattice of times work there: each round keeps, of the chains from an
//! employee to a boss, the shortest. Outside, where epochs follow each other, each boss's statistics are kept.
//!
//! ```text
//! cargo run --example embed
//! ```

use differential_dataflow::input::Input;
use differential_dataflow::operators::Iterate;
use millstream_operators::window::WindowExt;
use millstream_operators::{Moments, aggregate_total, inner_join};
use serde::{Deserialize, Serialize};

use Person::{Ada, Ben, Cem, Dua, Eli};

/// Who works for whom, in how many steps.
type Chain = (Person, Person, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Person {
    Ada,
    Ben,
    Cem,
    Dua,
    Eli,
}

fn main() {
    timely::execute(timely::Config::process(2), |worker| {
        let (mut reports, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, reports) = scope.new_collection::<(Person, Person), isize>();

            let chains = reports.clone().map(|(employee, boss)| (employee, boss, 1)).iterate(|scope, chains| {
                let direct = reports.enter(scope);
                let by_boss = chains.map(|(employee, boss, steps)| (boss, (employee, steps))).arrange_by_key();
                let longer = inner_join(by_boss, direct.clone().arrange_by_key(), "One step up", |_, chain, boss| {
                    (chain.0, *boss, chain.1 + 1)
                });
                longer
                    .concat(direct.map(|(employee, boss)| (employee, boss, 1)))
                    .window(|chain: &Chain| (chain.0, chain.1), |chain| chain.2)
                    .recomputed()
                    .first(1)
            });

            let depths = aggregate_total(chains, "Depths", |(_, boss, steps)| Some((*boss, Moments::<0>::of(*steps))));
            let kept = depths.inspect(|((boss, depth), epoch, diff)| {
                let sum = depth.variance().sum();
                let (people, mean) = (sum.count().expect("few"), sum.mean().expect("few").expect("some"));
                let sign = if *diff > 0 { '+' } else { '-' };
                println!("epoch {epoch}: {sign} {boss:?}: {people} below, {mean:.2} steps away on average");
            });
            (input, kept.probe().0)
        });

        if worker.index() == 0 {
            for report in [(Ben, Ada), (Cem, Ada), (Dua, Ben), (Eli, Dua)] {
                reports.insert(report);
            }
        }
        reports.advance_to(1);
        if worker.index() == 0 {
            // Dua changes teams, and Eli with her.
            reports.remove((Dua, Ben));
            reports.insert((Dua, Cem));
        }
        reports.advance_to(2);
        reports.flush();
        worker.step_while(|| probe.less_than(&2));
    })
    .expect("the workers start");
}

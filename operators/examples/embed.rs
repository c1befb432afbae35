//! Operators in an existing timely program, with its own input and its own loop, where times are only partially
//! ordered.
//!
//! Employees report to bosses. A loop follows the reports upwards until nothing changes. In the loop, a time is an
//! epoch *and* a round, so times are only partially ordered; operators for any lattice work there: a recomputed window
//! keeps the shortest chain from each employee to each boss above. Outside the loop, epochs are totally ordered again,
//! and the number of people below each boss and their mean distance are maintained.
//!
//! ```text
//! cargo run -p millstream-operators --example embed
//! ```

use differential_dataflow::operators::Iterate;
use millstream_operators::prelude::*;
use serde::{Deserialize, Serialize};

use Person::{Ada, Ben, Cem, Dua, Eli};

/// Employee, boss, and the number of reports between them.
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
                let all = longer.concat(direct.map(|(employee, boss)| (employee, boss, 1)));
                window(all, "Shortest", |chain: &Chain| (chain.0, chain.1), |chain| chain.2).recomputed().first(1)
            });

            let depths = aggregate_total(chains, "Depths", |(_, boss, steps)| Some((*boss, Moments::<0>::of(*steps))));
            let kept = depths.inspect(|((boss, depth), epoch, diff)| {
                let sum = depth.variance().sum();
                let (people, mean) = (sum.count().expect("few"), sum.mean().expect("few").expect("not empty"));
                let sign = if *diff > 0 { '+' } else { '-' };
                println!("epoch {epoch}: {sign} {boss:?}: {people} below, at a mean distance of {mean:.2}");
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
            // Dua changes teams, and takes Eli along.
            reports.remove((Dua, Ben));
            reports.insert((Dua, Cem));
        }
        reports.advance_to(2);
        reports.flush();
        worker.step_while(|| probe.less_than(&2));
    })
    .expect("the workers start");
}

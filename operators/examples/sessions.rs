//! Sessions: a user's clicks, split wherever more than thirty minutes pass without one.
//!
//! Two windows make a session window. The first marks the clicks that start a session, those whose predecessor is more
//! than the gap away; the second counts the starts up to each click, which numbers the sessions. Unlike a stream
//! processor's session window, it never closes: a late click extends a session, or joins two into one.
//!
//! ```text
//! cargo run -p millstream-operators --example sessions
//! ```

use millstream_operators::prelude::*;
use serde::{Deserialize, Serialize};

use User::{Ann, Bob};

/// A session ends when this many minutes pass without a click.
const GAP_MINUTES: u32 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum User {
    Ann,
    Bob,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Click {
    user: User,
    minute: u32,
}

/// User, number of the session, first and last minute, number of clicks.
type Session = (User, u64, u32, u32, u64);

fn sessions(clicks: VecCollection<'_, u64, Click>) -> VecCollection<'_, u64, Session> {
    let marked = window(clicks, "Starts", |click| click.user, |click| click.minute)
        .select(|w| w.lag(1, |click| click.minute))
        .map(|(click, before)| {
            let is_start = before.is_none_or(|before| click.minute - before > GAP_MINUTES);
            (click, is_start)
        });
    let numbered = window(marked, "Sessions", |(click, _)| click.user, |(click, _)| click.minute)
        .select(|w| w.count(|(_, is_start)| *is_start))
        .map(|((click, _), session)| (click, session));
    window(numbered, "Bounds", |(click, session)| (click.user, *session), |(click, _)| click.minute)
        .per_partition(|w| (w.first_value(|row| row.0.minute), w.last_value(|row| row.0.minute), w.row_number()))
        .map(|((user, session), (first, last, clicks))| {
            let (first, last) = first.zip(last).expect("a partition has rows");
            (user, session, first, last, clicks)
        })
}

fn main() {
    timely::execute_directly(|worker| {
        let (mut clicks, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, clicks) = scope.new_collection();
            let kept = sessions(clicks).inspect(|((user, session, first, last, clicks), epoch, diff)| {
                let sign = if *diff > 0 { '+' } else { '-' };
                println!(
                    "epoch {epoch}: {sign} {user:?}'s session {session}: minutes {first} to {last}, {clicks} clicks"
                );
            });
            (input, kept.probe().0)
        });
        for (user, minute) in [(Ann, 0), (Ann, 10), (Ann, 60), (Ann, 75), (Ann, 200), (Bob, 5)] {
            clicks.insert(Click { user, minute });
        }
        clicks.advance_to(1);
        clicks.flush();
        worker.step_while(|| probe.less_than(&1));
        // A late click joins Ann's first two sessions, so her third becomes the second.
        clicks.insert(Click { user: Ann, minute: 35 });
        clicks.advance_to(2);
        clicks.flush();
        worker.step_while(|| probe.less_than(&2));
    });
}

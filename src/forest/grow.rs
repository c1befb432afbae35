//! Growing one tree.

use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::point::{FEATURES, Point};

/// A node of a tree. A tree is the list of its nodes in preorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Node {
    /// The feature, and the greatest value of the left branch.
    Cut(u32, i64),
    /// The number of sample points in the leaf.
    Leaf(u32),
}

/// Grows tree `number` on a random sample of the points.
pub(super) fn tree(points: &[Point], points_per_tree: usize, seed: u64, number: u64) -> Vec<Node> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mut chosen: Vec<Point> =
        sample(&mut rng, points.len(), points_per_tree).into_iter().map(|at| points[at]).collect();
    let mut nodes = Vec::new();
    let levels = levels(u32::try_from(points_per_tree).expect("a tree has few points"));
    grow(&mut chosen, levels, &mut rng, &mut nodes);
    nodes
}

/// The maximum depth of a tree: the average depth of a point, rounded up.
pub(super) fn levels(points: u32) -> u32 {
    points.max(2).next_power_of_two().ilog2()
}

/// Cuts points until each is isolated or equal to its neighbours, or the maximum depth is reached.
fn grow(points: &mut [Point], levels: u32, rng: &mut Pcg64Mcg, nodes: &mut Vec<Node>) {
    let range = |feature: usize| {
        let values = points.iter().map(|point| point[feature]);
        (values.clone().min().unwrap_or_default(), values.max().unwrap_or_default())
    };
    let ranges: [(i64, i64); FEATURES] = std::array::from_fn(range);
    let differing: Vec<usize> = (0..FEATURES).filter(|feature| ranges[*feature].0 < ranges[*feature].1).collect();
    if levels == 0 || differing.is_empty() {
        return nodes.push(Node::Leaf(u32::try_from(points.len()).expect("a tree has few points")));
    }
    let feature = differing[rng.random_range(0..differing.len())];
    let most = cut_between(ranges[feature], rng.random());
    nodes.push(Node::Cut(u32::try_from(feature).expect("there are few features"), most));
    points.sort_unstable_by_key(|point| point[feature]);
    let (left, right) = points.split_at_mut(points.partition_point(|point| point[feature] <= most));
    grow(left, levels - 1, rng, nodes);
    grow(right, levels - 1, rng, nodes);
}

/// The integer at the fraction `share` between `least` and `greatest`, rounded down; less than `greatest`.
#[expect(clippy::cast_possible_truncation, reason = "it lies between two integers")]
fn cut_between((least, greatest): (i64, i64), share: f64) -> i64 {
    let width = i128::from(greatest) - i128::from(least);
    let way = (share * width as f64).floor() as i128;
    (i128::from(least) + way.min(width - 1)) as i64
}

/// c(n): the mean depth of a point in a sample of n, in units of 2⁻²⁰.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a depth is small and not negative")]
pub(super) fn mean_depth_e20(points: u32) -> u32 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    let n = f64::from(points);
    let depth = match points {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => 2.0 * (libm::log(n - 1.0) + EULER) - 2.0 * (n - 1.0) / n,
    };
    (depth * f64::from(1 << 20)).round() as u32
}

//! Training, and scoring by a trained forest.

use std::fmt;

use crate::model::Score;

use super::grow::{self, Node, mean_depth_e20};
use super::point::{MOST_POINTS, MOST_TREES, Point};
use super::scorer::Scorer;

/// Training settings of a forest.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The random seed: equal seeds and samples give equal forests.
    pub seed: u64,
    /// The number of orders in the sample.
    pub sample: usize,
    /// The number of trees, at most 1000.
    pub trees: usize,
    /// The number of points per tree, ψ, at most 256; all points if the sample is smaller.
    pub points_per_tree: usize,
    /// The fraction of the sample that scores below 0: above 0, up to 0.5.
    pub contamination: f64,
}

/// A sample of 100,000 orders, 100 trees of 256 points, and a contamination of 0.1.
impl Default for Training {
    fn default() -> Self {
        Training { seed: 42, sample: 100_000, trees: 100, points_per_tree: 256, contamination: 0.1 }
    }
}

impl Training {
    /// Validates the settings.
    ///
    /// # Errors
    ///
    /// If a setting is out of range; the message names it.
    pub fn check(&self) -> Result<(), String> {
        let range = |name: &str, value: usize, most: usize| match value {
            value if (1..=most).contains(&value) => Ok(()),
            value => Err(format!("{name}: {value} is out of range, wanted 1 to {most}")),
        };
        range("trees", self.trees, MOST_TREES)?;
        range("points_per_tree", self.points_per_tree, MOST_POINTS)?;
        range("sample", self.sample, 100_000_000)?;
        match self.contamination {
            share if share > 0.0 && share <= 0.5 => Ok(()),
            share => Err(format!("contamination: {share} is out of range, wanted above 0, up to 0.5")),
        }
    }
}

/// A trained forest. Equal forests give equal scores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Forest {
    pub(super) seed: u64,
    pub(super) points_per_tree: u32,
    /// The offset of the scores, in units of 10⁻⁹.
    pub(super) zero_e9: i32,
    pub(super) trees: Vec<Vec<Node>>,
    /// The trees in their scoring layout.
    pub(super) scorer: Scorer,
}

impl Forest {
    /// Trains a forest on points.
    ///
    /// # Errors
    ///
    /// If a setting is out of range, or `points` is empty.
    pub fn train(points: &[Point], training: &Training) -> Result<Forest, String> {
        training.check()?;
        if points.is_empty() {
            return Err("no points to train on".into());
        }
        let points_per_tree = training.points_per_tree.min(points.len());
        let trees = (0..training.trees as u64).map(|tree| grow::tree(points, points_per_tree, training.seed, tree));
        let points_per_tree = u32::try_from(points_per_tree).map_err(|cause| cause.to_string())?;
        let mut forest = Forest::new(training.seed, points_per_tree, 0, trees.collect())?;
        let mut scores = Vec::with_capacity(points.len());
        forest.score(points, &mut scores);
        scores.sort_unstable();
        forest.zero_e9 = percentile(&scores, training.contamination);
        Ok(forest)
    }

    pub(super) fn new(seed: u64, points_per_tree: u32, zero_e9: i32, trees: Vec<Vec<Node>>) -> Result<Forest, String> {
        let scorer = Scorer::of(&trees)?;
        Ok(Forest { seed, points_per_tree, zero_e9, trees, scorer })
    }

    /// Appends the score of each point.
    #[expect(clippy::cast_possible_truncation, reason = "a power of two that is at most 1, times 10⁹, fits")]
    pub fn score(&self, points: &[Point], scores: &mut Vec<Score>) {
        let mut depths = vec![0; points.len()];
        self.scorer.add_depths(points, &mut depths);
        let usual = self.trees.len() as f64 * f64::from(mean_depth_e20(self.points_per_tree.max(2)));
        scores.extend(depths.iter().map(|depth| {
            let share = libm::exp2(-(*depth as f64) / usual);
            Score::from_e9((share * -1e9).round() as i32 - self.zero_e9)
        }));
    }
}

/// The percentile with linear interpolation, like numpy's `percentile`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position in a slice")]
fn percentile(sorted: &[Score], share: f64) -> i32 {
    let position = share * (sorted.len() - 1) as f64;
    let at = |index: usize| f64::from(sorted[index.min(sorted.len() - 1)].e9());
    let (below, above) = (at(position.floor() as usize), at(position.floor() as usize + 1));
    (below + (above - below) * position.fract()).round() as i32
}

impl fmt::Debug for Forest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forest({} trees of {} points, seed {})", self.trees.len(), self.points_per_tree, self.seed)
    }
}

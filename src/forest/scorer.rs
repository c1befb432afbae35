//! Finding the leaf of a point in every tree without traversing the trees.
//!
//! A traversal is a chain of dependent comparisons. Instead, each feature is evaluated independently: the leaves
//! compatible with a value form a bit set, which is constant between two neighbouring cuts. The intersection of the
//! sets of all features is the leaf of the point. (C. Lucchese et al.: *QuickScorer: a fast algorithm to rank
//! documents with additive ensembles of regression trees*, SIGIR 2015.)

use super::grow::{Node, mean_depth_e20};
use super::point::{FEATURES, MOST_POINTS, Point};

/// Trees in a layout for scoring many points.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scorer {
    /// The cuts of all trees, by feature, ascending.
    cuts: [Vec<i64>; FEATURES],
    trees: Vec<ScorerTree>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ScorerTree {
    /// The number of this tree's cuts below a value, by the number of all trees' cuts below it.
    own_cuts: [Vec<u8>; FEATURES],
    /// The compatible leaves, by the number of this tree's cuts below the value.
    left: [Vec<LeafSet>; FEATURES],
    /// The depth of each leaf, in units of 2⁻²⁰.
    depths_e20: Vec<u32>,
}

/// A set of leaves.
type LeafSet = [u64; MOST_POINTS / 64];

/// Points per batch: few enough to stay in the cache.
const TOGETHER: usize = 1 << 10;

impl Scorer {
    /// Builds the layout.
    ///
    /// # Errors
    ///
    /// If a loaded tree is malformed.
    pub(super) fn of(trees: &[Vec<Node>]) -> Result<Scorer, String> {
        let cuts = std::array::from_fn(|feature| places(trees.iter().flatten(), feature));
        let trees = trees.iter().map(|nodes| ScorerTree::of(nodes, &cuts)).collect::<Result<_, _>>()?;
        Ok(Scorer { cuts, trees })
    }

    /// Adds the depths of each point in all trees, in units of 2⁻²⁰.
    pub(super) fn add_depths(&self, points: &[Point], depths: &mut [u64]) {
        let mut cuts_below: Vec<[usize; FEATURES]> = Vec::with_capacity(TOGETHER);
        for (points, depths) in points.chunks(TOGETHER).zip(depths.chunks_mut(TOGETHER)) {
            cuts_below.clear();
            cuts_below.extend(points.iter().map(|point| {
                std::array::from_fn(|feature| self.cuts[feature].partition_point(|cut| *cut < point[feature]))
            }));
            for tree in &self.trees {
                for (cuts_below, depth) in cuts_below.iter().zip(&mut *depths) {
                    *depth += u64::from(tree.depths_e20[tree.leaf(cuts_below)]);
                }
            }
        }
    }
}

/// The distinct cuts of a feature, ascending.
fn places<'a>(nodes: impl Iterator<Item = &'a Node>, feature: usize) -> Vec<i64> {
    let place = |node: &Node| match node {
        Node::Cut(of, most) if *of as usize == feature => Some(*most),
        _ => None,
    };
    let mut places: Vec<i64> = nodes.filter_map(place).collect();
    places.sort_unstable();
    places.dedup();
    places
}

impl ScorerTree {
    fn of(nodes: &[Node], cuts: &[Vec<i64>; FEATURES]) -> Result<ScorerTree, String> {
        if nodes.len() >= 2 * MOST_POINTS {
            return Err(format!("a tree has {} nodes, wanted fewer than {}", nodes.len(), 2 * MOST_POINTS));
        }
        let own: [Vec<i64>; FEATURES] = std::array::from_fn(|feature| places(nodes.iter(), feature));
        let own_cuts = std::array::from_fn(|feature| {
            let mut below = 0;
            let own_below = cuts[feature].iter().map(|cut| {
                below += usize::from(own[feature].get(below) == Some(cut));
                u8::try_from(below).map_err(|_| "a tree has more cuts than leaves")
            });
            [Ok(0)].into_iter().chain(own_below).collect::<Result<Vec<_>, _>>()
        });
        let [quantity, price, discount] = own_cuts;
        let own_cuts = [quantity?, price?, discount?];
        let left = std::array::from_fn(|feature| vec![LeafSet::default(); own[feature].len() + 1]);
        let mut tree = ScorerTree { own_cuts, left, depths_e20: Vec::new() };
        let mut rest = nodes.iter();
        let everywhere = std::array::from_fn(|feature| (0, own[feature].len()));
        tree.add_leaves(&mut rest, 0, everywhere, &own)?;
        if rest.next().is_some() { Err("a tree has surplus nodes".into()) } else { Ok(tree) }
    }

    /// Adds the leaves below the next node, which is reached by values within these ranges of own cuts.
    fn add_leaves<'a>(
        &mut self,
        rest: &mut impl Iterator<Item = &'a Node>,
        level: u32,
        reached_by: [(usize, usize); FEATURES],
        own: &[Vec<i64>; FEATURES],
    ) -> Result<(), String> {
        match rest.next().ok_or("a tree ends before its leaves")? {
            Node::Leaf(points) => {
                let leaf = self.depths_e20.len();
                self.depths_e20.push((level << 20) + mean_depth_e20(*points));
                for (left, (fewest, most)) in self.left.iter_mut().zip(reached_by) {
                    left[fewest..]
                        .iter_mut()
                        .take((most + 1).saturating_sub(fewest))
                        .for_each(|leaves| leaves[leaf / 64] |= 1 << (leaf % 64));
                }
                Ok(())
            }
            Node::Cut(feature, _) if *feature as usize >= FEATURES => Err(format!("no feature {feature}")),
            Node::Cut(feature, most) => {
                let feature = *feature as usize;
                let cut = own[feature].partition_point(|own| own < most);
                let (mut below, mut above) = (reached_by, reached_by);
                below[feature].1 = below[feature].1.min(cut);
                above[feature].0 = above[feature].0.max(cut + 1);
                self.add_leaves(rest, level + 1, below, own)?;
                self.add_leaves(rest, level + 1, above, own)
            }
        }
    }

    /// The leaf of a point, given the number of all cuts below each of its values.
    #[inline]
    fn leaf(&self, cuts_below: &[usize; FEATURES]) -> usize {
        let left = |feature: usize| &self.left[feature][usize::from(self.own_cuts[feature][cuts_below[feature]])];
        let [a, b, c] = [left(0), left(1), left(2)];
        // Unrolled, because a closure over the words would not be inlined.
        let common = [a[0] & b[0] & c[0], a[1] & b[1] & c[1], a[2] & b[2] & c[2], a[3] & b[3] & c[3]];
        // One bit of one word is set.
        let bit = (common[0] | common[1] | common[2] | common[3]).trailing_zeros() as usize;
        let word = usize::from(common[1] | common[3] != 0) + 2 * usize::from(common[2] | common[3] != 0);
        64 * word + bit
    }
}

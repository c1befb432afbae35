//! The tree against a sorted list.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::Sum;
use crate::window::{Functions, TermSum};

type OrderedRow = (u16, i32);
type Weights = BTreeMap<OrderedRow, isize>;

fn tree() -> OrderTree<u16, i32, impl WindowFunction<u16, i32, Summary = TermSum<Sum>>> {
    OrderTree::new(Rc::new(Functions::new().mean(|row: &i32| *row)))
}

/// The rows in order, each as often as it weighs.
fn rows_of(weights: &Weights) -> Vec<OrderedRow> {
    weights.iter().flat_map(|(row, weight)| std::iter::repeat_n(*row, usize::try_from(*weight).unwrap_or(0))).collect()
}

/// The depth of a node, whose children are as wide as they should be.
fn depth<S>(node: &TreeNode<u16, i32, S>, is_root: bool) -> Option<usize> {
    let is_wide_enough = is_root || node.width() >= WIDTH_MIN;
    let children = match node {
        _ if !is_wide_enough || node.width() > WIDTH => return None,
        TreeNode::Leaf(_) => return Some(1),
        TreeNode::Inner(children) => children,
    };
    let depths: Option<Vec<usize>> = children.iter().map(|child| depth(&child.node, false)).collect();
    depths.filter(|depths| depths.iter().all(|depth| *depth == depths[0])).map(|depths| depths[0] + 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Large batches and small, of which some take away most of what is there.
    #[test]
    fn a_tree_is_a_sorted_list(
        batches in vec((vec((0..400_u16, -2..3_i32, -1..3_isize), 0..300), any::<bool>()), 1..12),
    ) {
        let (mut tree, mut weights) = (tree(), Weights::new());
        for (changes, clears) in batches {
            let mut batch = Weights::new();
            for (order, row, change) in changes {
                *batch.entry((order, row)).or_default() += change;
            }
            if clears {
                weights.iter().filter(|((order, _), _)| order % 16 != 0).for_each(|(row, weight)| {
                    batch.insert(*row, -weight);
                });
            }
            batch.retain(|_, change| *change != 0);
            let (before, rows_before) = (tree.with(&[]), rows_of(&weights));
            tree = tree.with(&batch.iter().map(|(row, change)| (*row, *change)).collect::<Vec<_>>());
            batch.into_iter().for_each(|(row, change)| *weights.entry(row).or_default() += change);
            weights.retain(|_, weight| *weight != 0);
            check(&before, &rows_before)?;
            check(&tree, &rows_of(&weights))?;
            prop_assert_eq!(tree.is_vacant(), weights.is_empty());
            prop_assert!(tree.root.as_ref().is_none_or(|root| depth(&root.node, true).is_some()), "it is balanced");
        }
    }
}

fn check<F: WindowFunction<u16, i32, Summary = TermSum<Sum>>>(
    tree: &OrderTree<u16, i32, F>,
    rows: &[OrderedRow],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(tree.len(), rows.len() as u64);
    let sum_of = |rows: &[OrderedRow]| rows.iter().map(|row| i128::from(row.1)).sum::<i128>();
    for (position, row) in rows.iter().enumerate().step_by(7) {
        let first = rows.partition_point(|other| other < row);
        prop_assert_eq!(tree.entry(position as u64), Some((row, first as u64)));
        prop_assert_eq!(tree.count_while(|other| other < row), first as u64);
        prop_assert_eq!(tree.walk_from(|other| other < row).peek().map(|(row, _)| row), Some(row));
        let end = (position + 100).min(rows.len());
        let sum = tree.summary(position as u64..end as u64).0;
        prop_assert_eq!(sum.total().expect("fits").unwrap_or(0), sum_of(&rows[position..end]));
        let found = tree.search(|TermSum(sum)| sum.count().expect("few") > i64::try_from(position).expect("few"));
        prop_assert_eq!(found, position as u64);
    }
    prop_assert_eq!(tree.entry(rows.len() as u64), None);
    let (mut walk, mut walked) = (tree.walk_from(|_| false), Vec::new());
    while let Some((row, positions)) = walk.peek() {
        prop_assert_eq!(positions.start, walked.len() as u64);
        walked.extend(positions.map(|_| *row));
        walk.step();
    }
    prop_assert_eq!(&walked, rows);
    Ok(())
}

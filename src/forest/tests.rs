use super::grow::{Node, mean_depth_e20};
use super::*;
use crate::model::Score;

/// 2,000 clustered points and 60 outliers.
fn points() -> Vec<Point> {
    let mut rng = fastrand::Rng::with_seed(7);
    let far: Vec<Point> = (0..60).map(|_| [rng.i64(6..60), rng.i64(200_000..900_000), rng.i64(2000..9000)]).collect();
    let near = (0..2000).map(|n| [1 + n % 5, rng.i64(90_000..110_000), if n % 3 == 0 { 1000 } else { 0 }]);
    near.chain(far).collect()
}

fn scores(forest: &Forest, points: &[Point]) -> Vec<Score> {
    let mut scores = Vec::new();
    forest.score(points, &mut scores);
    scores
}

fn trained(points: &[Point]) -> Forest {
    Forest::train(points, &Training::default()).expect("it can be trained")
}

#[test]
fn what_is_far_off_scores_lowest_and_a_tenth_below_zero() {
    let (points, forest) = (points(), trained(&points()));
    let scores = scores(&forest, &points);
    assert!(scores[2000..].iter().max() < scores[..2000].iter().min(), "{:?}", &scores[2000..]);
    let below = scores.iter().filter(|score| score.e9() < 0).count();
    assert!((190..=206).contains(&below), "{below} of 2060");
}

#[test]
fn a_score_does_not_depend_on_the_points_beside_it() {
    let (points, forest) = (points(), trained(&points()));
    let together = scores(&forest, &points);
    for (point, score) in points.iter().zip(&together).step_by(37) {
        assert_eq!(scores(&forest, &[*point]), [*score]);
    }
}

#[test]
fn depths_are_those_of_a_walk_down_the_trees() {
    let (points, forest) = (points(), trained(&points()));
    let on_the_cuts = forest.trees.iter().flatten().step_by(29).filter_map(|node| match node {
        Node::Cut(feature, most) => Some(std::array::from_fn(|at| if at == *feature as usize { *most } else { 1 })),
        Node::Leaf(_) => None,
    });
    let points: Vec<Point> = points.into_iter().chain(on_the_cuts).chain([[i64::MIN; 3], [i64::MAX; 3]]).collect();
    let mut depths = vec![0; points.len()];
    forest.scorer.add_depths(&points, &mut depths);
    for (point, depth) in points.iter().zip(depths) {
        assert_eq!(depth, forest.trees.iter().map(|tree| depth_by_definition(tree, point)).sum::<u64>(), "{point:?}");
    }
}

/// Walks the nodes in their saved order.
fn depth_by_definition(tree: &[Node], point: &Point) -> u64 {
    fn skip(tree: &[Node], at: usize) -> usize {
        match tree[at] {
            Node::Leaf(_) => at + 1,
            Node::Cut(..) => skip(tree, skip(tree, at + 1)),
        }
    }
    let (mut at, mut level) = (0, 0_u64);
    loop {
        match tree[at] {
            Node::Leaf(points) => return (level << 20) + u64::from(mean_depth_e20(points)),
            Node::Cut(feature, most) if point[feature as usize] <= most => at += 1,
            Node::Cut(..) => at = skip(tree, at + 1),
        }
        level += 1;
    }
}

#[test]
fn standardising_the_values_changes_no_score() {
    let (points, forest) = (points(), trained(&points()));
    let scaled: Vec<Point> = points.iter().map(|[q, p, d]| [q * 1000 - 7, p * 16 + 5, d * 2]).collect();
    assert_eq!(scores(&forest, &points), scores(&trained(&scaled), &scaled));
}

#[test]
fn one_seed_gives_one_forest_and_another_another() {
    let points = points();
    assert_eq!(trained(&points), trained(&points));
    assert_ne!(trained(&points), Forest::train(&points, &Training { seed: 1, ..Training::default() }).expect("trains"));
}

#[test]
fn a_forest_comes_back_from_its_file_and_nothing_else_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.json");
    let forest = trained(&points());
    forest.save(&path).expect("saved");
    assert_eq!(Forest::load(&path).expect("loaded"), forest);
    let json = std::fs::read_to_string(&path).expect("it is there");
    let wrong = [
        json.replace("\"version\":1", "\"version\":2"),
        json.replace("\"discount_e4\"", "\"weight\""),
        json.replace("\"trees\":[[[", "\"trees\":[[[9,9],[[").replacen("[[9,9],[[", "[[9,9],[", 1),
        json[..json.len() / 2].to_owned(),
        json.replacen("\"trees\":[[", &format!("\"trees\":[[{}", "[0,1],".repeat(300)), 1),
        "[]".into(),
        json.replace("\"zero_e9\":", "\"zero_e9\":-2000000000,\"x\":"),
    ];
    for text in wrong {
        std::fs::write(&path, &text).expect("written");
        let error = Forest::load(&path).expect_err("it is no model").to_string();
        assert!(error.contains("model.json: not a usable model"), "{error}");
    }
}

#[test]
fn points_that_are_all_equal_and_settings_out_of_range_do_no_harm() {
    let extreme = [[i64::MIN, 0, 0], [i64::MAX, 0, 0], [0, 0, 0]];
    assert_eq!(scores(&trained(&extreme), &extreme).len(), 3);
    let equal = vec![[1, 1, 1]; 10];
    let forest = trained(&equal);
    assert_eq!(scores(&forest, &equal[..1])[0].e9(), 0);
    assert!(Forest::train(&[], &Training::default()).is_err());
    assert!(Forest::train(&equal, &Training { contamination: 0.0, ..Training::default() }).is_err());
    assert!(Forest::train(&equal, &Training { trees: 0, ..Training::default() }).is_err());
}

#[test]
fn the_depth_of_a_sample_is_that_of_the_paper() {
    let depth = |points| f64::from(mean_depth_e20(points)) / f64::from(1 << 20);
    assert!((depth(256) - 10.244_770_920_116_85).abs() < 1e-6);
    assert_eq!([mean_depth_e20(0), mean_depth_e20(1), mean_depth_e20(2)], [0, 0, 1 << 20]);
}

//! ROC curves and the area under them (Fawcett 2006, "An introduction to ROC analysis").

use serde::{Deserialize, Serialize};

/// Most points of a curve; more would not be visible in a plot.
pub const ROC_POINTS: usize = 200;

/// ROC curve of one class versus the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocCurve {
    /// Label of the class.
    pub label: String,
    /// Area under the whole curve, from 0 to 1; 0.5 is chance.
    pub roc_auc: f64,
    /// Points from (0, 0) to (1, 1), at most [`ROC_POINTS`].
    pub points: Vec<RocPoint>,
}

/// Rates if every example whose probability reaches a threshold is predicted as the class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    /// Fraction of the other examples predicted as the class.
    pub false_positive_rate: f64,
    /// Fraction of the examples of the class predicted as it.
    pub true_positive_rate: f64,
    /// Threshold; `None` above every probability.
    pub threshold: Option<f64>,
}

/// Examples ranked by score, highest first, equal scores grouped.
#[derive(Debug)]
pub(super) struct Ranked {
    groups: Vec<Group>,
    positives: u64,
    negatives: u64,
}

/// Examples with one score.
#[derive(Clone, Copy, Debug)]
struct Group {
    score: f64,
    positives: u64,
    negatives: u64,
}

/// Examples at or above a score.
#[derive(Clone, Copy, Debug)]
struct Corner {
    score: Option<f64>,
    positives: u64,
    negatives: u64,
}

impl Ranked {
    /// Ranks examples, each a score (not NaN) and whether it is of the class. `None` if all
    /// examples are of the class or none is, because then the curve is undefined.
    pub fn new(examples: impl Iterator<Item = (f64, bool)>) -> Option<Self> {
        let mut examples: Vec<(f64, bool)> = examples.collect();
        examples.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut groups: Vec<Group> = Vec::new();
        let (mut positives, mut negatives) = (0, 0);
        for (score, positive) in examples {
            let (plus, minus) = (u64::from(positive), u64::from(!positive));
            positives += plus;
            negatives += minus;
            match groups.last_mut() {
                Some(group) if group.score == score => {
                    group.positives += plus;
                    group.negatives += minus;
                }
                _ => groups.push(Group { score, positives: plus, negatives: minus }),
            }
        }
        (positives > 0 && negatives > 0).then_some(Self { groups, positives, negatives })
    }

    /// Area under the curve: the probability that an example of the class has a higher
    /// score than another one, equal scores counting half. This is the Mann-Whitney
    /// statistic with mid-ranks; counts are integers, so only the last division rounds.
    pub fn auc(&self) -> f64 {
        let (mut above, mut twice) = (0u64, 0u128);
        for group in &self.groups {
            twice += u128::from(group.negatives) * u128::from(2 * above + group.positives);
            above += group.positives;
        }
        twice as f64 / (2 * u128::from(self.positives) * u128::from(self.negatives)) as f64
    }

    /// Returns a point for every score, highest first, after the point (0, 0).
    #[cfg(test)]
    pub fn all_points(&self) -> Vec<RocPoint> {
        self.corners().iter().map(|corner| self.point(corner)).collect()
    }

    /// Returns the curve in at most `most` points (two or more). Points within a straight
    /// line are dropped first, which changes nothing; the others are thinned evenly along
    /// the curve.
    pub fn points(&self, most: usize) -> Vec<RocPoint> {
        let mut kept: Vec<Corner> = Vec::new();
        for corner in self.corners() {
            while let [.., before, last] = kept[..]
                && on_a_line(before, last, corner)
            {
                kept.pop();
            }
            kept.push(corner);
        }
        let points: Vec<RocPoint> = kept.iter().map(|corner| self.point(corner)).collect();
        if points.len() <= most { points } else { evenly(&points, most) }
    }

    fn corners(&self) -> Vec<Corner> {
        let mut corner = Corner { score: None, positives: 0, negatives: 0 };
        let mut corners = vec![corner];
        for group in &self.groups {
            corner.score = Some(group.score);
            corner.positives += group.positives;
            corner.negatives += group.negatives;
            corners.push(corner);
        }
        corners
    }

    fn point(&self, corner: &Corner) -> RocPoint {
        RocPoint {
            false_positive_rate: corner.negatives as f64 / self.negatives as f64,
            true_positive_rate: corner.positives as f64 / self.positives as f64,
            threshold: corner.score,
        }
    }
}

/// Returns true if `b` is on the straight line from `a` to `c`.
fn on_a_line(a: Corner, b: Corner, c: Corner) -> bool {
    let up = |from: Corner, to: Corner| u128::from(to.positives - from.positives);
    let right = |from: Corner, to: Corner| u128::from(to.negatives - from.negatives);
    up(a, b) * right(b, c) == up(b, c) * right(a, b)
}

/// Divides the way from (0, 0) to (1, 1), measured along the axes, into `most - 1` equal
/// lengths and returns the first point that reaches each.
fn evenly(points: &[RocPoint], most: usize) -> Vec<RocPoint> {
    let way = |point: &RocPoint| point.false_positive_rate + point.true_positive_rate;
    let mut at: Vec<usize> = (0..most)
        .map(|step| 2.0 * step as f64 / (most - 1) as f64)
        .map(|reached| points.partition_point(|point| way(point) < reached))
        .collect();
    at.dedup();
    at.into_iter().filter_map(|at| points.get(at)).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranked(rows: &[(f64, bool)]) -> Option<Ranked> {
        Ranked::new(rows.iter().copied())
    }

    fn area(points: &[RocPoint]) -> f64 {
        let step = |pair: &[RocPoint]| {
            let width = pair[1].false_positive_rate - pair[0].false_positive_rate;
            width * (pair[0].true_positive_rate + pair[1].true_positive_rate) / 2.0
        };
        points.windows(2).map(step).sum()
    }

    fn position(point: &RocPoint) -> (f64, f64) {
        (point.false_positive_rate, point.true_positive_rate)
    }

    #[test]
    fn single_class_has_no_curve() {
        assert!(ranked(&[(0.1, true), (0.9, true)]).is_none());
        assert!(ranked(&[(0.1, false)]).is_none());
        assert!(ranked(&[]).is_none());
    }

    #[test]
    fn auc_is_one_for_perfect_ranking_and_half_for_ties() {
        let auc = |rows: &[(f64, bool)]| ranked(rows).unwrap().auc();
        assert_eq!(auc(&[(0.9, true), (0.8, true), (0.3, false)]), 1.0);
        assert_eq!(auc(&[(0.9, false), (0.3, true)]), 0.0);
        assert_eq!(auc(&[(0.5, false), (0.5, true), (0.5, true)]), 0.5);
    }

    #[test]
    fn straight_curve_has_two_points() {
        let tied = ranked(&[(0.5, false), (0.5, true)]).unwrap().points(ROC_POINTS);
        assert_eq!(tied.iter().map(position).collect::<Vec<_>>(), [(0.0, 0.0), (1.0, 1.0)]);
        let right = ranked(&[(0.9, true), (0.8, true), (0.3, false)]).unwrap().points(ROC_POINTS);
        let corners: Vec<_> = right.iter().map(position).collect();
        assert_eq!(corners, [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]);
        assert_eq!(right[1].threshold, Some(0.8));
    }

    #[test]
    fn long_curve_is_thinned_and_keeps_its_area() {
        // Not straight anywhere: scores decrease, labels alternate.
        let rows: Vec<(f64, bool)> =
            (0..10_000).map(|row| (-f64::from(row), (row * row) % 7 < 3)).collect();
        let ranked = ranked(&rows).unwrap();
        let points = ranked.points(ROC_POINTS);
        assert!(points.len() > 150 && points.len() <= ROC_POINTS, "{}", points.len());
        assert!((area(&points) - ranked.auc()).abs() < 0.005);
        assert_eq!(position(&points[0]), (0.0, 0.0));
        assert_eq!(position(&points[points.len() - 1]), (1.0, 1.0));
    }

    proptest! {
        #[test]
        fn auc_equals_pair_counting_and_trapezoidal_area(
            rows in prop::collection::vec((0u8..12, any::<bool>()), 1..60)
        ) {
            let rows: Vec<(f64, bool)> =
                rows.into_iter().map(|(score, of)| (f64::from(score), of)).collect();
            let Some(ranked) = ranked(&rows) else { return Err(TestCaseError::reject("one class")) };
            let (mut won, mut pairs) = (0.0, 0.0);
            for &(of_class, _) in rows.iter().filter(|row| row.1) {
                for &(other, _) in rows.iter().filter(|row| !row.1) {
                    pairs += 1.0;
                    won += if of_class > other { 1.0 } else if of_class == other { 0.5 } else { 0.0 };
                }
            }
            prop_assert!((ranked.auc() - won / pairs).abs() < 1e-15);
            prop_assert!((area(&ranked.points(ROC_POINTS)) - ranked.auc()).abs() < 1e-12);
        }

        #[test]
        fn thinned_curve_is_subset_of_all_points(
            rows in prop::collection::vec((0u16..400, any::<bool>()), 2..300), most in 2usize..50
        ) {
            let rows: Vec<(f64, bool)> =
                rows.into_iter().map(|(score, of)| (f64::from(score), of)).collect();
            let Some(ranked) = ranked(&rows) else { return Err(TestCaseError::reject("one class")) };
            let (all, few) = (ranked.all_points(), ranked.points(most));
            prop_assert!(few.len() >= 2 && few.len() <= most);
            prop_assert!(few.iter().all(|point| all.contains(point)));
            prop_assert_eq!(position(&few[0]), (0.0, 0.0));
            prop_assert_eq!(position(&few[few.len() - 1]), (1.0, 1.0));
        }
    }
}

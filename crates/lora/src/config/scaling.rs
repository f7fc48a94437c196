//! Factor on the low-rank product as a function of α and rank.

use serde::{Deserialize, Serialize};

/// Factor `s` on the low-rank product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// `s = α`, as in appendix E of *Build a Large Language Model (From Scratch)*.
    Alpha,
    /// `s = α / rank` (Hu et al. 2021, section 4.1), as Hugging Face PEFT has it.
    #[default]
    AlphaOverRank,
    /// `s = α / √rank` (Kalajdzievski 2023, *A Rank Stabilization Scaling Factor
    /// for Fine-Tuning with LoRA*).
    #[serde(rename = "rslora")]
    RsLora,
}

impl Scaling {
    /// Returns the factor for a rank and an α.
    pub fn factor(self, rank: i64, alpha: f64) -> f64 {
        match self {
            Self::Alpha => alpha,
            Self::AlphaOverRank => alpha / rank as f64,
            Self::RsLora => alpha / (rank as f64).sqrt(),
        }
    }

    /// Returns the multiplier of α that keeps the factor when the rank doubles.
    pub(crate) fn alpha_for_twice_the_rank(self) -> f64 {
        match self {
            Self::Alpha => 1.0,
            Self::AlphaOverRank => 2.0,
            Self::RsLora => std::f64::consts::SQRT_2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors() {
        assert_eq!(Scaling::Alpha.factor(4, 8.0), 8.0);
        assert_eq!(Scaling::AlphaOverRank.factor(4, 8.0), 2.0);
        assert_eq!(Scaling::RsLora.factor(4, 8.0), 4.0);
    }

    #[test]
    fn the_factor_stays_where_the_rank_doubles() {
        for scaling in [Scaling::Alpha, Scaling::AlphaOverRank, Scaling::RsLora] {
            let twice = scaling.factor(6, 5.0 * scaling.alpha_for_twice_the_rank());
            assert!((scaling.factor(3, 5.0) - twice).abs() < 1e-12, "{scaling:?}");
        }
    }
}

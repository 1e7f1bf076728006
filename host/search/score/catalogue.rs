//! Every score: its name, what it looks at, and which of the kernels' groups computes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ops::score::Group;
use crate::search::SearchError;
use crate::search::names::unknown;

/// A score; higher is better. As text (and in serde's formats) it is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Score {
    /// Number of parameters.
    Params,
    /// Floating-point operations of one sample's forward pass.
    Flop,
    /// Norms of the layers' gradients.
    GradNorm,
    /// Sensitivity of the loss to the weights' connection (Lee et al. 2019).
    Snip,
    /// Change of the gradient's norm along itself (Wang et al. 2020).
    Grasp,
    /// Fisher information of the units (Turner et al. 2020).
    Fisher,
    /// What flows through the weights' magnitudes (Tanaka et al. 2020), its logarithm.
    Synflow,
    /// Variety of the input's gradients (Mellor et al. 2020).
    JacobCov,
    /// Variety of activation patterns (Mellor et al. 2021).
    Naswot,
    /// Mean over deviation of gradients between minibatches (Li et al. 2023).
    Zico,
    /// Sensitivity of the outputs to Gaussian inputs (Lin et al. 2021).
    Zen,
    /// Number of distinct patterns of units over samples (Peng et al. 2024).
    Swap,
    /// AZ-NAS: entropy of the features' spectra (Lee and Ham 2024).
    Expressivity,
    /// AZ-NAS: least growth of that entropy from layer to layer.
    Progressivity,
    /// AZ-NAS: how nearly gradients keep their length.
    Trainability,
    /// AZ-NAS's rank aggregate of the three before and [`Score::Flop`], over the population.
    AzNas,
}

impl Score {
    /// Every score.
    pub const ALL: [Score; 16] = [
        Score::Params,
        Score::Flop,
        Score::GradNorm,
        Score::Snip,
        Score::Grasp,
        Score::Fisher,
        Score::Synflow,
        Score::JacobCov,
        Score::Naswot,
        Score::Zico,
        Score::Zen,
        Score::Swap,
        Score::Expressivity,
        Score::Progressivity,
        Score::Trainability,
        Score::AzNas,
    ];

    /// The name, as the command line takes it.
    pub fn name(self) -> &'static str {
        match self {
            Score::Params => "params",
            Score::Flop => "flop",
            Score::GradNorm => "grad_norm",
            Score::Snip => "snip",
            Score::Grasp => "grasp",
            Score::Fisher => "fisher",
            Score::Synflow => "synflow",
            Score::JacobCov => "jacob_cov",
            Score::Naswot => "naswot",
            Score::Zico => "zico",
            Score::Zen => "zen",
            Score::Swap => "swap",
            Score::Expressivity => "expressivity",
            Score::Progressivity => "progressivity",
            Score::Trainability => "trainability",
            Score::AzNas => "az_nas",
        }
    }

    /// Whether it looks at the samples.
    pub fn needs_data(self) -> bool {
        self.needs_targets() || matches!(self, Score::JacobCov | Score::Naswot | Score::Swap)
    }

    /// Whether it looks at the samples' targets.
    pub fn needs_targets(self) -> bool {
        matches!(self.place(), Some((Group::Gradients | Group::Grasp, _)))
    }

    /// Whether forward passes suffice.
    pub fn forward_only(self) -> bool {
        matches!(
            self,
            Score::Params
                | Score::Flop
                | Score::Naswot
                | Score::Swap
                | Score::Zen
                | Score::Expressivity
                | Score::Progressivity
        )
    }

    /// The kernel's group, and the place among its values.
    pub(super) fn place(self) -> Option<(Group, usize)> {
        Some(match self {
            Score::GradNorm => (Group::Gradients, 0),
            Score::Snip => (Group::Gradients, 1),
            Score::Fisher => (Group::Gradients, 2),
            Score::Zico => (Group::Gradients, 3),
            Score::Grasp => (Group::Grasp, 0),
            Score::Naswot => (Group::Codes, 0),
            Score::Swap => (Group::Codes, 1),
            Score::JacobCov => (Group::Jacobian, 0),
            Score::Synflow => (Group::Synflow, 0),
            Score::Zen => (Group::Zen, 0),
            Score::Expressivity => (Group::AzNas, 0),
            Score::Progressivity => (Group::AzNas, 1),
            Score::Trainability => (Group::AzNas, 2),
            Score::Params | Score::Flop | Score::AzNas => return None,
        })
    }

    /// What AZ-NAS is made of.
    pub(super) const AZ_NAS: [Score; 4] =
        [Score::Expressivity, Score::Progressivity, Score::Trainability, Score::Flop];
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Score {
    type Err = SearchError;
    fn from_str(text: &str) -> Result<Score, SearchError> {
        let normal = text.trim().to_ascii_lowercase().replace('-', "_");
        let found = Score::ALL.into_iter().find(|score| score.name() == normal);
        found.ok_or_else(|| SearchError::Options(unknown("score", text, Score::ALL.map(Score::name))))
    }
}

impl From<Score> for String {
    fn from(score: Score) -> String {
        score.name().into()
    }
}

impl TryFrom<String> for Score {
    type Error = SearchError;
    fn try_from(text: String) -> Result<Score, SearchError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_slips_are_helped() {
        for score in Score::ALL {
            assert_eq!(score.name().parse::<Score>().expect("a name"), score);
            let json = serde_json::to_string(&score).expect("JSON");
            assert_eq!(serde_json::from_str::<Score>(&json).expect("a score"), score);
        }
        let slip = "synflw".parse::<Score>().expect_err("a slip").to_string();
        assert!(slip.contains("did you mean 'synflow'"), "{slip}");
    }
}

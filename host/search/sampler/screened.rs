//! Screening by scores: of several proposals, train the one that looks best without training.
//!
//! The first [`WARM`] complete trials decide which scores may have a say: those whose rank correlation with the trained
//! metric on this very data beats that of the parameter count ([`correlation::of_trials`]). From then on, for each trial,
//! the inner sampler is asked several times (under seeds derived from the study's), and the proposal with the best rank
//! aggregate of these scores is taken. If no score passes, screening is off for the rest of the study.

use super::Sampler;
use crate::device::Device;
use crate::nn::Mlp;
use crate::search::score::{self, Minibatch, Score, correlation};
use crate::search::space::Point;
use crate::search::space::network::NetworkSpace;
use crate::search::trial::{State, Trial};
use crate::search::{SearchError, Setting};

/// Complete trials that the scores are judged by.
const WARM: usize = 32;

/// A sampler whose proposals are screened; see the module's docs.
pub struct Screened {
    inner: Box<dyn Sampler>,
    space: NetworkSpace,
    batch: Minibatch,
    proposals: u64,
    /// The first complete trials, until they are [`WARM`].
    warm: Vec<Trial>,
    /// The scores that passed, once known.
    passed: Option<Vec<Score>>,
}

impl Screened {
    /// Takes the best of `proposals` of `inner`, by the scores on `batch`, samples of the training part.
    pub fn new(inner: Box<dyn Sampler>, space: NetworkSpace, batch: Minibatch, proposals: u64) -> Screened {
        Screened { inner, space, batch, proposals: proposals.max(1), warm: vec![], passed: None }
    }
}

impl Sampler for Screened {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn tell(&mut self, setting: &Setting, trial: &Trial) {
        self.inner.tell(setting, trial);
        if self.warm.len() < WARM && trial.state == State::Complete {
            self.warm.push(trial.clone());
        }
    }

    fn ask(&mut self, setting: &Setting, number: u64) -> Result<Point, SearchError> {
        let first = self.inner.ask(setting, number)?;
        if self.warm.len() < WARM || self.proposals < 2 {
            return Ok(first);
        }
        if self.passed.is_none() {
            let rows = correlation::of_trials(setting, &self.space, &self.batch, &self.warm)?;
            let passed =
                rows.iter().filter(|r| r.used && r.score != Score::Params).map(|r| r.score).collect();
            self.passed = Some(passed);
        }
        let passed = self.passed.as_deref().unwrap_or_default();
        if passed.is_empty() {
            return Ok(first);
        }
        let mut points = vec![first];
        for i in 1..self.proposals {
            let seed = setting.seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            points.push(self.inner.ask(&Setting { seed, ..setting.clone() }, number)?);
        }
        let nets: Vec<Mlp> = points.iter().map(|p| self.space.decode(p).net).collect();
        let values = score::score(&Device::cpu(), &nets, &self.batch, setting.seed, passed)?;
        let merits = score::rank_by(&values, passed);
        let best = (0..points.len()).rev().max_by(|&a, &b| merits[a].total_cmp(&merits[b])).unwrap_or(0);
        Ok(points.swap_remove(best))
    }
}

//! What a search over networks can optimise.

use std::fmt;
use std::str::FromStr;

use super::{Direction, Goal, SearchError, names};
use crate::data::Task;

/// A number that a trial yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of validation samples whose most probable class is right.
    Accuracy,
    /// Coefficient of determination on the validation samples.
    R2,
    /// Mean loss on the validation samples.
    Loss,
    /// Trainable scalars.
    Parameters,
    /// Floating-point operations of a forward pass of one sample.
    Flop,
    /// Bytes of parameters, gradients, moments and activations while training.
    Memory,
    /// Seconds of a forward pass of one sample, by a model fitted to passes measured on the device when the study began.
    Latency,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 7] = [
        Metric::Accuracy,
        Metric::R2,
        Metric::Loss,
        Metric::Parameters,
        Metric::Flop,
        Metric::Memory,
        Metric::Latency,
    ];

    /// The name that [`FromStr`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::R2 => "r2",
            Metric::Loss => "loss",
            Metric::Parameters => "params",
            Metric::Flop => "flop",
            Metric::Memory => "memory",
            Metric::Latency => "latency",
        }
    }

    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self {
            Metric::Accuracy | Metric::R2 => Direction::Maximize,
            _ => Direction::Minimize,
        }
    }

    /// As a goal of a study.
    pub fn goal(self) -> Goal {
        Goal { name: self.name().into(), direction: self.direction() }
    }

    /// Whether it is known only after training, and reported after each epoch.
    pub fn is_learned(self) -> bool {
        matches!(self, Metric::Accuracy | Metric::R2 | Metric::Loss)
    }

    /// What a search optimises unless told otherwise.
    pub fn default_for(task: Task) -> Metric {
        match task {
            Task::Classification => Metric::Accuracy,
            Task::Regression => Metric::R2,
        }
    }

    /// Checks that these can be the goals of a search on data of `task`: not empty, none twice, the first one learned, none
    /// of the other task. Errors name the metric and the remedy.
    pub fn check(metrics: &[Metric], task: Task) -> Result<(), SearchError> {
        let bad = |text: String| Err(SearchError::Options(text));
        let default = Metric::default_for(task);
        let Some(first) = metrics.first() else {
            return bad(format!("no objectives: give at least one, such as {default}"));
        };
        if !first.is_learned() {
            return bad(format!(
                "the first objective is {first}: put one that training improves first, such as {default}; pruning looks at it"
            ));
        }
        for (i, metric) in metrics.iter().enumerate() {
            if metrics[..i].contains(metric) {
                return bad(format!("the objective {metric} is there twice"));
            }
            let other = match task {
                Task::Classification => Metric::R2,
                Task::Regression => Metric::Accuracy,
            };
            if *metric == other {
                return bad(format!("the objective {metric} does not fit this data: use {default}"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = SearchError;

    fn from_str(text: &str) -> Result<Metric, SearchError> {
        Metric::ALL.into_iter().find(|m| m.name() == text).ok_or_else(|| {
            SearchError::Options(names::unknown("objective", text, Metric::ALL.map(Metric::name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse::<Metric>().expect("its own name"), metric);
        }
        let error = "acuracy".parse::<Metric>().expect_err("misspelt").to_string();
        assert!(error.contains("did you mean 'accuracy'"), "{error}");
    }

    #[test]
    fn goals_that_make_no_sense_are_refused() {
        use Metric::*;
        let check = |metrics: &[Metric], task| Metric::check(metrics, task).map_err(|e| e.to_string());
        assert_eq!(check(&[Accuracy, Parameters], Task::Classification), Ok(()));
        assert_eq!(check(&[R2], Task::Regression), Ok(()));
        for (metrics, task, part) in [
            (&[][..], Task::Classification, "at least one"),
            (&[Parameters], Task::Classification, "put one that training improves first"),
            (&[Accuracy, Accuracy], Task::Classification, "twice"),
            (&[Loss, R2], Task::Classification, "does not fit"),
            (&[Accuracy], Task::Regression, "use r2"),
        ] {
            let error = check(metrics, task).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}

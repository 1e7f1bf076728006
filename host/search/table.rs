//! A table of results as an objective: what a sampler finds when looking up is all that a trial costs.
//!
//! A [`Table`] has rows of parameters and values. Rows with the same parameters are repetitions (other seeds of the same
//! training): [`Table::sample`] gives one of them, as a trial would, [`Table::mean`] their mean, which is what a choice is judged
//! by. [`Table::nasbench201`] is inside the program (`data/NOTICE.md` has its origin); [`Table::read`] takes a file of your own.
//!
//! ```
//! use ironwarp::search::{Direction, sampler::Evolution, table::{Dataset, Table}};
//! let table = Table::nasbench201(Dataset::Cifar10)?;
//! let setting = table.setting(&["val_acc"], 7)?;
//! let trials = table.search(&setting, &mut Evolution::default(), 50)?;
//! let best = table.best_mean(&trials, "val_acc", Direction::Maximize)?;
//! assert!(best > 85.0);
//! # Ok::<(), ironwarp::search::SearchError>(())
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::rng::Rng;
use super::sampler::Sampler;
use super::space::{Domain, Parameter, Point, Space};
use super::trial::{State, Trial};
use super::{Direction, Goal, SearchError, Setting, names};
use crate::data;

/// Purpose of the random stream that chooses repetitions.
const PURPOSE: u32 = 101;

/// The data sets of NAS-Bench-201.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100.
    Cifar100,
    /// ImageNet16-120.
    ImageNet,
}

impl Dataset {
    /// All three.
    pub const ALL: [Dataset; 3] = [Dataset::Cifar10, Dataset::Cifar100, Dataset::ImageNet];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Dataset::Cifar10 => "cifar10",
            Dataset::Cifar100 => "cifar100",
            Dataset::ImageNet => "imagenet",
        }
    }
}

impl std::str::FromStr for Dataset {
    type Err = SearchError;

    fn from_str(name: &str) -> Result<Dataset, SearchError> {
        let known = Dataset::ALL.into_iter().find(|d| d.name() == name);
        let names = Dataset::ALL.map(Dataset::name);
        known.ok_or_else(|| SearchError::Options(names::unknown("data set of NAS-Bench-201", name, names)))
    }
}

/// The operations on an edge of a NAS-Bench-201 cell, by their digit.
const EDGE_OPS: [&str; 5] = ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"];

/// One column of values.
#[derive(Clone, Debug)]
struct Column {
    goal: Goal,
    /// The repetitions of row `r` are `values[starts[r]..starts[r + 1]]`.
    starts: Vec<usize>,
    values: Vec<f64>,
}

/// Parameters and values, by row.
#[derive(Clone, Debug)]
pub struct Table {
    space: Space,
    columns: Vec<Column>,
    rows: Arc<HashMap<u64, usize>>,
}

/// A column of parameters as text, a value a row.
type Texts = (String, Vec<String>);

/// The number of a point among all that the domains make; `None` for foreign points.
fn code(space: &Space, point: &Point) -> Option<u64> {
    space.parameters().iter().zip(&point.0).try_fold(0u64, |code, (p, value)| {
        let n = p.domain.count()?;
        code.checked_mul(n)?.checked_add(p.domain.position((*value)?)?)
    })
}

/// The domain of a column: levels where all values are whole numbers, else a choice.
fn domain(values: &[String]) -> Domain {
    let numbers: Option<Vec<i64>> = values.iter().map(|v| v.parse().ok()).collect();
    match numbers {
        Some(mut numbers) => {
            numbers.sort();
            numbers.dedup();
            Domain::levels(numbers)
        }
        None => {
            let mut options: Vec<&String> = values.iter().collect();
            options.sort();
            options.dedup();
            Domain::choice(options.into_iter().map(|o| o.replace(char::is_whitespace, "_")))
        }
    }
}

impl Table {
    /// NAS-Bench-201 on one of its data sets: parameters `edge.0` to `edge.5`, goals `val_acc` (per cent, two or three seeds),
    /// `params_m` (millions), `train_time_s`, `latency_s`.
    pub fn nasbench201(dataset: Dataset) -> Result<Table, SearchError> {
        let file = data::nasbench201()?;
        let names = file.column_names();
        let column = |name: &str| {
            let at = names.iter().position(|n| n == name).unwrap_or(0);
            file.texts(at).into_iter().map(|t| t.unwrap_or_default().into_owned()).collect::<Vec<String>>()
        };
        let mine: Vec<bool> = column("dataset").iter().map(|d| d == dataset.name()).collect();
        let select = |texts: Vec<String>| -> Vec<String> {
            texts.into_iter().zip(&mine).filter(|(_, mine)| **mine).map(|(text, _)| text).collect()
        };
        let cells = select(column("cell"));
        let edge = |i: usize| -> Vec<String> {
            let op = |cell: &String| cell.as_bytes().get(i).and_then(|b| EDGE_OPS.get(usize::from(b - b'0')));
            cells.iter().map(|cell| (*op(cell).unwrap_or(&"none")).to_owned()).collect()
        };
        let parameters: Vec<Texts> = (0..6).map(|i| (format!("edge.{i}"), edge(i))).collect();
        let domains = vec![Domain::choice(EDGE_OPS); 6];
        let goals = [
            Goal::maximize("val_acc"),
            Goal::minimize("params_m"),
            Goal::minimize("train_time_s"),
            Goal::minimize("latency_s"),
        ];
        let columns: Vec<(Goal, Vec<Texts>)> = goals
            .into_iter()
            .map(|goal| {
                let repeats = names.iter().filter(|n| repeats(n, &goal.name));
                let texts = repeats.map(|n| (n.clone(), select(column(n)))).collect();
                (goal, texts)
            })
            .collect();
        Table::build("nasbench201", parameters, domains, columns)
    }

    /// A file of your own (CSV, also packed with gzip): the columns that are parameters, and the goals. A goal `loss` is the
    /// column `loss`, or the repetitions `loss_seed0`, `loss_seed1`, ..; an empty cell is no repetition. Columns of whole
    /// numbers are levels, others choices.
    ///
    /// Errors: the file cannot be read; no such column; a parameter is missing or a value no number; a row without values.
    pub fn read(
        path: impl AsRef<Path>,
        parameters: &[&str],
        goals: impl IntoIterator<Item = Goal>,
    ) -> Result<Table, SearchError> {
        let file = data::read_table(path, &data::LoadOptions::default())?;
        let names = file.column_names();
        let unknown = |name: &str| {
            let known = names.iter().map(String::as_str);
            SearchError::Options(format!("{}: {}", file.source(), names::unknown("column", name, known)))
        };
        let texts = |at: usize| file.texts(at).into_iter().map(|t| t.unwrap_or_default().into_owned());
        let mut columns = vec![];
        for name in parameters {
            let at = names.iter().position(|n| n == name).ok_or_else(|| unknown(name))?;
            let texts: Vec<String> = texts(at).collect();
            if let Some(row) = texts.iter().position(String::is_empty) {
                let row = file.row_number(row);
                return Err(SearchError::Options(format!(
                    "{}: row {row}: no value for '{name}': fill it in, or leave the row out",
                    file.source()
                )));
            }
            columns.push((name.to_string(), texts));
        }
        let mut values = vec![];
        for goal in goals {
            let repeats: Vec<Texts> = (names.iter().enumerate())
                .filter(|(_, n)| repeats(n, &goal.name))
                .map(|(at, n)| (n.clone(), texts(at).collect()))
                .collect();
            if repeats.is_empty() {
                return Err(unknown(&goal.name));
            }
            values.push((goal, repeats));
        }
        let domains = columns.iter().map(|(_, texts)| domain(texts)).collect();
        Table::build(file.source(), columns, domains, values)
    }

    fn build(
        source: &str,
        parameters: Vec<Texts>,
        domains: Vec<Domain>,
        columns: Vec<(Goal, Vec<Texts>)>,
    ) -> Result<Table, SearchError> {
        let named = parameters.iter().zip(domains).map(|((name, _), domain)| Parameter::new(name, domain));
        let space = Space::new(named.collect())?;
        if space.count().is_none() {
            return Err(SearchError::Options(format!(
                "{source}: its parameters make more than 2^64 points: name fewer of them"
            )));
        }
        // Rows with the same parameters become one.
        let mut rows = HashMap::new();
        let lines = parameters.first().map_or(0, |(_, texts)| texts.len());
        let row_of: Vec<usize> = (0..lines)
            .map(|line| {
                let values = space.parameters().iter().zip(&parameters);
                let value = |(p, (_, texts)): (&Parameter, &Texts)| {
                    p.domain.read(&texts[line].replace(char::is_whitespace, "_"))
                };
                let code = code(&space, &Point(values.map(value).collect())).unwrap_or(u64::MAX);
                let next = rows.len();
                *rows.entry(code).or_insert(next)
            })
            .collect();
        let mut built = vec![];
        for (goal, repeats) in columns {
            let mut by_row = vec![vec![]; rows.len()];
            for (name, texts) in &repeats {
                for (text, row) in texts.iter().zip(&row_of).filter(|(text, _)| !text.is_empty()) {
                    let number = text.parse::<f64>().ok().filter(|x| x.is_finite());
                    let number = number.ok_or_else(|| {
                        SearchError::Options(format!("{source}: column '{name}': '{text}' is no number"))
                    })?;
                    by_row[*row].push(number);
                }
            }
            if let Some(row) = by_row.iter().position(Vec::is_empty) {
                let line = row_of.iter().position(|r| *r == row).unwrap_or(0) + 1;
                return Err(SearchError::Options(format!(
                    "{source}: sample {line} has no '{}': fill it in, or leave the row out",
                    goal.name
                )));
            }
            let ends = by_row.iter().scan(0, |end, values| {
                *end += values.len();
                Some(*end)
            });
            let starts = std::iter::once(0).chain(ends).collect();
            built.push(Column { goal, starts, values: by_row.concat() });
        }
        let rows = Arc::new(rows);
        // A full table needs no test.
        let space = if space.count() == Some(rows.len() as u64) {
            space
        } else {
            let known = rows.clone();
            space.allow(move |space, point| match code(space, point) {
                Some(code) if known.contains_key(&code) => Ok(()),
                _ => Err("the table has no such row".into()),
            })
        };
        Ok(Table { space, columns: built, rows })
    }

    /// The space of the table's parameters; points without a row are not allowed.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// What can be optimised.
    pub fn goals(&self) -> impl Iterator<Item = &Goal> {
        self.columns.iter().map(|c| &c.goal)
    }

    /// Number of different points.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    fn column(&self, goal: &str) -> Result<&Column, SearchError> {
        self.columns.iter().find(|c| c.goal.name == goal).ok_or_else(|| {
            let known = self.columns.iter().map(|c| c.goal.name.as_str());
            SearchError::Options(names::unknown("goal of the table", goal, known))
        })
    }

    fn repeats<'a>(&self, column: &'a Column, point: &Point) -> Result<&'a [f64], SearchError> {
        let row = code(&self.space, point).and_then(|code| self.rows.get(&code));
        let row = *row.ok_or_else(|| {
            SearchError::Options(format!("the table has no row {}", self.space.show(point)))
        })?;
        Ok(&column.values[column.starts[row]..column.starts[row + 1]])
    }

    /// The mean of a point's repetitions. Error: the table has no such goal or row.
    pub fn mean(&self, point: &Point, goal: &str) -> Result<f64, SearchError> {
        let repeats = self.repeats(self.column(goal)?, point)?;
        Ok(repeats.iter().sum::<f64>() / repeats.len() as f64)
    }

    /// One of a point's repetitions. Error: the table has no such goal or row.
    pub fn sample(&self, point: &Point, goal: &str, rng: &mut Rng) -> Result<f64, SearchError> {
        let repeats = self.repeats(self.column(goal)?, point)?;
        Ok(repeats[rng.below(repeats.len())])
    }

    /// The means of all points, in no particular order. Error: the table has no such goal.
    pub fn means(&self, goal: &str) -> Result<Vec<f64>, SearchError> {
        let column = self.column(goal)?;
        let mean = |w: &[usize]| column.values[w[0]..w[1]].iter().sum::<f64>() / (w[1] - w[0]) as f64;
        Ok(column.starts.windows(2).map(mean).collect())
    }

    /// A setting that optimises these goals, each trial one step, one trial at a time. Error: the table has no such goal.
    pub fn setting(&self, goals: &[&str], seed: u64) -> Result<Setting, SearchError> {
        let goals =
            goals.iter().map(|g| Ok(self.column(g)?.goal.clone())).collect::<Result<_, SearchError>>()?;
        Ok(Setting { space: self.space.clone(), goals, seed, steps: 1, lag: 1 })
    }

    /// Runs a sampler for `evaluations` trials; a trial's values are one repetition each, drawn by (seed, number).
    pub fn search(
        &self,
        setting: &Setting,
        sampler: &mut dyn Sampler,
        evaluations: u64,
    ) -> Result<Vec<Trial>, SearchError> {
        let mut trials: Vec<Trial> = vec![];
        let mut told = 0;
        for number in 0..evaluations {
            for trial in &trials[told..setting.visible(number) as usize] {
                sampler.tell(setting, trial);
            }
            told = setting.visible(number) as usize;
            let mut trial = Trial::new(number, sampler.ask(setting, number)?);
            let mut rng = Rng::new(setting.seed, PURPOSE, number);
            for goal in &setting.goals {
                trial.values.push(self.sample(&trial.point, &goal.name, &mut rng)?);
            }
            trial.state = State::Complete;
            trials.push(trial);
        }
        Ok(trials)
    }

    /// The mean of the trial with the best first value: what somebody who saw one repetition each would get.
    pub fn chosen_mean(
        &self,
        trials: &[Trial],
        goal: &str,
        direction: Direction,
    ) -> Result<f64, SearchError> {
        let loss = |t: &Trial| direction.loss(t.values.first().copied().unwrap_or(f64::NAN));
        let chosen = trials.iter().min_by(|a, b| loss(a).total_cmp(&loss(b)));
        chosen.map_or(Ok(f64::NAN), |t| self.mean(&t.point, goal))
    }

    /// The best mean among the trials: what somebody who saw all repetitions would get.
    pub fn best_mean(&self, trials: &[Trial], goal: &str, direction: Direction) -> Result<f64, SearchError> {
        let means = trials.iter().map(|t| self.mean(&t.point, goal)).collect::<Result<Vec<f64>, _>>()?;
        Ok(means.into_iter().reduce(|a, b| if direction.better(b, a) { b } else { a }).unwrap_or(f64::NAN))
    }
}

/// Whether a column holds a goal's values: it has its name, or that and `_seed` and a number.
fn repeats(column: &str, goal: &str) -> bool {
    let rest = column.strip_prefix(goal);
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix("_seed")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::space::Value;

    #[test]
    fn nasbench201_is_the_published_table() {
        // Optimum and its cell on each data set.
        let optima = [
            (Dataset::Cifar10, 91.607, "333132"),
            (Dataset::Cifar100, 73.493, "333133"),
            (Dataset::ImageNet, 46.733, "322133"),
        ];
        for (dataset, optimum, cell) in optima {
            let table = Table::nasbench201(dataset).expect("the table");
            assert_eq!((table.rows(), table.space().count()), (15_625, Some(15_625)));
            let best = table.means("val_acc").expect("a goal").into_iter().fold(0.0, f64::max);
            let digits = cell.bytes().map(|b| Some(Value::Choice(u32::from(b - b'0'))));
            let mean = table.mean(&Point(digits.collect()), "val_acc").expect("a row");
            assert!((best - optimum).abs() < 6e-4 && mean == best, "{dataset:?}: {best} {mean}");
        }
    }

    #[test]
    fn a_table_of_ones_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs.csv");
        let read = |text: &str, parameters: &[&str]| {
            std::fs::write(&path, text).expect("written");
            Table::read(&path, parameters, [Goal::minimize("loss")])
        };
        let table = read(
            "w,act,loss_seed0,loss_seed1\n1,relu,0.5,0.7\n2,relu,0.25,\n2,gelu,0.125,1\n2,gelu,0.5,\n",
            &["w", "act"],
        );
        let table = table.expect("a table");
        assert_eq!((table.rows(), table.space().count()), (3, Some(4)));
        let mean = |text: &str| table.mean(&table.space().read(text).expect("a point"), "loss");
        assert!((mean("w=1 act=relu").expect("a row") - 0.6).abs() < 1e-12);
        assert!((mean("w=2 act=gelu").expect("a row") - 1.625 / 3.0).abs() < 1e-12);
        assert!(mean("w=1 act=gelu").is_err());
        let refused = table.space().read("w=1 act=gelu").expect("a point");
        assert!(table.space().check(&refused).is_err());
        let trials = table.search(
            &table.setting(&["loss"], 1).expect("a setting"),
            &mut crate::search::sampler::Random,
            20,
        );
        assert_eq!(
            table.best_mean(&trials.expect("trials"), "loss", Direction::Minimize).expect("a mean"),
            0.25
        );

        let wrong = |text: &str, parameters: &[&str]| read(text, parameters).expect_err("wrong").to_string();
        assert!(wrong("w,loss\n1,2\n2,3\n", &["width"]).contains("width"));
        assert!(wrong("w,los\n1,2\n2,3\n", &["w"]).contains("did you mean 'los'?"));
        assert!(wrong("w,loss\n1,x\n2,3\n", &["w"]).contains("'x' is no number"));
        assert!(wrong("w,loss\n1,\n2,3\n", &["w"]).contains("no 'loss'"));
        assert!(wrong("w,loss\n,2\n2,3\n", &["w"]).contains("no value for 'w'"));
    }
}

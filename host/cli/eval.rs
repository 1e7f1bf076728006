//! `eval MODEL DATA`: how well a saved model does.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use ironwarp::data::{self, Dataset, TargetSpec, TargetTransform};
use ironwarp::train::Model;
use serde_json::{Map, Value, json};

use super::args::{DataArgs, DeviceArg, Source, model_path};
use super::fail::usage_error;
use super::{out, report};

const EXAMPLES: &str = "\
Examples:
  ironwarp eval runs/digits/model.safetensors digits              all rows
  ironwarp eval runs/digits/model.safetensors digits --part test  the rows that training held out
  ironwarp eval runs/houses houses-2025.csv --json

MODEL is the file or the directory of the run.";

/// Evaluate a saved model on a data set.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A model that `train` saved.
    model: PathBuf,
    /// A built-in data set, a file or a folder; with the target.
    data: PathBuf,
    #[command(flatten)]
    reading: DataArgs,
    /// Which rows: all, or a part of the split that `train` made of the same data.
    #[arg(long, value_enum, default_value_t = Part::All)]
    part: Part,
    /// Seed of that split [default: the model's].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Share that was held out.
    #[arg(long, value_name = "F", default_value_t = 0.2, allow_negative_numbers = true)]
    test_fraction: f64,
    #[command(flatten)]
    device: DeviceArg,
    /// The last line of stdout is one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    All,
    Train,
    Test,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::All => "all",
            Part::Train => "train",
            Part::Test => "test",
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let source = Source::of(&args.data, &args.reading)?;
    let path = model_path(&args.model);
    let model = Model::load(&path, &device)?;
    let data = match args.part {
        Part::All => whole(&model, &source, &args.reading)?,
        part => part_of_split(&model, &path, &source, args, part)?,
    };
    let evaluation = model.evaluate(&data)?;
    let names = model.preprocessing().map_or(&[][..], |p| p.classes());
    if args.json {
        let mut map = Map::new();
        map.insert("command".into(), json!("eval"));
        map.insert("model".into(), json!(path.display().to_string()));
        map.insert("data".into(), json!(args.data.display().to_string()));
        map.insert("part".into(), json!(args.part.name()));
        map.insert("device".into(), json!(device.kind().to_string()));
        map.insert("rows".into(), json!(evaluation.samples));
        report::insert(&mut map, "", &evaluation);
        if !evaluation.confusion.is_empty() {
            map.insert("classes".into(), json!(names));
            map.insert("confusion".into(), json!(evaluation.confusion));
        }
        return out::print_json(&Value::Object(map));
    }
    let classes = report::classes(&evaluation, names);
    let gap = if classes.is_empty() { "" } else { "\n" };
    let (data, rows) = (args.data.display(), evaluation.samples);
    out::print(&format!("{data}: {rows} rows  {}\n{gap}{classes}", report::figures(&evaluation)))
}

/// Every row, prepared as the model's training data was.
fn whole(model: &Model, source: &Source<'_>, reading: &DataArgs) -> Result<Dataset> {
    let Some(preprocessing) = model.preprocessing() else {
        return Ok(source.load(&reading.options())?.prepared()?);
    };
    let data = match source {
        Source::Builtin(name) => preprocessing.apply(&data::builtin_table(name)?)?,
        Source::File(path) => preprocessing.apply(&data::read_table(path, &reading.options())?)?,
    };
    if data.task().is_none() {
        let (file, target) = (data.name(), target_column(model).unwrap_or("target"));
        return Err(anyhow!(
            "{file}: has no column '{target}' to compare with; add it, or use `ironwarp predict`"
        ));
    }
    Ok(data)
}

fn target_column(model: &Model) -> Option<&str> {
    match &model.preprocessing()?.target {
        TargetTransform::Classes { column, .. } | TargetTransform::Values { column, .. } => Some(column),
        TargetTransform::None => None,
    }
}

/// One part of the split, which must be the one that the model was trained with: its training rows have the model's
/// statistics.
fn part_of_split(
    model: &Model,
    path: &Path,
    source: &Source<'_>,
    args: &Args,
    part: Part,
) -> Result<Dataset> {
    let mut options = args.reading.options();
    let known = model.preprocessing();
    if let (Some(p), Source::File(_)) = (known, source) {
        options.task = options.task.or(p.task());
        options.target = options.target.or(match &p.target {
            TargetTransform::Classes { column, position, .. }
            | TargetTransform::Values { column, position, .. } => {
                Some(if p.named { TargetSpec::Name(column.clone()) } else { TargetSpec::Index(*position) })
            }
            TargetTransform::None => None,
        });
    }
    let raw = source.load(&options)?;
    let raw = known.map_or(raw.clone(), |p| raw.scaled(p.scaling));
    let split = match raw.own_split() {
        Some(own) => own?,
        None if args.test_fraction > 0.0 && args.test_fraction < 1.0 => {
            raw.stratified_split(1.0 - args.test_fraction, args.seed.unwrap_or(model.options().seed))?
        }
        None => {
            let fraction = args.test_fraction;
            return Err(usage_error(format!(
                "--test-fraction {fraction}: give a number in (0, 1), such as 0.2"
            )));
        }
    };
    if known.is_some_and(|known| {
        let own = &split.preprocessing;
        (&own.columns, &own.target, own.scaling) != (&known.columns, &known.target, known.scaling)
    }) {
        let (path, data) = (path.display(), args.data.display());
        let remedy = "give the --seed and --test-fraction of its training, or evaluate all rows";
        return Err(anyhow!("{path}: not trained on the training rows of this split of {data}; {remedy}"));
    }
    Ok(if part == Part::Train { split.train } else { split.test })
}

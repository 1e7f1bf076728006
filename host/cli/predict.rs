//! `predict MODEL DATA`: what a saved model says of each row, as CSV.
//!
//! Columns: `row` (from 1), `prediction` (the most probable class, or the number), and `p_CLASS` for each class. A model of
//! several numbers has one column for each, by name.

use std::path::PathBuf;

use anyhow::Result;
use ironwarp::data::{self, Dataset, TargetTransform};
use ironwarp::train::{Model, Prediction, write_atomic};
use serde_json::{Value, json};

use super::args::{DataArgs, DeviceArg, Source, model_path};
use super::out;

const EXAMPLES: &str = "\
Examples:
  ironwarp predict runs/digits/model.safetensors digits | head
  ironwarp predict runs/houses new.csv --out predictions.csv
  ironwarp predict runs/houses new.csv --json

MODEL is the file or the directory of the run. DATA needs no target column.";

/// Predict with a saved model.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A model that `train` saved.
    model: PathBuf,
    /// A built-in data set, a file or a folder; a target column is ignored.
    data: PathBuf,
    #[command(flatten)]
    reading: DataArgs,
    /// Write the CSV there instead of to stdout.
    #[arg(long, value_name = "FILE.csv")]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    /// The last line of stdout is one JSON object; without --out the predictions are in it, instead of CSV.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let source = Source::of(&args.data, &args.reading)?;
    let path = model_path(&args.model);
    let model = Model::load(&path, &device)?;
    let data = features(&model, &source, &args.reading)?;
    let prediction = model.predict(&data)?;
    let table = || csv(&prediction, &value_names(&model, prediction.width));
    match (&args.out, args.json) {
        (Some(file), _) => {
            write_atomic(file, &table()?)?;
            if !args.json {
                let (rows, file) = (data.rows(), file.display());
                return out::print(&format!("{rows} predictions in {file}\n"));
            }
        }
        (None, false) => return out::print(&String::from_utf8_lossy(&table()?)),
        (None, true) => {}
    }
    let mut object = json!({
        "command": "predict",
        "model": path.display().to_string(),
        "data": args.data.display().to_string(),
        "device": device.kind().to_string(),
        "rows": data.rows(),
    });
    match &args.out {
        Some(file) => object["out"] = json!(file.display().to_string()),
        None => insert_predictions(&mut object, &prediction),
    }
    out::print_json(&object)
}

fn insert_predictions(object: &mut Value, prediction: &Prediction) {
    let rows: Vec<&[f32]> = prediction.outputs.chunks(prediction.width).collect();
    if prediction.labels.is_empty() {
        let one = prediction.width == 1;
        object["predictions"] = if one { json!(prediction.outputs) } else { json!(rows) };
    } else {
        let classes = &prediction.classes;
        object["classes"] = json!(classes);
        object["predictions"] = prediction.labels.iter().map(|&l| json!(classes[l as usize])).collect();
        object["probabilities"] = json!(rows);
    }
}

/// The features as the model wants them, whatever the target column holds.
fn features(model: &Model, source: &Source<'_>, reading: &DataArgs) -> Result<Dataset> {
    let Some(preprocessing) = model.preprocessing() else {
        return Ok(source.load(&reading.options())?.prepared()?);
    };
    let table = match source {
        Source::Builtin(name) => data::builtin_table(name)?,
        Source::File(path) => data::read_table(path, &reading.options())?,
    };
    Ok(preprocessing.apply_features(&table)?)
}

/// Headings of predicted numbers.
fn value_names(model: &Model, width: usize) -> Vec<String> {
    match model.preprocessing().map(|p| &p.target) {
        Some(TargetTransform::Values { names, .. }) if width > 1 => names.clone(),
        _ if width > 1 => (0..width).map(|k| format!("prediction_{k}")).collect(),
        _ => vec!["prediction".into()],
    }
}

fn csv(prediction: &Prediction, value_names: &[String]) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(vec![]);
    let mut header = vec!["row".to_owned()];
    if prediction.labels.is_empty() {
        header.extend_from_slice(value_names);
    } else {
        header.push("prediction".into());
        header.extend(prediction.classes.iter().map(|class| format!("p_{class}")));
    }
    csv.write_record(&header)?;
    for (row, outputs) in prediction.outputs.chunks(prediction.width).enumerate() {
        let mut record = vec![(row + 1).to_string()];
        if let Some(&label) = prediction.labels.get(row) {
            record.push(prediction.classes[label as usize].clone());
        }
        record.extend(outputs.iter().map(f32::to_string));
        csv.write_record(&record)?;
    }
    Ok(csv.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_come_with_probabilities() {
        let classes = vec!["no".to_owned(), "a, b".to_owned()];
        let prediction =
            Prediction { outputs: vec![0.25, 0.75, 1.0, 0.0], width: 2, labels: vec![1, 0], classes };
        let text = String::from_utf8(csv(&prediction, &[]).expect("plain records")).expect("text");
        assert_eq!(text, "row,prediction,p_no,\"p_a, b\"\n1,\"a, b\",0.25,0.75\n2,no,1,0\n");
    }

    #[test]
    fn numbers_have_their_names() {
        let prediction = Prediction { outputs: vec![1.5, -2.0], width: 2, labels: vec![], classes: vec![] };
        let text = csv(&prediction, &["x".into(), "y".into()]).expect("plain records");
        assert_eq!(text, b"row,x,y\n1,1.5,-2\n");
    }
}

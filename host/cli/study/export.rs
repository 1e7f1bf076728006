//! `study export csv|json`: all trials.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use ironwarp::search::study::Study;
use ironwarp::search::trial::Trial;
use serde_json::Value;

use crate::cli::out;

/// Write all trials as a table or as JSON.
///
/// The table has a row for each trial: its number, its state, a column for each objective (values_NAME), parameter
/// (params_NAME) and attribute (attrs_NAME), the seconds that it ran and why it ended early. The JSON has everything: the study
/// and, for each trial, the reports of its steps too.
#[derive(clap::Args)]
pub struct Args {
    /// What to write.
    #[arg(value_enum)]
    format: Format,
    /// The study.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Json,
}

/// Takes text piece by piece.
type Sink<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

/// Bytes that are written at once.
const PIECE: usize = 1 << 16;

pub fn run(args: &Args) -> Result<()> {
    let study = Study::open(&args.file)?;
    let write = match args.format {
        Format::Csv => csv,
        Format::Json => json,
    };
    let Some(path) = &args.out else { return write(&study, &mut out::print) };
    let context = || format!("{}: cannot be written", path.display());
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    // Whole or not at all.
    let file =
        tempfile::NamedTempFile::new_in(parent).map_err(|e| anyhow!(e.kind())).with_context(context)?;
    let mut writer = BufWriter::new(file);
    write(&study, &mut |text| Ok(writer.write_all(text.as_bytes())?))?;
    let file = writer.into_inner().map_err(|e| e.into_error()).with_context(context)?;
    file.persist(path).map_err(|e| e.error).with_context(context)?;
    Ok(())
}

fn csv(study: &Study, sink: Sink<'_>) -> Result<()> {
    let (setting, attributes) = (study.setting(), study.attribute_names()?);
    let mut header = vec!["number".to_owned(), "state".into()];
    header.extend(setting.goals.iter().map(|g| format!("values_{}", g.name)));
    header.extend(setting.space.parameters().iter().map(|p| format!("params_{}", p.name)));
    header.extend(attributes.iter().map(|name| format!("attrs_{name}")));
    header.extend(["seconds".into(), "reason".into()]);
    let number = |x: Option<&f64>| x.map_or(String::new(), |x| format!("{x:?}"));
    let row = |trial: &Trial| {
        let mut row = vec![trial.number.to_string(), format!("{:?}", trial.state).to_lowercase()];
        row.extend((0..setting.goals.len()).map(|i| number(trial.values.get(i))));
        let parameters = setting.space.parameters().iter().zip(&trial.point.0);
        row.extend(parameters.map(|(p, value)| value.map_or(String::new(), |v| p.domain.show(v))));
        row.extend(attributes.iter().map(|name| number(trial.attributes.get(name))));
        row.push(format!("{:?}", trial.seconds));
        row.push(trial.reason.clone().unwrap_or_default());
        row
    };
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(&header)?;
    study.each(|trial| -> Result<()> {
        writer.write_record(row(&trial))?;
        flush(&mut writer, PIECE, sink)
    })?;
    flush(&mut writer, 0, sink)
}

/// Passes on what has been written, when it is more than `most` bytes.
fn flush(writer: &mut csv::Writer<Vec<u8>>, most: usize, sink: Sink<'_>) -> Result<()> {
    writer.flush()?;
    if writer.get_ref().len() > most {
        let full = std::mem::replace(writer, csv::Writer::from_writer(vec![]));
        let bytes = full.into_inner().map_err(|e| anyhow!("the table: {e}"))?;
        sink(std::str::from_utf8(&bytes)?)?;
    }
    Ok(())
}

fn json(study: &Study, sink: Sink<'_>) -> Result<()> {
    let mut text = format!("{{\"study\":{},\"trials\":[", Value::Object(super::show::description(study)?));
    let mut comma = "";
    study.each(|trial| -> Result<()> {
        text += comma;
        text += &super::json(study.setting(), &trial).to_string();
        comma = ",";
        if text.len() > PIECE {
            sink(&text)?;
            text.clear();
        }
        Ok(())
    })?;
    text += "]}\n";
    sink(&text)
}

//! Options that several commands share, and the types of their values.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use ironwarp::Device;
use ironwarp::data::{self, Dataset, LoadOptions, Scaling, TargetSpec, Task};
use ironwarp::device::{SimOptions, Target};
use ironwarp::search::space::network::NetworkSpace;

use super::fail::usage_error;

/// `--device`.
#[derive(clap::Args)]
pub struct DeviceArg {
    /// Where to run: auto (a GPU if there is one, else cpu), cpu, sim, or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

impl DeviceArg {
    /// Opens it.
    pub fn open(&self) -> Result<Device> {
        Ok(Device::from_name(&self.device)?)
    }

    /// Opens it; a simulator profiles, and executes the PTX of `target` [default: sm_80]. Error: a target for a device that
    /// has its own.
    pub fn open_profiled(&self, target: Option<Target>) -> Result<Device> {
        if self.device == "sim" {
            let target = target.unwrap_or_default();
            return Ok(Device::sim_with(SimOptions { target, profile: true, ..SimOptions::default() }));
        }
        match target {
            Some(_) => {
                Err(usage_error(format!("--target is for --device sim; '{}' has its own", self.device)))
            }
            None => self.open(),
        }
    }
}

/// A value of `--target`.
pub fn target(name: &str) -> Result<Target, String> {
    match name {
        "sm_80" => Ok(Target::Sm80),
        "sm_90a" => Ok(Target::Sm90a),
        _ => Err("the targets are sm_80 and sm_90a".into()),
    }
}

/// `--task`.
#[derive(Clone, Copy, ValueEnum)]
pub enum TaskArg {
    /// One class of several.
    Classification,
    /// Numbers.
    Regression,
}

/// `--scale`.
#[derive(Clone, Copy, ValueEnum)]
pub enum ScaleArg {
    /// Mean 0, standard deviation 1.
    Standard,
    /// The range 0..1.
    Minmax,
    /// As it is.
    None,
}

impl From<ScaleArg> for Scaling {
    fn from(scale: ScaleArg) -> Scaling {
        match scale {
            ScaleArg::Standard => Scaling::Standard,
            ScaleArg::Minmax => Scaling::MinMax,
            ScaleArg::None => Scaling::None,
        }
    }
}

/// Heading of these options in the help.
pub const READING: &str = "Reading the data";

/// How a data file is to be read.
#[derive(clap::Args, Clone, Default)]
pub struct DataArgs {
    /// Column to predict, by name or index from 0 [default: the last one].
    #[arg(long, value_name = "COLUMN", help_heading = READING)]
    pub target: Option<String>,
    /// What kind of target it is [default: found out, and reported].
    #[arg(long, value_enum, help_heading = READING)]
    pub task: Option<TaskArg>,
    /// The first row is a header [default: found out].
    #[arg(long, overrides_with = "no_header", help_heading = READING)]
    pub header: bool,
    /// The first row is data.
    #[arg(long, help_heading = READING)]
    pub no_header: bool,
    /// Character between cells: one ASCII character, or 'tab' [default: comma, semicolon or tab, found out].
    #[arg(long, value_name = "CHAR", value_parser = delimiter, help_heading = READING)]
    pub delimiter: Option<char>,
}

fn delimiter(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("tab" | "\\t", ..) => Ok('\t'),
        (_, Some(c), None) if c.is_ascii() && !matches!(c, '"' | '\n' | '\r') => Ok(c),
        _ => Err("give one ASCII character, or 'tab'".into()),
    }
}

impl DataArgs {
    /// As the loader takes them.
    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            target: self.target.as_deref().map(TargetSpec::from),
            header: if self.header { Some(true) } else { self.no_header.then_some(false) },
            task: self.task.map(|task| match task {
                TaskArg::Classification => Task::Classification,
                TaskArg::Regression => Task::Regression,
            }),
            delimiter: self.delimiter,
        }
    }

    fn any(&self) -> bool {
        let task = self.task.is_some();
        self.target.is_some() || task || self.header || self.no_header || self.delimiter.is_some()
    }
}

/// What DATA names.
pub enum Source<'a> {
    /// A built-in data set.
    Builtin(&'static str),
    /// A file or folder.
    File(&'a Path),
}

impl<'a> Source<'a> {
    /// A built-in name, else a path (`./iris` is a file for sure). Errors: options for files with a built-in name; a word
    /// that is neither.
    pub fn of(data: &'a Path, args: &DataArgs) -> Result<Source<'a>> {
        if let Some(name) = data::builtin_names().find(|name| data.as_os_str() == OsStr::new(name)) {
            if args.any() {
                let options = "--target, --task, --header, --no-header and --delimiter";
                return Err(usage_error(format!(
                    "{options} are for files; '{name}' is built in (a file is ./{name})"
                )));
            }
            return Ok(Source::Builtin(name));
        }
        let word = data.components().count() == 1 && data.extension().is_none();
        if word && !data.exists() {
            let names: Vec<&str> = data::builtin_names().collect();
            let (data, names) = (data.display(), names.join(", "));
            return Err(usage_error(format!(
                "'{data}' is neither a built-in data set ({names}) nor a file; check the name"
            )));
        }
        Ok(Source::File(data))
    }

    /// A name fit for a directory: the built-in one, or the file's without its extensions.
    pub fn name(&self) -> String {
        match self {
            Source::Builtin(name) => (*name).to_owned(),
            Source::File(path) => file_name(path),
        }
    }

    /// The raw data set.
    pub fn load(&self, options: &LoadOptions) -> Result<Dataset> {
        Ok(match self {
            Source::Builtin(name) => data::builtin(name)?,
            Source::File(path) => data::load(path, options)?,
        })
    }
}

/// The file's name without its extensions, fit for a directory.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or("data");
    let clean = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
    stem.chars().take(80).map(clean).collect()
}

/// `--space`: the networks that a TOML file describes, or those that fit data of `inputs`, `outputs` and `rows`.
pub fn network_space(
    path: Option<&Path>,
    inputs: usize,
    outputs: usize,
    rows: usize,
) -> Result<NetworkSpace> {
    let Some(path) = path else { return Ok(NetworkSpace::default_for(inputs, outputs, rows)) };
    let text = std::fs::read_to_string(path)
        .map_err(|e| usage_error(format!("--space {}: {e}; give a TOML file", path.display())))?;
    let read = NetworkSpace::from_toml(&text, inputs, outputs);
    Ok(read.with_context(|| path.display().to_string())?.rows(rows))
}

/// MODEL: the file, or the directory of a run.
pub fn model_path(path: &Path) -> PathBuf {
    let inside = path.join("model.safetensors");
    if inside.is_file() { inside } else { path.to_owned() }
}

/// A list of widths, `64,64`; `none` or nothing: an empty one.
#[derive(Clone, Debug, PartialEq)]
pub struct Widths(pub Vec<usize>);

/// Parses [`Widths`].
pub fn widths(text: &str) -> Result<Widths, String> {
    if matches!(text.trim(), "" | "none") {
        return Ok(Widths(vec![]));
    }
    let width = |part: &str| match part.trim().parse::<usize>() {
        Ok(0) => Err("a layer of width 0; give widths of at least 1, as in 64,64".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err(format!("'{part}' is not a width; give numbers from 1, as in 64,64")),
    };
    Ok(Widths(text.split(',').map(width).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_numbers_from_one() {
        assert_eq!(widths("64, 32"), Ok(Widths(vec![64, 32])));
        assert_eq!(widths("none"), Ok(Widths(vec![])));
        for bad in ["0", "64,0", "64,", "-3", "a", "1.5", "99999999999999999999999"] {
            assert!(widths(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn run_names_are_plain() {
        let name = |path: &str| file_name(Path::new(path));
        assert_eq!(
            (name("a/house prices.csv.gz"), name(".hidden"), name("..")),
            ("house_prices".into(), "hidden".into(), "data".into())
        );
    }

    #[test]
    fn delimiters_are_single_characters() {
        assert_eq!((delimiter(";"), delimiter("tab")), (Ok(';'), Ok('\t')));
        for bad in ["", ";;", "é", "\""] {
            assert!(delimiter(bad).is_err(), "{bad}");
        }
    }
}

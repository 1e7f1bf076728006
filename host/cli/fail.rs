//! Failures: one line on stderr and an exit code.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use ironwarp::data::DataError;
use ironwarp::device::DeviceError;
use ironwarp::ops::OpError;
use ironwarp::search::SearchError;
use ironwarp::train::TrainError;

use super::out;

/// What was asked for cannot be done as it was asked: exit 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Ctrl-C ended the work cleanly: exit 130.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Interrupted(pub String);

/// Whoever read stdout is gone: no message, and no failure.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct Closed;

/// A [`Usage`] error as the commands return it.
pub fn usage_error(text: impl Into<String>) -> anyhow::Error {
    Usage(text.into()).into()
}

/// Writes a line to stderr; there is nobody to tell if that fails.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Replaces the panic message by one line: a panic is a bug here, whatever the input.
pub fn hook() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("unknown");
        let place = info.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
        line(&format!(
            "error: internal error{place}: {}; please report it with the command line",
            flat(text)
        ));
    }));
}

/// Prints the error and gives its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|cause| cause.is::<Closed>()) {
        return ExitCode::SUCCESS;
    }
    line(&format!("error: {}", message(error)));
    ExitCode::from(code(error))
}

/// What clap says, on one line; help and version go to stdout.
pub fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match out::print(&error.to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report(&error),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(std::io::stderr(), "{error}");
            ExitCode::from(2)
        }
        _ => {
            line(&format!("error: {}", clap_line(&error.to_string())));
            ExitCode::from(2)
        }
    }
}

/// The first paragraphs of clap's message, and where the help is.
pub fn clap_line(text: &str) -> String {
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|mark| text.find(mark)).min();
    let said =
        text[..end.unwrap_or(text.len())].trim_start_matches("error: ").replace("\n\n  tip:", "; tip:");
    let usage = text.split_once("Usage: ").map_or("ironwarp", |(_, usage)| usage);
    let command: Vec<&str> =
        usage.split_whitespace().take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    format!("{}; see '{} --help'", flat(&said), command.join(" "))
}

/// The chain of causes, outermost first; a cause that the message before it quotes is left out.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = flat(&cause.to_string());
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// On one line, without control characters.
fn flat(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).collect()
}

fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(cause_code).unwrap_or(1)
}

fn cause_code(cause: &(dyn Error + 'static)) -> Option<u8> {
    if cause.is::<Usage>() {
        return Some(2);
    }
    if cause.is::<Interrupted>() {
        return Some(130);
    }
    if let Some(error) = cause.downcast_ref::<SearchError>() {
        return Some(match error {
            SearchError::Space(_) | SearchError::Options(_) => 2,
            SearchError::Train(error) => train_code(error),
            SearchError::Device(error) => device_code(error),
            SearchError::Data(error) => data_code(error),
            _ => 1,
        });
    }
    if let Some(error) = cause.downcast_ref::<TrainError>() {
        return Some(train_code(error));
    }
    if let Some(error) = cause.downcast_ref::<DataError>() {
        return Some(data_code(error));
    }
    if let Some(error) = cause.downcast_ref::<DeviceError>() {
        return Some(device_code(error));
    }
    cause.downcast_ref::<OpError>().map(op_code)
}

fn train_code(error: &TrainError) -> u8 {
    match error {
        TrainError::Options(_) => 2,
        TrainError::Interrupted { .. } => 130,
        TrainError::Device(error) => device_code(error),
        TrainError::Op(error) => op_code(error),
        TrainError::Data(error) => data_code(error),
        _ => 1,
    }
}

fn data_code(error: &DataError) -> u8 {
    match error {
        DataError::UnknownBuiltin { .. }
        | DataError::TargetNotFound { .. }
        | DataError::Fraction { .. }
        | DataError::Folds { .. } => 2,
        _ => 1,
    }
}

fn device_code(error: &DeviceError) -> u8 {
    if matches!(error, DeviceError::Unknown(_)) { 2 } else { 1 }
}

fn op_code(error: &OpError) -> u8 {
    if matches!(error, OpError::Attribute { .. }) { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_usage_error_stays_one_under_context() {
        let error =
            Err::<(), _>(TrainError::Options("epochs is 0: give at least 1".into())).context("digits");
        let error = error.expect_err("an error");
        assert_eq!((code(&error), message(&error).as_str()), (2, "digits: epochs is 0: give at least 1"));
    }

    #[test]
    fn causes_are_said_once_and_on_one_line() {
        let io = || std::io::Error::other("no\nspace");
        let error = anyhow::Error::from(TrainError::Io { path: "a/b".into(), source: io() });
        let text = message(&error);
        assert_eq!(text.matches("no space").count(), 1, "{text}");
        assert!(!text.contains('\n'));
        assert_eq!(code(&error), 1);
    }

    #[test]
    fn what_clap_says_becomes_one_line() {
        let text = "error: unexpected argument '--epoch' found\n\n  tip: a similar argument exists: '--epochs'\n\n\
                    Usage: ironwarp train --epochs <N> <DATA>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            clap_line(text),
            "unexpected argument '--epoch' found; tip: a similar argument exists: '--epochs'; see 'ironwarp train --help'"
        );
    }
}

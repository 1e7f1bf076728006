//! Files: models and checkpoints in safetensors, written atomically.
//!
//! Tensors carry PyTorch's names. One metadata entry, `ironwarp.model` or `ironwarp.checkpoint`, holds everything else as
//! JSON, so that the same state always gives the same bytes, and neither is taken for the other. A file is written beside its place, flushed to the disk, and renamed: whoever reads the
//! place finds the old file or the new one, whole.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{History, Loss, Options, TrainError};
use crate::device::DType;
use crate::graph::States;
use crate::nn::Mlp;
use crate::ops::TensorType;

/// Name of the checkpoint in a run's directory.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";

/// Replaces `path` by `bytes`, all or nothing; makes missing parent directories.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let io = |e| TrainError::io(path, e);
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io)?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private; what replaces the target is an ordinary file.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// What a checkpoint says beside its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CheckpointInfo {
    pub format: u32,
    pub net: Mlp,
    pub options: Options,
    pub loss: Loss,
    /// Hash of the training data.
    pub data: u64,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in the epoch under way.
    pub step_in_epoch: u64,
    pub history: History,
    /// Best validation loss and its epoch.
    pub best: Option<(f64, usize)>,
}

pub(crate) const FORMAT: u32 = 1;

/// One tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SavedTensor {
    pub name: String,
    pub ty: TensorType,
    pub bytes: Vec<u8>,
}

/// Copies the named states to the host.
pub(crate) fn take_states(
    states: &States,
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<SavedTensor>, TrainError> {
    let names = states.list().into_iter().filter(|(name, _)| keep(name));
    names
        .map(|(name, ty)| {
            let bytes = match ty.dtype {
                DType::F32 | DType::U32 => bytemuck::cast_slice(&states.read::<u32>(&name)?).to_vec(),
                DType::F16 | DType::Bf16 => bytemuck::cast_slice(&states.read::<u16>(&name)?).to_vec(),
                DType::E4m3 | DType::E5m2 => states.read::<u8>(&name)?,
            };
            Ok(SavedTensor { name, ty, bytes })
        })
        .collect()
}

/// Writes saved tensors back.
pub(crate) fn put_states(states: &States, tensors: &[SavedTensor]) -> Result<(), TrainError> {
    for t in tensors {
        match t.ty.dtype {
            DType::F32 | DType::U32 => {
                states.write(&t.name, &t.ty, &bytemuck::pod_collect_to_vec::<u8, u32>(&t.bytes))?;
            }
            DType::F16 | DType::Bf16 => {
                states.write(&t.name, &t.ty, &bytemuck::pod_collect_to_vec::<u8, u16>(&t.bytes))?;
            }
            DType::E4m3 | DType::E5m2 => states.write(&t.name, &t.ty, &t.bytes)?,
        }
    }
    Ok(())
}

/// The metadata entry of a `model` or a `checkpoint`.
fn entry(what: &str) -> String {
    format!("ironwarp.{what}")
}

/// Writes tensors and `info` to `path` atomically.
pub(crate) fn save(
    path: &Path,
    what: &str,
    tensors: &[SavedTensor],
    info: &impl Serialize,
) -> Result<(), TrainError> {
    let other = |e: String| TrainError::io(path, std::io::Error::other(e));
    let views = tensors
        .iter()
        .map(|t| {
            let dtype = match t.ty.dtype {
                DType::F32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                DType::Bf16 => Dtype::BF16,
                DType::E4m3 => Dtype::F8_E4M3,
                DType::E5m2 => Dtype::F8_E5M2,
                DType::U32 => Dtype::U32,
            };
            let view =
                TensorView::new(dtype, t.ty.shape.clone(), &t.bytes).map_err(|e| other(e.to_string()))?;
            Ok((t.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let json = serde_json::to_string(info).map_err(|e| other(e.to_string()))?;
    let metadata = HashMap::from([(entry(what), json)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| other(e.to_string()))?;
    write_atomic(path, &bytes)
}

/// Reads what [`save`] wrote. Errors name the file: unreadable, truncated, corrupt, or not of this program.
pub(crate) fn load<I: DeserializeOwned>(
    path: &Path,
    what: &str,
) -> Result<(Vec<SavedTensor>, I), TrainError> {
    let bytes = std::fs::read(path).map_err(|e| TrainError::io(path, e))?;
    let bad = |reason: String| TrainError::File { path: path.into(), reason };
    let damaged = |e: &dyn std::fmt::Display| {
        bad(format!("not a whole safetensors file ({e}); train again or restore a copy"))
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(&entry(what))).ok_or_else(|| {
        bad(format!(
            "a safetensors file, but no {what} of Ironwarp's; give a {what} that `ironwarp train` wrote"
        ))
    })?;
    let info = serde_json::from_str(json)
        .map_err(|e| bad(format!("not a {what} that this version reads ({e}); give one that it wrote")))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
    let mut saved = vec![];
    for (name, view) in tensors.tensors() {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::Bf16,
            Dtype::F8_E4M3 => DType::E4m3,
            Dtype::F8_E5M2 => DType::E5m2,
            Dtype::U32 => DType::U32,
            other => return Err(bad(format!("tensor '{name}' is {other:?}; models here hold f32"))),
        };
        let ty = TensorType { dtype, shape: view.shape().to_vec() };
        saved.push(SavedTensor { name, ty, bytes: view.data().to_vec() });
    }
    saved.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((saved, info))
}

/// Checks that `tensors` hold the network's parameters and running statistics. Error: the first that is missing or has another shape.
pub(crate) fn check_parameters(path: &Path, net: &Mlp, tensors: &[SavedTensor]) -> Result<(), TrainError> {
    let bad = |reason: String| TrainError::File { path: path.into(), reason };
    net.validate().map_err(|e| bad(e.to_string()))?;
    for p in net.tensors() {
        let want = TensorType::f32(p.shape);
        match tensors.iter().find(|t| t.name == p.name) {
            Some(t) if t.ty == want => {}
            Some(t) => return Err(bad(format!("tensor '{}' is {}, the network needs {want}", p.name, t.ty))),
            None => {
                return Err(bad(format!(
                    "tensor '{}' ({want}) is missing; the file is not complete",
                    p.name
                )));
            }
        }
    }
    Ok(())
}

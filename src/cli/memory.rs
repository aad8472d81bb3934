//! What `check` and `run` both need for the memory contract: how many workers there are, and the sizes of the engine's parts.

use crate::control::config::ProcessSettings;
use crate::control::memory::Sizes;
use crate::engine::{EngineSettings, processors};

/// How many workers a configuration starts here.
pub(super) fn workers(process: &ProcessSettings) -> usize {
    process.workers.map_or_else(|| processors().len(), |count| count as usize).max(1)
}

/// The sizes with so many workers, and so many bytes on the heap for the configuration.
pub(super) fn sizes(workers: usize, configuration: u64) -> Sizes {
    let EngineSettings { buffers, buffer_size, .. } = EngineSettings::default();
    let receive_buffers = usize::from(buffers) * buffer_size;
    Sizes { workers, receive_buffer: buffer_size, receive_buffers, configuration }
}

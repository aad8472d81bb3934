//! A bell: any thread rings it without waiting, one thread hears it. However often it is rung before it is answered, that
//! costs one system call. Workers ring it when control has to look at something at once.
//!
//! It is a pipe with a flag: the flag sees to it that there is never more than a byte in the pipe, so that writing never
//! blocks.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module. Until somebody hears it, ringing is without effect.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    pipe: OnceLock<(PipeReader, PipeWriter)>,
}

impl Bell {
    /// The end of the pipe from which a byte can be read after a ring. What was rung before the first call is not heard:
    /// whoever hears looks once at the beginning.
    ///
    /// # Errors
    /// If there are no file descriptors left.
    pub fn hear(&self) -> io::Result<OwnedFd> {
        let (reader, _) = match self.pipe.get() {
            Some(pipe) => pipe,
            None => {
                let made = io::pipe()?;
                let pipe = self.pipe.get_or_init(|| made);
                self.answer();
                pipe
            }
        };
        Ok(reader.try_clone()?.into())
    }

    /// What was written before is seen by whoever answers after.
    pub fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some((_, writer)) = self.pipe.get() {
            let mut writer: &PipeWriter = writer;
            // There is room for thousands of bytes, and both ends are ours: it cannot fail.
            let _ = writer.write(&[1]);
        }
    }

    /// To be called once the byte has been read: it can be rung again. Then is the time to look.
    pub fn answer(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn it_is_heard_once_for_all_rings_before_the_answer() {
        let bell = Bell::default();
        bell.ring();
        let mut heard = PipeReader::from(bell.hear().unwrap());
        bell.ring();
        bell.ring();
        assert_eq!(heard.read(&mut [0; 8]).unwrap(), 1, "nobody heard the first, and the others were one");
        bell.answer();
        bell.ring();
        assert_eq!(heard.read(&mut [0; 8]).unwrap(), 1);
    }

    #[test]
    fn no_ring_is_lost_between_threads() {
        const RINGS: u64 = 10_000;
        let bell = Bell::default();
        let mut heard = PipeReader::from(bell.hear().unwrap());
        let rings = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..RINGS {
                    rings.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                }
            });
            let mut seen = 0;
            while seen < RINGS {
                assert_eq!(heard.read(&mut [0; 8]).unwrap(), 1);
                bell.answer();
                seen = rings.load(Ordering::Relaxed);
            }
        });
    }
}

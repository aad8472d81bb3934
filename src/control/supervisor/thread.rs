//! The control thread: one tokio runtime on a thread of its own, for everything that may block a little and must never
//! block a worker. `cli/run` starts one.

use std::io;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Threads beside the control thread for work that blocks: files and host names.
const BLOCKING_THREADS_MAX: usize = 4;

/// A running control thread. It ends with [`finish`](ControlThread::finish), or when the handle is dropped.
#[derive(Debug)]
pub struct ControlThread {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ControlThread {
    /// Starts the thread "control" and on it the future that `make` gives.
    ///
    /// # Errors
    /// If the thread or the runtime cannot be made.
    pub fn start<F>(make: impl FnOnce() -> F + Send + 'static) -> io::Result<ControlThread>
    where
        F: Future<Output = ()> + 'static,
    {
        ControlThread::start_named("control", make)
    }

    /// The same on a thread of another name, for work that must not delay reloads and the admin listener.
    ///
    /// # Errors
    /// If the thread or the runtime cannot be made.
    pub fn start_named<F>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> io::Result<ControlThread>
    where
        F: Future<Output = ()> + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("{name}-files"))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = async { make().await } => {}
                    _ = ended => {}
                }
            });
            // A name that is being resolved must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(ControlThread { end, thread })
    }

    /// Ends the thread and waits for it. False if it had panicked.
    pub fn finish(self) -> bool {
        let _ = self.end.send(());
        self.thread.join().is_ok()
    }
}

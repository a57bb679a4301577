use std::future::Future;
use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Hands the lines of an object that was built with `--debug-log` to the process's logger, for as long as it is
/// polled. None for release objects, which say nothing.
#[expect(
    deprecated,
    reason = "its successor asks for unsafe code; the logger keeps its descriptor until it is dropped"
)]
pub(super) fn forward(
    ebpf: &mut Ebpf,
) -> io::Result<Option<impl Future<Output = io::Result<()>> + Send + use<>>> {
    let Ok(logger) = EbpfLogger::init(ebpf) else { return Ok(None) };
    let mut lines = AsyncFd::with_interest(logger, Interest::READABLE)?;
    Ok(Some(async move {
        loop {
            let mut guard = lines.readable_mut().await?;
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }))
}

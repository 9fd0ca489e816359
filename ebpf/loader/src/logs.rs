//! The program's rare messages, as events of `tracing`.
#![expect(unsafe_code, reason = "a descriptor is given to the reactor")]

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::counters::ReasonCounts;

/// Says what the program said about one interface.
pub(crate) struct Words {
    interface: String,
}

impl log::Log for Words {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    /// `<reason> <count>`: the program has no room for words.
    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(reason)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
            tracing::warn!(interface = self.interface, "XDP: {text}");
            return;
        };
        let reason = usize::try_from(reason).ok().and_then(ReasonCounts::name).unwrap_or("?");
        let interface = &self.interface;
        if record.level() <= log::Level::Warn {
            tracing::warn!(interface, reason, count, "XDP: {reason}, {count} times on one processor");
        } else {
            tracing::info!(interface, reason, count, "XDP: {reason}, {count} times on one processor");
        }
    }

    fn flush(&self) {}
}

/// Reads them until the owner goes.
pub(crate) fn follow(ebpf: &mut Ebpf, interface: &str) -> Option<tokio::task::JoinHandle<()>> {
    let words = Words { interface: interface.to_owned() };
    // Without level there is no map.
    let logger = EbpfLogger::init_with_logger(ebpf, words).ok()?;
    // SAFETY: the logger owns its descriptor, which stays open and the same until the logger is dropped.
    let mut logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }.ok()?;
    Some(tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }))
}

//! Memory, descriptors and threads of this process, read from `/proc` when somebody asks for the metrics.
use metrics::Gauge;

/// The gauges of the process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) rss_bytes: Gauge,
    pub(super) open_fds: Gauge,
    pub(super) threads: Gauge,
}

impl Process {
    /// Reads them anew. What cannot be read (no `/proc` on this system) keeps its last value.
    pub(super) fn refresh(&self) {
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            if let Some(kib) = field(&status, "VmRSS:") {
                self.rss_bytes.set(kib * 1024.0);
            }
            if let Some(threads) = field(&status, "Threads:") {
                self.threads.set(threads);
            }
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // The directory that is being read has a descriptor of its own.
            let open = u32::try_from(entries.count())
                .unwrap_or(u32::MAX)
                .saturating_sub(1);
            self.open_fds.set(f64::from(open));
        }
    }
}

/// The first number of the line that starts with `name`.
fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let status = "Name:\tholdfast\nVmRSS:\t   12345 kB\nThreads:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(12_345.0));
        assert_eq!(field(status, "Threads:"), Some(7.0));
        assert_eq!(field(status, "VmSwap:"), None);
    }
}

//! The processor cores: one for the client, the others for whatever serves.

use crate::trouble::Trouble;

/// Who runs where.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    /// The client's.
    pub(crate) client: usize,
    /// The servers'.
    pub(crate) servers: Vec<usize>,
}

impl Cores {
    /// From the numbers that the operator gave: a client's core and the servers' as a list.
    pub(crate) fn new(client: usize, servers: &[usize]) -> Result<Self, Trouble> {
        if servers.is_empty() || servers.contains(&client) {
            return Err(Trouble::Unexpected(
                "client and servers need cores of their own".to_owned(),
            ));
        }
        Ok(Self {
            client,
            servers: servers.to_vec(),
        })
    }

    /// The servers' cores as taskset writes them.
    pub(crate) fn servers_text(&self) -> String {
        let texts: Vec<String> = self.servers.iter().map(usize::to_string).collect();
        texts.join(",")
    }

    /// Puts this process on the client's core.
    pub(crate) fn pin_client(&self) -> Result<(), Trouble> {
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(self.client);
        rustix::thread::sched_setaffinity(None, &cpus)
            .map_err(|error| Trouble::system(format!("run on core {}", self.client))(error.into()))
    }
}

/// Ticks that the cores have spent, busy and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    client: (u64, u64),
    servers: (u64, u64),
}

impl Times {
    /// As the kernel counts them now.
    pub(crate) fn now(cores: &Cores) -> Self {
        Self::from_stat(&std::fs::read_to_string("/proc/stat").unwrap_or_default(), cores)
    }

    fn from_stat(stat: &str, cores: &Cores) -> Self {
        let servers = cores
            .servers
            .iter()
            .map(|core| ticks(stat, *core))
            .fold((0, 0), |sum, core| (sum.0 + core.0, sum.1 + core.1));
        Self {
            client: ticks(stat, cores.client),
            servers,
        }
    }

    /// The parts of the time from here to there that client and servers were busy.
    pub(crate) fn busy_until(&self, later: &Self) -> (f64, f64) {
        let part = |from: (u64, u64), to: (u64, u64)| {
            let all = to.1.saturating_sub(from.1).max(1);
            #[allow(clippy::cast_precision_loss, reason = "ticks of seconds")]
            let part = to.0.saturating_sub(from.0) as f64 / all as f64;
            part
        };
        (part(self.client, later.client), part(self.servers, later.servers))
    }
}

/// Busy ticks and all ticks of a core; waiting for the disk is not busy.
fn ticks(stat: &str, core: usize) -> (u64, u64) {
    let head = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&head));
    // user nice system idle iowait irq softirq steal; guests are within user.
    let fields: Vec<u64> = line
        .unwrap_or_default()
        .split_whitespace()
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    let all = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    (all - idle, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waiting_for_the_disk() {
        let cores = Cores::new(0, &[1]).unwrap();
        let stat = |zero: u64, one: u64| {
            format!("cpu  9 9 9 9\ncpu0 {zero} 0 10 50 20 0 0 0 0 0\ncpu1 {one} 5 10 50 20 0 0 0 0 0\n")
        };
        let begun = Times::from_stat(&stat(10, 10), &cores);
        assert_eq!(begun.client, (20, 90));
        let ended = Times::from_stat(&stat(20, 10), &cores);
        assert_eq!(begun.busy_until(&ended), (1.0, 0.0));
    }

    #[test]
    fn cores_are_not_shared() {
        assert!(Cores::new(0, &[0, 1]).is_err());
        assert!(Cores::new(0, &[]).is_err());
        assert_eq!(Cores::new(0, &[1, 2]).unwrap().servers_text(), "1,2");
    }
}

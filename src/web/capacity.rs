//! How many connections the process can have open. The limit on files cannot be raised from here (that takes
//! a system call that safe Rust has no word for): systemd's `LimitNOFILE=` raises it.

/// Files that everything but connections may need at once: databases, index segments, feeds, the journal.
const RESERVE: usize = 256;

/// `configured`, or what the process can open if that is less: at least half of its files.
#[must_use]
pub fn connections_within(configured: usize, open_files: Option<usize>) -> usize {
    let possible = open_files.map_or(usize::MAX, |files| files.saturating_sub(RESERVE).max(files / 2));
    configured.min(possible)
}

/// The soft limit on open files (`RLIMIT_NOFILE`), as proc(5) shows it. `None` if there is none, or no proc.
#[must_use]
pub fn open_files_max() -> Option<usize> {
    parse(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn parse(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert_eq!(connections_within(16_384, None), 16_384);
        assert_eq!(connections_within(16_384, Some(65_536)), 16_384);
        assert_eq!(connections_within(16_384, Some(1_024)), 768);
        assert_eq!(connections_within(16_384, Some(256)), 128);
        assert_eq!(connections_within(10, Some(1_024)), 10);
    }

    #[test]
    fn reads_the_soft_limit() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max open files            {soft:<20} 524288               files\n"
            )
        };
        assert_eq!(parse(&limits("1024")), Some(1_024));
        assert_eq!(parse(&limits("unlimited")), None);
        assert_eq!(parse(""), None);
        assert!(open_files_max().is_none_or(|files| files > 0));
    }
}

//! Bounds on what clients can make the switch hold.

/// What the state may grow to. Whoever asks for more is refused with `RESOURCE_EXHAUSTED`, or with
/// `INVALID_ARGUMENT` where a P4Info asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tables of a P4Info.
    pub tables: usize,
    /// Entries of a table whose P4Info names no size.
    pub unsized_table: usize,
    /// Cells of counters and registers together.
    pub cells: usize,
    /// Cells of meters together; each takes some 250 bytes.
    pub meter_cells: usize,
    /// Bytes that entries, groups, members and register values may take, by estimate.
    pub bytes: usize,
    /// Multicast groups, and as many clone sessions.
    pub multicast_groups: usize,
    /// Replicas of one multicast group or clone session, backups counted.
    pub replicas: usize,
    /// Updates of one batch.
    pub updates: usize,
    /// Queries of one batch.
    pub queries: usize,
    /// Entities that answer one batch of queries.
    pub entities: usize,
    /// Updates of one batch that asks to be undone on errors or to be seen at once.
    pub atomic_updates: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tables: 1024,
            unsized_table: 65_536,
            cells: 1 << 22,
            meter_cells: 1 << 18,
            bytes: 2 << 30,
            multicast_groups: 65_535,
            replicas: 1024,
            updates: 1 << 16,
            queries: 4096,
            entities: 1 << 23,
            atomic_updates: 16_384,
        }
    }
}

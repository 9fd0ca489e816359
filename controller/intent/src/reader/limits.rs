//! How much is read before the reader says no.

/// Bounds on what is read. The defaults leave room for clusters of tens of thousands of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Bytes of all files.
    pub total_bytes: usize,
    /// Files.
    pub files: usize,
    /// Levels of folders.
    pub folder_depth: usize,
    /// YAML documents of all files.
    pub documents: usize,
    /// Values (scalars, lists, mappings) of one document, what it unfolds to through aliases included.
    pub nodes: usize,
    /// Levels of lists and mappings in a document.
    pub depth: usize,
    /// CIDRs of all address groups, nested groups expanded.
    pub group_cidrs: usize,
    /// Errors that are kept, and warnings. Further ones are counted.
    pub diagnostics: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            total_bytes: 512 << 20,
            files: 100_000,
            folder_depth: 32,
            documents: 500_000,
            nodes: 5_000_000,
            depth: 64,
            group_cidrs: 2_000_000,
            diagnostics: 200,
        }
    }
}

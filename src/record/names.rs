//! The names and the mark of the pages: who writes them, keeps them or copies them to the share knows them by these.

/// The name of a run's page, in its folder here and on the share.
pub const DETAILS: &str = "details.html";

/// The name of the list of runs: in the state directory, and in `Logs/<name>` on the share.
pub const INDEX: &str = "index.html";

/// What the first bytes of each page hold: only a file that has it is replaced on the share.
pub const GENERATOR: &str = "<meta name=\"generator\" content=\"ci-setup-agent\">";

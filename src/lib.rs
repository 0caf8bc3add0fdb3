//! ci-setup-agent runs the setup scripts of an Azure Machine Learning compute instance.
//!
//! Data walks one way, and the modules stand in that order:
//!
//! - [`cli`] and [`settings`]: what the caller, the environment and the config file say
//! - [`request`]: what is asked
//! - [`script`]: what will be run
//! - [`run`]: one process tree, from its start to the death of its last process
//! - [`output`]: the spool on the local disk and its mirror on the share
//! - [`record`]: the outcome, what has run once, and who may run now
//! - [`show`]: status and logs
//! - [`rehearsal`]: `try`, the same walk on a throw-away share
//! - [`sys`]: system calls behind names, the only unsafe code

pub mod cli;
pub mod error;
pub mod output;
pub mod record;
pub mod rehearsal;
pub mod request;
pub mod run;
pub mod script;
pub mod settings;
pub mod show;
pub mod sys;

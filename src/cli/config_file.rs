//! Which configuration file a command reads. It names the file only; what is in it is understood below.
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::{
    cli::{CommandError, input},
    config::load::{self, Loaded, Secrets},
    edge::world::World,
};

/// Where the configuration is when nobody says.
const USUAL: &str = "/etc/portcullis/portcullis.yaml";

/// The argument by which commands name the configuration.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// Configuration file (YAML); `-` reads standard input
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "PORTCULLIS_CONFIG",
        default_value = USUAL,
        value_hint = ValueHint::FilePath
    )]
    pub path: PathBuf,
}

/// Where a configuration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource<'a> {
    /// Standard input; relative paths start from the working directory.
    StandardInput,
    /// A file; relative paths start from its directory.
    File(&'a Path),
}

impl ConfigFile {
    /// What the argument means.
    pub fn source(&self) -> ConfigSource<'_> {
        if self.path.as_os_str() == "-" { ConfigSource::StandardInput } else { ConfigSource::File(&self.path) }
    }

    /// Whether it is the usual file.
    pub fn is_usual(&self) -> bool {
        self.path.as_os_str() == USUAL
    }

    /// Reads and understands it.
    ///
    /// # Errors
    /// [`CommandError::Failed`] when standard input cannot be read; whatever else is wrong is among the problems.
    pub fn load(&self, secrets: Secrets) -> Result<Loaded, CommandError> {
        match self.source() {
            ConfigSource::File(path) => Ok(load::load(path, &World, secrets)),
            ConfigSource::StandardInput => {
                let text = input::read(&self.path)?;
                Ok(load::load_text("<stdin>", &text, Path::new("."), &World, secrets))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_standard_input() {
        let source = |path: &str| ConfigFile { path: path.into() }.source() == ConfigSource::StandardInput;
        assert!(source("-"));
        assert!(!source("./-"));
        assert!(!source("portcullis.yaml"));
    }
}

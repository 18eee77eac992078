//! `portcullis schema`: the configuration's JSON Schema.
use std::io::Write;

use clap::Args;

use crate::{
    cli::{CommandError, ExitStatus},
    config::schema,
};

const EXAMPLES: &str = "\
Examples:
  portcullis schema > portcullis.schema.json

With this first line a configuration is completed and checked by editors:
  # yaml-language-server: $schema=./portcullis.schema.json";

/// Prints the JSON Schema of the configuration (draft 2020-12)
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArguments {}

/// Writes the schema.
///
/// # Errors
/// [`CommandError::Output`].
pub fn run(_arguments: &SchemaArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    writeln!(output, "{:#}", schema::schema())?;
    Ok(ExitStatus::Ok)
}

//! `portcullis token`: tokens and keys for trying things out, and a look into a token. It knows no configuration and
//! asks no network.
pub mod claims;
pub mod inspect;
pub mod jwk;
pub mod keygen;
pub mod mint;
pub mod pem;
pub mod refusals;
pub mod signing_key;

use std::io::Write;

use clap::{Args, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};

use crate::{
    cli::{CommandError, ExitStatus},
    gate::algorithm::Algorithm,
};

const EXAMPLES: &str = "\
Examples:
  portcullis token keygen --private key.pem --jwks keys.json
  portcullis token mint --key key.pem --issuer https://auth.example.com/ \\
      --audience https://api.example.com --subject alice > token
  portcullis token inspect --token-file token";

/// Makes tokens and keys for tests, and looks into tokens
#[derive(Args)]
#[command(
    after_help = EXAMPLES,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub struct TokenArguments {
    #[command(subcommand)]
    verb: TokenVerb,
}

#[derive(Subcommand)]
enum TokenVerb {
    Mint(Box<mint::MintArguments>),
    Inspect(inspect::InspectArguments),
    Keygen(keygen::KeygenArguments),
}

/// Does what the second verb says.
///
/// # Errors
/// See the verbs.
pub fn run(arguments: &TokenArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    match &arguments.verb {
        TokenVerb::Mint(arguments) => mint::run(arguments, output),
        TokenVerb::Inspect(arguments) => inspect::run(arguments, output),
        TokenVerb::Keygen(arguments) => keygen::run(arguments, output),
    }
}

/// Reads an algorithm by its registered name.
fn algorithm_parser() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.iter().map(|algorithm| algorithm.name()))
        .try_map(|name| Algorithm::from_name(&name).ok_or("not an algorithm"))
}

#[cfg(test)]
mod tests;

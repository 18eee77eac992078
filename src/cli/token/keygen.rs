//! `portcullis token keygen`: a new key pair for trying things out: the private key for `mint`, the key set for a
//! configuration. It overwrites nothing and never prints a private key.
use std::{io::Write, path::PathBuf};

use clap::{Args, ValueHint};
use serde_json::json;

use crate::{
    cli::{
        CommandError, ExitStatus, new_file,
        token::{algorithm_parser, pem, signing_key::SigningKey},
    },
    gate::algorithm::{Algorithm, KeyType},
};

const EXAMPLES: &str = "\
Examples:
  portcullis token keygen --private key.pem --jwks keys.json
  portcullis token keygen --algorithm RS256 --private key.pem > keys.json

In the configuration: issuers.NAME.keys.jwks_file: keys.json
A shared secret for HS256 is made by: openssl rand -base64 48 > hmac.key";

/// Makes a key pair for trying things out: private key (PEM) and key set (JWK set)
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct KeygenArguments {
    /// Algorithm that the key is for
    #[arg(long, value_name = "ALGORITHM", default_value = "ES256", value_parser = algorithm_parser())]
    algorithm: Algorithm,
    /// New file for the private key (PKCS #8 in PEM), readable by its owner only
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    private: PathBuf,
    /// New file for the key set with the public key; without it the set is printed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    jwks: Option<PathBuf>,
}

/// Makes the key pair and writes both halves.
///
/// # Errors
/// [`CommandError::Usage`] for an algorithm without key pairs; [`CommandError::Failed`] where a file is there already
/// or cannot be written; then neither is left behind.
pub fn run(arguments: &KeygenArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let algorithm = arguments.algorithm;
    if algorithm.key_type() == KeyType::Secret {
        return Err(CommandError::Usage(format!(
            "{algorithm} has a shared secret and no key pair; `openssl rand -base64 48` makes one"
        )));
    }
    let (key, pkcs8) = SigningKey::generate(algorithm).map_err(CommandError::failed)?;
    let jwk = key.public_jwk(algorithm);
    let mut set = serde_json::to_string_pretty(&json!({ "keys": [jwk] })).map_err(CommandError::failed)?;
    set.push('\n');
    new_file::write(&arguments.private, 0o600, pem::write("PRIVATE KEY", &pkcs8).as_bytes())?;
    match &arguments.jwks {
        None => output.write_all(set.as_bytes())?,
        Some(path) => new_file::write(path, 0o644, set.as_bytes()).inspect_err(|_| {
            // Made a moment ago and good for nothing without its other half.
            let _ = std::fs::remove_file(&arguments.private);
        })?,
    }
    Ok(ExitStatus::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{algorithm::Algorithms, keys::KeySet};
    use std::os::unix::fs::PermissionsExt as _;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("portcullis-keygen-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn both_halves_are_written_and_belong_together() {
        let folder = folder("pair");
        for algorithm in Algorithms::asymmetric().iter() {
            let private = folder.join(format!("{algorithm}.pem"));
            let arguments = KeygenArguments { algorithm, private: private.clone(), jwks: None };
            let mut printed = Vec::new();
            assert_eq!(run(&arguments, &mut printed), Ok(ExitStatus::Ok), "{algorithm}");
            let set = KeySet::parse(&printed, Algorithms::asymmetric()).unwrap();
            let key = &set.keys()[0];
            assert_eq!(key.algorithms().to_string(), algorithm.name());
            assert_eq!(key.kid(), Some(key.thumbprint().to_string().as_str()));
            let mode = std::fs::metadata(&private).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{algorithm}");
            let signing = SigningKey::parse(&std::fs::read(&private).unwrap(), None).unwrap();
            let again = serde_json::to_vec(&json!({ "keys": [signing.public_jwk(algorithm)] })).unwrap();
            let again = KeySet::parse(&again, Algorithms::asymmetric()).unwrap();
            assert_eq!(again.keys()[0].thumbprint(), key.thumbprint(), "{algorithm}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nothing_is_overwritten_and_half_a_pair_is_not_left_behind() {
        let folder = folder("overwrite");
        let (private, jwks) = (folder.join("key.pem"), folder.join("keys.json"));
        std::fs::write(&jwks, "mine").unwrap();
        let arguments =
            KeygenArguments { algorithm: Algorithm::ES256, private: private.clone(), jwks: Some(jwks.clone()) };
        let error = run(&arguments, &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, CommandError::Failed(text) if text.contains("keys.json")), "{error}");
        assert!(!private.exists());
        assert_eq!(std::fs::read_to_string(&jwks).unwrap(), "mine");
        std::fs::write(&private, "mine too").unwrap();
        assert!(run(&arguments, &mut Vec::new()).is_err());
        assert_eq!(std::fs::read_to_string(&private).unwrap(), "mine too");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_shared_secret_is_no_key_pair() {
        let arguments = KeygenArguments { algorithm: Algorithm::HS256, private: "/nowhere".into(), jwks: None };
        assert!(matches!(run(&arguments, &mut Vec::new()), Err(CommandError::Usage(_))));
    }
}

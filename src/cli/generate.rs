//! What is generated from the definition of the arguments: shell completions, manual pages, the version. It writes
//! nothing that is not asked for.
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use clap::{Args, Command, CommandFactory as _, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Cli, CommandError, ExitStatus};

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh > \"${fpath[1]}/_portcullis\"
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  portcullis man | man -l -                    read it
  portcullis man --directory /usr/share/man/man8";

/// Section of the manual that the pages belong to: system administration.
const MANUAL_SECTION: &str = "8";

/// Prints a completion script for a shell
#[derive(Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the manual page, or writes one for each command
#[derive(Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArguments {
    /// Write a page for each command into this directory (made when missing) and print their names
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

/// Version of the program, and its revision where the build was told one in `PORTCULLIS_REVISION`.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("PORTCULLIS_REVISION") {
        Some(revision) if !revision.is_empty() => format!("{} ({revision})", env!("CARGO_PKG_VERSION")),
        Some(_) | None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    &VERSION
}

/// Writes a completion script.
///
/// # Errors
/// [`CommandError::Output`].
pub fn completions(arguments: &CompletionsArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "portcullis", &mut script);
    output.write_all(&script)?;
    Ok(ExitStatus::Ok)
}

/// Writes the main page to `output`, or all pages into a directory.
///
/// # Errors
/// [`CommandError::Failed`] where a page cannot be written; [`CommandError::Output`].
pub fn man(arguments: &ManArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let mut command = Cli::command();
    command.build();
    match &arguments.directory {
        None => output.write_all(&page(&command)?)?,
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(|error| cannot_write(directory, &error))?;
            write_pages(&command, directory, output)?;
        }
    }
    Ok(ExitStatus::Ok)
}

fn write_pages(command: &Command, directory: &Path, output: &mut dyn Write) -> Result<(), CommandError> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.{MANUAL_SECTION}"));
    std::fs::write(&path, page(command)?).map_err(|error| cannot_write(&path, &error))?;
    writeln!(output, "{}", path.display())?;
    command.get_subcommands().try_for_each(|command| write_pages(command, directory, output))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::Failed(format!("cannot write {}: {error}", path.display()))
}

/// One page. The examples are set line by line, which the generator's own section for them would not do.
fn page(command: &Command) -> Result<Vec<u8>, CommandError> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut page = Vec::new();
    Man::new(command.clone().after_help(None)).section(MANUAL_SECTION).manual("portcullis").render(&mut page)?;
    let Some((heading, lines)) = examples.split_once(":\n") else { return Ok(page) };
    writeln!(page, ".SH {}\n.nf", heading.to_uppercase())?;
    for line in lines.lines() {
        writeln!(page, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    writeln!(page, ".fi")?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            assert_eq!(completions(&CompletionsArguments { shell }, &mut script), Ok(ExitStatus::Ok));
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("healthcheck") && script.contains("without-secrets"), "{shell}");
        }
    }

    #[test]
    fn the_manual_page_names_the_verbs_and_keeps_the_lines_of_the_examples() {
        let mut text = Vec::new();
        assert_eq!(man(&ManArguments { directory: None }, &mut text), Ok(ExitStatus::Ok));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(".TH portcullis 8"), "{text}");
        assert!(text.contains("portcullis\\-validate(8)"), "{text}");
        assert!(text.contains(".SH EXAMPLES\n.nf\n\\&  portcullis demo "), "{text}");
    }

    #[test]
    fn each_command_has_a_page_of_its_own() {
        let directory = std::env::temp_dir().join(format!("portcullis-man-{}", std::process::id()));
        let mut names = Vec::new();
        let arguments = ManArguments { directory: Some(directory.join("man8")) };
        assert_eq!(man(&arguments, &mut names), Ok(ExitStatus::Ok));
        let names = String::from_utf8(names).unwrap();
        for name in ["portcullis.8", "portcullis-run.8", "portcullis-token-mint.8"] {
            assert!(names.lines().any(|line| line.ends_with(name)), "{name} is not in {names}");
            let page = std::fs::read_to_string(directory.join("man8").join(name)).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{name}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = Some(PathBuf::from("/dev/null/man8"));
        let error = man(&ManArguments { directory }, &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, CommandError::Failed(text) if text.contains("/dev/null/man8")), "{error}");
    }
}

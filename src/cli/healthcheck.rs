//! `portcullis healthcheck`: asks the running instance whether it is ready, for container health checks and people.
//! It changes nothing and never waits longer than it was told to.
use std::{io::Write, time::Duration};

use clap::Args;

use crate::{
    cli::{
        CommandError, ExitStatus,
        admin_client::{AdminAddress, Question, ask, configured_address},
        config_file::ConfigFile,
    },
    config::{quantity, terminal},
};

const EXAMPLES: &str = "\
Examples:
  portcullis healthcheck                       the admin address of the config
  portcullis healthcheck --admin 127.0.0.1:9400
  portcullis healthcheck --admin unix:/run/portcullis/admin.sock --verbose

Ready is what `GET /readyz` answers with 200: listeners are bound, every
issuer was tried once, and one of them (and each that is required) has keys.";

/// Asks the running instance whether it is ready: exit code 0 when it is, 1 when not or when nobody answers
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct HealthcheckArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Admin address of the instance, host:port or unix:/path; without it the configuration says where
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
    /// Longest time to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = quantity::parse_duration)]
    timeout: Duration,
    /// Also print what readiness is made of
    #[arg(long)]
    verbose: bool,
}

/// Asks, and writes what was said.
///
/// # Errors
/// [`CommandError::Failed`] when nobody answers in time or what answers does not speak HTTP.
pub fn run(arguments: &HealthcheckArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let address = match &arguments.admin {
        Some(address) => address.clone(),
        None => configured_address(&arguments.config)?,
    };
    let target = if arguments.verbose { "/readyz?verbose" } else { "/readyz" };
    let answer = ask(&address, &Question::get(target), arguments.timeout)
        .map_err(|error| CommandError::Failed(format!("{address} gives no answer: {error}")))?;
    // What answers may be anything: it must not steer the terminal.
    for line in answer.body.lines() {
        writeln!(output, "{}", terminal::printable(line))?;
    }
    match answer.status {
        200 => Ok(ExitStatus::Ok),
        status => Err(CommandError::Failed(format!("{address} is not ready: it answered with {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::admin_client::tests::serve;
    use std::net::TcpListener;

    fn check(answer: &'static str, expected: Result<(ExitStatus, &str), &str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || serve(listener.accept().unwrap().0, answer));
        let arguments = HealthcheckArguments {
            config: ConfigFile { path: "-".into() },
            admin: Some(address.parse().unwrap()),
            timeout: Duration::from_secs(20),
            verbose: true,
        };
        let mut output = Vec::new();
        let result = run(&arguments, &mut output).map_err(|error| error.to_string());
        let output = String::from_utf8(output).unwrap();
        match expected {
            Ok((status, text)) => assert_eq!((result, output.as_str()), (Ok(status), text)),
            Err(part) => assert!(result.as_ref().is_err_and(|error| error.contains(part)), "{result:?} {output}"),
        }
        server.join().unwrap()
    }

    #[test]
    fn what_the_instance_says_is_printed_and_decides_the_exit_code() {
        let request = check("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n", Ok((ExitStatus::Ok, "ready\n")));
        assert!(request.starts_with("GET /readyz?verbose HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na\x1b[1m", Ok((ExitStatus::Ok, "a\\u{1b}[1m\n")));
        check(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Err("is not ready: it answered with 503"),
        );
        check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Err("answered with 404"));
    }
}

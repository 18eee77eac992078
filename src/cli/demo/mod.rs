//! `portcullis demo`: the whole product without a configuration file and without a network.
mod issuer;
mod scenes;
mod servers;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    thread,
};

use clap::Args;
use log::LevelFilter;

use crate::{
    cli::{CommandError, ExitStatus, demo::issuer::Issuer, logging},
    config::{
        load::{self, Secrets},
        settings::Config,
    },
    edge::{reload::Origin, server::Assembly, world::World},
};

const EXAMPLES: &str = "\
Examples:
  portcullis demo                              then paste the lines it prints
  portcullis demo --check                      runs those lines itself
  portcullis demo --listen 127.0.0.1:8081 --admin 127.0.0.1:9401";

/// Shows what it does: no configuration, no network
///
/// Starts an issuer with a fresh key (its key set served over HTTP), a service that answers with what it was sent, the
/// gateway before it and the admin page; prints ready-to-paste curl lines (allowed, missing token, expired, wrong role,
/// forged X-User-ID) and keeps running. Everything listens on loopback and nothing is written.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArguments {
    /// Run the printed lines, print a table of what came out and end: 0 when all is as it should be, else 1
    ///
    /// Uses free ports unless `--listen` and `--admin` say otherwise.
    #[arg(long)]
    check: bool,
    /// Address of the gateway [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of the admin page [default: 127.0.0.1:9400]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// Runs until it is told to stop, or checks itself.
///
/// # Errors
/// [`CommandError::Failed`] where a socket cannot be bound.
pub fn run(arguments: &DemoArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    logging::start(if arguments.check { LevelFilter::Error } else { LevelFilter::Info });
    let listen = address(arguments.listen, arguments.check, 8080)?;
    let admin = address(arguments.admin, arguments.check, 9400)?;
    let (issuer_listener, issuer_address) = loopback_listener()?;
    let (echo_listener, echo_address) = loopback_listener()?;
    let issuer = Issuer::new(&format!("http://{issuer_address}")).map_err(CommandError::failed)?;
    let key_set = issuer.key_set();
    servers::serve(issuer_listener, move |_| servers::Answer::json(key_set.clone())).map_err(CommandError::failed)?;
    servers::serve(echo_listener, |request| servers::Answer::text(request.to_owned())).map_err(CommandError::failed)?;
    let text = configuration(listen, admin, issuer_address, echo_address, arguments.check);
    let assembly = Assembly::new(understood(&text)?, Origin::default(), None).map_err(CommandError::failed)?;
    let scenes = scenes::all(&issuer).map_err(CommandError::failed)?;
    if arguments.check {
        thread::spawn(move || {
            let passed = scenes::check(&scenes, listen, admin, &mut std::io::stdout());
            // The gateway runs in the main thread until the process ends.
            std::process::exit(ExitStatus::from_success(passed) as i32)
        });
    } else {
        scenes::print(&scenes, listen, admin, output)?;
        output.flush()?;
    }
    assembly.run()
}

fn address(given: Option<SocketAddr>, any_port: bool, port: u16) -> Result<SocketAddr, CommandError> {
    match given {
        Some(address) => Ok(address),
        None if any_port => loopback_listener().map(|(_, address)| address),
        None => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
    }
}

fn loopback_listener() -> Result<(TcpListener, SocketAddr), CommandError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(CommandError::failed)?;
    let address = listener.local_addr().map_err(CommandError::failed)?;
    Ok((listener, address))
}

fn understood(text: &str) -> Result<Config, CommandError> {
    let loaded = load::load_text("demo.yaml", text.as_bytes(), Path::new("/"), &World, Secrets::Read);
    loaded.config.ok_or_else(|| CommandError::BadConfiguration(loaded.problems.render()))
}

/// A configuration as a user would write it.
fn configuration(
    listen: SocketAddr,
    admin: SocketAddr,
    issuer: SocketAddr,
    echo: SocketAddr,
    is_silent: bool,
) -> String {
    let access = if is_silent { "off" } else { "text" };
    format!(
        r#"
listeners: [{{address: "{listen}"}}]
admin: {{address: "{admin}"}}
log: {{access: {access}}}
issuers:
  demo:
    issuer: http://{issuer}
    audiences: [{audience}]
    keys: {{jwks_url: "http://{issuer}/jwks.json", insecure_http: true}}
    roles: roles
identity:
  headers:
    X-User-ID: {{from: subject}}
    X-User-Roles: {{from: roles}}
    X-User-Email: email
routes:
  - {{name: orders, path_prefix: /orders, upstream: echo}}
  - {{name: admin, path_prefix: /admin, require: {{roles: [admin]}}, upstream: echo}}
  - {{name: public, path_prefix: /public, auth: none, upstream: echo}}
upstreams:
  echo: {{servers: ["{echo}"]}}
"#,
        audience = issuer::AUDIENCE,
    )
}

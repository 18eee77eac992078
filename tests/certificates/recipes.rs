//! The recipes of docs/mtls.md, taken from the page and run: the gateway's certificate is let in, whoever poses as the gateway is not.
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Authority, OpenSsl, days_from_now, openssl};
use crate::support::{
    peers,
    process::{self, Process},
    server::free_address,
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::Address,
};

/// Where the page puts the files of the service.
const LINK: &str = "/etc/orders/tls/orders";
/// How often a service is started again because another process took its port in between.
const STARTS_MAX: usize = 5;
/// What every recipe answers to a request with this identity.
const USER: &str = "X-User-ID: alice";

/// What curl says of a server's certificate that it does not believe.
const DISBELIEF: [&str; 2] = ["SSL certificate problem", "no alternative certificate subject name"];

/// What a recipe is run with.
#[derive(Clone, Copy)]
pub(super) enum Recipe {
    Nginx,
    Node,
    Python,
}

/// A running recipe.
pub(super) struct Service {
    process: Process,
    pub(super) address: SocketAddr,
    pub(super) upstream: Upstream,
}

/// Asked to end, so that nginx takes its worker along.
impl Drop for Service {
    fn drop(&mut self) {
        self.process.signal("TERM");
        self.process.wait_until(PATIENCE, |account| account.status);
    }
}

impl Recipe {
    const fn language(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Node => "js",
            Self::Python => "python",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Node => "node",
            Self::Python => "python3",
        }
    }

    /// The only block of the page in its language.
    pub(super) fn text(self) -> String {
        let page = fs::read_to_string(format!("{}/docs/mtls.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let start = format!("```{}\n", self.language());
        assert_eq!(page.matches(&start).count(), 1, "{start}");
        let (_, after) = page.split_once(&start).unwrap();
        after.split_once("```").unwrap().0.to_owned()
    }

    /// Starts it with the files of this folder; `None`, said on standard error, when the program is missing and not demanded.
    pub(super) fn start(self, authority: &Authority, link: &Path) -> Option<Service> {
        let program = peers::require_program(self.program(), "mtls recipe")?;
        let upstream = Upstream::start();
        for _ in 0..STARTS_MAX {
            let address = free_address();
            let file = self.write(authority, link, address, &upstream);
            let mut command = Command::new(&program);
            if matches!(self, Self::Nginx) {
                command.arg("-p").arg(authority.folder.path()).arg("-c");
            }
            let process = Process::spawn(self.program(), command.arg(file));
            let is_up = eventually(PATIENCE, || {
                if process.account().status.is_some() {
                    return Some(false);
                }
                TcpStream::connect(address).ok().map(|_| true)
            });
            match is_up {
                Some(true) => return Some(Service { process, address, upstream }),
                Some(false) if process.account().stderr.to_lowercase().contains("in use") => {}
                _ => panic!("{} does not start: {:?}", self.program(), process.account()),
            }
        }
        panic!("no free port in {STARTS_MAX} starts");
    }

    /// The text of the page with what a reader would edit, edited: port, folder, how often it looks for new files.
    fn write(self, authority: &Authority, link: &Path, address: SocketAddr, upstream: &Upstream) -> PathBuf {
        let mut text = self.text();
        let Address::Tcp(behind) = *upstream.address() else { panic!("only TCP") };
        let port = address.port();
        let edits: &[(&str, String)] = match self {
            Self::Nginx => &[("8443", address.to_string()), ("127.0.0.1:3000", behind.to_string())],
            Self::Node => {
                &[("reloadSeconds = 60", "reloadSeconds = 0.05".into()), ("8443", format!("{port}, '127.0.0.1'"))]
            }
            Self::Python => &[
                ("RELOAD_SECONDS = 60", "RELOAD_SECONDS = 0.05".into()),
                ("\"\", 8443", format!("\"127.0.0.1\", {port}")),
            ],
        };
        for (from, to) in edits.iter().cloned().chain([(LINK, link.to_str().unwrap().to_owned())]) {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, &to);
        }
        if matches!(self, Self::Nginx) {
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .iter()
                .map(|kind| format!("{kind}_temp_path {kind};\n"))
                .collect();
            text = format!(
                "daemon off;\nuser root root;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr;\nevents {{}}\n\
                 http {{\naccess_log off;\n{temporary}{text}}}\n"
            );
        }
        authority.folder.write(&format!("recipe.{}", self.language()), text)
    }
}

/// How a client fares.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    LetIn,
    /// The handshake failed, or the server itself answered with an error.
    Refused,
    /// The client does not believe the server.
    Disbelieved,
}

/// A client in the gateway's place.
struct Client<'a> {
    curl: &'a Path,
    /// Whom it believes.
    trusted: PathBuf,
}

impl Client<'_> {
    /// Asks the service under this name with the pair in this folder.
    fn ask(&self, service: &Service, name: &str, pair: Option<&Path>, version: &str) -> Outcome {
        let port = service.address.port();
        let mut command = Command::new(self.curl);
        command.args(["-sS", "--max-time", "10", "--noproxy", "*", "-H", USER, "-w", "\n%{http_code}", "--cacert"]);
        command.arg(&self.trusted).args(["--tls-max", version, "--resolve", &format!("{name}:{port}:127.0.0.1")]);
        if let Some(pair) = pair {
            command.arg("--cert").arg(pair.join("certificate.pem")).arg("--key").arg(pair.join("key.pem"));
        }
        let seen_before = service.upstream.requests().len();
        let asked = process::run("curl", command.arg(format!("https://{name}:{port}/orders")));
        let status = asked.stdout.lines().last().unwrap_or_default();
        let passed = service.upstream.requests().len() > seen_before || asked.stdout.contains("alice");
        match (asked.code(), status) {
            (Some(0), "200") => Outcome::LetIn,
            // 35, 52, 55, 56, 98: the server ended the handshake; with TLS 1.3 that is seen when something is read.
            (Some(35 | 52 | 55 | 56 | 98), _) | (Some(0), "400") if !passed => Outcome::Refused,
            // 60 is for either side: curl gives its own reason for what it does not believe, and none for an alert that says
            // that the client's certificate has expired.
            (Some(60), _) if !passed && DISBELIEF.iter().any(|reason| asked.stderr.contains(reason)) => {
                Outcome::Disbelieved
            }
            (Some(60), _) if !passed => Outcome::Refused,
            _ => panic!("{pair:?}: {asked:?}"),
        }
    }
}

/// A certificate that openssl signs, with the key of this authority, for clients.
fn forge(openssl: &OpenSsl, authority: &Authority, folder: &str, signer: &str, key: &str) -> PathBuf {
    let place = authority.folder.path().join(folder);
    fs::create_dir(&place).unwrap();
    let path = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let signer_file = authority.path(signer);
    let key_file = authority.path(key);
    fs::write(place.join("extensions"), "extendedKeyUsage=clientAuth\nsubjectAltName=DNS:gateway\n").unwrap();
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=gateway"];
    let request = ["-keyout", &path("key.pem"), "-out", &path("request.pem")];
    openssl.good(&[&["req", "-new"], &curve[..], &request].concat());
    let by = ["-CA", signer_file.to_str().unwrap(), "-CAkey", key_file.to_str().unwrap(), "-CAcreateserial"];
    let files = ["-in", &path("request.pem"), "-extfile", &path("extensions"), "-out", &path("certificate.pem")];
    openssl.good(&[&["x509", "-req", "-days", "2"], &by[..], &files].concat());
    let chain = fs::read_to_string(path("certificate.pem")).unwrap() + &fs::read_to_string(signer_file).unwrap();
    fs::write(path("certificate.pem"), chain).unwrap();
    place
}

/// Runs a recipe of the page against everybody who might knock.
fn check(recipe: Recipe) {
    let (Some(openssl), Some(curl)) = (openssl("mtls recipe"), peers::require_program("curl", "mtls recipe")) else {
        return;
    };
    let (authority, other) = (Authority::new(), Authority::new());
    authority.good(&["issue", "gateway", "--gateway"]);
    for service in ["orders", "payments"] {
        authority.good(&["issue", service]);
    }
    authority.good(&["issue", "gateway-old", "--gateway", "--days", "1", "--at", &days_from_now(-2)]);
    authority.good(&["issue", "gateway-new", "--gateway", "--at", &days_from_now(1)]);
    other.good(&["issue", "gateway", "--gateway"]);
    let forged = forge(&openssl, &authority, "forged", "services.pem", "private/services.key");
    let forged_by_root = forge(&openssl, &authority, "forged-root", "ca.pem", "private/root.key");
    let Some(service) = recipe.start(&authority, &authority.issued("orders")) else { return };
    let client = Client { curl: &curl, trusted: authority.path("ca.pem") };
    let rows: [(&str, Option<PathBuf>, Outcome); 9] = [
        ("the gateway", Some(authority.issued("gateway")), Outcome::LetIn),
        ("nobody", None, Outcome::Refused),
        ("another service", Some(authority.issued("payments")), Outcome::Refused),
        ("the service itself", Some(authority.issued("orders")), Outcome::Refused),
        ("one signed by the services' authority", Some(forged), Outcome::Refused),
        ("one signed by the root", Some(forged_by_root), Outcome::Refused),
        ("another installation's gateway", Some(other.issued("gateway")), Outcome::Refused),
        ("an expired gateway", Some(authority.issued("gateway-old")), Outcome::Refused),
        ("a gateway of tomorrow", Some(authority.issued("gateway-new")), Outcome::Refused),
    ];
    for (who, pair, expected) in &rows {
        for version in ["1.2", "1.3"] {
            let outcome = client.ask(&service, "orders", pair.as_deref(), version);
            assert_eq!(outcome, *expected, "{} {who} {version}", recipe.program());
        }
    }
    let gateway = authority.issued("gateway");
    assert_eq!(client.ask(&service, "payments", Some(&gateway), "1.3"), Outcome::Disbelieved, "under another's name");
    let stranger = Client { curl: &curl, trusted: other.path("ca.pem") };
    assert_eq!(
        stranger.ask(&service, "orders", Some(&gateway), "1.3"),
        Outcome::Disbelieved,
        "of another installation"
    );
    authority.good(&["renew", "orders", "--force"]);
    if matches!(recipe, Recipe::Nginx) {
        // As `systemctl reload nginx` does.
        service.process.signal("HUP");
    }
    check_renewal(&openssl, &authority, &service, &client);
}

/// The service shows the renewed certificate, and is as strict as before.
fn check_renewal(openssl: &OpenSsl, authority: &Authority, service: &Service, client: &Client<'_>) {
    let chain = fs::read_to_string(authority.issued("orders/certificate.pem")).unwrap();
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let connect = service.address.to_string();
    let shown =
        eventually(PATIENCE, || openssl.run(&["s_client", "-connect", &connect]).stdout.contains(leaf).then_some(()));
    assert!(shown.is_some(), "the renewed certificate is not shown");
    for (pair, expected) in [("gateway", Outcome::LetIn), ("payments", Outcome::Refused)] {
        assert_eq!(client.ask(service, "orders", Some(&authority.issued(pair)), "1.3"), expected, "{pair}");
    }
}

#[test]
fn nginx_lets_in_the_gateway_and_nobody_who_poses_as_it() {
    check(Recipe::Nginx);
}

#[test]
fn node_lets_in_the_gateway_and_nobody_who_poses_as_it() {
    check(Recipe::Node);
}

#[test]
fn python_lets_in_the_gateway_and_nobody_who_poses_as_it() {
    check(Recipe::Python);
}

#[test]
fn a_server_that_is_not_the_service_is_not_believed() {
    let Some(curl) = peers::require_program("curl", "mtls client") else { return };
    let authority = Authority::new();
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "orders", "--days", "1", "--at", &days_from_now(-2)]);
    let client = Client { curl: &curl, trusted: authority.path("ca.pem") };
    let gateway = authority.issued("gateway");
    let Some(expired) = Recipe::Node.start(&authority, &authority.issued("orders")) else { return };
    assert_eq!(client.ask(&expired, "orders", Some(&gateway), "1.3"), Outcome::Disbelieved, "expired");
    // The gateway's own certificate, stolen, shown by a server: whom it trusts for clients does not matter here.
    fs::copy(gateway.join("ca.pem"), gateway.join("clients.pem")).unwrap();
    let thief = Recipe::Node.start(&authority, &gateway).unwrap();
    assert_eq!(client.ask(&thief, "gateway", None, "1.3"), Outcome::Disbelieved, "the gateway's certificate");
    let careless = Client { curl: &curl, trusted: authority.path("clients.pem") };
    assert_eq!(careless.ask(&thief, "gateway", None, "1.3"), Outcome::Disbelieved, "its purpose");
}

#[test]
fn the_commands_of_the_page_work_as_they_stand() {
    let page = fs::read_to_string(format!("{}/docs/mtls.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, after) = page.split_once("## In short\n\n```sh\n").unwrap();
    let authority = Authority::none();
    for line in after.split_once("```").unwrap().0.lines() {
        let arguments: Vec<&str> = line.strip_prefix("portcullis ca ").unwrap().split(' ').collect();
        let (arguments, directory) = arguments.split_at(arguments.len() - 2);
        assert_eq!(directory, ["--directory", "ca"]);
        authority.good(arguments);
    }
    // Every file that the table names is there.
    for row in page.lines().filter(|line| line.starts_with("| `ca/")) {
        let mut folder = PathBuf::new();
        for name in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            let path = authority.folder.path().join(name);
            let path = if name.starts_with("ca/") { path } else { folder.join(name) };
            assert!(path.exists(), "{name}");
            folder = path.parent().unwrap().to_owned();
        }
    }
}

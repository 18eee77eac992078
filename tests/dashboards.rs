//! What is in `contrib` for Prometheus and Grafana: it names what exists, Prometheus takes it, and each alert fires when it is
//! meant to.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use portcullis::{edge::metrics, gate::rejection::Rejection};
use serde_json::Value;

use crate::support::{
    client::Client,
    fixture::{AUDIENCE, ISSUER, signing_key},
    folder::Folder,
    gateway::Gateway,
    jwks_server::JwksServer,
    peers::require_program,
    process::{self, Process},
    server::free_address,
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::Address,
};

const READ: &str = "read-0123456789abcdef";
/// What Prometheus itself adds to every series.
const ADDED: [&str; 2] = ["job", "instance"];

fn contrib(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(place)
}

/// A YAML or JSON file of `contrib`.
fn read(place: &str) -> Value {
    let text = fs::read_to_string(contrib(place)).unwrap();
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// Every text that stands under a key, wherever in the document.
fn texts_under(document: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == key => found.push(text.clone()),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => found.extend(texts_under(value, key)),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| found.extend(texts_under(element, key))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

/// What the program exports: the labels of every metric, and the same of the recording rules, whose names say theirs.
struct Known {
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    fn new() -> Self {
        let mut labels = BTreeMap::new();
        for row in metrics::reference().lines().skip(2) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let (name, kind) = (cells[1].trim_matches('`'), cells[2]);
            let mut own: BTreeSet<String> = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            own.extend(ADDED.map(str::to_owned));
            if kind == "histogram" {
                for suffix in ["_sum", "_count"] {
                    labels.insert(format!("{name}{suffix}"), own.clone());
                }
                own.insert("le".to_owned());
                labels.insert(format!("{name}_bucket"), own);
            } else {
                labels.insert(name.to_owned(), own);
            }
        }
        for name in texts_under(&read("prometheus/rules.yml"), "record") {
            let (level, _) = name.split_once(':').unwrap();
            let own = level.split('_').chain(ADDED).map(str::to_owned).collect();
            labels.insert(name, own);
        }
        labels.insert("up".to_owned(), ADDED.map(str::to_owned).into());
        Self { labels }
    }

    /// What is wrong with the names in an expression.
    fn faults(&self, expression: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for Selector { name, matchers } in selectors(expression) {
            let Some(labels) = self.labels.get(&name) else {
                faults.push(format!("there is no {name}"));
                continue;
            };
            for (label, value) in matchers {
                if !labels.contains(&label) {
                    faults.push(format!("{name} has no label {label}"));
                }
                let is_reason = label == "reason" && name == "portcullis_auth_rejections_total";
                if is_reason && !Rejection::ALL.iter().any(|rejection| rejection.row().label == value) {
                    faults.push(format!("nothing is refused as {value}"));
                }
            }
        }
        let all: BTreeSet<&String> = self.labels.values().flatten().collect();
        for clause in ["by (", "on (", "ignoring (", "without ("] {
            for (_, after) in expression.match_indices(clause).map(|(at, _)| expression[at..].split_once('(').unwrap())
            {
                let listed = after.split_once(')').unwrap().0.split(',').map(|label| label.trim().to_owned());
                faults.extend(
                    listed.filter(|label| !all.contains(label)).map(|label| format!("nothing has a label {label}")),
                );
            }
        }
        faults
    }
}

struct Selector {
    name: String,
    matchers: Vec<(String, String)>,
}

/// The series that an expression names: words that could be names of ours, with what stands in braces behind them.
fn selectors(expression: &str) -> Vec<Selector> {
    let is_of_names = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':');
    let (mut found, mut rest, mut quoted) = (Vec::new(), expression, false);
    while let Some(letter) = rest.chars().next() {
        let length = rest.find(|letter| !is_of_names(letter)).unwrap_or(rest.len());
        if quoted || length == 0 {
            quoted ^= letter == '"';
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let (name, after) = rest.split_at(length);
        rest = after;
        let is_ours =
            name.starts_with("portcullis_") || name.starts_with("process_") || name.contains(':') || name == "up";
        if !is_ours || name.starts_with(|letter: char| letter.is_ascii_digit()) {
            continue;
        }
        let inside = after.strip_prefix('{').and_then(|inside| inside.split_once('}')).map_or("", |(inside, _)| inside);
        let pieces: Vec<&str> = inside.split('"').collect();
        let matchers = pieces.chunks_exact(2).map(|pair| {
            let label = pair[0].trim_matches(|letter: char| !is_of_names(letter));
            (label.to_owned(), pair[1].to_owned())
        });
        found.push(Selector { name: name.to_owned(), matchers: matchers.collect() });
    }
    found
}

/// Expressions of the dashboard, as Prometheus gets them from Grafana.
fn dashboard_expressions() -> Vec<String> {
    let filled = |expression: String| {
        ["$__rate_interval", "$__range"]
            .iter()
            .fold(expression, |text, variable| text.replace(variable, "5m"))
            .replace("$instance", ".*")
            .replace("$job", "portcullis")
    };
    texts_under(&read("grafana/portcullis.json"), "expr").into_iter().map(filled).collect()
}

#[test]
fn names_that_do_not_exist_are_found() {
    let known = Known::new();
    for (expression, fault) in [
        ("rate(portcullis_no_such_total[5m])", "there is no portcullis_no_such_total"),
        ("portcullis_jwks_keys{isuer=\"main\"}", "portcullis_jwks_keys has no label isuer"),
        ("portcullis_auth_rejections_total{reason=\"tired\"}", "nothing is refused as tired"),
        ("instance:portcullis_typing:rate5m > 1", "there is no instance:portcullis_typing:rate5m"),
        ("sum by (job, root) (portcullis_jwks_keys)", "nothing has a label root"),
        ("portcullis_auth_duration_seconds", "there is no portcullis_auth_duration_seconds"),
    ] {
        assert_eq!(known.faults(expression), [fault], "{expression}");
    }
    let good =
        "histogram_quantile(0.9, sum by (le) (rate(portcullis_auth_duration_seconds_bucket{cache=\"hit\"}[5m])))";
    assert_eq!(known.faults(good), <[&str; 0]>::default());
}

#[test]
fn rules_alerts_and_dashboard_name_metrics_and_labels_that_the_program_has() {
    let known = Known::new();
    let mut expressions = dashboard_expressions();
    expressions.extend(texts_under(&read("prometheus/rules.yml"), "expr"));
    expressions.extend(texts_under(&read("prometheus/alerts.yml"), "expr"));
    assert!(expressions.len() > 60, "{} expressions", expressions.len());
    for expression in expressions {
        assert!(!selectors(&expression).is_empty(), "{expression} is about nothing of ours");
        assert_eq!(known.faults(&expression), <[&str; 0]>::default(), "{expression}");
    }
}

/// A series with a label too many or too few would try an alert on something that no Prometheus ever sees.
#[test]
fn alerts_are_tried_on_series_as_the_program_exports_them() {
    let known = Known::new();
    let series = texts_under(&read("prometheus/alerts_test.yml"), "series");
    assert!(series.len() > 60, "{} series", series.len());
    for one in series {
        let found = selectors(&one);
        let has: BTreeSet<String> = found[0].matchers.iter().map(|(label, _)| label.clone()).collect();
        assert_eq!(Some(&has), known.labels.get(&found[0].name), "{one}");
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_leads_to_a_heading_that_exists() {
    let alerts = read("prometheus/alerts.yml");
    let expected = texts_under(&read("prometheus/alerts_test.yml"), "labels").concat();
    let names = texts_under(&alerts, "alert");
    assert!(names.len() > 30, "{names:?}");
    for name in &names {
        assert!(expected.contains(&format!("alertname=\"{name}\"")), "no case of alerts_test.yml makes {name} fire");
    }
    let runbooks = texts_under(&alerts, "runbook");
    assert_eq!(runbooks.len(), names.len(), "each alert says where to go on");
    for runbook in runbooks {
        let (page, anchor) = runbook.split_once('#').map_or((runbook.as_str(), None), |(page, at)| (page, Some(at)));
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect(&runbook);
        assert!(anchor.is_none_or(|anchor| anchors(&page).contains(anchor)), "{runbook} leads nowhere");
    }
}

/// The anchors of a page of Markdown, as they are made of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn pages_for_operators_name_metrics_that_exist_and_link_to_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = Known::new();
    let is_metric =
        |name: &str| known.labels.keys().any(|known| known == name || known.strip_suffix("_sum") == Some(name));
    for place in ["docs/operating.md", "docs/multi-host.md", "docs/rollback.md", "SECURITY.md"] {
        let page = fs::read_to_string(root.join(place)).unwrap();
        for name in
            selectors(&page).iter().map(|selector| &selector.name).filter(|name| name.starts_with("portcullis_"))
        {
            assert!(is_metric(name), "{place}: {name}");
        }
        for (_, after) in page.match_indices("](").map(|(at, _)| page.split_at(at + 2)) {
            let target = after.split_once(')').unwrap().0;
            if target.starts_with("https:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root.join(place) } else { root.join(place).parent().unwrap().join(file) };
            assert!(path.exists(), "{place}: {target}");
            let is_there = anchor.is_empty() || anchors(&fs::read_to_string(&path).unwrap()).contains(anchor);
            assert!(is_there, "{place}: {target} leads to no heading");
        }
    }
    let page = fs::read_to_string(root.join("docs/operating.md")).unwrap();
    for word in
        page.split('`').skip(1).step_by(2).filter(|word| word.starts_with("token_") || word.ends_with("_unavailable"))
    {
        let is_known = Rejection::ALL.iter().any(|rejection| rejection.row().label == word) || word == "token_types";
        assert!(is_known, "nothing is refused as {word}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_of_the_program_in_panels_that_do_not_overlap() {
    let dashboard = read("grafana/portcullis.json");
    let mut shown: BTreeSet<String> =
        dashboard_expressions().iter().flat_map(|expression| selectors(expression)).map(|found| found.name).collect();
    // A recording rule shows what it is made of.
    let rules = read("prometheus/rules.yml");
    for _ in 0..3 {
        for rule in rules["groups"][0]["rules"].as_array().unwrap() {
            if shown.contains(rule["record"].as_str().unwrap()) {
                shown.extend(selectors(rule["expr"].as_str().unwrap()).into_iter().map(|found| found.name));
            }
        }
    }
    for name in metrics::names() {
        let is_shown = shown.iter().any(|shown| *shown == name || shown.strip_suffix("_bucket") == Some(&name));
        assert!(is_shown || name.starts_with("process_"), "{name} is on no panel");
    }
    let (mut ids, mut titles, mut cells) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()) && titles.insert((&panel["type"] == "row", title)),
            "{title} is there twice"
        );
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(cells.insert((x, y)), "{title} lies over another panel");
        }
        if panel["type"] != "row" {
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title} is not explained");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
        }
    }
}

#[test]
fn promtool_takes_the_rules_the_alerts_and_their_tests_and_every_query_of_the_dashboard() {
    let Some(promtool) = require_program("promtool", "dashboards") else { return };
    let check = |arguments: &[&str]| {
        let finished = process::run_within(
            4 * PATIENCE,
            "promtool",
            Command::new(&promtool).args(arguments).current_dir(contrib("prometheus")),
        );
        assert_eq!(finished.code(), Some(0), "promtool {arguments:?}: {finished:?}");
        finished.stdout + &finished.stderr
    };
    check(&["check", "rules", "rules.yml", "alerts.yml"]);
    check(&["check", "config", "prometheus.yml"]);
    let tested = check(&["test", "rules", "alerts_test.yml"]);
    assert!(tested.contains("SUCCESS"), "{tested}");
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, expression) in dashboard_expressions().iter().enumerate() {
        writeln!(rules, "  - record: panel:number_{number}").unwrap();
        writeln!(rules, "    expr: {}", serde_json::to_string(expression).unwrap()).unwrap();
    }
    let folder = Folder::new();
    check(&["check", "rules", folder.write("dashboard.yml", rules).to_str().unwrap()]);
}

const CONFIG: &str = r#"
listeners: [{name: web, address: "{listen}"}]
admin: {address: "{admin}", read_token_file: read.token}
server: {threads: 1, grace_period: 5s}
issuers:
  main: {issuer: {issuer}, audiences: [{audience}], keys: {jwks_url: "{jwks}", insecure_http: true}}
routes:
  - {name: orders, path_prefix: /orders, upstream: echo}
upstreams:
  echo: {servers: ["{upstream}"]}
"#;

/// A running Prometheus.
struct Prometheus {
    // Ends first.
    _process: Process,
    address: Address,
    _folder: Folder,
}

impl Prometheus {
    /// Starts one with the files of `contrib`, but for addresses, and times that are shorter.
    fn start(program: &Path, gateway: &Gateway) -> Self {
        let folder = Folder::new();
        for name in ["rules.yml", "alerts.yml"] {
            folder.write(name, fs::read(contrib("prometheus").join(name)).unwrap());
        }
        let token = folder.write("token", READ);
        let example = fs::read_to_string(contrib("prometheus/prometheus.yml")).unwrap();
        let mut config = "global: {evaluation_interval: 1s}\n".to_owned() + &example;
        for (theirs, ours) in [
            ("127.0.0.1:9400", gateway.admin_address().to_string()),
            ("scrape_interval: 15s", "scrape_interval: 1s\n    scrape_timeout: 1s".to_owned()),
            ("# authorization:", "authorization:".to_owned()),
            ("/etc/prometheus/portcullis.token", token.display().to_string()),
        ] {
            assert_eq!(config.matches(theirs).count(), 1, "{theirs}");
            config = config.replace(theirs, &ours);
        }
        let file = folder.write("prometheus.yml", config);
        let address = free_address();
        let process = Process::spawn(
            "prometheus",
            Command::new(program)
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address={address}")),
        );
        let is_there = process.wait_until(PATIENCE, |account| {
            account.stderr.contains("Server is ready to receive web requests").then_some(())
        });
        assert!(is_there.is_some(), "{:?}", process.account());
        Self { _process: process, address: Address::Tcp(address), _folder: folder }
    }

    fn get(&self, target: &str) -> Value {
        let response = Client::connect(&self.address).get(target, &[("Host", "prometheus")]);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.json()["data"].clone()
    }

    /// How many series an expression has now.
    fn series(&self, expression: &str) -> usize {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("/api/v1/query?query={encoded}"))["result"].as_array().unwrap().len()
    }
}

#[test]
fn a_prometheus_scrapes_a_run_evaluates_the_rules_and_notices_its_end() {
    let Some(program) = require_program("prometheus", "dashboards") else { return };
    let (upstream, jwks) = (Upstream::start(), JwksServer::start(&[signing_key().jwk()]));
    let gateway = Gateway::builder(CONFIG)
        .set("issuer", ISSUER)
        .set("audience", AUDIENCE)
        .set("jwks", jwks.url())
        .set("upstream", upstream.address())
        .file("read.token", READ)
        .start();
    let prometheus = Prometheus::start(&program, &gateway);
    let good = bearer(&Token::good().signed_by(signing_key()));
    for expression in [
        "up{job=\"portcullis\"} == 1",
        "portcullis_build_info",
        "instance:portcullis_http_requests:rate5m > 0",
        "instance:portcullis_http_server_errors:ratio_rate5m == 0",
        "instance_reason:portcullis_auth_rejections:rate5m{reason=\"token_missing\"} > 0",
        "instance:portcullis_claims_cache_hits:ratio_rate10m > 0.5",
        "instance_issuer:portcullis_jwks_age:seconds{issuer=\"main\"} < 3600",
        "instance_upstream:portcullis_upstream_healthy:ratio{upstream=\"echo\"} == 1",
        "process_open_fds / process_max_fds < 1",
    ] {
        let is_so = eventually(PATIENCE, || {
            gateway.get("/orders", &[("Authorization", &good)]);
            gateway.get("/orders", &[]);
            (prometheus.series(expression) > 0).then_some(())
        });
        assert!(is_so.is_some(), "{expression}: {}", prometheus.get("/api/v1/targets"));
    }
    for expression in dashboard_expressions() {
        prometheus.series(&expression);
    }
    for group in prometheus.get("/api/v1/rules")["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_ne!(rule["health"], "err", "{rule}");
        }
    }
    let metadata = prometheus.get("/api/v1/metadata");
    let reference = metrics::reference();
    let ours: Vec<_> =
        metadata.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("portcullis_")).collect();
    assert!(ours.len() > 20, "{ours:?}");
    for (name, said) in ours {
        let row = format!("| `{name}` | {} |", said[0]["type"].as_str().unwrap());
        assert!(reference.contains(&row), "{row}");
    }
    let alerts = || prometheus.get("/api/v1/alerts")["alerts"].clone();
    let pending = |name: &str| alerts().as_array().unwrap().iter().any(|alert| alert["labels"]["alertname"] == name);
    assert!(!pending("PortcullisDown"), "{}", alerts());
    gateway.stop();
    assert!(eventually(PATIENCE, || pending("PortcullisDown").then_some(())).is_some(), "{}", alerts());
}

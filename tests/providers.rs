//! docs/providers.md, run: every configuration of the page with tokens of that provider's shape. The claims are written after the
//! providers' public documentation; only where the keys come from is replaced.
use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    folder::Folder,
    gateway::{self, Builder, Gateway},
    keys::{SigningKey, key_set},
    problem::check_problem,
    token::{Token, bearer, now},
    upstream::Upstream,
    wire::Address,
};

const ENTRA: &str = "https://login.microsoftonline.com/TENANT-ID/v2.0";
const ENTRA_1: &str = "https://sts.windows.net/TENANT-ID/";
const COGNITO: &str = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_POOL";
const KEYCLOAK: &str = "https://id.example.com/realms/shop";
const AUTH0: &str = "https://TENANT.auth0.com/";
const OKTA: &str = "https://ORG.okta.com/oauth2/default";
const GOOGLE: &str = "https://accounts.google.com";
const ACCOUNT: &str = "batch@PROJECT.iam.gserviceaccount.com";
const FIREBASE: &str = "https://securetoken.google.com/PROJECT";

/// What becomes of a token at `/` (or the path that is named): headers that the service gets, or a refusal.
enum Outcome {
    Passes(&'static [(&'static str, Option<&'static str>)]),
    Refused(u16, &'static str),
}
use Outcome::{Passes, Refused};

/// A token: what it is, `typ` of its header, claims besides `iss`, `iat` and `exp`.
struct Row {
    what: &'static str,
    typ: Option<&'static str>,
    claims: Value,
    outcome: Outcome,
}

fn row(what: &'static str, typ: Option<&'static str>, claims: Value, outcome: Outcome) -> Row {
    Row { what, typ, claims, outcome }
}

fn page() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md")).unwrap()
}

/// The headings that have a configuration beneath them, with it.
fn configurations(page: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for section in page.split("\n#").skip(1) {
        let heading = section.lines().next().unwrap().trim_start_matches(['#', ' ']);
        let fences = section.split("```yaml\n").skip(1).map(|after| after.split_once("```").unwrap().0);
        found.extend(fences.map(|fence| (heading, fence)));
    }
    found
}

fn configuration(heading: &str) -> String {
    let page = page();
    let mut fitting = configurations(&page).into_iter().filter(|(found, _)| *found == heading);
    let (_, text) =
        fitting.next().unwrap_or_else(|| panic!("docs/providers.md has no configuration below {heading:?}"));
    assert!(fitting.next().is_none(), "{heading} has two");
    text.to_owned()
}

/// With keys from a file beside it in place of the provider's: one key for each issuer, `keys-0.json` of the first and so on.
fn with_local_keys(text: &str) -> String {
    let mut issuers = 0;
    let mut local = String::new();
    for line in text.lines() {
        match line.split_once("keys: {") {
            Some((before, _)) => {
                local.push_str(&format!("{before}keys: {{jwks_file: keys-{issuers}.json}}\n"));
                issuers += 1;
            }
            None => local.push_str(&format!("{line}\n")),
        }
    }
    assert!(issuers > 0 && !local.contains("discovery") && !local.contains("jwks_url"), "{local}");
    local
}

/// The key of the issuer at this place: making RSA keys takes long, so that all are one under different names.
fn key(issuer: usize) -> SigningKey {
    SigningKey::rsa(&format!("k{issuer}"))
}

fn builder(text: &str, upstream: &Address) -> Builder {
    (0..3).fold(gateway::documented(&with_local_keys(text), upstream), |builder, issuer| {
        builder.file(&format!("keys-{issuer}.json"), key_set(&[key(issuer).jwk_for("RS256")]))
    })
}

fn token(issuer: &str, key: &SigningKey, row: &Row) -> String {
    let mut claims = json!({"iss": issuer, "iat": now() - 10, "exp": now() + 300});
    claims.as_object_mut().unwrap().extend(row.claims.as_object().unwrap().clone());
    let token = match row.typ {
        Some(typ) => Token::good().header("typ", typ),
        None => Token::good().without_header("typ"),
    };
    token.raw_payload(claims.to_string()).signed_by(key)
}

fn judge(gateway: &Gateway, upstream: &Upstream, path: &str, token: &str, row: &Row) {
    // What a client claims of itself is never what a service is told.
    let forged =
        [("Authorization", bearer(token)), ("X-User-ID", "admin".to_owned()), ("X-User-Roles", "admin".to_owned())];
    let response = gateway.get(path, &forged.each_ref().map(|(name, value)| (*name, value.as_str())));
    match row.outcome {
        Passes(headers) => {
            assert_eq!(response.status, 200, "{}: {}", row.what, response.text());
            let seen = upstream.take();
            for (name, value) in headers {
                assert_eq!(seen[0].head.value(name), *value, "{}: {name}", row.what);
            }
            assert_eq!(seen[0].head.value("Authorization"), None, "{}", row.what);
        }
        Refused(status, reason) => {
            check_problem(&response, status, reason, "GET");
            assert!(upstream.take().is_empty(), "{}", row.what);
        }
    }
}

/// Runs the configuration below a heading and sends it the tokens of one of its issuers.
fn check(heading: &str, issuer: &str, position: usize, rows: &[Row]) {
    let upstream = Upstream::start();
    let gateway = builder(&configuration(heading), upstream.address()).start();
    for row in rows {
        judge(&gateway, &upstream, "/", &token(issuer, &key(position), row), row);
    }
    let good = &rows[0];
    let unknown = [format!("{issuer}/"), issuer.trim_end_matches('/').to_owned(), "https://other.test".to_owned()];
    for other in unknown.iter().filter(|other| *other != issuer) {
        let refused = Row { outcome: Refused(401, "issuer_unknown"), claims: good.claims.clone(), ..*good };
        judge(&gateway, &upstream, "/", &token(other, &key(position), &refused), &refused);
    }
}

#[test]
fn every_configuration_of_the_page_is_valid_as_it_stands_and_is_run_by_a_test() {
    let page = page();
    let folder = Folder::new();
    let found = configurations(&page);
    for (heading, text) in &found {
        let file = folder.write("page.yaml", text);
        let finished = gateway::run(&["validate", "-c", file.to_str().unwrap()]);
        assert_eq!(finished.code(), Some(0), "{heading}: {}", finished.stderr);
        assert_eq!(finished.stdout.contains("warning"), *heading == "Google", "{heading}: {}", finished.stdout);
    }
    let headings: BTreeSet<&str> = found.iter().map(|(heading, _)| *heading).collect();
    let run = [
        "Keycloak",
        "Auth0",
        "Amazon Cognito",
        "Microsoft Entra ID, version 2",
        "Microsoft Entra ID, version 1",
        "Okta",
        "Google",
        "Google service accounts that sign for themselves",
        "Firebase",
        "Several issuers",
    ];
    assert_eq!(headings, BTreeSet::from(run), "each has a test in this file");
}

fn keycloak(aud: Value) -> Value {
    json!({
        "jti": "onrtac:5c1f", "aud": aud, "sub": "6f0c1c2e-01", "typ": "Bearer", "azp": "web", "sid": "f00d", "acr": "1",
        "allowed-origins": ["https://web.example.com"], "realm_access": {"roles": ["offline_access", "admin"]},
        "resource_access": {"account": {"roles": ["manage-account"]}}, "scope": "openid profile email",
        "email_verified": true, "preferred_username": "alice",
    })
}

#[test]
fn tokens_of_keycloak() {
    let headers = Passes(&[
        ("X-User-ID", Some("6f0c1c2e-01")),
        ("X-User-Roles", Some("offline_access,admin")),
        ("X-User-Scopes", Some("openid,profile,email")),
        ("X-Client-ID", Some("web")),
    ]);
    let id = json!({
        "aud": "web", "sub": "6f0c1c2e-01", "typ": "ID", "azp": "web", "at_hash": "x", "nonce": "n", "auth_time": now(),
    });
    let mut without_mapper = keycloak(json!(null));
    without_mapper.as_object_mut().unwrap().remove("aud");
    let rows = [
        row("an access token", Some("JWT"), keycloak(json!(["orders", "account"])), headers),
        row("one for Keycloak itself", Some("JWT"), keycloak(json!("account")), Refused(401, "audience_mismatch")),
        row("one without mapper", Some("JWT"), without_mapper, Refused(401, "claim_missing")),
        row("an ID token", Some("JWT"), id, Refused(401, "audience_mismatch")),
        row("a logout token", Some("logout+jwt"), keycloak(json!("orders")), Refused(401, "type_not_allowed")),
    ];
    check("Keycloak", KEYCLOAK, 0, &rows);
}

#[test]
fn tokens_of_auth0() {
    let access = |aud: Value, client: &str| {
        let mut claims = json!({
            "sub": "auth0|65f1", "aud": aud, "scope": "openid profile read:orders", "permissions": ["read:orders"],
            "https://example.com/roles": ["buyer", "admin"], "gty": "password",
        });
        claims[client] = json!("web");
        claims
    };
    let both = json!(["https://api.example.com", "https://TENANT.auth0.com/userinfo"]);
    let headers: &[_] = &[
        ("X-User-ID", Some("auth0|65f1")),
        ("X-User-Roles", Some("buyer,admin")),
        ("X-User-Permissions", Some("read:orders")),
        ("X-Client-ID", Some("web")),
    ];
    let machine =
        json!({"sub": "m2m@clients", "aud": "https://api.example.com", "azp": "m2m", "gty": "client-credentials"});
    let id = json!({"sub": "auth0|65f1", "aud": "web", "nonce": "n", "sid": "s", "name": "Alice"});
    let rows = [
        row("an access token", Some("JWT"), access(both.clone(), "azp"), Passes(headers)),
        row("one of the RFC 9068 profile", Some("at+jwt"), access(both, "client_id"), Passes(headers)),
        row(
            "one of a machine",
            Some("JWT"),
            machine,
            Passes(&[("X-User-ID", Some("m2m@clients")), ("X-User-Roles", None)]),
        ),
        row("for another API", Some("JWT"), access(json!("https://b.test"), "azp"), Refused(401, "audience_mismatch")),
        row(
            "for userinfo",
            Some("JWT"),
            access(json!(["https://TENANT.auth0.com/userinfo"]), "azp"),
            Refused(401, "audience_mismatch"),
        ),
        row("an ID token", Some("JWT"), id, Refused(401, "audience_mismatch")),
    ];
    check("Auth0", AUTH0, 0, &rows);
}

fn cognito(client: &str) -> Value {
    json!({
        "sub": "aaaa-01", "cognito:groups": ["ops", "eu/admins"], "version": 2, "client_id": client, "origin_jti": "o",
        "event_id": "e", "token_use": "access", "scope": "orders/read openid", "auth_time": now(), "jti": "j",
        "username": "alice",
    })
}

#[test]
fn tokens_of_cognito() {
    let headers = Passes(&[
        ("X-User-ID", Some("aaaa-01")),
        ("X-User-Roles", Some("ops,eu/admins")),
        ("X-User-Scopes", Some("orders/read,openid")),
        ("X-Client-ID", Some("APP-CLIENT-ID")),
        ("X-Username", Some("alice")),
    ]);
    let id = json!({
        "sub": "aaaa-01", "aud": "APP-CLIENT-ID", "token_use": "id", "cognito:username": "alice", "at_hash": "x",
        "cognito:groups": ["ops"], "email": "alice@example.com",
    });
    let mut without_use = cognito("APP-CLIENT-ID");
    without_use.as_object_mut().unwrap().remove("token_use");
    let rows = [
        row("an access token", None, cognito("APP-CLIENT-ID"), headers),
        row("one of another client", None, cognito("OTHER"), Refused(401, "audience_mismatch")),
        row("an ID token", None, id, Refused(401, "claim_missing")),
        row("neither of the two", None, without_use, Refused(401, "claim_missing")),
    ];
    check("Amazon Cognito", COGNITO, 0, &rows);
}

fn entra(aud: &str) -> Value {
    json!({
        "aud": aud, "nbf": now() - 10, "aio": "a", "azp": "spa", "azpacr": "0", "name": "Alice", "oid": "oid-1",
        "preferred_username": "alice@example.com", "rh": "r", "roles": ["Orders.Admin"], "scp": "orders.read orders.write",
        "sub": "pairwise-of-this-client", "tid": "TENANT-ID", "uti": "u", "ver": "2.0",
    })
}

#[test]
fn tokens_of_entra_of_both_versions() {
    let headers: &[_] = &[
        ("X-User-ID", Some("oid-1")),
        ("X-User-Roles", Some("Orders.Admin")),
        ("X-User-Scopes", Some("orders.read,orders.write")),
        ("X-Client-ID", Some("spa")),
    ];
    // Of the application that is client and API in one.
    let id = |aud: &str, ver: &str| json!({"aud": aud, "sub": "s", "oid": "oid-1", "tid": "TENANT-ID", "nonce": "n", "name": "Alice", "ver": ver});
    let mut machine = entra("API-CLIENT-ID");
    machine.as_object_mut().unwrap().remove("scp");
    machine["idtyp"] = json!("app");
    let graph = "00000003-0000-0000-c000-000000000000";
    let rows = [
        row("an access token", Some("JWT"), entra("API-CLIENT-ID"), Passes(headers)),
        row(
            "one of an application",
            Some("JWT"),
            machine,
            Passes(&[("X-User-Scopes", None), ("X-Tenant", Some("TENANT-ID"))]),
        ),
        row("one for Graph", Some("JWT"), entra(graph), Refused(401, "audience_mismatch")),
        row("an ID token of a client", Some("JWT"), id("spa", "2.0"), Refused(401, "claim_missing")),
        row("an ID token of the API's own", Some("JWT"), id("API-CLIENT-ID", "2.0"), Refused(401, "claim_missing")),
    ];
    check("Microsoft Entra ID, version 2", ENTRA, 0, &rows);

    let first = |aud: &str| {
        let mut claims = entra(aud);
        let members = claims.as_object_mut().unwrap();
        members.remove("azp");
        members.extend(
            json!({"appid": "spa", "appidacr": "0", "upn": "a@b.test", "ver": "1.0"}).as_object().unwrap().clone(),
        );
        claims
    };
    let rows = [
        row("an access token", Some("JWT"), first("api://API-CLIENT-ID"), Passes(headers)),
        row("one by the client ID", Some("JWT"), first("API-CLIENT-ID"), Passes(headers)),
        row("one for Graph", Some("JWT"), first("https://graph.microsoft.com"), Refused(401, "audience_mismatch")),
        row("an ID token", Some("JWT"), id("API-CLIENT-ID", "1.0"), Refused(401, "claim_missing")),
    ];
    check("Microsoft Entra ID, version 1", ENTRA_1, 0, &rows);
}

#[test]
fn tokens_of_okta() {
    let access = |aud: &str| {
        json!({
            "ver": 1, "jti": "AT.1", "aud": aud, "cid": "0oa1", "uid": "00u1", "scp": ["orders.read", "openid"],
            "auth_time": now(), "sub": "alice@example.com", "groups": ["Everyone", "Ops, night"],
        })
    };
    let headers = Passes(&[
        ("X-User-ID", Some("00u1")),
        ("X-User-Roles", Some("Everyone,Ops%2C night")),
        ("X-User-Scopes", Some("orders.read,openid")),
        ("X-Client-ID", Some("0oa1")),
        ("X-User-Login", Some("alice@example.com")),
    ]);
    let id = json!({"sub": "00u1", "ver": 1, "aud": "0oa1", "idp": "00o1", "nonce": "n", "at_hash": "x"});
    let machine = json!({"ver": 1, "aud": "api://default", "cid": "0oa2", "sub": "0oa2", "scp": ["orders.read"]});
    let rows = [
        row("an access token", None, access("api://default"), headers),
        row("one for another server", None, access("https://ORG.okta.com"), Refused(401, "audience_mismatch")),
        row(
            "one of the org server",
            Some("application/okta-internal-at+jwt"),
            access("api://default"),
            Refused(401, "type_not_allowed"),
        ),
        row("one of a machine, without uid", None, machine, Refused(401, "claim_missing")),
        row("an ID token", None, id, Refused(401, "claim_missing")),
    ];
    check("Okta", OKTA, 0, &rows);
}

#[test]
fn tokens_of_google_and_firebase() {
    let client = "CLIENT-ID.apps.googleusercontent.com";
    let id = |aud: &str| {
        json!({
            "azp": aud, "aud": aud, "sub": "1085", "hd": "example.com", "email": "alice@example.com",
            "email_verified": true, "at_hash": "x", "nonce": "n",
        })
    };
    let headers: &[_] = &[("X-User-ID", Some("1085")), ("X-Organisation", Some("example.com")), ("X-User-Roles", None)];
    let rows = || {
        [
            row("an ID token", Some("JWT"), id(client), Passes(headers)),
            row("one for another application", Some("JWT"), id("OTHER"), Refused(401, "audience_mismatch")),
        ]
    };
    check("Google", GOOGLE, 0, &rows());
    check("Google", "accounts.google.com", 1, &rows());

    let of_account = |aud: &str, exp: i64| json!({"sub": ACCOUNT, "aud": aud, "exp": exp, "email": ACCOUNT});
    let rows = [
        row(
            "its own",
            Some("JWT"),
            of_account("https://orders.example.com", now() + 3000),
            Passes(&[("X-User-ID", Some(ACCOUNT))]),
        ),
        row(
            "for another service",
            Some("JWT"),
            of_account("https://b.test", now() + 60),
            Refused(401, "audience_mismatch"),
        ),
        row(
            "for a day",
            Some("JWT"),
            of_account("https://orders.example.com", now() + 86_400),
            Refused(401, "lifetime_exceeded"),
        ),
    ];
    check("Google service accounts that sign for themselves", ACCOUNT, 0, &rows);

    let firebase = |aud: &str, provider: &str| {
        json!({
            "aud": aud, "auth_time": now(), "user_id": "uid-1", "sub": "uid-1", "roles": ["editor"], "email": "a@b.test",
            "firebase": {"identities": {"email": ["a@b.test"]}, "sign_in_provider": provider},
        })
    };
    let headers =
        Passes(&[("X-User-ID", Some("uid-1")), ("X-User-Roles", Some("editor")), ("X-Sign-In", Some("password"))]);
    let anonymous = Passes(&[("X-Sign-In", Some("anonymous"))]);
    let rows = [
        row("an ID token", Some("JWT"), firebase("PROJECT", "password"), headers),
        row("an anonymous one", Some("JWT"), firebase("PROJECT", "anonymous"), anonymous),
        row("of another project", Some("JWT"), firebase("OTHER", "password"), Refused(401, "audience_mismatch")),
    ];
    check("Firebase", FIREBASE, 0, &rows);
}

const SEVERAL: &str = "Several issuers";
const PARTNERS: &str = "https://id.example.com/realms/partners";

#[test]
fn one_subject_of_several_issuers_is_told_apart_by_the_header_that_names_the_issuer() {
    let upstream = Upstream::start();
    let gateway = builder(&configuration(SEVERAL), upstream.address()).start();
    let same = |mut claims: Value, name: &str| {
        claims[name] = json!("one-and-the-same");
        claims
    };
    let of = |issuer| {
        Passes(match issuer {
            0 => &[
                ("X-User-ID", Some("one-and-the-same")),
                ("X-User-Issuer", Some("staff")),
                ("X-User-Roles", Some("Orders.Admin")),
            ],
            1 => &[
                ("X-User-ID", Some("one-and-the-same")),
                ("X-User-Issuer", Some("customers")),
                ("X-User-Roles", Some("ops,eu/admins")),
            ],
            _ => &[
                ("X-User-ID", Some("one-and-the-same")),
                ("X-User-Issuer", Some("partners")),
                ("X-User-Roles", Some("offline_access,admin")),
            ],
        })
    };
    let sent = [
        (ENTRA, row("of staff", Some("JWT"), same(entra("API-CLIENT-ID"), "oid"), of(0))),
        (COGNITO, row("of a customer", None, same(cognito("APP-CLIENT-ID"), "sub"), of(1))),
        (PARTNERS, row("of a partner", Some("JWT"), same(keycloak(json!("orders")), "sub"), of(2))),
    ];
    for (position, (issuer, row)) in sent.iter().enumerate() {
        judge(&gateway, &upstream, "/orders", &token(issuer, &key(position), row), row);
        // A key that another issuer published is none of this one's.
        let other = Row { outcome: Refused(401, "key_unknown"), claims: row.claims.clone(), ..*row };
        judge(&gateway, &upstream, "/orders", &token(issuer, &key((position + 1) % 3), &other), &other);
    }
    let claims = json!({"sub": "u", "client_id": "API-CLIENT-ID", "token_use": "access"});
    let crossed = row("the audience of another issuer", None, claims, Refused(401, "audience_mismatch"));
    judge(&gateway, &upstream, "/orders", &token(COGNITO, &key(1), &crossed), &crossed);
    // Partners have the role, but not on a route of staff.
    let partner = row("of a partner", Some("JWT"), keycloak(json!("orders")), Refused(401, "issuer_unknown"));
    judge(&gateway, &upstream, "/admin", &token(PARTNERS, &key(2), &partner), &partner);
    let staff = row("of staff without the role", Some("JWT"), entra("API-CLIENT-ID"), Refused(403, "role_missing"));
    judge(&gateway, &upstream, "/admin", &token(ENTRA, &key(0), &staff), &staff);
}

#[test]
fn merged_subjects_are_refused_at_start_unless_somebody_says_that_they_are_one_person() {
    let text = configuration(SEVERAL);
    let silent: String =
        text.lines().filter(|line| !line.contains("from: issuer")).map(|line| format!("{line}\n")).collect();
    assert_ne!(silent, text);
    let upstream = Upstream::start();
    let (account, _folder) = builder(&silent, upstream.address()).start_expecting_end();
    assert_eq!(account.code(), Some(78));
    assert!(account.stderr.contains("insecure_merged_subjects"), "{}", account.stderr);

    let merged = silent.replace("partners], upstream", "partners], insecure_merged_subjects: true, upstream");
    assert_ne!(merged, silent);
    let gateway = builder(&merged, upstream.address()).start();
    let headers = Passes(&[("X-User-ID", Some("aaaa-01")), ("X-User-Issuer", None)]);
    let customer = row("of a customer", None, cognito("APP-CLIENT-ID"), headers);
    judge(&gateway, &upstream, "/orders", &token(COGNITO, &key(1), &customer), &customer);
    let valid = gateway.run(&["validate", "-c", gateway.config_file().to_str().unwrap()]);
    assert!(valid.stdout.contains("`insecure_merged_subjects` is in force"), "{}", valid.stdout);
}

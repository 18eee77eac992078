//! What of a verified token the upstream gets to see, and that no claim breaks out of its header.
use super::{good, keys, signed, start};
use crate::support::{fixture::House, token::Token, token::bearer};
use serde_json::json;

/// Claims, and what the upstream must see of them.
struct Row {
    name: &'static str,
    token: Token,
    headers: Vec<(&'static str, Option<&'static str>)>,
}

fn row(name: &'static str, token: Token, headers: Vec<(&'static str, Option<&'static str>)>) -> Row {
    Row { name, token, headers }
}

fn check_headers(rows: Vec<Row>) {
    let House { gateway, upstream } = &start();
    for Row { name, token, headers } in rows {
        let response = gateway.get("/mine", &[("Authorization", &bearer(&signed(token)))]);
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        let seen = &upstream.take()[0];
        for (header, value) in headers {
            let expected: Vec<&str> = value.into_iter().collect();
            assert_eq!(seen.head.values(header), expected, "{name}: {header} in {:?}", seen.head.fields);
        }
    }
}

#[test]
fn claims_become_headers_of_one_line_each_and_missing_ones_none() {
    check_headers(vec![
        row(
            "all of them",
            good()
                .claim("roles", json!(["a", "b c"]))
                .claim("scope", "x y")
                .claim("email", "a@b.test")
                .claim("org", json!({"tenant": "t"}))
                .claim("plan", "pro"),
            vec![
                ("X-User-ID", Some("u1")),
                ("X-User-Roles", Some("a,b c")),
                ("X-User-Scopes", Some("x,y")),
                ("X-Client", Some("c1")),
                ("X-Email", Some("a@b.test")),
                ("X-Tenant", Some("t")),
                ("X-Plan", Some("pro")),
            ],
        ),
        row(
            "none of them",
            good().without("scope").without("client_id"),
            vec![
                ("X-User-ID", Some("u1")),
                ("X-User-Roles", None),
                ("X-User-Scopes", None),
                ("X-Client", None),
                ("X-Email", None),
                ("X-Tenant", None),
                ("X-Plan", None),
            ],
        ),
        row(
            "azp where there is no client_id",
            good().without("client_id").claim("azp", "z1"),
            vec![("X-Client", Some("z1"))],
        ),
        row("numbers", good().claim("plan", 7), vec![("X-Plan", Some("7"))]),
        row("booleans", good().claim("plan", true), vec![("X-Plan", Some("true"))]),
        row("a list", good().claim("plan", json!(["a", 1, false])), vec![("X-Plan", Some("a,1,false"))]),
        row("an object", good().claim("plan", json!({"é": 1})), vec![("X-Plan", Some("{\"\\u00e9\":1}"))]),
        row("half a path", good().claim("org", "t"), vec![("X-Tenant", None)]),
    ]);
}

#[test]
fn a_claim_cannot_break_out_of_its_header() {
    let subject = |value: &str| good().claim("sub", value);
    let seen = |value| vec![("X-User-ID", Some(value)), ("X-Injected", None)];
    check_headers(vec![
        row("line end", subject("u1\r\nX-Injected: admin"), seen("u1%0D%0AX-Injected: admin")),
        row("line feed", subject("u1\nX-Injected: admin"), seen("u1%0AX-Injected: admin")),
        row("zero", subject("u1\0"), seen("u1%00")),
        row("delete", subject("u1\u{7f}"), seen("u1%7F")),
        row("tab", subject("u\t1"), seen("u%091")),
        row("not ASCII", subject("Zoë"), seen("Zo%C3%AB")),
        row("C1 control", subject("a\u{85}b"), seen("a%C2%85b")),
        row("space at the start", subject(" u1"), seen("%20u1")),
        row("space at the end", subject("u1 "), seen("u1%20")),
        row("space within", subject("u 1"), seen("u 1")),
        row("percent", subject("a%2Cb"), seen("a%252Cb")),
        row("comma of a text", subject("a,b"), seen("a,b")),
        row("quotes", subject("\"u1\"; x=\\"), seen("\"u1\"; x=\\")),
        row(
            "comma of an element",
            good().claim("roles", json!(["a, admin"])),
            vec![("X-User-Roles", Some("a%2C admin"))],
        ),
        row("two elements", good().claim("roles", json!(["a", "b"])), vec![("X-User-Roles", Some("a,b"))]),
        row(
            "line end of an element",
            good().claim("roles", json!(["a\r\nX-Injected: b"])),
            vec![("X-User-Roles", Some("a%0D%0AX-Injected: b")), ("X-Injected", None)],
        ),
    ]);
}

#[test]
fn the_same_subject_of_two_issuers_can_be_told_apart() {
    let House { gateway, upstream } = &start();
    let tokens = [signed(good()), good().claim("iss", "https://other.test").signed_by(&keys().other)];
    for token in &tokens {
        assert_eq!(gateway.get("/both", &[("Authorization", &bearer(token))]).status, 200);
    }
    let seen = upstream.take();
    assert_eq!(seen[0].head.values("X-User-ID"), seen[1].head.values("X-User-ID"));
    assert_eq!(seen[0].head.values("X-Issuer").len(), 1);
    assert_ne!(seen[0].head.values("X-Issuer"), seen[1].head.values("X-Issuer"));
}

//! What the access log says of one request, and how it is written: one line of JSON or of text. It knows no token, cookie
//! or query string, because it has no field for them.
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::edge::access_log::json_line::{JsonLine, append_escaped_bytes, append_seconds};
use crate::edge::access_log::queue::Kind;
use crate::edge::clock;

/// No registered method, no name in DNS, no path that `limits.uri_bytes` allows by default is longer, and hardly any program
/// has more to say of itself. What is longer was refused, and must not make the log long.
const METHOD_BYTES_MAX: usize = 64;
const HOST_BYTES_MAX: usize = 260;
const PATH_BYTES_MAX: usize = 8 * 1024;
const USER_AGENT_BYTES_MAX: usize = 1024;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For eyes: time, client, "method host path", status, seconds, route, reason.
    Text,
}

/// One request as the access log tells it. What is `None` is left out.
///
/// Bytes are as the client sent them; they are escaped when written. What is to be hashed, shortened or kept out (subject,
/// client address) is so before it comes here.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the request's head was read.
    pub time: SystemTime,
    /// The request's id.
    pub request_id: &'a str,
    /// The trace that the request belongs to.
    pub trace_id: Option<&'a str>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The method as sent.
    pub method: &'a [u8],
    /// The host that was asked for.
    pub host: Option<&'a [u8]>,
    /// The path without the query.
    pub path: &'a [u8],
    /// The protocol, for example `HTTP/1.1`.
    pub protocol: &'a str,
    /// The version of TLS, for example `TLSv1.3`.
    pub tls: Option<&'a str>,
    /// The `User-Agent` as sent.
    pub user_agent: Option<&'a [u8]>,
    /// The status that was sent; 499 when the client went away before.
    pub status: u16,
    /// From the request's head to the last byte of the answer.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// The route's name, or `-`.
    pub route: &'a str,
    /// The upstream's name.
    pub upstream: Option<&'a str>,
    /// The upstream's server, as the configuration names it.
    pub server: Option<&'a str>,
    /// Until the head of the upstream's answer.
    pub upstream_duration: Option<Duration>,
    /// What was decided about the caller; `None` where nothing was.
    pub auth: Option<AuthRecord<'a>>,
}

/// The decision about the caller as the access log tells it.
#[derive(Debug, Clone, Copy)]
pub struct AuthRecord<'a> {
    /// `allowed`, `anonymous` or `rejected`.
    pub result: &'a str,
    /// The reason of a refusal.
    pub reason: Option<&'a str>,
    /// The issuer's name in the configuration.
    pub issuer: Option<&'a str>,
    /// The subject, as plain as the configuration wants it.
    pub subject: Option<&'a str>,
    /// The key that the token names.
    pub kid: Option<&'a str>,
    /// The signature's algorithm.
    pub algorithm: Option<&'a str>,
    /// `hit`, `miss`, `stale` or `none`.
    pub cache: Option<&'a str>,
    /// What a refusal expected and found.
    pub detail: Option<&'a str>,
    /// What a rule on trial would have refused it for.
    pub observed: Option<ObservedRecord<'a>>,
}

/// A refusal that was not enforced.
#[derive(Debug, Clone, Copy)]
pub struct ObservedRecord<'a> {
    /// Its reason.
    pub reason: &'a str,
    /// What it expected and found.
    pub detail: Option<&'a str>,
}

impl Record<'_> {
    /// What the line tells of.
    pub(super) fn kind(&self) -> Kind {
        match self.auth {
            Some(AuthRecord { result: "rejected", .. }) => Kind::Refusal,
            Some(_) | None => Kind::Passage,
        }
    }

    /// The line with its line feed, written into this buffer, whose content is dropped.
    #[must_use]
    pub fn write(&self, format: Format, buffer: Vec<u8>) -> Vec<u8> {
        match format {
            Format::Json => self.json(buffer),
            Format::Text => self.text(buffer),
        }
    }

    fn json(&self, buffer: Vec<u8>) -> Vec<u8> {
        let mut line = JsonLine::new(buffer);
        line.time("ts", self.time).text("request_id", self.request_id).optional_text("trace_id", self.trace_id);
        if let Some(client_ip) = self.client_ip {
            line.address("client_ip", client_ip);
        }
        line.bytes("method", cut(self.method, METHOD_BYTES_MAX));
        if let Some(host) = self.host {
            line.bytes("host", cut(host, HOST_BYTES_MAX));
        }
        line.bytes("path", cut(self.path, PATH_BYTES_MAX))
            .text("protocol", self.protocol)
            .optional_text("tls", self.tls);
        if let Some(user_agent) = self.user_agent {
            line.bytes("user_agent", cut(user_agent, USER_AGENT_BYTES_MAX));
        }
        line.number("status", u64::from(self.status))
            .seconds("duration_s", self.duration)
            .number("bytes_in", self.bytes_in)
            .number("bytes_out", self.bytes_out)
            .text("route", self.route)
            .optional_text("upstream", self.upstream)
            .optional_text("server", self.server);
        if let Some(upstream_duration) = self.upstream_duration {
            line.seconds("upstream_duration_s", upstream_duration);
        }
        if let Some(auth) = self.auth {
            line.object("auth", |line| auth.json(line));
        }
        line.finish()
    }

    fn text(&self, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        clock::append_rfc3339(&mut buffer, self.time);
        // Writing into a Vec cannot fail.
        let _ = match self.client_ip {
            Some(client_ip) => write!(buffer, " {client_ip} \""),
            None => write!(buffer, " - \""),
        };
        for (separator, part) in [
            ("", cut(self.method, METHOD_BYTES_MAX)),
            (" ", cut(self.host.unwrap_or(b"-"), HOST_BYTES_MAX)),
            (" ", cut(self.path, PATH_BYTES_MAX)),
        ] {
            buffer.extend_from_slice(separator.as_bytes());
            append_escaped_bytes(&mut buffer, part);
        }
        let _ = write!(buffer, "\" {} ", self.status);
        append_seconds(&mut buffer, self.duration);
        let reason = self.auth.and_then(|auth| auth.reason).unwrap_or("-");
        for field in [self.route, reason] {
            buffer.push(b' ');
            append_escaped_bytes(&mut buffer, field.as_bytes());
        }
        if let Some(observed) = self.auth.and_then(|auth| auth.observed) {
            buffer.extend_from_slice(b" observed ");
            append_escaped_bytes(&mut buffer, observed.reason.as_bytes());
        }
        buffer.push(b'\n');
        buffer
    }
}

impl AuthRecord<'_> {
    fn json(&self, line: &mut JsonLine) {
        line.text("result", self.result)
            .optional_text("reason", self.reason)
            .optional_text("issuer", self.issuer)
            .optional_text("subject", self.subject)
            .optional_text("kid", self.kid)
            .optional_text("algorithm", self.algorithm)
            .optional_text("cache", self.cache)
            .optional_text("detail", self.detail);
        if let Some(observed) = self.observed {
            line.object("observed", |line| {
                line.text("reason", observed.reason).optional_text("detail", observed.detail);
            });
        }
    }
}

/// The line that stands where lines were lost.
pub(super) fn gap_line(format: Format, time: SystemTime, lost: u64, buffer: Vec<u8>) -> Vec<u8> {
    match format {
        Format::Json => {
            let mut line = JsonLine::new(buffer);
            line.time("ts", time).number("lines_lost", lost);
            line.finish()
        }
        Format::Text => {
            let mut buffer = buffer;
            buffer.clear();
            clock::append_rfc3339(&mut buffer, time);
            let _ = writeln!(buffer, " {lost} lines lost");
            buffer
        }
    }
}

/// What a client wrote, but no more of it: a refused head may have a mebibyte.
fn cut(bytes: &[u8], bytes_max: usize) -> &[u8] {
    bytes.get(..bytes_max).unwrap_or(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{AuthRecord, Format, ObservedRecord, Record, gap_line};
    use crate::gate::json::{Json, Object};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, UNIX_EPOCH};

    /// A request of which nothing is known.
    pub(in crate::edge::access_log) const BARE: Record<'static> = Record {
        time: UNIX_EPOCH,
        request_id: "r1",
        trace_id: None,
        client_ip: None,
        method: b"GET",
        host: None,
        path: b"/",
        protocol: "HTTP/1.1",
        tls: None,
        user_agent: None,
        status: 0,
        duration: Duration::ZERO,
        bytes_in: 0,
        bytes_out: 0,
        route: "-",
        upstream: None,
        server: None,
        upstream_duration: None,
        auth: None,
    };

    const FULL: Record<'static> = Record {
        trace_id: Some("t1"),
        client_ip: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        host: Some(b"api.example.com"),
        path: b"/orders/\"7\"\n",
        tls: Some("TLSv1.3"),
        user_agent: Some(b"curl/8\xff"),
        status: 403,
        duration: Duration::from_micros(1_234),
        bytes_in: 5,
        bytes_out: 6,
        route: "orders",
        upstream: Some("orders"),
        server: Some("10.0.0.11:8080"),
        upstream_duration: Some(Duration::from_micros(900)),
        auth: Some(AuthRecord {
            result: "rejected",
            reason: Some("role_missing"),
            issuer: Some("main"),
            subject: Some("alice"),
            kid: Some("k1"),
            algorithm: Some("ES256"),
            cache: Some("hit"),
            detail: Some("role admin"),
            observed: Some(ObservedRecord { reason: "scope_insufficient", detail: Some("scope a") }),
        }),
        ..BARE
    };

    #[track_caller]
    fn check(record: &Record<'_>, format: Format, expected: &str) {
        let line = String::from_utf8(record.write(format, b"old".to_vec())).unwrap();
        assert_eq!(line, format!("{expected}\n"));
    }

    #[test]
    fn a_request_is_one_json_line_with_the_documented_fields() {
        check(
            &FULL,
            Format::Json,
            concat!(
                r#"{"ts":"1970-01-01T00:00:00.000000Z","request_id":"r1","trace_id":"t1","client_ip":"192.0.2.7","#,
                r#""method":"GET","host":"api.example.com","path":"/orders/\"7\"\n","protocol":"HTTP/1.1","#,
                r#""tls":"TLSv1.3","#,
                "\"user_agent\":\"curl/8\u{fffd}\",",
                r#""status":403,"duration_s":0.001234,"bytes_in":5,"bytes_out":6,"route":"orders","upstream":"orders","#,
                r#""server":"10.0.0.11:8080","upstream_duration_s":0.000900,"auth":{"result":"rejected","#,
                r#""reason":"role_missing","issuer":"main","subject":"alice","kid":"k1","algorithm":"ES256","#,
                r#""cache":"hit","detail":"role admin","observed":{"reason":"scope_insufficient","detail":"scope a"}}}"#
            ),
        );
    }

    #[test]
    fn what_is_not_known_is_left_out_of_json() {
        check(
            &BARE,
            Format::Json,
            concat!(
                r#"{"ts":"1970-01-01T00:00:00.000000Z","request_id":"r1","method":"GET","path":"/","#,
                r#""protocol":"HTTP/1.1","status":0,"duration_s":0.000000,"bytes_in":0,"bytes_out":0,"route":"-"}"#
            ),
        );
    }

    #[test]
    fn a_request_is_one_line_of_text() {
        check(
            &FULL,
            Format::Text,
            r#"1970-01-01T00:00:00.000000Z 192.0.2.7 "GET api.example.com /orders/\"7\"\n" 403 0.001234 orders role_missing observed scope_insufficient"#,
        );
        check(&BARE, Format::Text, r#"1970-01-01T00:00:00.000000Z - "GET - /" 0 0.000000 - -"#);
    }

    #[test]
    fn a_gap_is_told_in_the_form_of_the_log() {
        let rows = [
            (Format::Json, "{\"ts\":\"1970-01-01T00:00:00.000000Z\",\"lines_lost\":3}\n"),
            (Format::Text, "1970-01-01T00:00:00.000000Z 3 lines lost\n"),
        ];
        for (format, expected) in rows {
            assert_eq!(gap_line(format, UNIX_EPOCH, 3, b"old".to_vec()), expected.as_bytes());
        }
    }

    /// The names of members, those of objects within with their way there; no name stands twice.
    fn names(line: &[u8]) -> Vec<String> {
        fn gather(object: &Object<'_>, before: &str, found: &mut Vec<String>) {
            for (name, value) in object.members() {
                if let Json::Object(inner) = value {
                    gather(inner, &format!("{before}{name}."), found);
                } else {
                    found.push(format!("{before}{name}"));
                }
            }
        }
        let mut found = Vec::new();
        gather(&Object::parse(line).expect("one JSON object"), "", &mut found);
        found
    }

    /// The first column of the page's table of fields: names, and how they are described to be.
    fn documented() -> Vec<String> {
        let page = include_str!("../../../docs/access-log.md");
        let (_, table) = page.split_once("| field | unit or form | there | means |\n").unwrap();
        let rows = table.lines().skip(1).take_while(|row| row.starts_with('|'));
        rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
    }

    #[test]
    fn the_page_of_the_access_log_has_exactly_the_fields_of_the_line_in_their_order() {
        assert_eq!(names(&FULL.write(Format::Json, Vec::new())), documented());
        // And says of each that is not always there that it is not.
        let page = include_str!("../../../docs/access-log.md");
        let bare: BTreeSet<String> = names(&BARE.write(Format::Json, Vec::new())).into_iter().collect();
        for field in documented() {
            let row = page.lines().find(|row| row.starts_with(&format!("| `{field}` |"))).unwrap();
            let is_always = row.split(" | ").nth(2).unwrap() == "always";
            assert_eq!(is_always, bare.contains(&field), "{row}");
        }
        assert!(page.contains("\"lines_lost\""));
    }

    /// Anything, and often what would break a line.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            proptest::sample::select(vec![
                b"\n{\"ts\":1}\n".to_vec(),
                b"\",\"auth\":{\"result\":\"allowed\"}".to_vec(),
                b"\\".to_vec(),
                b"\x1b[2J\x07\r".to_vec(),
                "\u{202e}\u{2028}\u{85}\u{9b}".as_bytes().to_vec(),
                b"\xed\xa0\x80\xff\xc0".to_vec(),
            ]),
        ];
        proptest::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn text() -> impl Strategy<Value = String> {
        hostile().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    proptest! {
        /// Whatever clients, tokens and names hold: no line is broken, none forged, and nothing steers a terminal.
        #[test]
        fn any_request_is_exactly_one_line_of_exactly_the_documented_fields(
            bytes in proptest::array::uniform3(hostile()),
            texts in proptest::collection::vec(text(), 14),
            present in any::<[bool; 16]>(),
            (status, in_and_out, nanoseconds) in (any::<u16>(), any::<[u64; 2]>(), any::<u64>()),
        ) {
            let [method, path, user_agent] = &bytes;
            let some = |at: usize| present[at].then(|| texts[at % texts.len()].as_str());
            let duration = Duration::from_nanos(nanoseconds);
            let observed = ObservedRecord { reason: &texts[12], detail: some(0) };
            let auth = AuthRecord {
                result: &texts[2], reason: some(3), issuer: some(4), subject: some(5), kid: some(6), algorithm: some(7),
                cache: some(8), detail: some(9), observed: present[10].then_some(observed),
            };
            let record = Record {
                time: UNIX_EPOCH + duration,
                request_id: &texts[0],
                trace_id: some(1),
                client_ip: present[11].then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                method,
                host: present[12].then_some(path.as_slice()),
                path,
                protocol: &texts[1],
                tls: some(13),
                user_agent: present[14].then_some(user_agent.as_slice()),
                status,
                duration,
                bytes_in: in_and_out[0],
                bytes_out: in_and_out[1],
                route: &texts[3],
                upstream: some(2),
                server: some(15),
                upstream_duration: present[0].then_some(duration),
                auth: present[1].then_some(auth),
            };
            let documented = documented();
            let [json, plain] = [Format::Json, Format::Text].map(|format| record.write(format, Vec::new()));
            for line in [&json, &plain] {
                let line = std::str::from_utf8(line).unwrap();
                prop_assert!(line.strip_suffix('\n').is_some_and(|line| !line.chars().any(char::is_control)), "{line:?}");
                prop_assert!(!line.contains(['\u{202e}', '\u{2028}']), "{line:?}");
            }
            let names = names(&json);
            prop_assert!(names.iter().all(|name| documented.contains(name)), "{names:?}");
            // In their order, so that each is there once.
            let places: Vec<usize> =
                names.iter().map(|name| documented.iter().position(|one| one == name).unwrap()).collect();
            prop_assert!(places.is_sorted_by(|one, next| one < next), "{names:?}");
            // What is there is there whole, and what is not known is not.
            let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(read["request_id"].as_str().unwrap(), &texts[0]);
            prop_assert_eq!(read["path"].as_str().unwrap(), &*String::from_utf8_lossy(path));
            prop_assert_eq!(read["auth"]["subject"].as_str(), some(5).filter(|_| present[1]));
            prop_assert_eq!(read["status"].as_u64(), Some(u64::from(status)));
            prop_assert_eq!(read["bytes_out"].as_u64(), Some(in_and_out[1]));
        }
    }

    #[test]
    fn a_head_of_any_length_is_a_bounded_line() {
        let endless = [b'a'; 100_000];
        let record =
            Record { method: &endless, host: Some(&endless), path: &endless, user_agent: Some(&endless), ..BARE };
        for format in [Format::Json, Format::Text] {
            let length = record.write(format, Vec::new()).len();
            assert!((8 * 1024..11 * 1024).contains(&length), "{format:?}: {length}");
        }
    }
}
